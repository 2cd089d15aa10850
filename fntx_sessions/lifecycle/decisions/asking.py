"""request_approval, decide_approval and what executors answer: an opening that waits for a person, start to end."""

from datetime import timedelta
from typing import Any
from uuid import uuid5

from fntx_sessions.exceptions import NotFound, PreconditionFailed, StaleEpoch
from fntx_sessions.lifecycle.change import Ask, Change, Row
from fntx_sessions.lifecycle.decisions.moving import S, not_latched, trade_date
from fntx_sessions.lifecycle.people import Asked, moment
from fntx_sessions.lifecycle.withdrawing import approval_told
from fntx_sessions.settings import get_settings

OPEN = ("waiting", "approved")
_SEVERITIES = {"approved": "info", "executed": "info", "rejected": "info"}


def ask_approval(row: Row, ask: Ask) -> list[Change]:
    """Ask a person for an opening of an agent's; once per trade while it is open."""
    asked = ask.arguments["approval"]
    _may_ask(row, ask, asked)
    approval = {
        "approval_id": str(uuid5(ask.command_id, "approval")),
        "epoch": row["epoch"],
        **{name: asked[name] for name in ("agent", "trade_id", "limit_price", "reference", "risk")},
        "request": asked["request"] | {"legs": dated_legs(row, ask, asked["request"]["legs"])},
        "drift_max": row["config"]["approval_drift_max"],
        "created_at": row["now"],
        "expires_at": row["now"] + timedelta(seconds=asked.get("expires_s") or row["config"]["approval_expires_s"]),
    }
    told = {name: approval[name] for name in ("approval_id", "trade_id", "agent", "expires_at", "risk")}
    # It asks for nothing by itself: approvals are counted and shown as such, and end with their session.
    event = event_of("approval_requested", "info", asked["description"], told) | {"source_agent": asked["agent"]}
    return [
        Change(
            asked=Asked(approvals=(approval,)),
            events=(event,),
            follow_ups=(("event", {"event": "approval_requested", **told}),),
            extra={name: str(told[name]) for name in ("approval_id", "trade_id", "expires_at")},
        )
    ]


def _may_ask(row: Row, ask: Ask, asked: dict[str, Any]) -> None:
    epoch = ask.arguments.get("epoch")
    if epoch is not None and epoch != row["epoch"]:
        raise StaleEpoch(str(ask.session_id), epoch, row["epoch"])
    _must_be_active(row, ask)
    not_latched(row, ask)
    waiting = [one for one in row["approvals"] if one["state"] in OPEN]
    same = next((one for one in waiting if one["trade_id"] == asked["trade_id"]), None)
    if same is not None:
        raise refusal(
            ask, "it is asked for once", f"{same['trade_id']} is {same['state']} as approval {same['approval_id']}",
            "Wait for what becomes of that one.",
        )  # fmt: skip
    _must_rest(row, ask, asked["trade_id"])
    most = get_settings().people_open_max
    if len(waiting) >= most:
        raise refusal(
            ask, "not too many wait", f"{len(waiting)} approvals are open, {most} may be", "Decide some of them first."
        )


def _must_rest(row: Row, ask: Ask, trade_id: str) -> None:
    """Refuse what went stale a moment ago, so that a person is not asked at every move of a price."""
    pause = timedelta(seconds=get_settings().approval_again_s)
    stale = [one for one in row["approvals"] if one["trade_id"] == trade_id and one["state"] == "stale"]
    last = max((moment(one["closed_at"]) for one in stale), default=None)
    if last is not None and last + pause > row["now"]:
        detail = f"{trade_id} went stale {(row['now'] - last).total_seconds():.0f} s ago"
        raise refusal(ask, "it rested", detail, f"Ask again {pause.total_seconds():g} s after that.")


