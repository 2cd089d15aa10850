"""The hours a session's rules mean: the stock session, or pre-market to post-market for Extended Hours sessions."""

from datetime import date, datetime

from fntx_sessions.automation.rules.model import Facts


def hours_on(facts: Facts, day: date) -> tuple[datetime, datetime] | None:
    """Return (open, close) of a day, None where the exchange is shut."""
    hours = facts.calendar.hours(day)
    if hours is None:
        return None
    return (hours.extended_open, hours.extended_close) if facts.extended else (hours.open, hours.close)


def hours_today(facts: Facts) -> tuple[datetime, datetime] | None:
    """Return today's (open, close), None where the exchange is shut all day."""
    return hours_on(facts, facts.calendar.local_date(facts.now))


def last_close(facts: Facts) -> datetime:
    """Return the last close at or before now."""
    today = facts.calendar.local_date(facts.now)
    hours = hours_on(facts, today)
    if hours is None or facts.now < hours[1]:
        hours = hours_on(facts, facts.calendar.previous_trading_day(today))
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
    local = moment.astimezone(facts.calendar.zone)
    return f"{local.hour:02}:{local.minute:02}:{local.second:02}"
