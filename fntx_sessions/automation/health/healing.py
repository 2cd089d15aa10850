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
from fntx_sessions.automation.health.model import MARKET_DATA
from fntx_sessions.automation.liveness import give_up, recover_and_resume
from fntx_sessions.database.engine import rows, statements
from fntx_sessions.exceptions import FntxError
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.security.actor import Actor
from fntx_sessions.settings import Settings

log = structlog.get_logger(__name__)
# As many as end within the sweep's time limit on a slow machine; the next sweep goes on.
_MOST = 100

# Claimed by moving next_recovery_at to when the attempt after this one may be: who dies meanwhile loses only this one.
# With what it has waited already, each wait for a cause is as long as all before it and a back-off: twice the last one.
# The market comes back for all at once: its wait does not grow.
_CLAIM = text("""
WITH due AS (
  SELECT w.session_id, h.healing, s.status_reason, h.waited_s,
    CASE WHEN h.healing -> 'causes' = CAST(:market AS jsonb) THEN 0 ELSE h.waited_s END AS grown_s
  FROM sessions s JOIN session_work w USING (session_id), LATERAL (SELECT s.recovery_data -> 'healing' AS healing,
    CAST(extract(epoch FROM now() - (s.recovery_data #>> '{healing,since}')::timestamptz) AS float8) AS waited_s) h
  WHERE s.status = 'suspended' AND s.recovery_data ? 'healing' AND s.requires_action IS NULL AND s.pending IS NULL
    AND w.next_recovery_at <= now()
  ORDER BY w.next_recovery_at LIMIT :limit FOR NO KEY UPDATE OF w SKIP LOCKED
)
UPDATE session_work w
SET next_recovery_at = now() + make_interval(secs => :backoff_s * 2 ^ least(w.recovery_attempts, 16) + due.grown_s)
FROM due WHERE w.session_id = due.session_id
RETURNING w.session_id, w.epoch, w.recovery_attempts, due.healing, due.status_reason, due.waited_s
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
    log.warning("sessions_healed", recovered=len(done.recovered), waiting=len(done.waiting), parked=len(done.parked))
    return done


def _claim(desk: Desk) -> list[dict[str, Any]]:
    bound = {
        "limit": min(desk.settings.recoveries_per_sweep, _MOST),
        "backoff_s": desk.settings.recovery_backoff_s,
        "market": f'["{MARKET_DATA}"]',
    }
    with statements(desk.engine) as connection:
        return rows(connection.execute(_CLAIM, bound))


def _facts(desk: Desk, claimed: Sequence[dict[str, Any]]) -> list[HealthFacts]:
    return read_health_facts(desk, [row["session_id"] for row in claimed]).facts


def _heal_one(desk: Desk, actor: Actor, row: dict[str, Any], facts: HealthFacts | None, done: Healed) -> None:
    session_id, attempts = row["session_id"], row["recovery_attempts"]
    left = remaining(facts, row["healing"]["causes"], desk.settings) if facts else ""
    try:
        if left and not _waits_in_vain(row, desk.settings):
            done.waiting[session_id] = left
        elif left or attempts >= desk.settings.recovery_attempts_max:
            give_up(desk, actor, session_id, _tried(row, left))
            done.parked.append(session_id)
        else:
            loss = f"{row['epoch']}/health/{attempts}"
            reason = f"health: {row['status_reason']}"[:2000]
            recover_and_resume(desk, actor, session_id, loss, reason).raise_for_refusal()
            done.recovered.append(session_id)
    except FntxError as error:
        done.failed[session_id] = str(error)
        log.warning("healing_failed", session_id=str(session_id), problem=str(error))


def _tried(row: dict[str, Any], left: str) -> str:
    tried = f"{row['recovery_attempts']} recoveries did not mend it"
    waited = f"after {row['waited_s']:.0f} s its cause remains: {left}"
    return f"{row['status_reason']}; {waited if left else tried}"[:1500]


def _waits_in_vain(row: dict[str, Any], settings: Settings) -> bool:
    """Tell whether a cause has stood as long as all back-offs together: it is a person's, then. A market's never is."""
    if row["healing"]["causes"] == [MARKET_DATA]:
        return False
    return bool(row["waited_s"] >= settings.recovery_backoff_s * (2**settings.recovery_attempts_max - 1))
