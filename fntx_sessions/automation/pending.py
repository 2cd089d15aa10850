"""What could not be finished in its command: starts waiting for agents, stops waiting for flat books, recoveries.

And what waited for a person longer than it may.
"""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

import structlog
from sqlalchemy import text

from fntx_sessions.automation.liveness import give_up, resume_recovered
from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.exceptions import FntxError, IntegrityError, PreconditionFailed, Retryable
from fntx_sessions.lifecycle import commands, execute, machine
from fntx_sessions.lifecycle.arguments import FinalizeArguments
from fntx_sessions.lifecycle.beforehand import unkeepable
from fntx_sessions.lifecycle.change import Ask
from fntx_sessions.lifecycle.elsewhere import NOTED, Elsewhere, read_elsewhere
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.obstacles import accepted, obstacle
from fntx_sessions.lifecycle.recovery.progress import problems
from fntx_sessions.lifecycle.recovery.run import recover
from fntx_sessions.lifecycle.settling import expire_due
from fntx_sessions.schemas import SessionStatus, Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.state import forks
from fntx_sessions.state.checkpoints import create_checkpoint
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.payloads import ARGUMENTS, Payloads
from fntx_sessions.trading.calendars import get_calendar

log = structlog.get_logger(__name__)
_MATCHES = "the book matches the stop's policy"

_CLAIM = text("""
WITH due AS MATERIALIZED (
  SELECT session_id FROM session_work
  WHERE pending_due_at <= now() AND (pending_claimed_until IS NULL OR pending_claimed_until < now())
  ORDER BY pending_due_at LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE session_work w SET pending_claimed_until = now() + make_interval(secs => 30),
  pending_due_at = now() + make_interval(secs => :again_s)
FROM due WHERE w.session_id = due.session_id RETURNING w.session_id
""")
_READ = text("""
SELECT s.session_id, s.status, s.version, s.epoch, s.pending, s.started_at, s.config, s.broker, s.requires_action,
  w.clock_at, w.recovery_attempts, now() AS now, c.trigger AS asked_trigger, c.arguments AS asked, c.actor AS asked_by,
  (SELECT count(*) FROM session_agents g WHERE g.session_id = s.session_id AND g.required AND g.ready_at IS NULL)
    AS agents_missing,
  (SELECT count(*) FROM order_intents i WHERE i.session_id = s.session_id AND i.state IN ('intended', 'working'))
    AS in_flight
FROM sessions s JOIN session_work w USING (session_id)
LEFT JOIN commands c ON c.command_id = CAST(s.pending ->> 'command_id' AS uuid)
WHERE s.session_id = ANY(:ids)
""")
_RELEASE = text("UPDATE session_work SET pending_claimed_until = NULL WHERE session_id = ANY(:ids)")
_STEPPING = text("""
SELECT coalesce(step_claimed_until > now(), false) FROM session_work WHERE session_id = :session_id
""")
_LATER = text("""
UPDATE session_work SET pending_due_at = now() + make_interval(secs => :wait_s)
WHERE session_id = :session_id AND pending_due_at IS NOT NULL
""")
_CLEAR = text("""
UPDATE session_work SET pending_due_at = NULL WHERE session_id = ANY(:ids)
  AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.session_id = session_work.session_id
    AND (s.status = 'closing' OR s.pending IS NOT NULL))
""")
_ONLY_FINAL = text("""
UPDATE checkpoints SET checkpoint_type = 'transition'
WHERE session_id = :session_id AND checkpoint_type = 'final' AND checkpoint_id <> :checkpoint_id
""")


def finish_pending(desk: Desk, actor: Actor) -> dict[str, int]:
    """Finish or refuse what is due; return counts by what became of each."""
    with transaction(desk.engine) as connection:
        bound = {"again_s": desk.settings.pending_again_s, "limit": desk.settings.pending_batch}
        ids = list(connection.execute(_CLAIM, bound).scalars())
        found = rows(connection.execute(_READ, {"ids": ids})) if ids else []
    counts: dict[str, int] = {}
    for row in found:
        result = _finish_safely(desk, actor, row)
        counts[result] = counts.get(result, 0) + 1
    if ids:
        with transaction(desk.engine) as connection:
            connection.execute(_RELEASE, {"ids": ids})
            connection.execute(_CLEAR, {"ids": ids})
    expired = expire_due(desk, actor)
    return counts | ({"expired": expired} if expired else {})


