"""EnvironmentWatcherAgent: what the market is like, from the bars seen so far."""

from datetime import timedelta

from fntx_sessions.agents.base import State, StepContext
from fntx_sessions.schemas import Severity
from fntx_sessions.trading.market import MarketTick
from fntx_sessions.trading.regime import market_regime

_ROUND_DOLLARS = 5


class EnvironmentWatcherAgent:
    """Writes the MarketState: regime, liquidity, and the levels of the day as far as it has gone."""

    name = "EnvironmentWatcherAgent"

    def step(self, state: State, context: StepContext) -> State:
        """Return the day's levels and regime; says when the regime changes."""
        tick = context.tick
        if tick is None:
            return {**state, "data": "none"}
        state = _levels(state, tick)
        regime = tick.regime or market_regime(tick.vix)
        if state.get("regime") not in (None, regime):
            _say_regime(context, state["regime"], regime)
        context.outputs.market = market_state(state, tick, regime)
        return {**state, "regime": regime, "data": "stale" if tick.stale else "fresh"}


def liquidity(tick: MarketTick) -> str:
    """Return closed (options shut or halted), stale, thin (last half hour, when spreads double) or normal."""
    if not tick.option_open:
        return "closed"
    if tick.stale:
        return "stale"
    ending = tick.minutes_to_close is None or tick.minutes_to_close <= 30  # noqa: PLR2004 - the last half hour
    return "thin" if ending else "normal"


def market_state(levels: State, tick: MarketTick, regime: str) -> State:
    """Return the MarketState of a moment as JSON."""
    below = tick.spot // _ROUND_DOLLARS * _ROUND_DOLLARS
    return {
        # Of the data, not of the look at it: whoever finds it in a save has to know how old it is.
        "timestamp": (tick.now - timedelta(seconds=tick.age_s)).isoformat(),
        "spy_price": round(tick.spot, 4),
        "vix_level": tick.vix,
        "market_regime": regime,
        "market_open": tick.market_open,
        "extended_hours": tick.extended_hours,
        "liquidity_status": liquidity(tick),
        "support_levels": sorted({levels["low"], below}, reverse=True),
        "resistance_levels": sorted({levels["high"], below + _ROUND_DOLLARS}),
        "key_levels": {
            "previous_close": round(tick.previous_close, 4),
            "open": levels["open"],
            "high": levels["high"],
            "low": levels["low"],
        },
    }


def _levels(state: State, tick: MarketTick) -> State:
    spot, day = round(tick.spot, 4), tick.trade_date.isoformat()
    if state.get("day") != day:
        return {"day": day, "open": spot, "high": spot, "low": spot, "regime": state.get("regime")}
    return {**state, "high": max(state["high"], spot), "low": min(state["low"], spot)}


def _say_regime(context: StepContext, before: str, regime: str) -> None:
    vix = None if context.tick is None else context.tick.vix
    description = f"market regime went from {before} to {regime} (VIX {vix})"
    context.desk.emit("market_regime_changed", "market", Severity.INFO, description, {"from": before, "to": regime})
