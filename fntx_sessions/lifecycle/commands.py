"""What each command decides about a locked row: pure functions from (row, ask) to changes.

A decision raises Rejected to refuse. It never looks anything up: the facts come with the row.
"""

from datetime import datetime, timedelta
from typing import Any

from fntx_sessions.exceptions import InvalidArgument, PreconditionFailed
from fntx_sessions.lifecycle import templates
from fntx_sessions.lifecycle.arguments import (
    CommandArguments,
    FailArguments,
    FinalizeArguments,
    HoldArguments,
    RecoverArguments,
    StartArguments,
    StopArguments,
    UpdateArguments,
)
from fntx_sessions.lifecycle.change import Ask, Change, Decision, Row
from fntx_sessions.lifecycle.creation import PAPER_NOTICE, lifecycle_event
from fntx_sessions.lifecycle.machine import illegal
from fntx_sessions.lifecycle.transitions import target
from fntx_sessions.schemas import Hold, SessionStatus, Trigger
from fntx_sessions.security.roles import authorize
from fntx_sessions.trading.calendars import get_calendar

S = SessionStatus
RECOVERY_FORGIVEN_S = 300.0
_FIXED_AFTER_START = ("account", "broker", "agents", "calendar", "feed")
_TOLD = {
    Trigger.START: "session_started",
    Trigger.PAUSE: "session_paused",
    Trigger.RESUME: "session_resumed",
    Trigger.SUSPEND: "session_suspended",
    Trigger.RECOVER: "session_recovered",
    Trigger.STOP: "session_stopped",
    Trigger.FINALIZE: "session_closed",
    Trigger.FAIL: "session_failed",
}
_SEVERITY = {S.SUSPENDED: "error", S.ERROR: "critical", S.PAUSED: "warning"}


def _moved(row: Row, ask: Ask, to_status: SessionStatus, *, trigger: Trigger | None = None, **more: Any) -> Change:
    """Return a change of status with what always goes with it: the agents told, the fence moved, an event."""
    trigger = trigger or ask.trigger
    epoch = row["epoch"] + (1 if more.get("new_epoch") else 0)
    told = lifecycle_event(_TOLD[trigger], row["status"], to_status.value, epoch, ask.reason)
    event = {
        "event_type": _TOLD[trigger],
        "event_category": "lifecycle",
        "severity": _SEVERITY.get(to_status, "info"),
        "description": f"{row['status']} -> {to_status.value} by {ask.actor.name}: {ask.reason or 'no reason given'}",
        "data": {"command_id": str(ask.command_id), **more.pop("event_data", {})},
    }
    follow_ups = (("live", {"epoch": epoch, "status": to_status.value}), ("event", told))
    events = (event, *more.pop("events", ()))
    return Change(to_status=to_status, trigger=trigger, follow_ups=follow_ups, events=events, **more)


def _must_be_legal(row: Row, ask: Ask) -> None:
    if target(ask.trigger, S(row["status"])) is None:
        raise illegal(row, ask)


def _not_latched(row: Row, ask: Ask) -> None:
    if not row["latched_dates"]:
        return
    calendar = get_calendar(row["config"]["calendar"])
    today = calendar.trade_date(row["clock_at"] or row["now"])
    if today.isoformat() in row["latched_dates"] and "risk_manager" not in ask.actor.roles:
        raise PreconditionFailed(
            str(ask.session_id),
            ask.trigger.value,
            "loss limit not fired",
            f"account {row['account_id']} reached its loss limit on {today}",
            "It holds until the next trade date; only a risk manager may clear it.",
        )


def _account_free(row: Row, ask: Ask) -> None:
    if row["account_holder"] is not None:
        raise PreconditionFailed(
            str(ask.session_id), ask.trigger.value, "account_free",
            f"account {row['account_id']} is held by session {row['account_holder']}",
            "Stop that session first, or use another account.",
        )  # fmt: skip


