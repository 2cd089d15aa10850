"""Rules that the measures of a run share, as docs/metrics.md defines them."""

import math
from collections.abc import Sequence
from decimal import Decimal

ZERO = Decimal(0)
ERROR_WINDOW_S = 300
LEAST_ATTEMPTS = 20
PAPER_NOTICE = "trades on the paper broker: no order reaches a market and no money is at stake"

INVENTED_NOTICE = "its market is invented (feed.kind synthetic): no price of it is anybody's"


def win_rate(wins: int, total: int) -> float | None:
    """Return wins / total trades, scratches in the total; None when there is no trade."""
    return wins / total if total else None


def error_rate(attempts: int, failed: int) -> float | None:
    """Return failed / attempted; None below 20 attempts, where a rate would say nothing."""
    return failed / attempts if attempts >= LEAST_ATTEMPTS else None


def percentile(values: Sequence[float], rank: float) -> float | None:
    """Return the nearest-rank percentile: a value that did occur; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(math.ceil(rank / 100 * len(ordered)), 1) - 1]


def deepest(net: Decimal, drawdown: Decimal = ZERO, peak: Decimal = ZERO) -> Decimal:
    """Return the deepest fall of equity from its peak, dollars, <= 0, that stands at `net` now.

    drawdown, peak: of its samples. A loss that was realised after the last of them counts as well.
    """
    return min(drawdown, net - max(peak, ZERO), ZERO)
