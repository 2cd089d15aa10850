"""TacticalExecutorAgent: turns what was decided into orders; exits first, and never waiting for anything."""

from fntx_sessions.agents import approving, by_hand
from fntx_sessions.agents.base import Proposal, State, StepContext, first_time
from fntx_sessions.exceptions import OrderRefused
from fntx_sessions.lifecycle.people import BY_HAND, WARRANT
from fntx_sessions.schemas import Severity
from fntx_sessions.trading.exits import LADDER, Exit, exit_request
from fntx_sessions.trading.market import Board


class TacticalExecutorAgent:
    """Cancels what no longer holds, sends exits, then what people ordered, then openings.

    In any status but ACTIVE it only reduces.
    """

    name = "TacticalExecutorAgent"

    def step(self, state: State, context: StepContext) -> State:
        """Return how often each exit was tried (`rungs`), which moves its limit from mid to ask to the cap.

        waiting: what the packages that wait for a person would trade at now, by approval.
        """
        state = {**state, "rungs": dict(state.get("rungs", {}))}
        _cancel_stale(context)
        if context.board is not None:
            for found in context.outputs.exits:
                _exit(found, state, context, context.board)
        _forget_closed(state, context)
        by_hand.take_up(context)
        approving.end_stale(context)
        if context.may_open:
            for proposal in filter(lambda one: _stands(one, context), context.outputs.approved):
                _open(proposal, state, context)
        for proposal, why in context.outputs.refused:
            _refused(proposal, why, context)
        return approving.noted(state, context)


def _cancel_stale(context: StepContext) -> None:
    """Cancel openings that may not or did not fill, and exits with a limit of an earlier bar; market stops stay."""
    for order in list(context.book.working.values()):
        request = order.intent.request
        if request.reason == BY_HAND:
            stale = request.opening and not context.may_open  # a person's rests until it fills, or they say so
        else:
            stale = request.limit is not None and (order.intent.created_at < context.now or not context.may_open)
        if stale:
            context.desk.cancel(order.intent.client_order_id)


def _exit(found: Exit, state: State, context: StepContext, board: Board) -> None:
    trade = context.book.trades[found.trade_id]
    if not trade.legs or not _makes_way(found.trade_id, context):
        return
    rung = state["rungs"].get(found.trade_id, 0)
    limits_only = context.config.use_limit_orders_only
    request = exit_request(trade, found, board, context.risk, rung, limits_only=limits_only)
    if request is None:
        _ask_person(found, "there is no quote to trade at; tried again at every step", state, context)
        return
    try:
        placed = context.desk.place(request)
    except OrderRefused as error:
        _ask_person(found, f"the order was refused: {error}", state, context)
        return
    context.outputs.placed.append(placed)
    if placed.status == "working" and request.limit is not None:
        state["rungs"][found.trade_id] = rung + 1
        if rung + 1 >= len(LADDER):
            _ask_person(found, "it did not fill up to its cap; tried again at every step", state, context)


def _makes_way(trade_id: str, context: StepContext) -> bool:
    """Cancel what a person ordered to close a trade that has to be closed now; False while an order of it works on."""
    for order in context.book.working_for(trade_id, opening=False):
        if order.intent.request.reason == BY_HAND:
            context.desk.cancel(order.intent.client_order_id)
    return not context.book.working_for(trade_id, opening=False)


def _ask_person(found: Exit, why: str, state: State, context: StepContext) -> None:
    if first_time(state, f"exit/{found.trade_id}/{why}", context):
        text = f"{found.trade_id} has to be closed ({found.reason}), but {why}"
        data = {"trade_id": found.trade_id, "reason": found.reason}
        context.desk.emit("exit_blocked", "trading", Severity.ERROR, text, data, requires_action=True)


def _forget_closed(state: State, context: StepContext) -> None:
    trades = context.book.trades
    state["rungs"] = {name: rung for name, rung in state["rungs"].items() if name in trades and trades[name].open}


def _open(proposal: Proposal, state: State, context: StepContext) -> None:
    request = proposal.request
    if context.approving and proposal.warrant is None:
        approving.ask(proposal, state, context)
        return
    try:
        placed = context.desk.place(request, proposal.warrant)
    except OrderRefused as error:
        if proposal.warrant is None:
            context.desk.emit("entry_refused", "trading", Severity.WARNING, str(error), {"trade_id": request.trade_id})
        elif error.named()["rule"] != WARRANT:  # else it ended meanwhile: whoever ended it has said so
            _refused(proposal, str(error), context)
        return
    context.outputs.placed.append(placed)
    if proposal.warrant is not None and proposal.warrant.kind == "approval":
        approving.carried_out(request, placed, context)
    elif proposal.warrant is not None:
        by_hand.placed(proposal.warrant, placed, context)


def _stands(proposal: Proposal, context: StepContext) -> bool:
    """Tell whether the word it goes by still holds: a price may have ended it since the risk manager looked."""
    people = context.people
    words = {one.warrant for one in people.approvals.values()} | {one.warrant for one in people.orders}
    return proposal.warrant is None or proposal.warrant in words


def _refused(proposal: Proposal, why: str, context: StepContext) -> None:
    """Tell the person on whose word it was to be opened."""
    if proposal.warrant is None:
        return
    people = context.people
    approval = people.approvals.get(proposal.request.trade_id)
    if approval is not None and approval.warrant == proposal.warrant:
        context.desk.settle(approval, "refused", why)
    for order in [one for one in people.orders if one.warrant == proposal.warrant]:
        context.desk.settle(order, "refused", why)
