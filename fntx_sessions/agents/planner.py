"""StrategicPlannerAgent: what to sell and when, from the enabled strategies and their parameters."""

from datetime import time
from functools import lru_cache
from typing import Any

from fntx_sessions.agents.base import Proposal, State, StepContext
from fntx_sessions.schemas import Severity, StrategyParameters
from fntx_sessions.trading.ledger import entry_risk
from fntx_sessions.trading.market import Board
from fntx_sessions.trading.orders import OrderRequest
from fntx_sessions.trading.strategies import Structure, build

_DEFAULTS = StrategyParameters()


class StrategicPlannerAgent:
    """Proposes each enabled strategy from its entry time on, at most `max_entries_per_day` times, never twice at once.

    How often was entered is read from the book, not from memory: an agent restored from an old checkpoint cannot
    enter again what it has entered.
    """

    name = "StrategicPlannerAgent"

    def step(self, state: State, context: StepContext) -> State:
        """Put proposals into the plan; remembers what was tried today and why something was skipped."""
        today = context.book.trade_date.isoformat()
        if state.get("day") != today:
            state = {"day": today, "tried": {}, "skipped": {}}
        if context.board is None or not context.may_enter:
            return state
        kept_out = _kept_out(context, context.board)
        if kept_out is not None:
            return {**state, "kept_out": kept_out}
        state = {key: value for key, value in state.items() if key != "kept_out"}
        for name in context.enabled_strategies:
            state = _consider(name, context.strategy_parameters.get(name, _DEFAULTS), state, context, context.board)
        return state


def _kept_out(context: StepContext, board: Board) -> str | None:
    """Return why its configuration lets nothing new be entered now; None: it does not say so."""
    vix_max, last = (context.configuration.get(name) for name in ("vix_max", "last_entry_time"))
    if last is not None and context.local_time >= _time(last):
        return f"no entries from {last} on"
    if vix_max is not None and (board.tick.vix is None or board.tick.vix > vix_max):
        return f"VIX {board.tick.vix}, entries up to {vix_max:g} only"
    return None


def _consider(name: str, parameters: StrategyParameters, state: State, context: StepContext, board: Board) -> State:
    number = max(context.book.entries(name), state["tried"].get(name, 0)) + 1
    if _trade_id(name, number, context) in context.people.spent:
        return _tried(state, name, number)  # a person said no to it, or it was carried out and did not fill
    if number > parameters.max_entries_per_day or context.local_time < _time(parameters.entry_time):
        return state
    if any(trade.strategy == name for trade in context.book.open_trades) or _entering(name, context):
        return state
    built = build(name, parameters, board, board.tick.trade_date)
    if isinstance(built, str):
        return _skip(name, number, built, state, context)
    proposal = _proposal(name, number, parameters, built, context)
    context.outputs.plan.append(proposal)
    return state if context.approving else _tried(state, name, number)


def _entering(name: str, context: StepContext) -> bool:
    requests = [order.intent.request for order in context.book.working.values()]
    requests += [approval.request for approval in context.people.approvals.values()]
    return any(request.opening and request.strategy == name for request in requests)


def _trade_id(name: str, number: int, context: StepContext) -> str:
    return f"{context.book.trade_date.isoformat()}/{name}/{number}"


def _proposal(
    name: str, number: int, parameters: StrategyParameters, built: Structure, context: StepContext
) -> Proposal:
    request = OrderRequest(
        _trade_id(name, number, context),
        name,
        "sell",
        built.legs,
        opening=True,
        limit=built.credit,
        reason="entry",
        risk=entry_risk(context.risk, context.rules, built.legs, built.credit),
    )
    return Proposal(request, why=_why(name, number, parameters, built, context))


def _why(name: str, number: int, parameters: StrategyParameters, built: Structure, context: StepContext) -> str:
    """Return why it is proposed, in a sentence for whoever has to agree to it."""
    assert context.board is not None  # noqa: S101 - nothing is built without one
    sold = [leg.contract for leg in built.legs if leg.side == "sell"]
    strikes = " and ".join(f"{one.right} {one.strike} of delta {abs(context.board.delta(one)):.2f}" for one in sold)
    entry = f"{name}, entry {number} of {parameters.max_entries_per_day} from {parameters.entry_time} on"
    return (
        f"{entry}: {strikes}, nearest to {parameters.delta:.2f}; "
        f"${built.credit:.2f} a share, at least ${parameters.min_bid:.2f} wanted"
    )


def _skip(name: str, number: int, why: str, state: State, context: StepContext) -> State:
    if why.startswith("no "):
        return state  # nothing to judge by yet; a later bar may have it
    description = f"{name} not entered: {why}"
    context.desk.emit("entry_skipped", "trading", Severity.INFO, description, {"strategy": name, "why": why})
    skipped: dict[str, Any] = {**state["skipped"], name: why}
    return {**_tried(state, name, number), "skipped": skipped}


def _tried(state: State, name: str, number: int) -> State:
    return {**state, "tried": {**state["tried"], name: number}}


@lru_cache(maxsize=256)
def _time(text: str) -> time:
    return time.fromisoformat(text)
