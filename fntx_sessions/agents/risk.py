"""RiskManagerAgent: what must be closed, what may be opened, and when the day is over for losses."""

from dataclasses import dataclass, replace
from decimal import Decimal

from fntx_sessions.agents import approving, by_hand
from fntx_sessions.agents.base import Proposal, State, StepContext, first_time
from fntx_sessions.schemas import SessionStatus, Severity
from fntx_sessions.trading.exits import ExitContext, decide_exits
from fntx_sessions.trading.ledger import Money, legs_margin, spread_width
from fntx_sessions.trading.market import Board
from fntx_sessions.trading.opening import at_worst, excess_premium
from fntx_sessions.trading.orders import ZERO, OrderRequest


class RiskManagerAgent:
    """Judges positions in every status, openings while ACTIVE; latches the loss limit when it fires."""

    name = "RiskManagerAgent"

    def step(self, state: State, context: StepContext) -> State:
        """Put exits, approved and refused openings into the outputs; returns the last quotes it marked at."""
        state = dict(state)
        _remember_quotes(state, context)
        if context.board is None:
            _no_data(state, context)
            return state
        money = context.money()
        _watch_losses(state, context, money)
        _watch_data(state, context, context.board)
        _decide_exits(context, context.board)
        _judge_plan(state, context, money)
        return {**state, "quotes": _quotes(context)}


def _remember_quotes(state: State, context: StepContext) -> None:
    """Hand a restored agent's last quotes to a fresh book, which marks by them while nothing newer is known."""
    for symbol, (bid, ask) in state.get("quotes", {}).items():
        context.book.last_bids.setdefault(symbol, Decimal(bid))
        context.book.last_asks.setdefault(symbol, Decimal(ask))


def _quotes(context: StepContext) -> dict[str, tuple[str, str]]:
    book = context.book
    held = {contract.symbol for trade in book.open_trades for contract in trade.legs}
    return {
        symbol: (str(book.last_bids[symbol]), str(book.last_asks[symbol]))
        for symbol in sorted(held)
        if symbol in book.last_asks
    }


def _watch_losses(state: State, context: StepContext, money: Money) -> None:
    latched = context.account.latched is not None
    context.outputs.loss_fired = money.fired or latched
    if money.fired and not latched:
        _fire(state, context, money)
    elif (
        not context.outputs.loss_fired
        and money.counted <= -context.rules.loss_warning_fraction * money.limit
        and first_time(state, "loss", context)
    ):
        share = round(-money.counted / money.limit * 100)
        text = f"day's loss ${-money.counted:.2f} is {share} % of the limit ${money.limit:.2f}, where trading stops"
        context.desk.emit("loss_limit_near", "risk", Severity.WARNING, text)


def _fire(state: State, context: StepContext, money: Money) -> None:
    if not first_time(state, "loss_fired", context):
        return
    lost, limit = f"${-money.counted:.2f}", f"${money.limit:.2f}"
    text = f"day's loss {lost} reached the limit {limit}: positions are closed, nothing is opened"
    context.desk.latch_loss(text)
    data = {"account_pnl": str(money.account_pnl), "counted": str(money.counted), "limit": str(money.limit)}
    context.desk.emit("loss_limit_fired", "risk", Severity.CRITICAL, text, data, requires_action=True)


def _watch_data(state: State, context: StepContext, board: Board) -> None:
    tick, rules = board.tick, context.rules
    if context.book.flat or not tick.stale or tick.age_s <= rules.quote_stale_mark_s:
        return
    ahead = f"market data is dated {tick.ahead_s:.0f} s in the future, so its publisher's clock is wrong,"
    old = f"market data is {tick.age_s:.0f} s old" if tick.ahead_s <= rules.market_clock_skew_s else ahead
    text = f"{old} with positions open: marked at the worse of last ask and model"
    # Stale data is told once, however long it goes on; every message of a wrong clock has a date of its own.
    which = "ahead" if tick.ahead_s else f"{(tick.now.timestamp() - tick.age_s):.0f}"
    if first_time(state, f"stale/{which}", context):
        context.desk.emit("market_data_stale", "market", Severity.ERROR, text, requires_action=True)
    if tick.age_s > rules.quote_stale_suspend_s and context.status in {SessionStatus.ACTIVE, SessionStatus.PAUSED}:
        context.desk.request_suspend(text, stale=tick.kind == "published")


