"""How far the clock and the sweeps are behind, and how many sessions wait longer than they should, in one question."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, text

import beat_schedule
from fntx_sessions.database.engine import statements
from fntx_sessions.settings import Settings

SAVES, CHECKPOINTS, STEPS, PENDING, RULES, HEALTH = "saves", "checkpoints", "steps", "pending", "rules", "health"
# What is due when, and which sweep looks for it.
DUE = {
    SAVES: ("next_save_at", "save"),
    CHECKPOINTS: ("next_checkpoint_at", "checkpoint"),
    STEPS: ("next_step_at", "step"),
    PENDING: ("pending_due_at", "pending"),
    RULES: ("next_rule_at", "rules"),
    HEALTH: ("next_health_at", "health"),
}
_OVERDUE = " UNION ALL ".join(
    f"SELECT '{kind}' AS kind, count(*) AS sessions, max(now() - {column}) AS oldest FROM session_work "
    f"WHERE {column} < now() - :{kind}_s * interval '1 second' AND status <> 'closed'"
    for kind, (column, _) in DUE.items()
)
_SECONDS = "CAST(extract(epoch FROM {}) AS float8)"
_MEASURE = text(f"""
SELECT (SELECT jsonb_object_agg(name, jsonb_build_object(
    'age_s', {_SECONDS.format("now() - last_run")}, 'sent_age_s', {_SECONDS.format("now() - sent_at")},
    'queue_s', {_SECONDS.format("last_run - sent_at")}, 'took_s', took_s)) FROM sweep_runs) AS sweeps,
  (SELECT jsonb_object_agg(kind, jsonb_build_object('sessions', sessions,
    'oldest_s', coalesce({_SECONDS.format("oldest")}, 0))) FROM ({_OVERDUE}) o) AS overdue
""")


_WAITING = text(
    " UNION ALL ".join(
        f"(SELECT '{kind}' AS kind, session_id, status, {column} AS due_at FROM session_work "
        f"WHERE {column} < now() - :{kind}_s * interval '1 second' AND status <> 'closed' "
        f"ORDER BY {column}, session_id LIMIT :limit)"
        for kind, (column, _) in DUE.items()
    )
)


@dataclass(frozen=True, slots=True)
class SweepLag:
    """One sweep, in seconds. age_s: since it ran, None if it never did; lag_s: how much of that is too much.

    queue_s: how long the message of its last run waited; took_s: how long a run of late took. None: not known.
    """

    interval_s: float
    age_s: float | None
    lag_s: float
    late: bool
    queue_s: float | None
    took_s: float | None

    def __str__(self) -> str:
        """Say it in a few words."""
        if self.age_s is None:
            return "never ran"
        took = f", took {self.took_s:.1f} s" if self.took_s is not None else ""
        return f"{self.lag_s:.0f} s late (every {self.interval_s:g} s, last {self.age_s:.0f} s ago{took})"


@dataclass(frozen=True, slots=True)
class Overdue:
    """How many sessions have waited for longer than they may, and the longest of them for how many seconds."""

    sessions: int = 0
    oldest_s: float = 0.0

    def __str__(self) -> str:
        """Say it in a few words."""
        waits = "1 session waits" if self.sessions == 1 else f"{self.sessions} sessions wait"
        return f"{waits}, the longest for {self.oldest_s:.0f} s"


@dataclass(frozen=True, slots=True)
class WaitingSession:
    """A session that has waited for longer than it may for a kind of work, which was due at `due_at`."""

    kind: str
    session_id: UUID
    status: str
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Lag:
    """One look. beat_lag_s: since beat sent the newest message that ran; None: none ever did."""

    beat_lag_s: float | None
    beat_late: bool
    sweeps: dict[str, SweepLag]
    overdue: dict[str, Overdue]

    @property
    def late(self) -> dict[str, SweepLag]:
        """The sweeps that are late."""
        return {name: sweep for name, sweep in self.sweeps.items() if sweep.late}

    @property
    def waiting(self) -> dict[str, Overdue]:
        """The kinds of work that sessions wait for."""
        return {kind: overdue for kind, overdue in self.overdue.items() if overdue.sessions}

    def __str__(self) -> str:
        """Say it in a line."""
        return "; ".join(self._told()) or "sweeps run in time, no session is overdue"

    def _told(self) -> Iterator[str]:
        if self.beat_late:
            yield f"nothing that beat sent has run for {self.beat_lag_s:.0f} s"
        else:
            yield from (f"{name}: {sweep}" for name, sweep in self.late.items())
        yield from (f"{kind}: {overdue}" for kind, overdue in self.waiting.items())


def measure(engine: Engine, settings: Settings) -> Lag:
    """Look once, by the clock of Postgres. Raises Unavailable."""
    with statements(engine) as connection:
        return read_lag(connection, settings)


def read_lag(connection: Connection, settings: Settings) -> Lag:
    """Do as `measure` on the caller's connection."""
    found = connection.execute(_MEASURE, _patience(settings)).one()
    ran: Mapping[str, Any] = found.sweeps or {}
    sent = [row["sent_age_s"] for row in ran.values() if row["sent_age_s"] is not None]
    beat_lag_s = max(min(sent), 0.0) if sent else None
    return Lag(
        beat_lag_s,
        beat_lag_s is not None and beat_lag_s > settings.beat_late_s,
        {entry.name: _sweep_lag(entry, ran.get(entry.name, {}), settings) for entry in beat_schedule.ENTRIES},
        {kind: Overdue(**found.overdue[kind]) for kind in DUE},
    )


def read_overdue(connection: Connection, settings: Settings, limit: int) -> list[WaitingSession]:
    """Return the `limit` sessions of each kind of work that have waited longest of those that are overdue."""
    found = connection.execute(_WAITING, _patience(settings) | {"limit": limit})
    return [WaitingSession(*row) for row in found]


def _patience(settings: Settings) -> dict[str, float]:
    """Return for how long each kind of work may wait: what its sweep leaves it by design, and `overdue_s` more."""
    every_s = {entry.name: entry.interval_s(settings) for entry in beat_schedule.ENTRIES}
    return {f"{kind}_s": every_s[sweep] + settings.overdue_s for kind, (_, sweep) in DUE.items()}


def _sweep_lag(entry: beat_schedule.Entry, row: Mapping[str, Any], settings: Settings) -> SweepLag:
    interval_s, expires_s, age_s = entry.interval_s(settings), entry.expires_s(settings), row.get("age_s")
    lag_s = max(age_s - interval_s, 0.0) if age_s is not None else 0.0
    queue_s = row.get("queue_s")
    # A message cannot have waited for longer: this run was sent by somebody else than beat.
    waited_s = max(queue_s, 0.0) if queue_s is not None and queue_s <= expires_s else None
    return SweepLag(interval_s, age_s, lag_s, lag_s > settings.sweep_late_s, waited_s, row.get("took_s"))
