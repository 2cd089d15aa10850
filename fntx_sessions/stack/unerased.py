"""Shredded sessions of which something is left longer than it should be, for `fntx status` and `fntx doctor`."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, text

from fntx_sessions.stack.check import Check

# A sweep takes up each within seconds: so long after, none does.
_SILENT_S = 600
_READ = text("""
SELECT count(*) AS sessions, min(coalesce(erase_problem_since, shredded_at)) AS since,
  (array_agg(erase_problem ORDER BY erase_problem_since) FILTER (WHERE erase_problem IS NOT NULL))[1] AS problem
FROM session_keys WHERE erase_due_at IS NOT NULL
  AND (erase_problem IS NOT NULL OR erase_due_at < now() - make_interval(secs => :silent_s))
""")


@dataclass(frozen=True)
class Unerased:
    """How many shredded sessions are not wholly erased, since when the first of them, and why that is not."""

    sessions: int
    since: datetime | None = None
    problem: str = ""

    def __str__(self) -> str:
        """Say how many, since when and why; or that there is none."""
        if self.since is None:
            return "all erased"
        since = f"{self.since.astimezone(UTC):%d %b %H:%M:%S} UTC"
        return f"{self.sessions} sessions NOT wholly erased, the first since {since}: {self.problem}"


def read_unerased(connection: Connection) -> Unerased:
    """Return what Postgres knows of erasures that are not finished."""
    row = connection.execute(_READ, {"silent_s": _SILENT_S}).one()
    return Unerased(row.sessions, row.since, row.problem or "no sweep takes them up" if row.sessions else "")


def diagnose_unerased(found: Unerased) -> Iterator[Check]:
    """Yield a warning where something shredded is left; its key may lie where it was out of reach."""
    if found.sessions:
        fix = "nothing once that is in reach: it is tried again every two minutes; else what the sentence names"
        yield Check("shredded", "warn", str(found), fix)
