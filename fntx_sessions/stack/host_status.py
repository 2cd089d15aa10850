"""The workers as their leases tell, for `fntx status` and `fntx doctor`: a process that hangs still runs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Connection, text

from fntx_sessions.database.hosting import NO_AGENT_HOST, NO_AGENT_HOST_SINCE, POSITIONS
from fntx_sessions.stack.check import Check

_LOST = text("""
SELECT host_id, node, pid, queues, CAST(extract(epoch FROM now() - lease_until) AS float8) AS lost_s FROM hosts
WHERE NOT "left" AND lease_until < now() AND lease_until > now() - interval '1 hour' ORDER BY lease_until
""")
_AGENTS = text(f"""
SELECT NOT {NO_AGENT_HOST} AS lives, {NO_AGENT_HOST_SINCE} AS since, count(*) AS waiting,
  count(*) FILTER (WHERE positions > 0) AS holding
FROM (SELECT CASE WHEN {NO_AGENT_HOST} THEN {POSITIONS} ELSE 0 END AS positions FROM sessions s
  JOIN session_work w USING (session_id) WHERE w.next_step_at IS NOT NULL AND w.status <> 'closed') AS stepped
""")


@dataclass(frozen=True)
class HostLost:
    """A worker that did not leave, and whose lease ran out `lost_s` seconds ago, less than an hour."""

    host_id: str
    node: str
    pid: int
    queues: str
    lost_s: float

    def __str__(self) -> str:
        """Say which, and since when it is not heard of."""
        return f"{self.queues} (pid {self.pid} on {self.node}), its lease ran out {self.lost_s:.0f} s ago"


@dataclass(frozen=True)
class HostsFound:
    """Whether a worker of agents lives, since when not, and what waits to be stepped: sessions, and those that hold."""

    lives: bool
    since: datetime | None
    waiting: int
    holding: int
    lost: list[HostLost] = field(default_factory=list)

    def __str__(self) -> str:
        """Say it in a line."""
        lost = f"; lost: {'; '.join(map(str, self.lost))}" if self.lost else ""
        if self.lives:
            return f"an agents worker lives{lost}"
        since = f" since {self.since.astimezone(UTC):%d %b %H:%M:%S} UTC" if self.since else ""
        waits = "1 session waits" if self.waiting == 1 else f"{self.waiting} sessions wait"
        return f"no agents worker lives{since}: {waits} to be stepped, {self.holding} of them holding positions{lost}"


def read_hosts(connection: Connection) -> HostsFound:
    """Return what the leases say, by the clock of Postgres."""
    found = connection.execute(_AGENTS).mappings().one()
    return HostsFound(**found, lost=[HostLost(**row) for row in connection.execute(_LOST).mappings()])


def diagnose_hosts(found: HostsFound) -> Iterator[Check]:
    """Yield the finding about the workers' leases."""
    if not found.lives:
        fix = "fntx up; if a worker hangs, kill -9 its pid: it is started again, and its sessions are taken over"
        yield Check("agents", "fail" if found.waiting else "warn", str(found), fix)
    else:
        fix = "where that pid still runs it hangs: kill -9 it, another is started" if found.lost else ""
        yield Check("agents", "warn" if found.lost else "ok", str(found), fix)