def _finish_safely(desk: Desk, actor: Actor, row: dict[str, Any]) -> str:
    try:
        return finish_one(desk, actor, row)
    except FntxError as error:
        log.warning("pending_not_finished", session_id=str(row["session_id"]), problem=str(error))
        return "failed"


def finish_session(desk: Desk, actor: Actor, session_id: UUID) -> str:
    """Try to finish what one session waits for, now; returns what became of it."""
    with transaction(desk.engine) as connection:
        found = rows(connection.execute(_READ, {"ids": [session_id]}))
    return _finish_safely(desk, actor, found[0]) if found else "nothing"


def finish_one(desk: Desk, actor: Actor, row: dict[str, Any]) -> str:
    """Take up one session's pending work; returns a word for what became of it."""
    if SessionStatus(row["status"]) is SessionStatus.CLOSING:
        return _finish_stop(desk, actor, row)
    if row["pending"] is None:
        return "nothing"
    if row["pending"]["trigger"] == Trigger.START:
        return _finish_start(desk, row)
    if row["pending"]["trigger"] == Trigger.RECOVER:
        return _finish_recovery(desk, actor, row)
    return "nothing"


def _asked(payloads: Payloads, row: dict[str, Any]) -> Ask:
    """Return the command as it was first asked; its actor was authorized then."""
    return Ask(
        Trigger(row["asked_trigger"]),
        row["session_id"],
        Actor(row["asked_by"], frozenset({"system"})),
        row["pending"].get("reason", ""),
        UUID(row["pending"]["command_id"]),
        payloads.open(row["session_id"], ARGUMENTS, UUID(row["pending"]["command_id"]), row["asked"]),
    )


def _finish_start(desk: Desk, row: dict[str, Any]) -> str:
    if row["agents_missing"] and row["now"] < datetime.fromisoformat(row["pending"]["deadline"]):
        return "waiting"
    forks.recall(*desk.parts(), row["session_id"])
    unkept = unkeepable(desk.redis, desk.settings, row["session_id"])
    decision = commands.refuse(unkept) if unkept else commands.start
    outcome = machine.run(desk.engine, _asked(Payloads(desk.engine), row), decision, finishing=True)
    execute.follow_up(desk, outcome)
    return f"start_{outcome.state}"


def _finish_recovery(desk: Desk, actor: Actor, row: dict[str, Any]) -> str:
    if row["recovery_attempts"] >= desk.settings.recovery_attempts_max:
        tried = problems(desk.engine, UUID(row["pending"]["command_id"]))
        told = f"{row['recovery_attempts']} recoveries failed" + (f" ({tried[:2000]})" if tried else "")
        give_up(desk, actor, row["session_id"], told)
        return "gave_up"
    try:
        outcome = recover(desk.engine, desk.redis, desk.settings, _asked(Payloads(desk.engine), row))
    except Retryable:
        _later(desk, row)
        raise
    execute.follow_up(desk, outcome)
    if outcome.state == "done":
        resume_recovered(desk, actor, row["session_id"])
    return f"recover_{outcome.state}"


def _later(desk: Desk, row: dict[str, Any]) -> None:
    """Give what is out of reach a little longer each time, lest all attempts fall into one short outage."""
    wait_s = desk.settings.pending_again_s * 2 ** row["recovery_attempts"]
    with transaction(desk.engine) as connection:
        connection.execute(_LATER, {"session_id": row["session_id"], "wait_s": wait_s})


def _finish_stop(desk: Desk, actor: Actor, row: dict[str, Any]) -> str:
    if row["started_at"] is None:
        return _close(desk, actor, row, None, _MATCHES)
    elsewhere = read_elsewhere(*desk.parts(), [row["session_id"]]).get(row["session_id"])
    left = _obstacle(desk, row, elsewhere)
    if left is not None:
        return _wait_for_flat(desk, actor, _noted(desk, actor, row, elsewhere), left)
    return _close(desk, actor, row, _final_checkpoint(desk, row["session_id"]), _why(row, elsewhere))


def _noted(desk: Desk, actor: Actor, row: dict[str, Any], elsewhere: Elsewhere | None) -> dict[str, Any]:
    """Keep with the stop, once, what is open elsewhere: it is known still when nobody reports any more."""
    pending = row["pending"]
    if elsewhere is None or elsewhere.flat or elsewhere.out_of_reach:
        return row
    if NOTED in pending or not pending.get("close_positions", True):
        return row
    note = elsewhere.note(row["now"])
    # A refusal (somebody came in between) is no answer to the next attempt.
    ask = Ask(Trigger.UPDATE, row["session_id"], actor, "positions are open elsewhere")
    outcome = machine.run(desk.engine, ask, commands.note_elsewhere(elsewhere.obstacle(row["session_id"]), note))
    return row if outcome.error else row | {"pending": pending | {NOTED: note}, "version": outcome.version}


