"""Exchange calendars: holidays, half days, lunch breaks and daylight saving, as plain tables of UTC times per year.

The stock session comes from `pandas_market_calendars`. Options trade 15 minutes longer on the exchanges of SPY, and as
long as the exchange everywhere else; why: docs/decisions/0011-calendar-library.md and 0076.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.trading.calendar_years import Hours, calendar_names, year_of, zone_of

__all__ = ["Calendar", "Hours", "calendar_names", "get_calendar", "load_calendars"]
_FAR_DAYS = 40  # no exchange of the library stays shut longer
_DAY = timedelta(days=1)


class Calendar:
    """The trading days of one exchange; `get_calendar` returns the shared one. Raises InvalidArgument if unknown.

    A trading day may begin on the evening before it (futures): `day_at` says which one a moment falls into.
    """

    def __init__(self, name: str = "XNYS") -> None:
        self.name = name
        self.zone: ZoneInfo = zone_of(name)

    def hours(self, day: date) -> Hours | None:
        """Return the day's hours, None when the exchange is shut."""
        return year_of(self.name, day.year).get(day)

    def hours_at(self, moment: datetime) -> Hours | None:
        """Return the hours of the day that `moment` falls into, None when that is no trading day."""
        return self.hours(self.day_at(moment))

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
        """Return when options trade (SPY's: 09:30-16:15, half days to 13:15, exchange time), None when shut."""
        hours = self.hours(day)
        return None if hours is None else (hours.open, hours.option_close)

    def option_spans(self, day: date) -> list[tuple[datetime, datetime]]:
        """Return the option hours with lunch taken out: one span, two around a break, none when shut."""
        hours = self.hours(day)
        if hours is None:
            return []
        if hours.break_start is None or hours.break_end is None:
            return [(hours.open, hours.option_close)]
        return [(hours.open, hours.break_start), (hours.break_end, hours.option_close)]

    def extended_hours(self, day: date) -> tuple[datetime, datetime] | None:
        """Return pre-market open and post-market close (04:00-20:00, half days to 17:00), None when shut."""
        hours = self.hours(day)
        return None if hours is None else (hours.extended_open, hours.extended_close)

    def local_date(self, moment: datetime) -> date:
        """Return the exchange's date at `moment`."""
        return moment.astimezone(self.zone).date()

    def day_at(self, moment: datetime) -> date:
        """Return the day `moment` falls into: the exchange's date, or the day whose trading runs across midnight."""
        day = self.local_date(moment)
        own = self.hours(day)
        if own is not None and own.covers(moment):
            return day
        for other in (day + _DAY, day - _DAY):
            hours = self.hours(other)
            if hours is not None and hours.covers(moment):
                return other
        return day

    def trade_date(self, moment: datetime) -> date:
        """Return the trading day `moment` counts to: it begins at 00:00 exchange time of a trading day.

        One that opens on the evening before begins there. Weekends and holidays belong to the trading day before
        them, so that a loss limit fired on Friday still holds on Sunday.
        """
        day = self.day_at(moment)
        return day if self.is_trading_day(day) else self.previous_trading_day(day)

    def previous_trading_day(self, day: date) -> date:
        """Return the last trading day before `day`."""
        return self._walk(day, -1)

    def next_trading_day(self, day: date) -> date:
        """Return the first trading day after `day`."""
        return self._walk(day, 1)

    def is_open(self, moment: datetime) -> bool:
        """Tell whether the stock exchange trades at `moment` (open included; close and lunch not)."""
        hours = self.hours_at(moment)
        return hours is not None and hours.stock_open(moment)

    def options_open(self, moment: datetime) -> bool:
        """Tell whether options trade at `moment` (open included; close and lunch not)."""
        hours = self.hours_at(moment)
        return hours is not None and hours.options_open(moment)

    def minutes_to_close(self, moment: datetime) -> float | None:
        """Return minutes until the day's stock close; None after it and on days without trading."""
        hours = self.hours_at(moment)
        return None if hours is None else hours.minutes_to_close(moment)

    def next_open(self, moment: datetime) -> datetime:
        """Return when the exchange opens next, or trades again after lunch, strictly after `moment`."""
        hours = self.hours_at(moment)
        if hours is not None and hours.break_end is not None and hours.in_break(moment):
            return hours.break_end
        while hours is None or hours.open <= moment:
            hours = self.hours(self.next_trading_day(self.local_date(moment) if hours is None else hours.day))
        return hours.open

    def trading_days(self, first: date, last: date) -> list[date]:
        """Return the trading days from `first` to `last`, both included."""
        return [
            day for year in range(first.year, last.year + 1) for day in year_of(self.name, year) if first <= day <= last
        ]

    def _walk(self, day: date, direction: int) -> date:
        for distance in range(1, _FAR_DAYS):
            candidate = day + timedelta(days=direction * distance)
            if self.is_trading_day(candidate):
                return candidate
        raise InvalidArgument("date", f"{day} is more than {_FAR_DAYS} days from trading", "Use a nearer date.")


def load_calendars() -> None:
    """Load what tells days, and this year's of the default exchange: a second or two that no time limit may end."""
    get_calendar().trade_date(datetime.now(UTC))


@lru_cache(maxsize=16)
def get_calendar(name: str = "XNYS") -> Calendar:
    """Return the process's calendar of that name; raises InvalidArgument when the library has none."""
    return Calendar(name)
