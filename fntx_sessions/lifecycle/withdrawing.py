"""What waits for a person ends with the epoch and with trading: a change that ends them withdraws it, in one commit."""

from dataclasses import replace
from typing import Any

from fntx_sessions.exceptions import verb
from fntx_sessions.lifecycle.change import Ask, Change, Row
from fntx_sessions.lifecycle.people import Asked
from fntx_sessions.schemas import SessionStatus, Trigger

# What is about one of them, and so looks at those that are over too.
ABOUT_PEOPLE = frozenset({Trigger.ASK, Trigger.DECIDE, Trigger.ORDER, Trigger.ANSWER})


def with_withdrawals(row: Row, ask: Ask, changes: list[Change]) -> list[Change]:
    """Return the changes, the last with what it withdraws of the session's open approvals and orders by hand.

    A status in which nothing opens, and a new epoch, withdraw every approval and each opening by hand that was not
    placed yet. Closed, the session has no open order at all. What closes a position outlives all else.
    """
    if not changes or not (row["approvals"] or row["hand_orders"]) or ask.trigger in ABOUT_PEOPLE:
        return changes
    ends = [change for change in changes if _ends_openings(change)]
    if not ends:
        return changes
    *before, last = changes
    why = f"{verb(ends[-1].trigger or ask.trigger)} by {ask.actor.name}: {ask.reason or 'no reason given'}"[:2000]
    closed = ends[-1].to_status is SessionStatus.CLOSED
    approvals = [one for one in row["approvals"] if one["state"] in ("waiting", "approved")]
    orders = [one for one in row["hand_orders"] if closed or (one["opening"] and one["state"] == "waiting")]
    return [*before, _withdrawing(last, approvals, orders, why)] if approvals or orders else changes


def _ends_openings(change: Change) -> bool:
    return change.new_epoch or change.to_status not in (None, SessionStatus.ACTIVE)


def _withdrawing(change: Change, approvals: list[Row], orders: list[Row], why: str) -> Change:
    asked = Asked(
        settled_approvals=tuple(
            {"approval_id": one["approval_id"], "state": "withdrawn", "result": why} for one in approvals
        ),
        settled_orders=tuple(_settled(one, why) for one in orders),
    )
    told = [("event", approval_told(one, "withdrawn", why)) for one in approvals]
    told += [("event", {"event": "order_withdrawn", "order_id": one["order_id"], "reason": why}) for one in orders]
    return replace(
        change,
        asked=asked,
        events=(*change.events, _event(approvals, orders, why)),
        follow_ups=(*change.follow_ups, *told),
    )


def _settled(order: Row, why: str) -> Row:
    state = "cancelled" if order["state"] == "waiting" else "done"
    return {"order_id": order["order_id"], "state": state, "result": why}


def approval_told(approval: Row, state: str, why: str) -> dict[str, Any]:
    """Return what a session's agents hear of an approval that is decided or over."""
    named = {name: approval[name] for name in ("approval_id", "trade_id", "agent")}
    return {"event": "approval_decided", **named, "state": state, "reason": why}


def _event(approvals: list[Row], orders: list[Row], why: str) -> dict[str, Any]:
    listed = [f"approval of {one['trade_id']} ({one['state']})" for one in approvals]
    listed += [f"order {one['order_id'][:8]} by {one['actor']} ({one['state']})" for one in orders]
    return {
        "event_type": "withdrawn",
        "event_category": "trading",
        "severity": "warning",
        "description": f"withdrawn with {why}: {'; '.join(listed)}"[:4000],
        "data": {
            "approvals": [one["approval_id"] for one in approvals],
            "orders": [one["order_id"] for one in orders],
        },
    }
