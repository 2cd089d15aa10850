"""Daily bars from a CSV file: read strictly, so that no result stands on a bad row."""

import csv
import math
from dataclasses import asdict, dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.trading.calendars import Calendar

COLUMNS = ("date", "open", "high", "low", "close", "vix")
_PRICES = ("open", "high", "low", "close", "vix")
# Far above anything an index or the VIX ever was: whoever is beyond has slipped a digit or a column.
_GREATEST = {"vix": 500.0}
_GREATEST_PRICE = 1_000_000.0
_SHOWN_GAP = 3


@dataclass(frozen=True, slots=True)
class Day:
    """One trading day of the index: prices in index points, `vix` the VIX close of that day."""

    date: date
    open: float
    high: float
    low: float
    close: float
    vix: float
    volume: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that rides in `SessionConfig.feed`."""
        return {**asdict(self), "date": self.date.isoformat()}


def day_from_json(data: dict[str, Any], field: str = "feed.day") -> Day:
    """Return the day of `Day.to_json`; raises InvalidArgument naming `field` and what is wrong."""
    missing = [name for name in COLUMNS if data.get(name) is None]
    if missing:
        raise InvalidArgument(field, f"{', '.join(missing)} missing", f"Give {', '.join(COLUMNS)}.")
    values = {name: _number(data[name], f"{field}.{name}") for name in (*_PRICES, "volume") if name in data}
    day = Day(_date(str(data["date"]), f"{field}.date"), **values)
    _check_prices(day, field)
    return day


def read_days(path: Path, calendar: Calendar) -> list[Day]:
    """Return the days of a CSV file, in order and without gaps.

    Columns: date, open, high, low, close, vix, and if wanted volume; others are ignored. Raises InvalidArgument naming
    file, line and column for whatever is missing, not a number, out of order, twice there, impossible or left out.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            days = _read(path, csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidArgument(
            str(path), f"cannot be read as CSV: {error}", "Give a readable UTF-8 CSV file."
        ) from error
    if not days:
        raise InvalidArgument(str(path), "holds no days", "Give a file with a header and a row per trading day.")
    _check_order(path, days, calendar)
    return [day for _, day in days]


def backtest_days(days: list[Day], first: date | None = None, last: date | None = None) -> list[tuple[Day, Day]]:
    """Return (previous, day) pairs from `first` to `last`; the file's first day only serves as a previous one.

    Raises InvalidArgument when nothing is left.
    """
    pairs = list(pairwise(days))
    wanted = [
        pair for pair in pairs if (first is None or pair[1].date >= first) and (last is None or pair[1].date <= last)
    ]
    if wanted:
        return wanted
    fix = "Widen --from and --to, or give a longer file; its first day only tells the previous close and VIX."
    raise InvalidArgument("days", f"no day between {first or 'start'} and {last or 'end'}", fix)


def _read(path: Path, reader: "csv.DictReader[str]") -> list[tuple[int, Day]]:
    header = [name.strip() for name in reader.fieldnames or []]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        fix = f"Name the columns {','.join(COLUMNS)} in the first line."
        raise InvalidArgument(f"{path} line 1", f"column {', '.join(missing)} missing", fix)
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise InvalidArgument(f"{path} line 1", f"column {', '.join(twice)} is there twice", "Keep one of the two.")
    reader.fieldnames = header
    return [(reader.line_num, _row(f"{path} line {reader.line_num}", row)) for row in reader]


def _row(where: str, row: dict[str, Any]) -> Day:
    if None in row or None in row.values():
        raise InvalidArgument(where, "has not as many values as the header", "Give each column one value.")
    values = {name: _number(row[name], f"{where} column {name}") for name in _PRICES}
    volume = _number(row["volume"], f"{where} column volume") if row.get("volume") else 0.0
    day = Day(_date(row["date"].strip(), f"{where} column date"), **values, volume=volume)
    _check_prices(day, where)
    return day


def _number(text: Any, where: str) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise InvalidArgument(where, f"{text!r} is not a number of zero or more", "Give a plain decimal number.")
    return value


def _date(text: str, where: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(where, f"{text!r} is not a date", "Write dates as 2018-02-05.") from None


def _check_prices(day: Day, where: str) -> None:
    for name in _PRICES:
        if getattr(day, name) <= 0:
            raise InvalidArgument(f"{where} column {name}", "is zero", "Give a price above zero.")
        greatest = _GREATEST.get(name, _GREATEST_PRICE)
        if getattr(day, name) > greatest:
            problem = f"{getattr(day, name):g} is more than {greatest:,.0f}"
            raise InvalidArgument(f"{where} column {name}", problem, "Check the row against its source.")
    if day.low > min(day.open, day.close) or day.high < max(day.open, day.close):
        problem = f"low {day.low} and high {day.high} do not contain open {day.open} and close {day.close}"
        raise InvalidArgument(f"{where} column high/low", problem, "Check the row against its source.")


def _check_order(path: Path, days: list[tuple[int, Day]], calendar: Calendar) -> None:
    before: date | None = None
    for line, day in days:
        where = f"{path} line {line} column date"
        if before is not None:
            _check_step(where, before, day.date, calendar)
        if not calendar.is_trading_day(day.date):
            wrong = (
                f"Remove the row; if the file is of another exchange than {calendar.name}, name that one's calendar."
            )
            raise InvalidArgument(where, f"{day.date} is not a trading day of {calendar.name}", wrong)
        before = day.date


def _check_step(where: str, before: date, day: date, calendar: Calendar) -> None:
    if day == before:
        raise InvalidArgument(where, f"{day} is there twice", "Remove one of the two rows.")
    if day < before:
        raise InvalidArgument(where, f"{day} comes after {before}", "Sort the rows by date.")
    gap = calendar.trading_days(before, day)[1:]
    left_out = [str(missing) for missing in gap if missing != day]
    if left_out:
        fix = f"Add the rows; if the file is of another exchange than {calendar.name}, name that one's calendar."
        shown = ", ".join(left_out[:_SHOWN_GAP]) + (" ..." if len(left_out) > _SHOWN_GAP else "")
        raise InvalidArgument(
            where, f"{len(left_out)} trading day(s) of {calendar.name} before {day} missing: {shown}", fix
        )
