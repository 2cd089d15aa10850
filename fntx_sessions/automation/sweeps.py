"""When a sweep last ran, in Postgres: what tells a late sweep from a late worker."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import statements, transaction

_NOTE = text("""
INSERT INTO sweep_runs AS s (name, last_run) VALUES (:name, clock_timestamp())
ON CONFLICT (name) DO UPDATE SET previous_run = s.last_run, last_run = clock_timestamp()
RETURNING extract(epoch FROM last_run - previous_run) AS gap_s
""")
_AGE = text("SELECT CAST(extract(epoch FROM now() - last_run) AS float8) FROM sweep_runs WHERE name = :name")


@dataclass(frozen=True, slots=True)
class Tick:
    """One run of a sweep. gap_s: seconds since the run before it, None for the first."""

    gap_s: float | None


def note_run(engine: Engine, name: str) -> Tick:
    """Note that sweep `name` runs now and return how long ago it ran before."""
    with transaction(engine) as connection:
        gap = connection.execute(_NOTE, {"name": name}).scalar_one_or_none()
    return Tick(None if gap is None else float(gap))


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
