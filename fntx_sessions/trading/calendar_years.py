"""A year of an exchange as a plain table of UTC times, from `pandas_market_calendars`.

pandas is imported when a year is first worked out, or by `load_library`, and nothing of it is kept; years are, by
`calendar_cache`. What the library
gets wrong is mended here, by name: docs/decisions/0076-clocks-calendars-limits.md.
"""

import importlib
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.trading import calendar_cache

# Options on SPY trade 15 minutes longer than the stock; docs/decisions/0011-calendar-library.md.
OPTION_LAG = timedelta(minutes=15)
# Exchanges that trade SPY and its options, by the library's only calendar with extended hours. Its own of IEX forgets
# half days, and ARCX, XNAS and IEXG it does not know.
_NYSE = dict.fromkeys(
    ("XNYS", "NYSE", "stock", "ARCX", "XNAS", "NASDAQ", "BATS", "DJIA", "DOW", "IEXG", "IEX", "Investors_Exchange"),
    "NYSE",
)
# The library's own calendar of Hong Kong forgets the half days that its mirror of the ISO code knows.
_LIBRARY_NAMES = {**_NYSE, "HKEX": "XHKG"}
_LIBRARY = "pandas_market_calendars"
_YEARS = range(1990, 2101)
_PROBED = 2024
_FIX = "Use an exchange's code as in ISO 10383, for example XNYS; `fntx calendar --names` lists them."


@dataclass(frozen=True, slots=True)
class Hours:
    """One trading day, all times UTC. extended_*: pre-market open and post-market close. break_*: lunch, if any."""

    day: date
    open: datetime
    close: datetime
    option_close: datetime
    extended_open: datetime
    extended_close: datetime
    half_day: bool
    break_start: datetime | None = None
    break_end: datetime | None = None

    def in_break(self, moment: datetime) -> bool:
        """Tell whether `moment` falls into the day's lunch break (its start included, its end not)."""
        start, end = self.break_start, self.break_end
        return start is not None and end is not None and start <= moment < end

    def stock_open(self, moment: datetime) -> bool:
        """Tell whether the stock session runs at `moment` (open included, close not, lunch not)."""
        return self.open <= moment < self.close and not self.in_break(moment)

    def options_open(self, moment: datetime) -> bool:
        """Tell whether options trade at `moment`."""
        return self.open <= moment < self.option_close and not self.in_break(moment)

    def extended(self, moment: datetime) -> bool:
        """Tell whether `moment` lies between pre-market open and post-market close."""
        return self.extended_open <= moment < self.extended_close

    def minutes_to_close(self, moment: datetime) -> float | None:
        """Return minutes until the stock close; None after it."""
        return None if moment >= self.close else (self.close - moment).total_seconds() / 60

    def covers(self, moment: datetime) -> bool:
        """Tell whether anything of the day, extended and option hours included, lies around `moment`."""
        return min(self.open, self.extended_open) <= moment < max(self.option_close, self.extended_close)


@lru_cache(maxsize=64)
def year_of(name: str, year: int) -> dict[date, Hours]:
    """Return the year's trading days; raises InvalidArgument outside the years that are known."""
    if year not in _YEARS:
        raise InvalidArgument("date", f"year {year} is outside {_YEARS[0]}-{_YEARS[-1]}", "Use a date within.")
    return _kept_year(name, year) or _worked_out(name, year)


def _kept_year(name: str, year: int) -> dict[date, Hours] | None:
    """Return a year that was worked out before; None where none is kept, or what is kept is none."""
    try:
        days = [_kept_hours(row) for row in calendar_cache.remembered("year", f"{name} {year}") or ()]
    except (ValueError, TypeError):
        return None
    return {hours.day: hours for hours in days} if {hours.day.year for hours in days} == {year} else None


def _worked_out(name: str, year: int) -> dict[date, Hours]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library calls what pandas 4 deprecates
        table, early = _schedule(name, year)
    days = list(_hours(name, table, early))
    calendar_cache.remember("year", f"{name} {year}", [astuple(hours) for hours in days])
    return {hours.day: hours for hours in days}


def _kept_hours(row: list[Any]) -> Hours:
    """Return a day as `astuple` and JSON left it; raises ValueError or TypeError for what is none."""
    day, *five, half_day, start, end = row
    opens, closes, options_close, first, last = map(_moment, five)
    if type(half_day) is not bool:
        raise TypeError(half_day)
    lunch = (None, None) if start is None and end is None else (_moment(start), _moment(end))
    return Hours(date.fromisoformat(day), opens, closes, options_close, first, last, half_day, *lunch)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() != timedelta():
        raise ValueError(text)
    return moment.replace(tzinfo=UTC)