def start(row: Row, ask: Ask) -> list[Change]:
    """Begin trading, or leave the start pending until the required agents are ready."""
    _must_be_legal(row, ask)
    _not_latched(row, ask)
    _account_free(row, ask)
    edits = edited(row, ask)
    missing = row["agents_missing"]
    if missing:
        return _pending_start(row, ask, edits, missing)
    warnings = _start_warnings(row)
    return [
        _moved(
            row,
            ask,
            S.ACTIVE,
            new_epoch=True,
            warnings=warnings,
            fields={"started_at": row["now"], "pending": None, "holds": [], **edits},
            pre={"agents_ready": True, "loss_limit_not_fired": True, "account_free": True},
            post={"epoch_raised": True},
            work={"recovery_attempts": 0},
            events=tuple(
                {"event_type": "warning", "event_category": "lifecycle", "severity": "warning", "description": text}
                for text in warnings
            ),
        )
    ]


def _pending_start(row: Row, ask: Ask, edits: dict[str, Any], missing: list[str]) -> list[Change]:
    waiting = row["pending"]
    if waiting is not None and waiting["command_id"] != str(ask.command_id):
        raise PreconditionFailed(
            str(ask.session_id),
            ask.trigger.value,
            "no other start waits",
            f"command {waiting['command_id']} already waits for {', '.join(missing)}",
            "Ask for its outcome instead.",
        )
    wait_s = row["config"]["wait_ready_s"]
    if wait_s == 0 or (waiting is not None and row["now"] >= datetime.fromisoformat(waiting["deadline"])):
        raise PreconditionFailed(
            str(ask.session_id),
            ask.trigger.value,
            "required agents are ready",
            f"not ready after {wait_s:g} s: {', '.join(missing)}",
            "Start those agents, then start the session again.",
        )
    if waiting is not None:
        return []
    deadline = (row["now"] + timedelta(seconds=wait_s)).isoformat()
    pending = {"trigger": Trigger.START.value, "command_id": str(ask.command_id), "deadline": deadline}
    extra = {"waiting_for": missing, "deadline": deadline}
    return [Change(fields={"pending": pending, **edits}, state="pending", extra=extra)]


def _start_warnings(row: Row) -> tuple[str, ...]:
    warnings = []
    if row["config"]["feed"]["kind"] == "published":
        calendar = get_calendar(row["config"]["calendar"])
        hours = calendar.option_hours(calendar.trade_date(row["now"]))
        if hours is None or not hours[0] <= row["now"] < hours[1]:
            warnings.append("started outside option hours: nothing can trade until they open")
    if row["broker"] == "paper" and row["session_type"] in ("regular", "extended_hours"):
        warnings.append(PAPER_NOTICE)
    return tuple(warnings)


