"""Liveness: the sessions of a host whose lease ran out are taken over, under a new epoch, without any redelivery.

If this sweep itself was late, or most hosts vanished together, the fault is more likely ours than theirs: one lease
more is waited. Recoveries per sweep are capped, attempts per session too; then a person has to look.
"""

import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid5

import structlog
from sqlalchemy import text

from fntx_sessions.automation.sweeps import note_run
from fntx_sessions.automation.unattended import tell_unattended
from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.exceptions import FntxError, IllegalTransition
from fntx_sessions.lifecycle import commands, execute, machine
from fntx_sessions.lifecycle.arguments import HoldArguments, RecoverArguments
from fntx_sessions.lifecycle.change import Ask, Outcome
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import Hold, SessionStatus, Trigger
from fntx_sessions.security.actor import Actor

log = structlog.get_logger(__name__)
SWEEP = "liveness"
_AT_A_TIME = 50
# A SUSPENDED session stays what somebody, or the quarantine of an agent, made it: its guard only changes hosts.
_RECOVERABLE = (SessionStatus.ACTIVE, SessionStatus.PAUSED)

_HOSTS = text("""
SELECT count(*) AS known, count(*) FILTER (WHERE lease_until < now()) AS expired,
  count(*) FILTER (WHERE lease_until < now() - make_interval(secs => :lease_s)) AS long_gone
FROM hosts WHERE NOT "left"
""")
# Not those whose lease was over before the sweep stood still: they are lost whoever was away since.
_GRANT = text("""
UPDATE hosts SET lease_until = now() + make_interval(secs => :lease_s)
WHERE NOT "left" AND lease_until < now() AND lease_until > now() - make_interval(secs => :gap_s)
""")
# Claimed by moving next_recovery_at: two sweeps at once never recover one session twice. What is further off than such
# a claim is when health heals a suspended session, whose guard must not wait for that, nor bring it forward.
_LOST = text("""
WITH lost AS MATERIALIZED (
  SELECT w.session_id, h.lease_until FROM session_work w LEFT JOIN hosts h ON h.host_id = w.host_id
  WHERE w.host_id IS NOT NULL AND coalesce(h.lease_until < now() - make_interval(secs => :grace_s), true)
    AND (w.next_recovery_at IS NULL OR w.next_recovery_at <= now()
      OR w.next_recovery_at > now() + make_interval(secs => :again_s) AND w.status = 'suspended')
    AND w.status IN ('active', 'paused', 'suspended', 'closing', 'error')
  ORDER BY h.lease_until LIMIT :limit FOR UPDATE OF w SKIP LOCKED
)
UPDATE session_work w SET next_recovery_at = greatest(w.next_recovery_at, now() + make_interval(secs => :again_s))
FROM lost WHERE w.session_id = lost.session_id
RETURNING w.session_id, w.status, w.epoch, w.host_id, lost.lease_until,
  CASE WHEN (SELECT (s.recovery_data ->> 'finished_at')::timestamptz FROM sessions s
    WHERE s.session_id = w.session_id) < now() - make_interval(secs => :forgiven_s)
  THEN 0 ELSE w.recovery_attempts END AS recovery_attempts
""")
_RESUMABLE = text("""
SELECT coalesce((config ->> 'auto_resume_after_recovery')::boolean, false) AND holds = ARRAY['recovery']
  AND requires_action IS NULL FROM sessions WHERE session_id = :session_id
""")


@dataclass(slots=True)
class Watch:
    """What one liveness sweep did."""

    recovered: list[UUID] = field(default_factory=list)
    rehomed: list[UUID] = field(default_factory=list)
    failed: dict[UUID, str] = field(default_factory=dict)
    waited: bool = False


def watch(desk: Desk, actor: Actor) -> Watch:
    """Take over the sessions of lost hosts, at most `recoveries_per_sweep`; return what was done."""
    tick = note_run(desk.engine, SWEEP)
    late, together = _was_late(desk, tick.gap_s), _vanished_together(desk)
    done = Watch(waited=late or together)
    _take_over_all(desk, actor, desk.settings.lease_s if together else 0.0, done)
    tell_unattended(desk)
    if done.recovered or done.failed:
        log.warning("hosts_lost", recovered=len(done.recovered), failed=len(done.failed), rehomed=len(done.rehomed))
    return done


def _take_over_all(desk: Desk, actor: Actor, grace_s: float, done: Watch) -> None:
    """Claim and take over a few at a time: others help meanwhile, and a sweep that is killed leaves few claimed."""
    until, left = time.monotonic() + desk.settings.state_sweep_s, desk.settings.recoveries_per_sweep
    while left > 0 and time.monotonic() < until:
        found = _lost(desk, grace_s, min(left, _AT_A_TIME))
        for lost in found:
            _take_over(desk, actor, lost, done)
        left = left - len(found) if len(found) == _AT_A_TIME else 0


