"""The regime of a market whose publisher names none: from the VIX and from how much SPY has moved of late."""

import math
from collections.abc import Sequence
from itertools import pairwise

LOW_VOLATILITY, NORMAL, HIGH_VOLATILITY, UNKNOWN = "low_volatility", "normal", "high_volatility", "unknown"
# Annual volatility in percent, as the VIX is told.
LOW_BELOW = 15.0
HIGH_FROM = 25.0
# Trading seconds of a year: 252 sessions of six and a half hours.
YEAR_S = 252 * 6.5 * 3600
# Of fewer returns nothing is told; prices further apart are not taken for a return.
LEAST_RETURNS = 10
MOST_GAP_S = 300.0

Mark = tuple[float, float]


def market_regime(vix: float | None, realised: float | None = None) -> str:
    """Return low_volatility, normal or high_volatility by the greater of VIX and realised volatility, percent a year.

    None: not known, the other one decides; `unknown` where neither is.
    """
    known = [level for level in (vix, realised) if level is not None]
    if not known:
        return UNKNOWN
    level = max(known)
    return LOW_VOLATILITY if level < LOW_BELOW else NORMAL if level < HIGH_FROM else HIGH_VOLATILITY


def realised_volatility(marks: Sequence[Mark]) -> float | None:
    """Return the annual volatility, percent, of (seconds, price) marks in order of time; None for too few returns.

    100 x sqrt(YEAR_S x sum of squared log returns / sum of the seconds they took). Marks more than `MOST_GAP_S` apart
    make no return: what happened in between, a night perhaps, is not how the market moves.
    """
    steps = [
        (later[0] - earlier[0], math.log(later[1] / earlier[1]))
        for earlier, later in pairwise(marks)
        if 0 < later[0] - earlier[0] <= MOST_GAP_S
    ]
    if len(steps) < LEAST_RETURNS:
        return None
    took_s, squares = sum(seconds for seconds, _ in steps), sum(change * change for _, change in steps)
    return 100 * math.sqrt(YEAR_S * squares / took_s)
