"""Option prices: Black's formula from QuantLib with r = q = 0 and a flat smile, and quotes around them.

QuantLib (100 MB resident, half a second) is imported with the first price, so that only workers that price pay for it.
"""

import math
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

from fntx_sessions.trading.orders import Right
from fntx_sessions.trading.rules import VARIANCE_DAYS, TradingRules


@dataclass(frozen=True, slots=True)
class Quote:
    """What one contract can be traded at, dollars per share. None: nobody quotes that side; never read it as zero."""

    bid: Decimal | None
    ask: Decimal | None
    mid: Decimal | None
    delta: float | None = None


NO_QUOTE = Quote(None, None, None)


@lru_cache(maxsize=1)
def _quantlib() -> tuple[Any, Any, dict[str, Any]]:
    import QuantLib  # noqa: PLC0415 - see the module's docstring

    types = {"put": QuantLib.Option.Put, "call": QuantLib.Option.Call}
    return QuantLib.blackFormula, QuantLib.blackFormulaAssetItmProbability, types


def volatility(vix_close: float, spot: float, previous_close: float, beta: float) -> float:
    """Return the annual volatility now: the previous day's VIX close, moved against the market by `beta`.

    sigma = VIX / 100 x (spot / previous close) ^ -beta.
    """
    return vix_close / 100 * math.pow(spot / previous_close, -beta)


def deviation(sigma: float, share_left: float, rules: TradingRules) -> float:
    """Return the standard deviation of log price from now to the close.

    Variance = sigma^2 x 0.75 / 252 x the share of the session left: a quarter of a day's variance is overnight.
    """
    return sigma * math.sqrt(rules.session_variance_share / VARIANCE_DAYS * max(share_left, 0.0))


def option_value(right: Right, strike: float, spot: float, std_dev: float) -> float:
    """Return the model's value per share; intrinsic where no deviation is left."""
    formula, _, types = _quantlib()
    return float(formula(types[right], strike, spot, std_dev))


def option_delta(right: Right, strike: float, spot: float, std_dev: float) -> float:
    """Return the model's delta per share, negative for puts."""
    if std_dev <= 0:
        in_the_money = spot < strike if right == "put" else spot > strike
        return (-1.0 if right == "put" else 1.0) if in_the_money else 0.0
    _, probability, types = _quantlib()
    delta = float(probability(types[right], strike, spot, std_dev))
    return -delta if right == "put" else delta


def quote_around(value: float, delta: float, rules: TradingRules, *, wide: bool) -> Quote:
    """Return the quote around a model value: half spread max($0.01, 5 %), doubled when `wide`, whole cents outwards."""
    half = max(rules.half_spread, rules.half_spread_fraction * value) * (rules.wide_spread_factor if wide else 1.0)
    # A ten-thousandth of a cent of slack, so that binary rounding does not move a price by a whole one.
    bid = max(math.floor((value - half) * 100 + 1e-4), 0)
    ask = max(math.ceil((value + half) * 100 - 1e-4), 1)
    return Quote(_cents(bid), _cents(ask), _mid(value), delta)


@lru_cache(maxsize=8192)
def _cents(count: int) -> Decimal:
    return Decimal(count).scaleb(-2)


def _mid(value: float) -> Decimal:
    return Decimal(round(value * 10_000)).scaleb(-4)


def strike_for_delta(right: Right, spot: float, std_dev: float, delta: float) -> Decimal:
    """Return the $1 strike out of the money whose delta is nearest to `delta` (given without sign)."""
    outward = -1 if right == "put" else 1
    strike = math.floor(spot) if right == "put" else math.ceil(spot)
    current = abs(option_delta(right, strike, spot, std_dev))
    while strike + outward > 0:
        following = abs(option_delta(right, strike + outward, spot, std_dev))
        if abs(following - delta) >= abs(current - delta):
            break
        strike, current = strike + outward, following
    return Decimal(strike)
