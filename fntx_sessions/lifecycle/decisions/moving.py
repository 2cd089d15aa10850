"""What every change of status has in common: who is told, the fence, the event; and the checks many share."""

from datetime import date
from typing import Any

from fntx_sessions.exceptions import PreconditionFailed
from fntx_sessions.lifecycle.change import Ask, Change, Row
from fntx_sessions.lifecycle.creation import lifecycle_event
from fntx_sessions.lifecycle.machine import illegal
from fntx_sessions.lifecycle.transitions import target
from fntx_sessions.schemas import SessionStatus, Trigger
from fntx_sessions.trading.calendars import get_calendar

S = SessionStatus


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


def moved(row: Row, ask: Ask, to_status: SessionStatus, *, trigger: Trigger | None = None, **more: Any) -> Change:
    """Return a change of status with what always goes with it: the agents told, the fence moved, an event.

    told: what the event says beside who and why. policy: what agents are told of it beside.
    """
    trigger = trigger or ask.trigger
    epoch = row["epoch"] + (1 if more.get("new_epoch") else 0)
    why = "; ".join(filter(None, (ask.reason or "no reason given", more.pop("told", ""))))
    told = lifecycle_event(_TOLD[trigger], row["status"], to_status.value, epoch, ask.reason) | more.pop("policy", {})
    event = {
        "event_type": _TOLD[trigger],
        "event_category": "lifecycle",
        "severity": _SEVERITY.get(to_status, "info"),
        "requires_action": _needs_a_person(to_status, more),
        "description": f"{row['status']} -> {to_status.value} by {ask.actor.name}: {why}"[:4000],
        "data": {"command_id": str(ask.command_id), **more.pop("event_data", {})},
    }
    follow_ups = (("live", {"epoch": epoch, "status": to_status.value}), ("event", told))
    events = (event, *more.pop("events", ()))
    return Change(to_status=to_status, trigger=trigger, follow_ups=follow_ups, events=events, **more)


def _needs_a_person(to_status: S, more: dict[str, Any]) -> bool:
    """Tell whether somebody has to act who is not called by another event of the same change."""
    called = any(event.get("requires_action") for event in more.get("events", ()))
    return not called and (to_status is S.ERROR or bool(more.get("fields", {}).get("requires_action")))


def must_be_legal(row: Row, ask: Ask) -> None:
    """Raise IllegalTransition unless the table knows the ask's trigger in the row's status."""
    if target(ask.trigger, S(row["status"])) is None:
        raise illegal(row, ask)


def unattended(row: Row) -> tuple[str, ...]:
    """Return the warning that nobody steps what this command sets going, if no agents worker lives."""
    if not row["unattended"]:
        return ()
    return ("no agents worker lives: its agents do not step, a guard runs its exits; start one (`fntx up`)",)


def not_latched(row: Row, ask: Ask) -> None:
    """Raise PreconditionFailed while the account's loss limit is latched for the session's trade date."""
    if not row["latched_dates"]:
        return
    today = trade_date(row)
    if today.isoformat() in row["latched_dates"]:
        raise PreconditionFailed(
            str(ask.session_id),
            ask.trigger.value,
            "loss limit not fired",
            f"the loss limit of account {row['account_id']} has fired for {today}",
            "It holds until the next trade date; a risk manager may clear it: `fntx update ID --clear-latch`.",
        )


def trade_date(row: Row) -> date:
    """Return the session's trade date by its own clock; one that has no clock yet begins with its feed's day."""
    calendar, feed = get_calendar(row["config"]["calendar"]), row["config"]["feed"]
    begins = (feed["day"] or {}).get("date") or feed["trade_date"]
    if row["clock_at"] is None and feed["kind"] != "published" and begins:
        return date.fromisoformat(begins)
    return calendar.trade_date(row["clock_at"] or row["now"])
