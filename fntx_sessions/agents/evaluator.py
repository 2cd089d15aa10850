"""EvaluatorAgent: how it goes: result, drawdown and trades so far, and one sample of the equity curve a step."""

from decimal import Decimal

from fntx_sessions.agents.base import State, StepContext
from fntx_sessions.trading.ledger import dollar_delta, result_of, stress_loss
from fntx_sessions.trading.orders import ZERO


class EvaluatorAgent:
    """Samples equity and keeps the peak and the deepest fall from it, unrealised included."""

    name = "EvaluatorAgent"

    def step(self, state: State, context: StepContext) -> State:
        """Put the sample into the outputs and return the counts and extremes so far."""
        steps = state.get("steps", 0) + 1
        if context.board is None:
            return {**state, "steps": steps}
        net = context.money().net_pnl
        # A fork begins with its parent's memory, never with its money.
        own = state if state.get("session") == str(context.session_id) else {}
        peak = max(context.peak, Decimal(own.get("peak", "0")), net)
        drawdown = min(context.drawdown, Decimal(own.get("drawdown", "0")), net - peak)
        context.outputs.sample = _sample(context, net, peak, drawdown)
        return {
            "session": str(context.session_id),
            "steps": steps,
            "peak": str(peak),
            "drawdown": str(drawdown),
            "net_pnl": str(net),
            "trades_today": _counts(context),
        }


def _sample(context: StepContext, net: Decimal, peak: Decimal, drawdown: Decimal) -> State:
    money, board, flat = context.money(), context.board, context.book.flat
    assert board is not None  # noqa: S101 - looked at by the caller
    move = context.rules.stress_move_fraction
    return {
        "timestamp": context.now,
        "net_pnl": net,
        "daily_pnl": money.daily_pnl,
        "peak": peak,
        "drawdown": drawdown,
        "exposure": money.exposure,
        "margin": money.margin,
        "open_risk": money.open_risk,
        "unrealized": money.unrealized,
        "spot": board.tick.spot,
        "dollar_delta": ZERO if flat else dollar_delta(context.book, board),
        "stress_down": ZERO if flat else stress_loss(context.book, board, -move),
        "stress_up": ZERO if flat else stress_loss(context.book, board, move),
    }


def _counts(context: StepContext) -> dict[str, int]:
    results = [result_of(trade) for trade in context.book.trades.values()]
    counted = {outcome: sum(one.outcome == outcome for one in results) for outcome in ("win", "loss", "scratch")}
    return {**counted, "open": sum(one.outcome is None for one in results)}
