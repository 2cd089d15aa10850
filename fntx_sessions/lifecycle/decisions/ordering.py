"""order, and what becomes of it: what a person asks a session's executor to place, change or cancel."""

from datetime import timedelta
from uuid import uuid5

from fntx_sessions.exceptions import NotFound
from fntx_sessions.lifecycle.change import Ask, Change, Row
from fntx_sessions.lifecycle.decisions.asking import answer_approval, dated_legs, event_of, refusal
from fntx_sessions.lifecycle.decisions.moving import S, not_latched
from fntx_sessions.lifecycle.people import Asked, moment
from fntx_sessions.lifecycle.transitions import OPENING_ALLOWED, STARTED
from fntx_sessions.security.roles import OPEN_BY_HAND, authorize
from fntx_sessions.settings import get_settings

OPEN = ("waiting", "working")


def order(row: Row, ask: Ask) -> list[Change]:
    """Leave a person's order to the session's executor; what nobody has taken up yet is changed and cancelled here."""
    action = ask.arguments["action"]
    former = None if action == "place" else _former(row, ask)
    _may_order(row, ask, action)
    settled: tuple[Row, ...] = ()
    state, result = "waiting", None
    if former is not None and former["state"] == "waiting":
        settled = ({"order_id": former["order_id"], "state": "cancelled", "result": f"{action} by {ask.actor.name}"},)
        state, result = ("done", "it had not been taken up yet") if action == "cancel" else (state, result)
    made = _made(row, ask, state, result)
    told = {name: made[name] for name in ("order_id", "action", "state", "changes", "opening", "expires_at")}
    return [
        Change(
            asked=Asked(orders=(made,), settled_orders=settled),
            events=(event_of("order_requested", "info", _sentence(ask, made), told),),
            follow_ups=(("event", {"event": "order_requested", **told, "order": made["request"]}),),
            extra={"order_id": made["order_id"], "order_state": state, "expires_at": str(made["expires_at"])},
        )
    ]


def _made(row: Row, ask: Ask, state: str, result: str | None) -> Row:
    asked, order = ask.arguments, dict(ask.arguments["order"])
    if asked["action"] == "place" and order.get("legs"):
        order["legs"] = dated_legs(row, ask, order["legs"])
    return {
        "order_id": str(uuid5(ask.command_id, "order")),
        "action": asked["action"],
        "state": state,
        "opening": asked["opening"],
        "request": order,
        "changes": asked.get("changes"),
        "actor": ask.actor.name,
        "reason": ask.reason,
        "created_at": row["now"],
        "expires_at": row["now"] + timedelta(seconds=get_settings().manual_order_expires_s),
        "result": result,
    }


def _sentence(ask: Ask, made: Row) -> str:
    what = "opening" if made["opening"] else "closing"
    limit = made["request"].get("limit")
    price = f" at ${limit}" if limit is not None and made["action"] != "cancel" else ""
    return f"{made['action']} of a {what} order by {ask.actor.name}{price}: {ask.reason or 'no reason given'}"


def _may_order(row: Row, ask: Ask, action: str) -> None:
    opening = ask.arguments["opening"] and action != "cancel"
    if opening:
        authorize(ask.actor, OPEN_BY_HAND, ask.session_id)
        not_latched(row, ask)
    allowed = OPENING_ALLOWED if opening else STARTED
    if S(row["status"]) not in allowed or row["started_at"] is None:
        why = f"{row['status']}, set by {row['status_actor']} ({row['status_reason'] or 'no reason given'})"
        wanted = "only an active session opens" if opening else "nothing trades in it"
        raise refusal(ask, "the session trades", f"it is {why}: {wanted}", "See `fntx show ID`.")
    most = get_settings().people_open_max
    if sum(one["state"] in OPEN for one in row["hand_orders"]) >= most:
        raise refusal(ask, "not too many are open", f"{most} orders by hand are open", "Cancel some of them first.")


def _former(row: Row, ask: Ask) -> Row:
    """Return the order that is to be changed or cancelled; raises what says why it cannot be."""
    wanted = str(ask.arguments["changes"])
    found = next((one for one in row["hand_orders"] if one["order_id"] == wanted), None)
    if found is None or found["action"] == "cancel":
        raise NotFound("order", wanted, f"See `fntx order ls {ask.session_id}`.")
    if found["state"] not in OPEN:
        told = f" ({found['result']})" if found["result"] else ""
        raise refusal(
            ask, "it is open", f"order {wanted} is {found['state']}{told}", "Nothing is left of it to change."
        )
    waits = [one for one in row["hand_orders"] if one["changes"] == wanted and one["state"] in OPEN]
    if waits:
        by = f"{waits[0]['action']} by {waits[0]['actor']} (order {waits[0]['order_id']})"
        raise refusal(ask, "one change at a time", f"a {by} of it is under way", "Wait for it, or change that one.")
    former: Row = found
    return former


def answer(row: Row, ask: Ask) -> list[Change]:
    """Note what an executor, or the clock, made of an approval or of an order by hand."""
    return answer_approval(row, ask) if ask.arguments["kind"] == "approval" else _answer_order(row, ask)


def _answer_order(row: Row, ask: Ask) -> list[Change]:
    wanted = str(ask.arguments["id"])
    found = next((one for one in row["hand_orders"] if one["order_id"] == wanted), None)
    if found is None:
        raise NotFound("order", wanted, f"See `fntx order ls {ask.session_id}`.")
    state, result = ask.arguments["state"], ask.arguments.get("result") or ask.reason
    _may_answer(row, ask, found, state)
    settled = {
        "order_id": wanted, "state": state, "result": result, "client_order_id": ask.arguments.get("client_order_id")
    }  # fmt: skip
    told = {"order_id": wanted, "action": found["action"], "state": state}
    severity = "info" if state in ("working", "filled", "done", "cancelled") else "warning"
    text = f"{found['action']} by {found['actor']}: {state}, {result}"
    return [
        Change(
            asked=Asked(settled_orders=(settled,)),
            events=(event_of(f"order_{state}", severity, text, told),),
            extra={"order_id": wanted, "order_state": state},
        )
    ]


def _may_answer(row: Row, ask: Ask, found: Row, state: str) -> None:
    if found["state"] not in OPEN:
        told = f" ({found['result']})" if found["result"] else ""
        raise refusal(
            ask, "it is open", f"order {found['order_id']} is {found['state']}{told}", "Nothing is left to do."
        )
    named, known = ask.arguments.get("client_order_id"), found["client_order_id"]
    if None not in (named, known) and named != known:
        detail = f"order {found['order_id']} is out as {known}, not as {named}"
        raise refusal(ask, "it keeps its name", detail, "Answer with the client_order_id it has.")
    if state == "expired" and found["state"] == "waiting" and moment(found["expires_at"]) > row["now"]:
        raise refusal(ask, "its time is over", f"order {found['order_id']} has time left", "Take it up.")
