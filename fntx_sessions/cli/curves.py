"""Curves in a line of text: P&L and exposure over time, with the amounts that a picture cannot tell."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from sparklines import sparklines

from fntx_sessions.cli.output import NONE, money

Curve = dict[str, Any]
# How many samples are asked for: enough that the extremes of each character are among them.
POINTS = 300
WIDTH = 48


def told(curve: Curve | None, width: int = WIDTH) -> dict[str, str | None]:
    """Return the facts a curve makes: P&L, and exposure where there ever was any; nothing without a sample."""
    points = (curve or {}).get("points") or []
    if not points:
        return {}
    nets = [float(point["net_pnl"]) for point in points]
    stakes = [float(point["exposure"]) for point in points]
    since = _clock(points[0]["timestamp"], points[-1]["timestamp"])
    return {
        "P&L": f"{drawn(nets, width)} {money(nets[-1])} now, {money(min(nets))} to {money(max(nets))} since {since}",
        "at stake": f"{drawn(stakes, width)} ${stakes[-1]:,.2f} now, ${max(stakes):,.2f} at most"
        if any(stakes)
        else None,
    }


def drawn(values: list[float], width: int = WIDTH) -> str:
    """Return values as a line of at most `width` blocks, the lowest the lowest of them; `-` for none."""
    if not values:
        return NONE
    shown = _thinned(values, width)
    # Blocks grow from the lowest value: the package would draw what is below zero downwards, in a second line.
    return str(sparklines([value - min(shown) for value in shown])[0])


def _thinned(values: list[float], width: int) -> list[float]:
    """Return at most `width` values: of each stretch the one that is farthest from the middle, so that peaks stay."""
    if len(values) <= width:
        return values
    middle = (min(values) + max(values)) / 2
    ends = [len(values) * number // width for number in range(width + 1)]
    stretches = [values[start:end] for start, end in pairwise(ends)]
    return [max(stretch, key=lambda value: abs(value - middle)) for stretch in stretches]


def _clock(first: str, last: str) -> str:
    """Return when a curve begins, in UTC: with its date where it does not end on the same day."""
    begins, ends = (datetime.fromisoformat(str(one)).astimezone(UTC) for one in (first, last))
    return f"{begins:%H:%M} UTC" if begins.date() == ends.date() else f"{begins:%Y-%m-%d %H:%M} UTC"
