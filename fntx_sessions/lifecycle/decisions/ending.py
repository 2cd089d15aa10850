"""health_check_failed, stop_session, finalization_complete and exception: how a session ceases to run."""

from datetime import timedelta
from typing import Any

from fntx_sessions.exceptions import PreconditionFailed, Rejected
from fntx_sessions.lifecycle.change import Ask, Change, Decision, Row
from fntx_sessions.lifecycle.decisions.moving import S, moved, must_be_legal
from fntx_sessions.lifecycle.decisions.recovery import attempts
from fntx_sessions.lifecycle.elsewhere import NOTED
from fntx_sessions.lifecycle.machine import illegal
from fntx_sessions.lifecycle.told import positions
from fntx_sessions.schemas import Trigger


def suspend(row: Row, ask: Ask) -> list[Change]:
    """A system fault stops the session; what protects it from loss goes on."""
    must_be_legal(row, ask)
    told, extra = positions(row["positions"] or 0), {"in_flight": row["in_flight"]}
    healing, work = _healing(row, ask)
    to_do = ask.arguments.get("to_do")
    fields = {"quiesced_at": None, **healing} | ({"requires_action": to_do} if to_do else {})
    return [moved(row, ask, S.SUSPENDED, fields=fields, work=work, extra=extra, told=told)]


def _healing(row: Row, ask: Ask) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what marks a suspension that is to be healed by itself, in the session's row and in its work's."""
    after_s = ask.arguments.get("heal_after_s")
    if after_s is None:
        return {}, {}
    mark = {"causes": ask.arguments.get("causes", []), "since": row["now"].isoformat()}
    due = row["now"] + timedelta(seconds=after_s)
    work = {"next_recovery_at": due, "recovery_attempts": attempts(row)}
    return {"recovery_data": row["recovery_data"] | {"healing": mark}}, work


def stop(row: Row, ask: Ask) -> list[Change]:
    """First phase of a stop: agents cancel, flatten or leave; a sweep finishes it once the book matches the policy."""
    must_be_legal(row, ask)
    config = row["config"]
    asked = ask.arguments.get("close_positions")
    heir = ask.arguments.get("leave_positions_with") or config["leave_positions_with"]
    close = config["close_positions_on_stop"] if asked is None else asked
    warnings = () if close or heir else ("open positions are left, and nobody is named who takes them over",)
    deadline_s = ask.arguments.get("stop_deadline_s") or config["stop_deadline_s"]
    pending = {
        "trigger": Trigger.FINALIZE.value,
        "command_id": str(ask.command_id),
        "close_positions": close,
        "leave_positions_with": None if close else heir,
        "deadline_s": deadline_s,
        "since": row["now"].isoformat(),
    }
    return [
        moved(
            row,
            ask,
            S.CLOSING,
            fields={"pending": pending, "requires_action": None},
            warnings=warnings,
            extra={"close_positions": close, "in_flight": row["in_flight"]},
            post={"policy_stored": True},
            policy={"close_positions": close, "leave_positions_with": pending["leave_positions_with"]},
        )
    ]


def finalize(row: Row, ask: Ask) -> list[Change]:
    """Second phase: the book matches the policy and the final checkpoint is verified, or the session never started."""
    must_be_legal(row, ask)
    if row["in_flight"]:
        orders = f"orders are still open: {', '.join(row['in_flight'])}"
        raise PreconditionFailed(
            str(ask.session_id), ask.trigger.value, "nothing is in flight", orders, "It is tried again by itself."
        )
    left = "accepted" in (row["pending"] or {}).get(NOTED, {})  # by a risk manager: open, at a broker of theirs
    post = {"book_matches_policy": not left, "final_checkpoint_verified": "checkpoint_id" in ask.arguments}
    return [
        moved(
            row,
            ask,
            S.CLOSED,
            fields={"ended_at": row["now"], "pending": None, "requires_action": None},
            post=post,
            extra={"checkpoint_id": ask.arguments.get("checkpoint_id")},
        )
    ]


def fail(row: Row, ask: Ask) -> list[Change]:
    """An unrecoverable error: positions are guarded, a person has to look."""
    must_be_legal(row, ask)
    what = ask.arguments.get("error") or ask.reason
    return [moved(row, ask, S.ERROR, errors=(what,), fields={"requires_action": f"error: {what}", "pending": None})]


def refuse(error: Rejected) -> Decision:
    """Return the decision that refuses whatever is asked, for a reason found outside: it is stored and audited."""

    def decide(_row: Row, _ask: Ask) -> list[Change]:
        raise error

    return decide


def note_elsewhere(what: str, note: dict[str, Any]) -> Decision:
    """Return the decision that keeps with a stop what its agents hold elsewhere, and says at once that it waits."""

    def decide(row: Row, ask: Ask) -> list[Change]:
        if S(row["status"]) is not S.CLOSING:
            raise illegal(row, ask)
        event = {
            "event_type": "positions_elsewhere",
            "event_category": "lifecycle",
            "severity": "critical",
            "description": f"the stop waits: {what}"[:4000],
            "requires_action": True,
        }
        return [Change(fields={"pending": row["pending"] | {NOTED: note}}, events=(event,))]

    return decide


def mark_waiting(what: str, pending: dict[str, Any]) -> Decision:
    """Return the decision that says a stop cannot finish without a person, and why."""

    def decide(row: Row, ask: Ask) -> list[Change]:
        if S(row["status"]) is not S.CLOSING:
            raise illegal(row, ask)
        event = {
            "event_type": "stop_waiting",
            "event_category": "lifecycle",
            "severity": "critical",
            "description": what,
            "requires_action": True,
        }
        return [Change(fields={"requires_action": what, "pending": row["pending"] or pending}, events=(event,))]

    return decide
