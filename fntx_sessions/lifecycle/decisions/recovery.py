"""recover_session in its two transactions, and what becomes of a session whose host is lost."""

from datetime import datetime
from typing import Any
from uuid import UUID

from fntx_sessions.exceptions import InvalidArgument, PreconditionFailed
from fntx_sessions.lifecycle.change import Ask, Change, Decision, Row
from fntx_sessions.lifecycle.creation import lifecycle_event
from fntx_sessions.lifecycle.decisions.moving import S, moved, must_be_legal
from fntx_sessions.lifecycle.machine import illegal
from fntx_sessions.lifecycle.told import measures, positions
from fntx_sessions.schemas import Hold, Trigger
from fntx_sessions.security.roles import SYSTEM, authorize

RECOVERY_FORGIVEN_S = 300.0
_HEAD_START_S = 5.0
_CARRIED = ("differences", "accepted", "at_broker", "requires_action", "put_back")


def begin_recovery(row: Row, ask: Ask) -> list[Change]:
    """Raise the epoch before the first step; suspends an ACTIVE session whose host is lost, in the same transaction."""
    continued = (row["pending"] or {}).get("command_id") == str(ask.command_id)
    must_be_recoverable(row, ask, continued=continued)
    status = S(row["status"])
    if status is S.ERROR and not continued:
        authorize(ask.actor, "recover_from_error", ask.session_id)
    data = _begun_data(row, ask, continued=continued)
    pending = {"trigger": Trigger.RECOVER.value, "command_id": str(ask.command_id), "reason": ask.reason}
    begun: dict[str, Any] = {
        "new_epoch": True,
        "state": "pending",
        "fields": {"recovery_data": data, "pending": pending},
        "extra": {"recovering": True},
        # Whoever asked goes on with it now; the sweep takes it up where nobody did.
        "work": {
            "recovery_attempts": attempts(row) + 1,
            "pending_in_s": _HEAD_START_S,
            "begins_anew": ask.actor.name != SYSTEM,
        },
    }
    if status is S.ACTIVE:
        told = f"host lost; {positions(row['positions'] or 0)}"
        return [moved(row, ask, S.SUSPENDED, trigger=Trigger.SUSPEND, reason="host lost", told=told, **begun)]
    return [Change(**begun)]


def must_be_recoverable(row: Row, ask: Ask, *, continued: bool = False) -> None:
    """Raise what recovering would be refused with as things are; a row of its status and host_lost will do."""
    status = S(row["status"])
    if row["started_at"] is None and status in (S.ERROR, S.PAUSED, S.SUSPENDED):
        raise PreconditionFailed(
            str(ask.session_id), ask.trigger.value, "it was started", "a session that never ran has nothing to recover",
            "Stop it and create a new one.",
        )  # fmt: skip
    if status is S.ACTIVE and not row["host_lost"]:
        raise illegal(row, ask)
    if status is not S.ACTIVE:
        must_be_legal(row, ask)
    if status is S.ERROR and not continued and ask.arguments.get("checkpoint_id") is None:
        raise InvalidArgument(
            "checkpoint_id",
            "is missing: ERROR is left only by a person naming a checkpoint",
            "See `fntx checkpoints ID`.",
        )


def _begun_data(row: Row, ask: Ask, *, continued: bool) -> dict[str, Any]:
    """Return what is known at the beginning; a further attempt of one recovery goes on measuring from the first."""
    before = row["recovery_data"]
    kept = ("began_at", "from_epoch") if continued else ()
    last = _without_last(before) if before.get("finished_at") else before.get("last")
    return {
        "command_id": str(ask.command_id),
        "began_at": row["now"].isoformat(),
        "from_epoch": row["epoch"],
        "last_saved_at": row["last_saved_at"].isoformat() if row["last_saved_at"] else None,
        # What nobody has accepted yet keeps the session from resuming whatever becomes of this recovery; what the one
        # before it put back is what Redis has to hold at least.
        **{name: before[name] for name in (*_CARRIED, *kept) if name in before},
        # Where this one comes to nothing, the one before it is still the last.
        **({"last": last} if last else {}),
    }


def _without_last(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in ("last", "failed_at")}


def attempts(row: Row) -> int:
    """Return how many recoveries of this series were begun; one that held for a while ended its series.

    It held until the session was suspended: how long it waits since then for its next one does not count.
    """
    data = row["recovery_data"]
    finished = None if "failed_at" in data else data.get("finished_at")
    until = row["status_since"] if S(row["status"]) is S.SUSPENDED else row["now"]
    held_s = 0.0 if finished is None else (until - datetime.fromisoformat(finished)).total_seconds()
    return 0 if held_s > RECOVERY_FORGIVEN_S else int(row["recovery_attempts"])


