"""Orders of people, as the executor takes them up: within the risk manager's limits, and never two of one at work."""

from datetime import date
from decimal import Decimal

from fntx_sessions.agents.base import Proposal, StepContext
from fntx_sessions.exceptions import OrderRefused
from fntx_sessions.lifecycle.people import BY_HAND, WARRANT, HandOrder, Warrant
from fntx_sessions.trading.exits import closing_legs
from fntx_sessions.trading.market import Board
from fntx_sessions.trading.matching import package_price
from fntx_sessions.trading.opening import at_worst
from fntx_sessions.trading.orders import Contract, Leg, OrderRequest, Placed

# What becomes of an order by hand, by what became of the order that it was placed as.
_BECAME = {"filled": "filled", "cancelled": "cancelled", "expired": "expired", "rejected": "refused"}
_TOLD = {
    "filled": "it filled",
    "cancelled": "it was cancelled before it filled",
    "expired": "the day ended before it filled",
    "rejected": "it never reached the broker",
}


def proposals(context: StepContext) -> list[Proposal]:
    """Return what people want opened now, for the risk manager to judge as anything else; nothing without a quote."""
    if not context.may_enter or context.board is None:
        return []
    board = context.board
    wanted = [order for order in context.people.orders if _is_new(order) and order.opening and not order.replaced_works]
    found = [Proposal(_opening(order, board, context), order.warrant) for order in wanted]
    return [one for one in found if package_price(one.request.legs, board, one.request.side) is not None]


def _is_new(order: HandOrder) -> bool:
    return order.state == "waiting" and order.action != "cancel"


def _opening(order: HandOrder, board: Board, context: StepContext) -> OrderRequest:
    legs = tuple(_leg(leg, order.order["quantity"], board) for leg in order.order["legs"])
    limit = Decimal(str(order.order["limit"]))
    trade_id = f"{context.book.trade_date.isoformat()}/{BY_HAND}/{str(order.order_id)[:8]}"
    wanted = OrderRequest(trade_id, BY_HAND, "sell", legs, opening=True, limit=limit, reason=BY_HAND)
    return at_worst(wanted, board, context.risk, context.rules)


def _leg(leg: dict[str, str], quantity: int, board: Board) -> Leg:
    expiry = date.fromisoformat(leg["expiry"]) if leg.get("expiry") else board.tick.trade_date
    contract = Contract("put" if leg["right"] == "put" else "call", Decimal(int(float(leg["strike"]))), expiry)
    return Leg(contract, "buy" if leg["side"] == "buy" else "sell", quantity, board.quote(contract).mid)


def take_up(context: StepContext) -> None:
    """Say what became of orders that worked, then cancel, change and close what people asked for."""
    for order in list(context.people.orders):
        if order.state == "working":
            _tell_end(order, context)
        elif order.action == "cancel":
            _cancel(order, context)
        elif _replaced_is_gone(order, context):
            _begin(order, context)


def _tell_end(order: HandOrder, context: StepContext) -> None:
    state = _BECAME.get(order.intent_state or "")
    if state is not None and order.client_order_id not in context.book.working:
        context.desk.settle(order, state, f"{_TOLD[order.intent_state or '']} ({order.client_order_id})")


def _cancel(order: HandOrder, context: StepContext) -> None:
    """Cancel what works; what filled meanwhile is said so once the fill came in."""
    if order.replaced_works and order.replaced is not None:
        context.desk.cancel(order.replaced)
        if order.replaced in context.book.working:
            return
        context.desk.settle(order, "done", f"{order.replaced} is cancelled")
    elif order.replaced_state == "filled":
        context.desk.settle(order, "refused", f"{order.replaced} had filled")
    else:
        context.desk.settle(order, "done", f"{order.replaced} works no more")


def _replaced_is_gone(order: HandOrder, context: StepContext) -> bool:
    """Cancel the order a change replaces; False while it is not known that it can't trade any more."""
    if order.replaced_state == "filled":
        context.desk.settle(order, "refused", f"{order.replaced} had filled before it could be changed")
        return False
    if order.replaced_works and order.replaced is not None:
        context.desk.cancel(order.replaced)
        return order.replaced not in context.book.working
    return True


def _begin(order: HandOrder, context: StepContext) -> None:
    """Close a trade as asked; openings were left to the risk manager, unless they cannot be traded at all."""
    if context.board is None:
        return
    if order.opening:
        why = _untradable(order, context.board)
        if why is not None:
            context.desk.settle(order, "refused", why)
        return
    request = _closing(order, context.board, context)
    if isinstance(request, str):
        context.desk.settle(order, "refused", request)
        return
    _close(order, request, context)


def _untradable(order: HandOrder, board: Board) -> str | None:
    if not board.tick.option_open or board.tick.stale:
        return None  # until its time is over
    legs = [_leg(leg, 1, board) for leg in order.order["legs"]]
    unknown = next((leg.contract.symbol for leg in legs if leg.reference is None), None)
    return None if unknown is None else f"there is no quote for {unknown}: only options of the trade date have one"


def _closing(order: HandOrder, board: Board, context: StepContext) -> OrderRequest | str:
    """Return the order that closes the trade, or why there is none to send."""
    trade_id = order.order["trade_id"]
    trade = context.book.trades.get(trade_id)
    if trade is None or not trade.legs:
        return f"{trade_id} is not open"
    if context.book.working_for(trade_id, opening=False):
        return f"an order that closes {trade_id} works already"
    legs = closing_legs(trade, board)
    side = "sell" if all(leg.side == "sell" for leg in legs) else "buy"
    limit = Decimal(str(order.order["limit"]))
    return OrderRequest(
        trade_id, trade.strategy, "sell" if side == "sell" else "buy", legs, opening=False, limit=limit, reason=BY_HAND
    )


def _close(order: HandOrder, request: OrderRequest, context: StepContext) -> None:
    try:
        sent = context.desk.place(request, order.warrant)
    except OrderRefused as error:
        if error.named()["rule"] != WARRANT:
            context.desk.settle(order, "refused", str(error))
        return
    context.outputs.placed.append(sent)
    placed(order.warrant, sent, context)


def placed(warrant: Warrant, sent: Placed, context: StepContext) -> None:
    """Say what came of placing a person's order where that is its end; one that works is looked after each step."""
    if sent.status == "working":
        return
    for order in [one for one in context.people.orders if one.warrant == warrant]:
        context.desk.settle(order, _BECAME[sent.status], f"{_TOLD[sent.status]} ({sent.client_order_id})")