def _why(row: dict[str, Any], elsewhere: Elsewhere | None) -> str:
    """Return why a stop is finished; what stays open elsewhere is named."""
    if elsewhere is None or elsewhere.flat:
        return _MATCHES
    seen = accepted(row["pending"])
    if seen:
        return f"accepted as it is by {seen['by']} ({seen['why']}): {elsewhere.told()}"[:2000]
    heir = row["pending"].get("leave_positions_with") or "nobody who is named"
    return f"{_MATCHES}, which leaves positions to {heir}: {elsewhere.told()}"[:2000]


def _final_checkpoint(desk: Desk, session_id: UUID) -> UUID | None:
    """Return the one verified final checkpoint, None when no agent ever reported; raises IntegrityError if it is bad.

    Its id is made of how far the live state is: tried again it is the same one, and where the state went on since, the
    former is a checkpoint of the transition.
    """
    mark = LiveState(desk.redis, desk.settings).marks([session_id])[0]
    chosen = uuid5(session_id, f"final/{mark.epoch}/{mark.revision}" if mark else "final")
    try:
        checkpoint = create_checkpoint(*desk.parts(), session_id, "final", checkpoint_id=chosen)
    except PreconditionFailed:
        return None
    if not checkpoint.verified:
        raise IntegrityError(f"final checkpoint {checkpoint.checkpoint_id}", "read back, it differs")
    with transaction(desk.engine) as connection:
        connection.execute(_ONLY_FINAL, {"session_id": session_id, "checkpoint_id": checkpoint.checkpoint_id})
    return checkpoint.checkpoint_id


def _obstacle(desk: Desk, row: dict[str, Any], elsewhere: Elsewhere | None) -> str | None:
    """Return what keeps the book from matching the stop's policy, None when it matches."""
    found = obstacle(desk.engine, row["session_id"], row["broker"], row["pending"], row["in_flight"], elsewhere)
    if found is not None:
        return found
    # Asked last: a step that made the book flat has its day to write, and none that begins now moves the book again.
    if _stepping(desk, row["session_id"]):
        return "a step is under way"
    return None


def _stepping(desk: Desk, session_id: UUID) -> bool:
    with transaction(desk.engine) as connection:
        return bool(connection.execute(_STEPPING, {"session_id": session_id}).scalar_one())


def _close(desk: Desk, actor: Actor, row: dict[str, Any], checkpoint_id: UUID | None, why: str) -> str:
    arguments = FinalizeArguments(session_id=row["session_id"], checkpoint_id=checkpoint_id, reason=why)
    # An id of its own each time: a refusal (an order came in between) must not be the answer to the next attempt.
    outcome = execute.system_command(desk, Trigger.FINALIZE, actor, arguments)
    return f"stop_{outcome.state}"


def _wait_for_flat(desk: Desk, actor: Actor, row: dict[str, Any], left: str) -> str:
    """Keep waiting; past the deadline, counted in option hours only, a person is called, once."""
    used_s = _option_seconds(row)
    if used_s < row["pending"]["deadline_s"] or row["requires_action"]:
        return "waiting"
    what = f"stop cannot finish after {used_s:.0f} s of option hours: {left}. It is tried again by itself."
    ask = Ask(Trigger.UPDATE, row["session_id"], actor, what, uuid5(row["session_id"], f"waiting/{row['version']}"))
    machine.run(desk.engine, ask, commands.mark_waiting(what, row["pending"]))
    return "called_a_person"


def _option_seconds(row: dict[str, Any]) -> float:
    """Return seconds of option hours since the stop, on the session's clock; a simulated day counts as it steps."""
    calendar = get_calendar(row["config"]["calendar"])
    since = datetime.fromisoformat(row["pending"]["since"])
    now: datetime = row["now"]
    if row["clock_at"] is not None and row["config"]["feed"]["kind"] != "published":
        return (now - since).total_seconds()
    days = calendar.trading_days(calendar.day_at(since), calendar.day_at(now))
    spans = [span for day in days for span in calendar.option_spans(day)]
    seconds: list[float] = [max(0.0, (min(end, now) - max(begin, since)).total_seconds()) for begin, end in spans]
    return sum(seconds)
