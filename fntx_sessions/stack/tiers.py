"""The tiers of the state as the hosts found them last, for `fntx status` and `fntx doctor`."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, text

from fntx_sessions.stack.check import Check

# A process that found a tier down tries it every few seconds; so long unseen, it has ended, and knows no more.
SILENT_S = 300.0
# In seconds before this look: the clocks of hosts are not compared.
_READ = text("""
SELECT host, tier, up, problem, since, CAST(extract(epoch FROM now() - seen_at) AS float8) AS seen_s
FROM tier_states ORDER BY host, tier
""")
_SHARED = ("postgres", "redis", "cold")
_FIXES = {
    "redis": "fntx doctor says how its server is; check FNTX_REDIS_URL; states are read from Postgres meanwhile",
    "redis writes": "give Redis memory, or point FNTX_REDIS_URL at the primary; saves go on in Postgres",
    "postgres": "fntx doctor says how its server is; check FNTX_DATABASE_URL; saves go to the local backup folder",
    "cold": "check FNTX_COLD_URL and its rights; nothing moves there, and nothing is deleted, until it answers",
}


@dataclass(frozen=True)
class TierFound:
    """A tier as a host found it last, `seen_s` seconds ago. problem: empty when up."""

    host: str
    tier: str
    up: bool
    problem: str
    since: datetime
    seen_s: float

    def __str__(self) -> str:
        """Say how it is, since when, and how fresh that is."""
        state = "up" if self.up else "DOWN"
        told = f"{self.tier} {state} on {self.host} since {self.since.astimezone(UTC):%d %b %H:%M:%S} UTC"
        return told if self.up else f"{told}, found so {self.seen_s:.0f} s ago: {self.problem}"


def read_tiers(connection: Connection) -> list[TierFound]:
    """Return what Postgres knows of the tiers, by host."""
    return [TierFound(**row) for row in connection.execute(_READ).mappings()]


def tiers_sentence(tiers: list[TierFound]) -> str:
    """Name the tiers that are down, or else those that are up and those nobody had to ask so far."""
    down = [tier for tier in tiers if not tier.up]
    if down:
        return "; ".join(map(str, down))
    up = sorted({tier.tier for tier in tiers})
    unasked = [name for name in _SHARED if name not in up]
    rest = f"; not asked yet: {', '.join(unasked)}" if unasked else ""
    return f"up: {', '.join(up)}{rest}" if up else "nothing was asked of them yet"


def diagnose_tiers(tiers: list[TierFound]) -> Iterator[Check]:
    """Yield a finding for each tier that is down, or one that none is."""
    down = [tier for tier in tiers if not tier.up]
    for tier in down:
        silent = tier.seen_s > SILENT_S
        fix = "nothing: who found it so has ended, and the next who asks will say" if silent else _FIXES.get(tier.tier)
        yield Check(f"tier {tier.tier}", "warn", str(tier), fix or "fntx status, in a minute")
    if not down:
        yield Check("tiers", "ok", tiers_sentence(tiers))