def dated_legs(row: Row, ask: Ask, legs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return legs that name their expiry: the session's trade date where none is said, so that midnight moves none.

    Raises PreconditionFailed, by path, for an expiry that is over.
    """
    today = trade_date(row).isoformat()
    for number, leg in enumerate(legs):
        if leg["right"] != "stock" and leg.get("expiry") and str(leg["expiry"]) < today:
            detail = f"legs.{number}.expiry {leg['expiry']} is before the session's trade date {today}"
            raise refusal(ask, "its options still trade", detail, "Name an expiry to come, or none for today's.")
    return [leg if leg["right"] == "stock" else leg | {"expiry": leg.get("expiry") or today} for leg in legs]


def decide(row: Row, ask: Ask) -> list[Change]:
    """Approve or reject what waits; decided once, by whoever comes first."""
    approval = _found(row, ask, ask.arguments["approval_id"])
    approve = ask.arguments["approve"]
    _may_decide(row, ask, approval)
    if approve:
        _must_be_active(row, ask)
        not_latched(row, ask)
    state = "approved" if approve else "rejected"
    decided = {
        "approval_id": approval["approval_id"],
        "state": state,
        "decided_at": row["now"],
        "decided_by": ask.actor.name,
        "reason": ask.reason,
        "command_id": ask.command_id,
    }
    why = ask.reason or "no reason given"
    text = f"{approval['trade_id']} {state} by {ask.actor.name}: {why}"
    return [_settling(approval, state, why, text, decided, by=ask.actor.name)]


def _may_decide(row: Row, ask: Ask, approval: Row) -> None:
    named = f"approval {approval['approval_id']} of {approval['trade_id']}"
    if approval["state"] != "waiting":
        raise refusal(ask, "it waits", f"{named} {_became(approval)}", "Nothing is left to decide on it.")
    if moment(approval["expires_at"]) <= row["now"]:
        when = str(approval["expires_at"])[:19].replace("T", " ")
        raise refusal(
            ask, "it has not expired", f"{named} expired at {when} UTC", "The agent asks anew if it still wants to."
        )
    if approval["epoch"] != row["epoch"]:
        detail = f"{named} is of epoch {approval['epoch']}, the session at {row['epoch']}"
        raise refusal(ask, "it is of this epoch", detail, "The agent asks anew if it still wants to.")


def _became(approval: Row) -> str:
    """Return what became of an approval, and who decided it."""
    by, at = approval["decided_by"], approval["decided_at"]
    decided = f", decided by {by} at {str(at)[:19].replace('T', ' ')} UTC" if by else ""
    result = f" ({approval['result']})" if approval["result"] else ""
    return f"is {approval['state']}{decided}{result}"


def answer_approval(row: Row, ask: Ask) -> list[Change]:
    """Note what an executor, or the clock, made of an open approval."""
    approval = _found(row, ask, ask.arguments["id"])
    state, result = ask.arguments["state"], ask.arguments.get("result") or ask.reason
    if approval["state"] not in OPEN:
        raise refusal(
            ask,
            "it is open",
            f"approval {approval['approval_id']} {_became(approval)}",
            "Nothing is left to do for it.",
        )
    if state == "executed" and approval["state"] != "approved":
        raise refusal(
            ask, "it is approved", f"approval {approval['approval_id']} is {approval['state']}", "Wait for a person."
        )
    if state == "expired" and moment(approval["expires_at"]) > row["now"]:
        raise refusal(ask, "its time is over", f"approval {approval['approval_id']} has time left", "Wait for it.")
    settled = {"approval_id": approval["approval_id"], "state": state, "result": result}
    return [_settling(approval, state, result, f"{approval['trade_id']}: approval {state}, {result}", settled)]


def _settling(approval: Row, state: str, why: str, text: str, settled: Row, by: str | None = None) -> Change:
    told = approval_told(approval, state, why) | ({"by": by} if by else {})
    data = {"approval_id": approval["approval_id"], "trade_id": approval["trade_id"]}
    return Change(
        asked=Asked(settled_approvals=(settled,)),
        events=(event_of(f"approval_{state}", _SEVERITIES.get(state, "warning"), text, data),),
        follow_ups=(("event", told),),
        extra={**data, "approval_state": state},
    )


def _found(row: Row, ask: Ask, approval_id: str) -> Row:
    for one in row["approvals"]:
        if one["approval_id"] == str(approval_id):
            found: Row = one
            return found
    raise NotFound("open approval", str(approval_id), f"See `fntx approvals ls {ask.session_id}`.")


def _must_be_active(row: Row, ask: Ask) -> None:
    if S(row["status"]) is not S.ACTIVE:
        why = f"{row['status']}, set by {row['status_actor']} ({row['status_reason'] or 'no reason given'})"
        raise refusal(ask, "the session is active", f"it is {why}: nothing is opened", "Resume it first.")


def refusal(ask: Ask, condition: str, detail: str, fix: str) -> PreconditionFailed:
    """Return what a command is refused with that is legal, but not now."""
    return PreconditionFailed(str(ask.session_id), ask.trigger.value, condition, detail, fix)


def event_of(kind: str, severity: str, text: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return an event of trading."""
    return {
        "event_type": kind,
        "event_category": "trading",
        "severity": severity,
        "description": text[:4000],
        "data": data,
    }
