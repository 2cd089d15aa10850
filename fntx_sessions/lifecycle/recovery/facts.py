"""What a recovery has to know of its session, read in one statement and without a lock."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from redis import Redis
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import statements
from fntx_sessions.exceptions import NotFound
from fntx_sessions.schemas import SessionStatus
from fntx_sessions.settings import Settings
from fntx_sessions.state.live import LiveCut
from fntx_sessions.state.parts import AGENT_PREFIX, is_memory

Mark = tuple[int, int]

_READ = text("""
SELECT s.session_id, s.status, s.status_since, s.epoch, s.version, s.started_at, s.recovery_data, s.broker,
  s.parent_session_id IS NOT NULL AS forked, s.status_actor, s.status_reason,
  w.host_id IS NOT NULL AND (h.host_id IS NULL OR h.lease_until < now()) AS host_lost,
  w.saved_epoch, w.saved_revision, w.last_saved_at, clock_timestamp() AS now, k.epoch AS save_epoch,
  k.revision AS save_revision, k.saved_at,
  (SELECT count(*) FROM order_intents i WHERE i.session_id = s.session_id AND i.state IN ('intended', 'working'))
    AS in_flight,
  (SELECT coalesce(jsonb_agg(g.agent), '[]') FROM session_agents g WHERE g.session_id = s.session_id AND g.hosted)
    AS hosted
FROM sessions s LEFT JOIN session_work w USING (session_id) LEFT JOIN saves k USING (session_id)
LEFT JOIN hosts h ON h.host_id = w.host_id
WHERE s.session_id = :session_id
""")


@dataclass(frozen=True, slots=True)
class Stores:
    """Where everything is: the two stores and the settings of this process. mends: what is read may be mended too."""

    engine: Engine
    redis: Redis
    settings: Settings
    mends: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """One session as a recovery sees it. saved: the mark of its latest save; save: of the save that is there.

    standing: what a recovery would be refused for.
    base: what its live state is at least, if Redis lost nothing: the latest save, or what a recovery put back since.
    """

    session_id: UUID
    status: SessionStatus
    status_since: datetime
    epoch: int
    version: int
    started: bool
    recovery_data: dict[str, Any]
    broker: str
    saved: Mark
    save: Mark | None
    saved_at: datetime | None
    last_saved_at: datetime | None
    now: datetime
    in_flight: int
    hosted: frozenset[str]
    forked: bool
    standing: dict[str, Any]

    @property
    def base(self) -> Mark:
        """Return the mark that an unharmed live state has reached."""
        return max(self.saved, self.put_back)

    @property
    def put_back(self) -> Mark:
        """Return the mark of what the last recovery that came to its end left in Redis; (0, 0): there was none."""
        data = self.recovery_data.get("put_back") or {}
        return (data["epoch"], data["revision"]) if data.get("revision") else (0, 0)


def read_facts(engine: Engine, session_id: UUID) -> Facts:
    """Return the facts of a session; raises NotFound and Unavailable."""
    with statements(engine) as connection:
        row = connection.execute(_READ, {"session_id": session_id}).mappings().one_or_none()
    if row is None:
        raise NotFound("session", str(session_id), "See `fntx ls`.")
    same = ("session_id", "status_since", "epoch", "version", "recovery_data", "broker", "saved_at", "last_saved_at")
    return Facts(
        **{name: row[name] for name in (*same, "now", "in_flight", "forked")},
        status=SessionStatus(row["status"]),
        started=row["started_at"] is not None,
        standing={name: row[name] for name in ("status", "started_at", "host_lost", "status_actor", "status_reason")},
        saved=(row["saved_epoch"] or 0, row["saved_revision"] or 0),
        save=None if row["save_epoch"] is None else (row["save_epoch"], row["save_revision"]),
        hosted=frozenset(row["hosted"]),
    )


def last_known(facts: Facts, cut: LiveCut | None) -> datetime:
    """Return the last moment at which the agents' memory may have changed: an upper bound where Redis lost it."""
    beats = [ms for agent, ms in (cut.beats if cut else {}).items() if is_memory(AGENT_PREFIX + agent)]
    if beats:
        return datetime.fromtimestamp(max(beats) / 1000, UTC)
    stopped = facts.status in (SessionStatus.SUSPENDED, SessionStatus.ERROR)
    return facts.status_since if stopped else facts.now


def loss_s(facts: Facts, mark: Mark, created_at: datetime | None, known: datetime) -> float | None:
    """Return the seconds of memory that are gone when a state is put back; None when nobody can tell."""
    if created_at is None:
        return None
    # A session that did not change since its save was looked at again and again: that is as good as a later save.
    same = mark == facts.saved and facts.last_saved_at is not None
    moment = max(created_at, facts.last_saved_at) if same and facts.last_saved_at else created_at
    return round(max(0.0, (known - moment).total_seconds()), 3)
