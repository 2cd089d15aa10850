"""pause_session and resume_session, and whose hold is whose."""

from fntx_sessions.exceptions import IllegalTransition, PreconditionFailed
from fntx_sessions.lifecycle.change import Ask, Change, Row
from fntx_sessions.lifecycle.decisions.moving import S, moved, must_be_legal, not_latched, unattended
from fntx_sessions.lifecycle.halting import not_halted
from fntx_sessions.lifecycle.machine import illegal
from fntx_sessions.lifecycle.told import sentence
from fntx_sessions.schemas import Hold, Trigger


def pause(row: Row, ask: Ask) -> list[Change]:
    """Halt trading: reduce-only from now on. Answers with the orders still in flight."""
    hold = Hold(ask.arguments.get("hold", Hold.PERSON))
    _may_be_paused(row, ask, hold)
    in_flight = row["in_flight"]
    return [
        moved(
            row,
            ask,
            S.PAUSED,
            fields={
                "holds": sorted({*row["holds"], hold.value}),
                "quiesced_at": None if in_flight else row["now"],
            },
            extra={"in_flight": in_flight, "quiet": not in_flight},
            event_data={"in_flight": in_flight},
            post={"quiesced": not in_flight},
        )
    ]


def _may_be_paused(row: Row, ask: Ask, hold: Hold) -> None:
    """Raise IllegalTransition where it cannot be paused; a person is told how to keep paused what others may resume."""
    if S(row["status"]) is S.PAUSED and hold is Hold.PERSON and hold.value not in row["holds"]:
        refusal = illegal(row, ask)
        *facts, allowed = refusal.args
        keep = f"`fntx update {ask.session_id} --add-hold person` to keep it paused until a person resumes it"
        raise IllegalTransition(*facts, f"{allowed}, {keep}")
    must_be_legal(row, ask)


def quiesce(row: Row, ask: Ask) -> list[Change]:
    """Note that a paused session has nothing in flight any more."""
    if S(row["status"]) is not S.PAUSED or row["in_flight"]:
        raise illegal(row, ask)
    return [Change(fields={"quiesced_at": row["now"]})]


def resume(row: Row, ask: Ask) -> list[Change]:
    """Trade again, unless a halt stands. A person lifts every hold; a rule lifts only its own and needs none left.

    The hold a halt left behind outlives the halt: it is a person who sends traders back to work.
    """
    must_be_legal(row, ask)
    not_halted(row, ask)
    not_latched(row, ask)
    _not_recovering(row, ask)
    _no_differences(row, ask)
    own = Hold(ask.arguments.get("hold", Hold.PERSON))
    lifted = set(Hold) if own is Hold.PERSON else {own}
    left = [hold for hold in row["holds"] if hold not in lifted]
    if left:
        raise PreconditionFailed(
            str(ask.session_id),
            ask.trigger.value,
            "no other hold is left",
            f"it is still held by {', '.join(left)}",
            "Whoever holds it has to release it.",
        )
    if row["requires_action"]:
        raise PreconditionFailed(
            str(ask.session_id),
            ask.trigger.value,
            "nothing waits for a person",
            row["requires_action"],
            "Settle it, then resume.",
        )
    return [
        moved(
            row,
            ask,
            S.ACTIVE,
            fields={"holds": [], "quiesced_at": None},
            pre={"no_hold_left": True, "no_halt_stands": True},
            warnings=unattended(row),
            work={"recovery_attempts": 0} if own is Hold.PERSON else {},
        )
    ]


def _not_recovering(row: Row, ask: Ask) -> None:
    if row["pending"] is not None and row["pending"]["trigger"] == Trigger.RECOVER:
        raise PreconditionFailed(
            str(ask.session_id), ask.trigger.value, "no recovery is under way",
            f"command {row['pending']['command_id']} puts the agents' memory back", "Resume once it is done.",
        )  # fmt: skip


def _no_differences(row: Row, ask: Ask) -> None:
    found = row["recovery_data"].get("differences")
    if found:
        told = f"memory, ledger and broker differ: {'; '.join(map(sentence, found))}"
        raise PreconditionFailed(
            str(ask.session_id), ask.trigger.value, "memory, ledger and broker agree", told,
            f"A risk manager looks, then `fntx accept {ask.session_id} --reason ...`.",
        )  # fmt: skip
