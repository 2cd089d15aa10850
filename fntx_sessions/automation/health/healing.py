"""Recovering what health suspended: not while its cause remains, less often each time, and then a person is called.

Only sessions with the mark that health leaves at a suspension; what a person, or an agent's quarantine, suspended is
theirs. When the next attempt is due stands in `next_recovery_at`, so that it survives whoever plans it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import text

from fntx_sessions.automation.health.agents import remaining
from fntx_sessions.automation.health.facts import HealthFacts, read_health_facts
from fntx_sessions.automation.liveness import give_up, recover_and_resume
from fntx_sessions.database.engine import rows, statements
from fntx_sessions.exceptions import FntxError
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.security.actor import Actor

log = structlog.get_logger(__name__)
# As many as end within the sweep's time limit on a slow machine; the next sweep goes on.
_MOST = 100

# Claimed by moving next_recovery_at to when the attempt after this one may be: who dies meanwhile loses only this one.
_CLAIM = text("""
WITH due AS (
  SELECT w.session_id, s.recovery_data -> 'healing' AS healing, s.status_reason FROM sessions s
  JOIN session_work w USING (session_id)
  WHERE s.status = 'suspended' AND s.recovery_data ? 'healing' AND s.requires_action IS NULL AND s.pending IS NULL
    AND w.next_recovery_at <= now()
  ORDER BY w.next_recovery_at LIMIT :limit FOR NO KEY UPDATE OF w SKIP LOCKED
)
UPDATE session_work w
SET next_recovery_at = now() + make_interval(secs => :backoff_s * 2 ^ least(w.recovery_attempts, 16))
FROM due WHERE w.session_id = due.session_id
RETURNING w.session_id, w.epoch, w.recovery_attempts, due.healing, due.status_reason
""")
_WAIT = text("""
UPDATE session_work SET recovery_attempts = recovery_attempts + 1
WHERE session_id = ANY(CAST(:ids AS uuid[])) AND status = 'suspended'
""")


@dataclass(slots=True)
class Healed:
    """What became of the sessions whose recovery was due. waiting: their cause remains, and what it is."""

    recovered: list[UUID] = field(default_factory=list)
    waiting: dict[UUID, str] = field(default_factory=dict)
    parked: list[UUID] = field(default_factory=list)
    failed: dict[UUID, str] = field(default_factory=dict)


def heal_due(desk: Desk, actor: Actor) -> Healed:
    """Recover what health suspended and is due, and resume it where its config says so. Raises Unavailable."""
    claimed = _claim(desk)
    done = Healed()
    if not claimed:
        return done
    facts = {one.session_id: one for one in _facts(desk, claimed)}
    for row in claimed:
        _heal_one(desk, actor, row, facts.get(row["session_id"]), done)
    _note_waits(desk, done)
    log.warning("sessions_healed", recovered=len(done.recovered), waiting=len(done.waiting), parked=len(done.parked))
    return done


def _claim(desk: Desk) -> list[dict[str, Any]]:
    bound = {"limit": min(desk.settings.recoveries_per_sweep, _MOST), "backoff_s": desk.settings.recovery_backoff_s}
    with statements(desk.engine) as connection:
        return rows(connection.execute(_CLAIM, bound))


def _facts(desk: Desk, claimed: Sequence[dict[str, Any]]) -> list[HealthFacts]:
    return read_health_facts(desk, [row["session_id"] for row in claimed]).facts


def _heal_one(desk: Desk, actor: Actor, row: dict[str, Any], facts: HealthFacts | None, done: Healed) -> None:
    session_id, attempts = row["session_id"], row["recovery_attempts"]
    left = remaining(facts, row["healing"]["causes"], desk.settings) if facts else ""
    try:
        if attempts >= desk.settings.recovery_attempts_max:
            give_up(desk, actor, session_id, _tried(row, left))
            done.parked.append(session_id)
        elif left:
            done.waiting[session_id] = left
        else:
            loss = f"{row['epoch']}/health/{attempts}"
            reason = f"health: {row['status_reason']}"[:2000]
            recover_and_resume(desk, actor, session_id, loss, reason).raise_for_refusal()
            done.recovered.append(session_id)
    except FntxError as error:
        done.failed[session_id] = str(error)
        log.warning("healing_failed", session_id=str(session_id), problem=str(error))


def _tried(row: dict[str, Any], left: str) -> str:
    remains = f"; its cause remains: {left}" if left else ""
    return f"{row['status_reason']}; {row['recovery_attempts']} recoveries did not mend it{remains}"[:1500]


def _note_waits(desk: Desk, done: Healed) -> None:
    """Count a wait as an attempt: a cause that never goes away ends with a person, too."""
    if done.waiting:
        with statements(desk.engine) as connection:
            connection.execute(_WAIT, {"ids": list(map(str, done.waiting))})