def _was_late(desk: Desk, gap_s: float | None) -> bool:
    """Tell whether this sweep stood still; whoever held a lease then could as little renew it, and gets one more."""
    settings = desk.settings
    if gap_s is None or gap_s <= max(settings.lease_s, 3 * settings.liveness_interval_s):
        return False
    with transaction(desk.engine) as connection:
        connection.execute(_GRANT, {"gap_s": gap_s, "lease_s": settings.lease_s})
    return True


def _vanished_together(desk: Desk) -> bool:
    settings = desk.settings
    with transaction(desk.engine) as connection:
        found = connection.execute(_HOSTS, {"lease_s": settings.lease_s}).one()
    alive = found.known - found.long_gone
    fresh = found.expired - found.long_gone
    return bool(fresh > 1 and fresh * 2 > alive)


def _lost(desk: Desk, grace_s: float, limit: int) -> list[dict[str, Any]]:
    bound = {
        "grace_s": grace_s,
        "again_s": desk.settings.lease_s * 2,
        "limit": limit,
        "forgiven_s": commands.RECOVERY_FORGIVEN_S,
    }
    with transaction(desk.engine) as connection:
        return rows(connection.execute(_LOST, bound))


def _take_over(desk: Desk, actor: Actor, lost: dict[str, Any], done: Watch) -> None:
    session_id = lost["session_id"]
    reason = f"host {lost['host_id']} was lost"
    try:
        if SessionStatus(lost["status"]) not in _RECOVERABLE:
            _rehome(desk, actor, session_id, reason)
            done.rehomed.append(session_id)
        elif lost["recovery_attempts"] >= desk.settings.recovery_attempts_max:
            _give_up(desk, actor, lost, reason)
            done.failed[session_id] = "too many attempts"
        else:
            loss = f"{lost['epoch']}/{lost['lease_until']}"
            recover_and_resume(desk, actor, session_id, loss, reason).raise_for_refusal()
            done.recovered.append(session_id)
    except FntxError as error:
        done.failed[session_id] = str(error)
        log.warning("recovery_failed", session_id=str(session_id), problem=str(error))


def recover_and_resume(desk: Desk, actor: Actor, session_id: UUID, loss: str, reason: str) -> Outcome:
    """Recover a session, and resume it where its config says so and nothing but the recovery holds it.

    loss: what tells this loss from any other of the session; whoever else sees the same one asks the same command.
    """
    command_id = uuid5(session_id, f"recover/{loss}")
    arguments = RecoverArguments(session_id=session_id, reason=reason)
    outcome = execute.command(desk, Trigger.RECOVER, actor, arguments, command_id)
    if outcome.state == "done":
        resume_recovered(desk, actor, session_id)
    elif outcome.error is not None and outcome.error["error"] != IllegalTransition.__name__:
        give_up(desk, actor, session_id, f"{reason}; {outcome.error['message']}")
    return outcome


def resume_recovered(desk: Desk, actor: Actor, session_id: UUID) -> None:
    """Resume a recovered session by itself, where its config allows and no other hold is left."""
    with transaction(desk.engine) as connection:
        resumable = connection.execute(_RESUMABLE, {"session_id": session_id}).scalar_one_or_none()
    if resumable:
        arguments = HoldArguments(session_id=session_id, hold=Hold.RECOVERY, reason="recovered")
        execute.command(
            desk, Trigger.RESUME, actor, arguments, uuid5(session_id, f"resume/{_version(desk, session_id)}")
        )


_VERSION = text("SELECT version FROM sessions WHERE session_id = :session_id")


def _version(desk: Desk, session_id: UUID) -> int:
    with transaction(desk.engine) as connection:
        return int(connection.execute(_VERSION, {"session_id": session_id}).scalar_one())


def _rehome(desk: Desk, actor: Actor, session_id: UUID, reason: str) -> None:
    """Free a session that is closing or in error from its lost host: a new epoch, the status stays."""
    ask = Ask(Trigger.UPDATE, session_id, actor, reason)
    execute.follow_up(desk, machine.run(desk.engine, ask, commands.rehome))


def _give_up(desk: Desk, actor: Actor, lost: dict[str, Any], reason: str) -> None:
    """Suspend for good: what is open is guarded, a person has to recover the session."""
    give_up(desk, actor, lost["session_id"], f"{reason}; {lost['recovery_attempts']} recoveries failed")


def give_up(desk: Desk, actor: Actor, session_id: UUID, problem: str) -> Outcome:
    """End automatic recovery of a session: SUSPENDED, a new epoch, a person called; refuses a recovery that waits."""
    what = f"{problem.rstrip('.')}. Recover it by hand: `fntx recover {session_id}`"
    outcome = machine.run(desk.engine, Ask(Trigger.SUSPEND, session_id, actor, problem), commands.give_up(what))
    execute.follow_up(desk, outcome)
    return outcome
