"""The hours a session's rules mean: the stock session, or pre-market to post-market for Extended Hours sessions."""

from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from fntx_sessions.automation.rules.model import Facts
from fntx_sessions.trading.calendars import Calendar


def hours_today(facts: Facts) -> tuple[datetime, datetime] | None:
    """Return today's (open, close), None where the exchange is shut all day."""
    return _hours_at(facts.calendar, facts.now, facts.extended)


# One sweep looks at one moment for all its sessions: what the calendar says of it is worked out once.
@lru_cache(maxsize=256)
def _hours_at(calendar: Calendar, moment: datetime, extended: bool) -> tuple[datetime, datetime] | None:  # noqa: FBT001
    return hours_of(calendar, calendar.day_at(moment), extended=extended)


def hours_of(calendar: Calendar, day: date, *, extended: bool) -> tuple[datetime, datetime] | None:
    """Return a day's (open, close), None where the exchange is shut all day."""
    return calendar.extended_hours(day) if extended else calendar.session_hours(day)


def lunch_until(facts: Facts) -> datetime | None:
    """Return when the exchange's lunch break ends, None where it has none now; extended hours know none."""
    hours = None if facts.extended else facts.calendar.hours_at(facts.now)
    return hours.break_end if hours is not None and hours.in_break(facts.now) else None


def last_close(facts: Facts) -> datetime:
    """Return the last close at or before now."""
    return _last_close(facts.calendar, facts.now, facts.extended)


@lru_cache(maxsize=256)
def _last_close(calendar: Calendar, moment: datetime, extended: bool) -> datetime:  # noqa: FBT001
    today = calendar.day_at(moment)
    hours = hours_of(calendar, today, extended=extended)
    if hours is None or moment < hours[1]:
        hours = hours_of(calendar, calendar.previous_trading_day(today), extended=extended)
    assert hours is not None  # noqa: S101 - a trading day has hours
    return hours[1]


def data_expected(facts: Facts) -> bool:
    """Tell whether somebody should be quoting: from the open until options shut, or in the extended hours."""
    if facts.extended:
        hours = hours_today(facts)
        return hours is not None and hours[0] <= facts.now < hours[1]
    return facts.calendar.options_open(facts.now)


def local_time(facts: Facts, moment: datetime) -> str:
    """Return a moment as the exchange's clock shows it, HH:MM:SS."""
    return _local_time(facts.calendar.zone, moment)


@lru_cache(maxsize=256)
def _local_time(zone: ZoneInfo, moment: datetime) -> str:
    local = moment.astimezone(zone)
    return f"{local.hour:02}:{local.minute:02}:{local.second:02}"
