"""Exchange calendars: holidays, half days and daylight saving, as plain tables of UTC times per year.

The stock session comes from `pandas_market_calendars`. Options on SPY trade 15 minutes longer than the stock, half
days included; why that rule and not the library's option calendars: docs/decisions/0011-calendar-library.md.
pandas is imported when a year is first asked for, and nothing of it is kept.
"""

import warnings
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from fntx_sessions.exceptions import InvalidArgument

OPTION_LAG = timedelta(minutes=15)
_LIBRARY_NAMES = {"XNYS": "NYSE"}  # the library's XNYS mirror lacks extended hours; both list the same days
_YEARS = range(1990, 2101)
_FAR_DAYS = 40  # no exchange of the library stays shut longer


@dataclass(frozen=True, slots=True)
class Hours:
    """One trading day, all times UTC. extended_*: pre-market open and post-market close."""

    day: date
    open: datetime
    close: datetime
    option_close: datetime
    extended_open: datetime
    extended_close: datetime
    half_day: bool


class Calendar:
    """The trading days of one exchange; `get_calendar` returns the shared one. Raises InvalidArgument if unknown."""

    def __init__(self, name: str = "XNYS") -> None:
        self.name = name
        self.zone: ZoneInfo = _zone(name)

    def hours(self, day: date) -> Hours | None:
        """Return the day's hours, None when the exchange is shut."""
        return _year(self.name, day.year).get(day)

    def is_trading_day(self, day: date) -> bool:
        """Tell whether the exchange opens on `day`."""
        return self.hours(day) is not None

    def is_half_day(self, day: date) -> bool:
        """Tell whether `day` is a trading day that ends early."""
        hours = self.hours(day)
        return hours is not None and hours.half_day

    def session_hours(self, day: date) -> tuple[datetime, datetime] | None:
        """Return the stock session (open, close), None when shut."""
        hours = self.hours(day)
        return None if hours is None else (hours.open, hours.close)

    def option_hours(self, day: date) -> tuple[datetime, datetime] | None:
        """Return when SPY options trade (09:30-16:15, half days to 13:15, exchange time), None when shut."""
        hours = self.hours(day)
        return None if hours is None else (hours.open, hours.option_close)

    def extended_hours(self, day: date) -> tuple[datetime, datetime] | None:
        """Return pre-market open and post-market close (04:00-20:00, half days to 17:00), None when shut."""
        hours = self.hours(day)
        return None if hours is None else (hours.extended_open, hours.extended_close)

    def local_date(self, moment: datetime) -> date:
        """Return the exchange's date at `moment`."""
        return moment.astimezone(self.zone).date()

    def trade_date(self, moment: datetime) -> date:
        """Return the trading day `moment` counts to: it begins at 00:00 exchange time of a trading day.

        Weekends and holidays belong to the trading day before them, so that a loss limit fired on Friday still
        holds on Sunday.
        """
        day = self.local_date(moment)
        return day if self.is_trading_day(day) else self.previous_trading_day(day)

    def previous_trading_day(self, day: date) -> date:
        """Return the last trading day before `day`."""
        return self._walk(day, -1)

    def next_trading_day(self, day: date) -> date:
        """Return the first trading day after `day`."""
        return self._walk(day, 1)

    def is_open(self, moment: datetime) -> bool:
        """Tell whether the stock exchange trades at `moment` (open included, close not)."""
        hours = self.hours(self.local_date(moment))
        return hours is not None and hours.open <= moment < hours.close

    def options_open(self, moment: datetime) -> bool:
        """Tell whether options trade at `moment` (open included, close not)."""
        hours = self.hours(self.local_date(moment))
        return hours is not None and hours.open <= moment < hours.option_close

    def minutes_to_close(self, moment: datetime) -> float | None:
        """Return minutes until today's stock close; None after it and on days without trading."""
        hours = self.hours(self.local_date(moment))
        if hours is None or moment >= hours.close:
            return None
        return (hours.close - moment).total_seconds() / 60

    def next_open(self, moment: datetime) -> datetime:
        """Return when the exchange opens next, strictly after `moment`."""
        day = self.local_date(moment)
        hours = self.hours(day)
        if hours is None or hours.open <= moment:
            hours = self.hours(self.next_trading_day(day))
        assert hours is not None  # noqa: S101 - a trading day has hours
        return hours.open

    def trading_days(self, first: date, last: date) -> list[date]:
        """Return the trading days from `first` to `last`, both included."""
        return [
            day for year in range(first.year, last.year + 1) for day in _year(self.name, year) if first <= day <= last
        ]

    def _walk(self, day: date, direction: int) -> date:
        for distance in range(1, _FAR_DAYS):
            candidate = day + timedelta(days=direction * distance)
            if self.is_trading_day(candidate):
                return candidate
        raise InvalidArgument("date", f"{day} is more than {_FAR_DAYS} days from trading", "Use a nearer date.")


@lru_cache(maxsize=16)
def get_calendar(name: str = "XNYS") -> Calendar:
    """Return the process's calendar of that name; raises InvalidArgument when the library has none."""
    return Calendar(name)


@lru_cache(maxsize=16)
def _library(name: str) -> Any:
    import pandas_market_calendars  # noqa: PLC0415 - a second and 36 MB that a worker without calendars is spared

    known = pandas_market_calendars.get_calendar_names()
    if name not in known:
        fix = "Use an exchange's code as in ISO 10383, for example XNYS."
        raise InvalidArgument("calendar", f"{name!r} is not a known exchange calendar", fix)
    return pandas_market_calendars.get_calendar(_LIBRARY_NAMES.get(name, name))


def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(str(_library(name).tz))


@lru_cache(maxsize=64)
def _year(name: str, year: int) -> dict[date, Hours]:
    if year not in _YEARS:
        raise InvalidArgument("date", f"year {year} is outside {_YEARS[0]}-{_YEARS[-1]}", "Use a date within.")
    library = _library(name)
    extended = {"pre", "post"} <= set(library.regular_market_times)
    bounds = {"start": "pre", "end": "post"} if extended else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library calls what pandas 4 deprecates
        table = library.schedule(f"{year}-01-01", f"{year}-12-31", **bounds)
    opens, closes = _times(table, "market_open"), _times(table, "market_close")
    first = _times(table, "pre") if extended else opens
    last = _times(table, "post") if extended else closes
    days = [stamp.date() for stamp in table.index.to_pydatetime()]
    return _hours(_zone(name), list(zip(days, opens, closes, first, last, strict=True)))


def _times(table: Any, column: str) -> list[datetime]:
    return [stamp.to_pydatetime().astimezone(UTC) for stamp in table[column]]


def _hours(zone: ZoneInfo, rows: list[tuple[date, datetime, datetime, datetime, datetime]]) -> dict[date, Hours]:
    ends = {day: close.astimezone(zone).time() for day, _, close, _, _ in rows}
    usual = max(set(ends.values()), key=list(ends.values()).count, default=None)
    return {
        day: Hours(day, start, close, close + OPTION_LAG, pre, post, usual is not None and ends[day] < usual)
        for day, start, close, pre, post in rows
    }