def _no_data(state: State, context: StepContext) -> None:
    if not context.book.flat and first_time(state, "no_data", context):
        text = "no market data has come, with positions open"
        context.desk.emit("market_data_stale", "market", Severity.ERROR, text, requires_action=True)


def _decide_exits(context: StepContext, board: Board) -> None:
    if context.book.flat:
        return
    exit_context = ExitContext(
        context.now, context.risk, context.config, board, context.outputs.loss_fired, context.flatten
    )
    context.outputs.exits = decide_exits(context.book, exit_context)


@dataclass
class _Room:
    """What is still free while the step's openings are judged one after the other."""

    loss: Decimal
    contracts: int
    margin: Decimal


def _judge_plan(state: State, context: StepContext, money: Money) -> None:
    context.outputs.plan[:0] = [*approving.proposals(context), *by_hand.proposals(context)]
    if not context.outputs.plan:
        return
    room = _room(context, money)
    for wanted in context.outputs.plan:
        proposal = replace(wanted, request=_at_worst(wanted.request, context))
        why = _objection(proposal, room, context)
        if why is None:
            context.outputs.approved.append(proposal)
        else:
            context.outputs.refused.append((proposal, why))
            _say_refused(proposal, why, state, context)


def _at_worst(request: OrderRequest, context: StepContext) -> OrderRequest:
    """Return the opening with the risk that counts, whoever wants it and whatever they say of it."""
    assert context.board is not None  # noqa: S101 - there is no plan without one
    return at_worst(request, context.board, context.risk, context.rules)


def _say_refused(proposal: Proposal, why: str, state: State, context: StepContext) -> None:
    """Say it once where people approve: until they were asked it is planned anew at every step. They hear of theirs."""
    trade_id = proposal.request.trade_id
    if proposal.warrant is not None:
        return
    if not context.approving or first_time(state, f"refused/{trade_id}", context):
        text = f"{proposal.request.strategy} not opened: {why}"
        context.desk.emit("entry_refused", "risk", Severity.WARNING, text, {"trade_id": trade_id})


def _room(context: StepContext, money: Money) -> _Room:
    working = [order.intent.request for order in context.book.working.values() if order.intent.request.opening]
    account = context.account
    return _Room(
        loss=money.remaining
        - money.open_risk
        - account.other_open_risk
        - sum((request.risk for request in working), ZERO),
        contracts=context.risk.position_limit
        - money.contracts
        - account.other_contracts
        - sum(request.contracts for request in working),
        margin=account.equity_at_roll + money.account_pnl - money.margin,
    )


def _objection(proposal: Proposal, room: _Room, context: StepContext) -> str | None:
    request = proposal.request
    if not context.may_open:
        return "the loss limit has fired" if context.outputs.loss_fired else f"session is {context.status}"
    if request.risk > room.loss:
        return f"loss to its stop ${request.risk} exceeds what remains of the day's limit, ${max(room.loss, ZERO)}"
    if request.contracts > room.contracts:
        return f"{request.contracts} contracts exceed the {max(room.contracts, 0)} left of the position limit"
    margin = _margin(request, context)
    if margin > room.margin:
        return f"margin ${margin:.2f} (Reg-T estimate) exceeds the buying power ${max(room.margin, ZERO):.2f}"
    room.loss -= request.risk
    room.contracts -= request.contracts
    room.margin -= margin
    return None


def _margin(request: OrderRequest, context: StepContext) -> Decimal:
    """Return the estimate at the worse of what was proposed and what is quoted now."""
    assert context.board is not None  # noqa: S101 - there is no plan without one
    board = context.board
    legs = {leg.contract: leg.quantity if leg.side == "buy" else -leg.quantity for leg in request.legs}
    marks = {one.symbol: board.quote(one).mid or ZERO for one in legs}
    marks = {leg.contract.symbol: max(marks[leg.contract.symbol], leg.reference or ZERO) for leg in request.legs}
    margin = legs_margin(legs, marks, Decimal(str(round(board.tick.spot, 4))))
    return margin if spread_width(legs) is not None else margin + excess_premium(request)
