"""Conditions that read the market: VIX, SPY, regime, liquidity."""

from typing import Any

from fntx_sessions.automation.rules.conditions.base import MARKET, Builtin, OneOf, Threshold, percent
from fntx_sessions.automation.rules.conditions.values import names, number
from fntx_sessions.automation.rules.model import Facts, MarketFacts, Reading

_REGIMES = ("low_volatility", "normal", "high_volatility")
_LIQUIDITY = ("normal", "thin", "stale", "closed")
_NONE_EVER = Reading(None, note="no market data")


def _of(market: MarketFacts, value: Any) -> Reading:
    return Reading(value, market.age_s, stale=market.stale)


def _vix(facts: Facts, _value: Any) -> Reading:
    return _NONE_EVER if facts.market is None else _of(facts.market, facts.market.vix)


def _spy_change(facts: Facts, _value: Any) -> Reading:
    market = facts.market
    if market is None:
        return _NONE_EVER
    if market.spot is None or not market.previous_close:
        return _of(market, None)
    return _of(market, (market.spot / market.previous_close - 1) * 100)


def _regime(facts: Facts, _value: Any) -> Reading:
    market = facts.market
    if market is None:
        return _NONE_EVER
    return _of(market, None if market.regime == "unknown" else market.regime)


def _liquidity(facts: Facts, value: Any) -> Reading:
    """Read it as it is told; `stale` is a known value to the rule that names it, and no value to others."""
    market = facts.market
    if market is None:
        return _NONE_EVER
    known = market.liquidity != "unknown" and (market.liquidity != "stale" or "stale" in value)
    if known and market.liquidity == "stale":
        return Reading("stale", market.age_s)
    return _of(market, market.liquidity if known else None)


MARKETS: tuple[Builtin, ...] = (
    Threshold(
        name="vix_below",
        label="VIX",
        takes="VIX points",
        means="VIX is below this",
        check_value=number(0, 10_000, "VIX points", above_low=True),
        read_facts=_vix,
        source=MARKET,
        ordered=-1,
        above=False,
    ),
    Threshold(
        name="vix_above",
        label="VIX",
        takes="VIX points",
        means="VIX is above this",
        check_value=number(0, 10_000, "VIX points"),
        read_facts=_vix,
        source=MARKET,
        ordered=1,
    ),
    Threshold(
        name="spy_change_above",
        label="SPY",
        takes="percent of the previous close, such as `1.5` or `-2`",
        means="SPY has changed by more than this since the previous close",
        check_value=number(-100, 1000, "percent"),
        read_facts=_spy_change,
        source=MARKET,
        ordered=1,
        show=percent,
    ),
    Threshold(
        name="spy_change_below",
        label="SPY",
        takes="percent of the previous close, such as `-2` for 2 % down",
        means="SPY's change since the previous close is below this",
        check_value=number(-100, 1000, "percent", above_low=True),
        read_facts=_spy_change,
        source=MARKET,
        ordered=-1,
        show=percent,
        above=False,
    ),
    OneOf(
        name="market_regime",
        label="market regime",
        takes="a name, or a list; usual: " + ", ".join(f"`{one}`" for one in _REGIMES),
        means="the market's regime is one of these",
        check_value=names("regime", _REGIMES),
        read_facts=_regime,
        source=MARKET,
    ),
    OneOf(
        name="liquidity_status",
        label="liquidity",
        takes="a name, or a list; usual: " + ", ".join(f"`{one}`" for one in _LIQUIDITY),
        means="the market's liquidity is one of these; `stale` counts only where the rule names it",
        check_value=names("liquidity", _LIQUIDITY),
        read_facts=_liquidity,
        source=MARKET,
    ),
)