def finish_recovery(measured: dict[str, Any]) -> Decision:
    """Return the decision that ends a recovery in PAUSED with what was measured.

    Overtaken by a newer attempt of the same command, it changes nothing and leaves the answer to that attempt; whatever
    else raised the epoch makes it a refusal.
    """

    def decide(row: Row, ask: Ask) -> list[Change]:
        must_be_legal(row, ask)
        overtaken = row["epoch"] != measured["epoch"]
        if overtaken and (row["pending"] or {}).get("command_id") == str(ask.command_id):
            return []
        if overtaken:
            raise PreconditionFailed(
                str(ask.session_id),
                ask.trigger.value,
                "this attempt is the newest",
                f"its attempt of epoch {measured['epoch']} was overtaken by one of epoch {row['epoch']}",
                "Look at the newer attempt.",
            )
        told = measured | _times(row, measured)
        kept = {"put_back": {name: told.get(name) for name in ("epoch", "revision", "agents")}}
        data = _without_last(row["recovery_data"]) | told | kept | {"finished_at": row["now"].isoformat()}
        return [
            moved(
                row,
                ask,
                S.PAUSED,
                extra=told,
                event_data=told,
                told=measures(told),
                events=_told(measured),
                post={"state_restored": True, "fenced": True},
                fields={
                    "recovery_data": data,
                    "pending": None,
                    "holds": sorted({*row["holds"], Hold.RECOVERY.value}),
                    "quiesced_at": row["now"] if not row["in_flight"] else None,
                    "requires_action": measured.get("requires_action"),
                },
            )
        ]

    return decide


def _times(row: Row, measured: dict[str, Any]) -> dict[str, float]:
    """Return rto_s, the recovery's own time, and down_s, since the agents were last known to go on; both until now."""
    began = datetime.fromisoformat(row["recovery_data"]["began_at"])
    known = min(began, datetime.fromisoformat(measured.get("known_at", row["recovery_data"]["began_at"])))
    return {
        name: round((row["now"] - since).total_seconds(), 3) for name, since in (("rto_s", began), ("down_s", known))
    }


def _told(measured: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return what else people have to hear of: candidates that were passed over, differences that wait for somebody."""
    events: list[dict[str, Any]] = []
    passed = measured.get("passed_over") or []
    if passed:
        listed = "; ".join(f"{one['source']}: {one['problem']}" for one in passed)
        events.append(
            {
                "event_type": "recovery_fell_back",
                "event_category": "recovery",
                "severity": "warning",
                "description": f"recovered from {measured['source']}; passed over: {listed}"[:4000],
                "data": {"source": measured["source"], "passed_over": passed},
            }
        )
    if measured.get("differences"):
        events.append(
            {
                "event_type": "reconciliation_difference",
                "event_category": "recovery",
                "severity": "critical",
                "description": measured["requires_action"],
                "data": {"differences": measured["differences"]},
                "requires_action": True,
            }
        )
    return tuple(events)


def epoch_told(row: Row, epoch: int, why: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Return what lets agents go on where the epoch alone changed: the fence, and an event that brings it."""
    status = row["status"]
    told = lifecycle_event("epoch_raised", status, status, epoch, why[:2000]) | {"session_event": "epoch_raised"}
    return ("live", {"epoch": epoch, "status": status}), ("event", told)


def call_for_recovery(what: str, command_id: UUID) -> Decision:
    """Return the decision that calls a person because nothing could be put back; the session stays as it is."""

    def decide(row: Row, ask: Ask) -> list[Change]:
        _must_be_of(command_id, row, ask)
        called = {
            "event_type": "recovery_failed",
            "event_category": "recovery",
            "severity": "critical",
            "description": what,
            "requires_action": True,
        }
        return [
            Change(fields={"requires_action": what}, events=(called,), follow_ups=epoch_told(row, row["epoch"], what))
        ]

    return decide


def leave_as_it_was(why: str, command_id: UUID) -> Decision:
    """Return the decision that only tells agents the epoch a recovery raised that put nothing back."""

    def decide(row: Row, ask: Ask) -> list[Change]:
        _must_be_of(command_id, row, ask)
        return [Change(follow_ups=epoch_told(row, row["epoch"], why))]

    return decide


def _must_be_of(command_id: UUID, row: Row, ask: Ask) -> None:
    if (row["pending"] or {}).get("command_id") != str(command_id):
        raise illegal(row, ask)


def rehome(row: Row, ask: Ask) -> list[Change]:
    """Free a session from its lost host: a new epoch, the same status; whoever wakes up writes nothing."""
    if S(row["status"]) is S.CLOSED:
        raise illegal(row, ask)
    told = epoch_told(row, row["epoch"] + 1, ask.reason)
    return [Change(new_epoch=True, follow_ups=told, extra={"rehomed": True})]


def give_up(what: str) -> Decision:
    """Return the decision that ends automatic recovery: SUSPENDED under a new epoch, guarded, and a person called."""

    def decide(row: Row, ask: Ask) -> list[Change]:
        fields = {"requires_action": what, "pending": None}
        called = {
            "event_type": "recovery_given_up",
            "event_category": "health",
            "severity": "critical",
            "description": what,
            "requires_action": True,
        }
        status = S(row["status"])
        if status not in (S.ACTIVE, S.PAUSED, S.SUSPENDED):
            raise illegal(row, ask)
        if status is S.SUSPENDED:
            told = epoch_told(row, row["epoch"] + 1, what)
            return [Change(new_epoch=True, fields=fields, follow_ups=told, events=(called,))]
        return [moved(row, ask, S.SUSPENDED, reason=what, new_epoch=True, fields=fields, events=(called,))]

    return decide