def pause(row: Row, ask: Ask) -> list[Change]:
    """Halt trading: reduce-only from now on. Answers with the orders still in flight."""
    _must_be_legal(row, ask)
    hold = Hold(ask.arguments.get("hold", Hold.PERSON))
    in_flight = row["in_flight"]
    return [
        _moved(
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


def _not_recovering(row: Row, ask: Ask) -> None:
    if row["pending"] is not None and row["pending"]["trigger"] == Trigger.RECOVER:
        raise PreconditionFailed(
            str(ask.session_id), ask.trigger.value, "no recovery is under way",
            f"command {row['pending']['command_id']} puts the agents' memory back", "Resume once it is done.",
        )  # fmt: skip


def resume(row: Row, ask: Ask) -> list[Change]:
    """Trade again. A person lifts every hold but a halt's; a rule lifts only its own and needs none left."""
    _must_be_legal(row, ask)
    _not_latched(row, ask)
    _not_recovering(row, ask)
    own = Hold(ask.arguments.get("hold", Hold.PERSON))
    lifted = {Hold.PERSON, Hold.RULE, Hold.RECOVERY} if own is Hold.PERSON else {own}
    left = [hold for hold in row["holds"] if hold not in lifted]
    if left:
        raise PreconditionFailed(
            str(ask.session_id),
            ask.trigger.value,
            "no other hold is left",
            f"held by {', '.join(left)}",
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
        _moved(
            row,
            ask,
            S.ACTIVE,
            fields={"holds": [], "quiesced_at": None},
            pre={"no_hold_left": True},
            work={"recovery_attempts": 0} if own is Hold.PERSON else {},
        )
    ]


def suspend(row: Row, ask: Ask) -> list[Change]:
    """A system fault stops the session; what protects it from loss goes on."""
    _must_be_legal(row, ask)
    return [_moved(row, ask, S.SUSPENDED, fields={"quiesced_at": None}, extra={"in_flight": row["in_flight"]})]


def stop(row: Row, ask: Ask) -> list[Change]:
    """First phase of a stop: agents cancel, flatten or leave; a sweep finishes it once the book matches the policy."""
    _must_be_legal(row, ask)
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
        "open_hours_used_s": 0,
        "since": row["now"].isoformat(),
    }
    return [
        _moved(
            row,
            ask,
            S.CLOSING,
            fields={"pending": pending},
            warnings=warnings,
            extra={"close_positions": close, "in_flight": row["in_flight"]},
            post={"policy_stored": True},
        )
    ]


def finalize(row: Row, ask: Ask) -> list[Change]:
    """Second phase: the book matches the policy and the final checkpoint is verified, or the session never started."""
    _must_be_legal(row, ask)
    if row["in_flight"]:
        orders = f"open orders: {', '.join(row['in_flight'])}"
        raise PreconditionFailed(
            str(ask.session_id), ask.trigger.value, "nothing is in flight", orders, "It is tried again by itself."
        )
    post = {"book_matches_policy": True, "final_checkpoint_verified": "checkpoint_id" in ask.arguments}
    return [
        _moved(
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
    _must_be_legal(row, ask)
    what = ask.arguments.get("error") or ask.reason
    return [_moved(row, ask, S.ERROR, errors=(what,), fields={"requires_action": f"error: {what}", "pending": None})]


def begin_recovery(row: Row, ask: Ask) -> list[Change]:
    """Raise the epoch before the first step; suspends an ACTIVE session whose host is lost, in the same transaction."""
    status = S(row["status"])
    if row["started_at"] is None and status in (S.ERROR, S.PAUSED, S.SUSPENDED):
        raise PreconditionFailed(
            str(ask.session_id), ask.trigger.value, "it was started", "a session that never ran has nothing to recover",
            "Stop it and create a new one.",
        )  # fmt: skip
    continued = (row["pending"] or {}).get("command_id") == str(ask.command_id)
    if status is S.ACTIVE and not row["host_lost"]:
        raise illegal(row, ask)
    if status is not S.ACTIVE:
        _must_be_legal(row, ask)
    if status is S.ERROR and not continued:
        authorize(ask.actor, "recover_from_error")
        if ask.arguments.get("checkpoint_id") is None:
            raise InvalidArgument(
                "checkpoint_id",
                "is missing: ERROR is left only by a person naming a checkpoint",
                "See `fntx checkpoints ID`.",
            )
    data = {
        "command_id": str(ask.command_id),
        "began_at": row["now"].isoformat(),
        "from_epoch": row["epoch"],
        "last_saved_at": row["last_saved_at"].isoformat() if row["last_saved_at"] else None,
    }
    pending = {"trigger": Trigger.RECOVER.value, "command_id": str(ask.command_id)}
    begun: dict[str, Any] = {
        "new_epoch": True,
        "state": "pending",
        "fields": {"recovery_data": data, "pending": pending},
        "extra": {"recovering": True},
        "work": {"recovery_attempts": _attempts(row) + 1},
    }
    if status is S.ACTIVE:
        return [_moved(row, ask, S.SUSPENDED, trigger=Trigger.SUSPEND, reason="host lost", **begun)]
    return [Change(**begun)]


def _attempts(row: Row) -> int:
    """Return how many recoveries of this series were begun; one that held for a while ended its series."""
    finished = row["recovery_data"].get("finished_at")
    held_s = 0.0 if finished is None else (row["now"] - datetime.fromisoformat(finished)).total_seconds()
    return 0 if held_s > RECOVERY_FORGIVEN_S else int(row["recovery_attempts"])


def finish_recovery(measured: dict[str, Any]) -> Decision:
    """Return the decision that ends a recovery in PAUSED with what was measured; refuses one that was overtaken."""

    def decide(row: Row, ask: Ask) -> list[Change]:
        _must_be_legal(row, ask)
        if row["epoch"] != measured["epoch"]:
            raise PreconditionFailed(
                str(ask.session_id),
                ask.trigger.value,
                "this attempt is the newest",
                f"epoch {row['epoch']} overtook {measured['epoch']}",
                "Look at the newer attempt.",
            )
        data = row["recovery_data"] | measured | {"finished_at": row["now"].isoformat()}
        return [
            _moved(
                row,
                ask,
                S.PAUSED,
                extra=measured,
                event_data=measured,
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


def update(row: Row, ask: Ask) -> list[Change]:
    """Change config, risk parameters or strategies; raising a limit of a started session needs a risk manager."""
    if S(row["status"]) in (S.CLOSING, S.CLOSED):
        raise illegal(row, ask)
    edits = edited(row, ask)
    if not edits:
        raise InvalidArgument("update", "changes nothing", "Give config, risk_parameters or strategies to change.")
    told = {"event": "config_changed", "changed": sorted(edits), "epoch": row["epoch"]}
    event = {
        "event_type": "config_changed",
        "event_category": "lifecycle",
        "severity": "info",
        "description": f"{', '.join(sorted(edits))} changed by {ask.actor.name}",
    }
    return [Change(fields=edits, follow_ups=(("event", told),), events=(event,), extra={"changed": sorted(edits)})]


def edited(row: Row, ask: Ask) -> dict[str, Any]:
    """Return the columns that the ask's edits set, checked whole; empty where nothing differs."""
    edits: dict[str, Any] = {}
    if ask.arguments.get("config") is not None:
        edits["config"] = templates.checked_config(row["config"] | ask.arguments["config"])
        _check_fixed(row, edits["config"])
    if ask.arguments.get("risk_parameters") is not None:
        edits["risk_parameters"] = templates.checked_risk(row["risk_parameters"] | ask.arguments["risk_parameters"])
        _check_raise(row, ask, edits["risk_parameters"])
    names, parameters = ask.arguments.get("enabled_strategies"), ask.arguments.get("strategy_parameters")
    if names is not None or parameters is not None:
        edits["enabled_strategies"], edits["strategy_parameters"] = templates.checked_strategies(
            row["enabled_strategies"] if names is None else names,
            row["strategy_parameters"] | (parameters or {}),
        )
    return {key: value for key, value in edits.items() if value != row[key]}


def _check_fixed(row: Row, config: dict[str, Any]) -> None:
    for key in _FIXED_AFTER_START:
        if config[key] != row["config"][key]:
            raise InvalidArgument(f"config.{key}", "is fixed once a session is made", "Create a new session instead.")


def _check_raise(row: Row, ask: Ask, risk: dict[str, Any]) -> None:
    if row["started_at"] is None:
        return
    for key in ("max_daily_risk", "position_limit", "stop_loss_multiplier"):
        if risk[key] > row["risk_parameters"][key]:
            authorize(ask.actor, "raise_risk_limit")


def rehome(row: Row, ask: Ask) -> list[Change]:
    """Free a session from its lost host: a new epoch, the same status; whoever wakes up writes nothing."""
    if S(row["status"]) is S.CLOSED:
        raise illegal(row, ask)
    fence = ("live", {"epoch": row["epoch"] + 1, "status": row["status"]})
    return [Change(new_epoch=True, follow_ups=(fence,), extra={"rehomed": True})]


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
            fence = ("live", {"epoch": row["epoch"] + 1, "status": row["status"]})
            return [Change(new_epoch=True, fields=fields, follow_ups=(fence,), events=(called,))]
        return [_moved(row, ask, S.SUSPENDED, reason=what, new_epoch=True, fields=fields, events=(called,))]

    return decide


def quiesce(row: Row, ask: Ask) -> list[Change]:
    """Note that a paused session has nothing in flight any more."""
    if S(row["status"]) is not S.PAUSED or row["in_flight"]:
        raise illegal(row, ask)
    return [Change(fields={"quiesced_at": row["now"]})]


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
        return [Change(fields={"requires_action": what, "pending": pending}, events=(event,))]

    return decide


DECISIONS: dict[Trigger, Decision] = {
    Trigger.START: start,
    Trigger.PAUSE: pause,
    Trigger.RESUME: resume,
    Trigger.SUSPEND: suspend,
    Trigger.STOP: stop,
    Trigger.FINALIZE: finalize,
    Trigger.FAIL: fail,
    Trigger.UPDATE: update,
}

ARGUMENTS: dict[Trigger, type[CommandArguments]] = {
    Trigger.START: StartArguments,
    Trigger.PAUSE: HoldArguments,
    Trigger.RESUME: HoldArguments,
    Trigger.SUSPEND: CommandArguments,
    Trigger.RECOVER: RecoverArguments,
    Trigger.STOP: StopArguments,
    Trigger.FINALIZE: FinalizeArguments,
    Trigger.FAIL: FailArguments,
    Trigger.UPDATE: UpdateArguments,
}
