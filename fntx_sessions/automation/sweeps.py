"""When a sweep was sent and ran, and how long it took, in Postgres: what tells a late sweep from a late worker.

A run is noted in one message as it begins. How long it took is told with this process's next run of that sweep, and at
once only where it was long: for most sweeps, which take milliseconds, a second message would be most of their cost.
"""

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import statements
from fntx_sessions.state.claims import LAZY

# When beat sent the message that this task came by; None: somebody else sent it.
sent_at: ContextVar[datetime | None] = ContextVar("sent_at", default=None)

_LONG_S = 0.5
# sent_at is by beat's clock, which may be wrong; in the future it would hide for long that beat is dead.
_NOTE = text(f"""{LAZY}
INSERT INTO sweep_runs AS s (name, last_run, sent_at, took_s)
VALUES (:name, clock_timestamp(), CASE WHEN CAST(:sent_at AS timestamptz) IS NOT NULL
  THEN least(CAST(:sent_at AS timestamptz), clock_timestamp()) END, CAST(:took_s AS float8))
ON CONFLICT (name) DO UPDATE SET previous_run = s.last_run, last_run = clock_timestamp(),
  sent_at = greatest(s.sent_at, excluded.sent_at), took_s = coalesce(excluded.took_s, s.took_s)
RETURNING CAST(extract(epoch FROM last_run - previous_run) AS float8) AS gap_s
""")
_TOOK = text(f"{LAZY} UPDATE sweep_runs SET took_s = :took_s WHERE name = :name")
_AGE = text("SELECT CAST(extract(epoch FROM now() - last_run) AS float8) FROM sweep_runs WHERE name = :name")

# Of this process: which sweep began when, in monotonic seconds, and what its last runs took and did not tell yet.
_began: dict[str, float] = {}
_took_s: dict[str, float] = {}


@dataclass(frozen=True, slots=True)
class Tick:
    """One run of a sweep. gap_s: seconds since the run before it, None for the first."""

    gap_s: float | None


def note_run(engine: Engine, name: str) -> Tick:
    """Note that sweep `name` runs now and return how long ago it ran before."""
    values = {"name": name, "sent_at": sent_at.get(), "took_s": _took_s.pop(name, None)}
    _began[name] = time.monotonic()
    with statements(engine) as connection:
        return Tick(connection.execute(_NOTE, values).scalar_one_or_none())


def note_end(engine: Callable[[], Engine], name: str) -> None:
    """Note that this process's run of a sweep has ended, whatever came of it; nothing where none was noted."""
    began = _began.pop(name, None)
    if began is None:
        return
    took_s = _took_s[name] = time.monotonic() - began
    if took_s >= _LONG_S:
        with statements(engine()) as connection:
            connection.execute(_TOOK, {"name": name, "took_s": took_s})
        _took_s.pop(name, None)


def last_run_s(engine: Engine, name: str) -> float | None:
    """Return how many seconds ago a sweep was sent and ran; None: never. Raises Unavailable."""
    with statements(engine) as connection:
        age_s: float | None = connection.execute(_AGE, {"name": name}).scalar_one_or_none()
    return age_s


def until_done(batch: Callable[[], int], limit: int, seconds: float) -> int:
    """Run `batch` while it finds as much as it may take, at most for `seconds`; return how much was done in all."""
    until, done = time.monotonic() + seconds, 0
    while True:
        found = batch()
        done += found
        if found < limit or time.monotonic() >= until:
            return done
