"""Results of many (day, seed) runs in one picture: medians and 5-95 %, by day and by year, never a Sharpe ratio."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from fntx_sessions.trading.metrics import percentile

LABEL = "Model prices, synthetic intraday paths and expiries, no option quotes. Demonstrates the system, not returns."
ALWAYS_SHOWN = (date(2018, 2, 5),)  # the day short volatility ended for many; a summary must not hide it
ENOUGH_SEEDS = 50


@dataclass(frozen=True, slots=True)
class RunResult:
    """One session's day under one seed; dollars after fees."""

    day: date
    seed: int
    net_pnl: float
    fees: float = 0.0
    trades: int = 0
    max_drawdown: float = 0.0


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and the 5th and 95th percentile, values that did occur, and how many there were."""

    median: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class DayResult:
    """One day over its seeds. worst_drawdown: the deepest of any seed."""

    day: date
    net_pnl: Spread
    trades: int
    worst_drawdown: float


@dataclass(frozen=True, slots=True)
class YearResult:
    """One year over its seeds: each seed's days summed first, so that the spread is that of whole years.

    Only seeds that ran on every day of the year's result count; days: how many that are.
    """

    year: int
    days: int
    net_pnl: Spread
    fees: float
    worst_day: date
    worst_day_median: float


@dataclass(frozen=True, slots=True)
class Report:
    """All there is to show; `label` goes with every rendering. warnings: what makes it weaker than it looks."""

    label: str
    days: list[DayResult]
    years: list[YearResult]
    shown: list[DayResult]
    warnings: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def report(results: Iterable[RunResult]) -> Report:
    """Return the report of any number of runs, in any order; a (day, seed) given twice counts once (the last)."""
    runs = {(one.day, one.seed): one for one in results}
    by_day: dict[date, list[RunResult]] = {}
    for run in runs.values():
        by_day.setdefault(run.day, []).append(run)
    days = [_day(day, by_day[day]) for day in sorted(by_day)]
    years = [_year(year, by_day, days) for year in sorted({day.year for day in by_day})]
    shown = [day for day in days if day.day in ALWAYS_SHOWN]
    return Report(LABEL, days, years, shown, _warnings(by_day))


def spread(values: list[float]) -> Spread:
    """Return median, 5 % and 95 % of at least one value."""
    low, median, high = (percentile(values, rank) for rank in (5, 50, 95))
    if low is None or median is None or high is None:
        msg = "a spread needs at least one value"
        raise ValueError(msg)
    return Spread(median, low, high, len(values))


def _day(day: date, runs: list[RunResult]) -> DayResult:
    values = [run.net_pnl for run in runs]
    return DayResult(day, spread(values), sum(run.trades for run in runs), min(run.max_drawdown for run in runs))


def _year(year: int, by_day: dict[date, list[RunResult]], days: list[DayResult]) -> YearResult:
    of_year = [runs for day, runs in by_day.items() if day.year == year]
    seeds = set.intersection(*({run.seed for run in runs} for runs in of_year))
    sums = _sums(of_year, seeds) or _sums(of_year, {run.seed for runs in of_year for run in runs})
    worst = min((day for day in days if day.day.year == year), key=lambda day: day.net_pnl.median)
    fees = sum(run.fees for runs in of_year for run in runs) / max(len(sums), 1)
    return YearResult(year, len(of_year), spread(sums), fees, worst.day, worst.net_pnl.median)


def _sums(of_year: list[list[RunResult]], seeds: set[int]) -> list[float]:
    return [sum(run.net_pnl for runs in of_year for run in runs if run.seed == seed) for seed in sorted(seeds)]


def _warnings(by_day: dict[date, list[RunResult]]) -> list[str]:
    counts = [len(runs) for runs in by_day.values()]
    found = []
    if counts and min(counts) < ENOUGH_SEEDS:
        found.append(f"some days have {min(counts)} seeds only; {ENOUGH_SEEDS} or more tell the spread better")
    if counts and min(counts) != max(counts):
        found.append("not all days ran with the same seeds: year totals use those all days have")
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, date) else value