@lru_cache(maxsize=32)
def zone_of(name: str) -> ZoneInfo:
    """Return the exchange's time zone; raises InvalidArgument where the library lacks the exchange or its hours."""
    kept = calendar_cache.remembered("zone", name)
    if isinstance(kept, str):
        with suppress(ValueError, OSError):  # no zone of this system's
            return ZoneInfo(kept)
    library = _library(name)
    try:
        year_of(name, _PROBED)
    except (NotImplementedError, ValueError, LookupError) as error:
        problem = f"{name!r} is an exchange whose hours the library cannot tell ({type(error).__name__})"
        raise InvalidArgument("calendar", problem, _FIX) from error
    calendar_cache.remember("zone", name, str(library.tz))
    return ZoneInfo(str(library.tz))


def calendar_names() -> list[str]:
    """Return every name a calendar may be asked for by, sorted."""
    return sorted({*load_library().get_calendar_names(), *_LIBRARY_NAMES})


@lru_cache(maxsize=1)
def load_library() -> Any:
    """Return `pandas_market_calendars`: a second or two and 36 MB that a process without calendars is spared.

    Imported in a thread, because a task's time limit is raised in the main one: an import that it ended half-way would
    leave packages behind that no later import mends.
    """
    loading = threading.Thread(target=_import_library, name="fntx-calendars", daemon=True)
    loading.start()
    loading.join()
    return importlib.import_module(_LIBRARY)


def _import_library() -> None:
    with suppress(Exception):  # whoever waits imports it once more, and is told
        importlib.import_module(_LIBRARY)


@lru_cache(maxsize=32)
def _library(name: str) -> Any:
    names = calendar_names()
    if name not in names:
        raise InvalidArgument("calendar", f"{name!r} is not a known exchange calendar", _nearest(name, names))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it keeps times that an exchange gave up, which `_break` passes over
        return load_library().get_calendar(_LIBRARY_NAMES.get(name, name))


def _nearest(name: str, names: list[str]) -> str:
    by_key = {known.upper(): known for known in names}
    near = get_close_matches(name.upper(), by_key, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(by_key[key] for key in near)}? {_FIX}" if near else _FIX


def _schedule(name: str, year: int) -> tuple[Any, set[date]]:
    """Return the library's table of a year, and the days it says end early."""
    library = _library(name)
    bounds = {"start": "pre", "end": "post"} if {"pre", "post"} <= set(library.regular_market_times) else {}
    table = library.schedule(f"{year}-01-01", f"{year}-12-31", **bounds)
    return table, {stamp.date() for stamp in library.early_closes(table).index.to_pydatetime()}


def _hours(name: str, table: Any, early: set[date]) -> Iterator[Hours]:
    days = [stamp.date() for stamp in table.index.to_pydatetime()]
    opens, closes = _times(table, "market_open"), _times(table, "market_close")
    first = _times(table, "pre") if "pre" in table else opens
    last = _times(table, "post") if "post" in table else closes
    breaks = zip(_times(table, "break_start"), _times(table, "break_end"), strict=True)
    lag = OPTION_LAG if name in _NYSE else timedelta()
    early &= _short_for_their_weekday(dict(zip(days, closes, strict=True)), name)
    for day, start, close, pre, post, pause in zip(days, opens, closes, first, last, breaks, strict=True):
        lunch = _break(name, day, close, *pause)
        yield Hours(day, start, close, close + lag, min(pre, start), max(post, close), day in early, *lunch)


def _times(table: Any, column: str) -> list[Any]:
    if column not in table:
        return [None] * len(table)
    # A day without a break has NaT there, which alone is unlike itself.
    return [stamp.to_pydatetime().astimezone(UTC) if stamp == stamp else None for stamp in table[column]]  # noqa: PLR0124


def _break(
    name: str, day: date, close: datetime, start: datetime | None, end: datetime | None
) -> tuple[datetime | None, datetime | None]:
    """Return the lunch break, none where it is empty, falls behind an early close, or was given up."""
    since = _library(name).discontinued_market_times.get("break_start")
    given_up = since is not None and day >= since.date()
    if start is None or end is None or start >= min(end, close) or end >= close or given_up:
        return None, None
    return start, end


def _short_for_their_weekday(closes: dict[date, datetime], name: str) -> set[date]:
    """Return the days that close earlier than most of their weekday that year: Tel Aviv's Sundays are no half days."""
    zone = ZoneInfo(str(_library(name).tz))
    lasted = {day: _wall(close, zone) - datetime.combine(day, time()) for day, close in closes.items()}
    usual: dict[int, timedelta] = {}
    for weekday in range(7):
        of_it = [lasted[day] for day in closes if day.weekday() == weekday]
        usual[weekday] = max(set(of_it), key=of_it.count, default=timedelta())
    return {day for day, length in lasted.items() if length < usual[day.weekday()]}


def _wall(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return what the exchange's clock on the wall shows."""
    return moment.astimezone(zone).replace(tzinfo=None)
