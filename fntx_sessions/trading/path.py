"""A seeded five-minute path through one day: from its open to its close, touching its high and its low.

Daily bars do not say when the high and low came; each seed is one way it may have been. Extremes fall near the ends
of a day more often than in its middle, as those of a random walk do (the arcsine law); between the known
points the path is a Brownian bridge in log price, folded back wherever it would leave the day's range.
"""

import math
from itertools import pairwise
from random import Random

from fntx_sessions.trading.days import Day

STEP_MINUTES = 5


def intraday_path(day: Day, seed: int, steps: int) -> list[float]:
    """Return `steps` + 1 prices (78 steps make a full day, 42 a half day), the same for the same day and seed."""
    random = Random(f"{seed}/{day.date.isoformat()}")  # noqa: S311 - a simulation, not a secret
    anchors = _anchors(day, steps, random)
    sigma = math.log(day.high / day.low) / (2 * math.sqrt(math.log(2))) / math.sqrt(steps)  # Parkinson's estimate
    path = [day.open]
    for (start, price), (end, goal) in pairwise(anchors):
        path += _bridge((price, goal), end - start, sigma, random, day)
    return path


def _anchors(day: Day, steps: int, random: Random) -> list[tuple[int, float]]:
    inside: dict[int, float] = {}
    for extreme in (day.high, day.low):
        if extreme in (day.open, day.close):
            continue
        index = _arcsine_index(steps, random)
        while index in inside:
            index = _arcsine_index(steps, random)
        inside[index] = extreme
    return [(0, day.open), *sorted(inside.items()), (steps, day.close)]


def _arcsine_index(steps: int, random: Random) -> int:
    share = math.sin(math.pi / 2 * random.random()) ** 2
    return min(max(round(share * steps), 1), steps - 1)


def _bridge(ends: tuple[float, float], steps: int, sigma: float, random: Random, day: Day) -> list[float]:
    start, goal = ends
    low, high, end = math.log(day.low), math.log(day.high), math.log(goal)
    level, prices = math.log(start), []
    for left in range(steps, 1, -1):
        drift = (end - level) / left
        level = _fold(level + drift + sigma * math.sqrt((left - 1) / left) * random.gauss(0, 1), low, high)
        prices.append(min(max(math.exp(level), day.low), day.high))
    return [*prices, goal]


def _fold(level: float, low: float, high: float) -> float:
    width = high - low
    if width <= 0:
        return low
    offset = (level - low) % (2 * width)
    return low + min(offset, 2 * width - offset)
