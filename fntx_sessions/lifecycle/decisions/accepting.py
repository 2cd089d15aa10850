"""accept_differences: a person has looked at what differs from our books, and answers for going on.

What recovery found to differ, or what a stop waits for because agents elsewhere still report it as open.
"""

from typing import Any

from fntx_sessions.exceptions import InvalidArgument, PreconditionFailed
from fntx_sessions.lifecycle.change import Ask, Change, Decision, Row
from fntx_sessions.lifecycle.decisions.moving import S
from fntx_sessions.lifecycle.elsewhere import NOTED
from fntx_sessions.lifecycle.machine import illegal
from fntx_sessions.lifecycle.recovery.booking import Gap
from fntx_sessions.lifecycle.told import booked_sentence, sentence
from fntx_sessions.trading.book import RECONCILIATION
from fntx_sessions.trading.calendars import get_calendar
from fntx_sessions.trading.orders import ZERO, Fill
from fntx_sessions.trading.paper_rows import fill_row

_BOOKED = ("trade_id", "symbol", "side", "quantity", "price", "opening")


def accept(missing: list[Gap]) -> Decision:
    """Return the decision that takes the differences as seen: the broker's word stands, and `missing` is booked.

    Resume is free then. What no booking mends is not raised a second time while it stays the same; an order that works
    at the broker and is not ours to cancel stays listed, with what to do about it.
    """

    def decide(row: Row, ask: Ask) -> list[Change]:
        if not row["recovery_data"].get("differences") and _is_held_elsewhere(row):
            return [_ended_knowingly(row, ask)]
        found = _found(row, ask)
        fills = [_fill(row, gap) for gap in missing]
        booked = [{name: fill[name] for name in _BOOKED} for fill in fills]
        left = [one for one in found if one["kind"] == "order" and one["broker"] == "working"]
        data, told = row["recovery_data"], _told(ask, found, booked, left)
        settled = row["requires_action"] == data.get("requires_action")
        seen = [one for one in found if not _is_booked(one, missing)]
        fields = {
            "recovery_data": data
            | {"differences": [], "accepted": [*data.get("accepted", []), *seen], "at_broker": left},
            "requires_action": None if settled else row["requires_action"],
        }
        extra = {"accepted": found, "booked": booked, "at_broker": left}
        warnings = tuple(f"not booked: {_at_broker(ask, one)}" for one in left)
        return [Change(fields=fields, events=(told,), extra=extra, warnings=warnings, booked=tuple(fills))]

    return decide


def _found(row: Row, ask: Ask) -> list[dict[str, Any]]:
    if S(row["status"]) in (S.CLOSED, S.INITIALIZING):
        raise illegal(row, ask)
    found: list[dict[str, Any]] = row["recovery_data"].get("differences") or []
    if not found:
        raise PreconditionFailed(
            str(ask.session_id), ask.trigger.value, "differences wait to be accepted",
            "there are no differences to accept", "See `fntx show ID`.",
        )  # fmt: skip
    _must_say_why(ask)
    return found


def _must_say_why(ask: Ask) -> None:
    if not ask.reason.strip():
        raise InvalidArgument("reason", "is missing", "Say why going on is right: it is kept with your name.")


def _is_held_elsewhere(row: Row) -> bool:
    return S(row["status"]) is S.CLOSING and NOTED in (row["pending"] or {})


def _ended_knowingly(row: Row, ask: Ask) -> Change:
    """Let a stop end although its agents report open positions elsewhere; what our own book holds is closed as before.

    Nobody of ours looks after what is left.
    """
    _must_say_why(ask)
    noted = row["pending"][NOTED] | {"accepted": {"by": ask.actor.name, "why": ask.reason}}
    event = {
        "event_type": "positions_left_elsewhere",
        "event_category": "lifecycle",
        "severity": "warning",
        "description": f"{ask.actor.name} lets the stop end with positions open at its agents' broker: {ask.reason}. "
        f"As it began: {noted['named'] or 'they did not say which'}",
        "data": {"command_id": str(ask.command_id), "noted": noted},
    }
    fields = {"pending": row["pending"] | {NOTED: noted}, "requires_action": None}
    return Change(fields=fields, events=(event,), extra={"held_elsewhere": noted})


def _is_booked(one: dict[str, Any], missing: list[Gap]) -> bool:
    """Tell whether a difference is gone with what is booked: should it come back, it is another one."""
    legs = {(gap.trade_id, gap.contract.symbol) for gap in missing}
    return one["kind"] == "position" and (one["what"], one["symbol"]) in legs


def _told(
    ask: Ask, found: list[dict[str, Any]], booked: list[dict[str, Any]], left: list[dict[str, Any]]
) -> dict[str, Any]:
    told = [f"{len(found)} differences accepted by {ask.actor.name}: {ask.reason}"]
    if booked:
        told.append(f"booked as the broker has it: {', '.join(map(booked_sentence, booked))}")
    told += [f"not booked: {_at_broker(ask, one)}" for one in left]
    return {
        "event_type": "differences_accepted",
        "event_category": "recovery",
        "severity": "warning",
        "description": "; ".join(told)[:4000],
        "data": {"command_id": str(ask.command_id), "differences": found, "booked": booked, "at_broker": left},
    }


def _at_broker(ask: Ask, one: dict[str, Any]) -> str:
    return f"{sentence(one)}: cancel it at the broker, then `fntx recover {ask.session_id}` looks again"


def _fill(row: Row, gap: Gap) -> dict[str, Any]:
    """Return the ledger's row for what nobody traded: its id is of recovery and leg, its moment the clock's."""
    now = row["clock_at"] or row["now"]
    name = f"{row['session_id']}/{RECONCILIATION}/{row['recovery_data'].get('command_id', row['epoch'])}"
    return fill_row(
        Fill(
            fill_id=f"{name}/{gap.trade_id}/{gap.contract.symbol}",
            session_id=row["session_id"],
            account_id=row["account_id"],
            epoch=row["epoch"],
            client_order_id=name,
            trade_id=gap.trade_id,
            trade_date=get_calendar(row["config"]["calendar"]).trade_date(now),
            contract=gap.contract,
            side="buy" if gap.quantity > 0 else "sell",
            quantity=abs(gap.quantity),
            price=gap.price,
            fee=ZERO,
            slippage=ZERO,
            opening=gap.opening,
            reason=RECONCILIATION,
            timestamp=now,
        )
    )
