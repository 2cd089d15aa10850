"""TacticalExecutorAgent: turns what was decided into orders; exits first, and never waiting for anything."""

from fntx_sessions.agents.base import Proposal, State, StepContext, first_time
from fntx_sessions.exceptions import OrderRefused
from fntx_sessions.schemas import Severity
from fntx_sessions.trading.exits import LADDER, Exit, exit_request
from fntx_sessions.trading.market import Board


class TacticalExecutorAgent:
    """Cancels what no longer holds, sends exits, then openings. In any status but ACTIVE it only reduces."""

    name = "TacticalExecutorAgent"

    def step(self, state: State, context: StepContext) -> State:
        """Return how often each exit was tried (`rungs`), which moves its limit from mid to ask to the cap."""
        state = {**state, "rungs": dict(state.get("rungs", {}))}
        _cancel_stale(context)
        if context.board is not None:
            for found in context.outputs.exits:
                _exit(found, state, context, context.board)
        _forget_closed(state, context)
        if context.may_open:
            for proposal in context.outputs.approved:
                _open(proposal, state, context)
        return state


def _cancel_stale(context: StepContext) -> None:
    """Cancel openings that may not or did not fill, and exits with a limit of an earlier bar; market stops stay."""
    for order in list(context.book.working.values()):
        request = order.intent.request
        if request.limit is not None and (order.intent.created_at < context.now or not context.may_open):
            context.desk.cancel(order.intent.client_order_id)


def _exit(found: Exit, state: State, context: StepContext, board: Board) -> None:
    trade = context.book.trades[found.trade_id]
    if not trade.legs or context.book.working_for(found.trade_id, opening=False):
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
    if not proposal.confirmed:
        if first_time(state, f"confirm/{request.trade_id}", context):
            text = f"{request.strategy} for ${request.limit} a share waits for a person to confirm {request.trade_id}"
            context.desk.emit(
                "confirmation_required", "trading", Severity.INFO, text, request.to_json(), requires_action=True
            )
        return
    try:
        context.outputs.placed.append(context.desk.place(request))
    except OrderRefused as error:
        context.desk.emit("entry_refused", "trading", Severity.WARNING, str(error), {"trade_id": request.trade_id})
