"""Conditions that read the session's clock and its exchange's calendar; only market_open needs quotes too."""

from datetime import datetime
from typing import Any

from fntx_sessions.automation.rules.conditions.base import MARKET, Builtin, OneOf, Threshold, YesNo
from fntx_sessions.automation.rules.conditions.hours import hours_today, last_close, local_time, lunch_until
from fntx_sessions.automation.rules.conditions.values import DAYS, before_clock, clock, days, flag, number
from fntx_sessions.automation.rules.model import Facts, Reading

_NO_TRADING = "no trading today"
_DAY_MINUTES = 24 * 60
_DURATION_MAX = 366 * _DAY_MINUTES


def _market_open(facts: Facts, _value: Any) -> Reading:
    shut = _why_shut(facts)
    if shut:
        return Reading(value=False, note=shut)
    market = facts.market
    if market is None or market.spot is None:
        return Reading(None, market.age_s if market else None, "the exchange is open, but there is no quote")
    if market.halted:
        return Reading(value=False, age_s=market.age_s, note="trading is halted by the exchange")
    return Reading(value=True, age_s=market.age_s, stale=market.stale)


def _why_shut(facts: Facts) -> str:
    hours = hours_today(facts)
    if hours is None:
        return f"market shut, {_NO_TRADING}"
    if facts.now < hours[0]:
        return f"market shut, opens at {local_time(facts, hours[0])}"
    if facts.now >= hours[1]:
        return f"market shut, closed at {local_time(facts, hours[1])}"
    lunch = lunch_until(facts)
    return f"market shut for lunch, opens at {local_time(facts, lunch)}" if lunch else ""


def _market_close(facts: Facts, _value: Any) -> Reading:
    if facts.started_at is not None:
        return Reading(facts.started_at < last_close(facts))
    hours = hours_today(facts)
    if hours is None:
        return Reading(value=True, note=f"market closed, {_NO_TRADING}")
    return Reading(facts.now >= hours[1])


def _time(facts: Facts, _value: Any) -> Reading:
    return Reading(local_time(facts, facts.now))


def _minutes_after_open(facts: Facts, _value: Any) -> Reading:
    hours = hours_today(facts)
    return _no_trading() if hours is None else Reading(_minutes(hours[0], facts.now))


def _minutes_to_close(facts: Facts, _value: Any) -> Reading:
    hours = hours_today(facts)
    return _no_trading() if hours is None else Reading(_minutes(facts.now, hours[1]))


def _no_trading() -> Reading:
    return Reading(None, note=_NO_TRADING, decided=False)


def _minutes(first: datetime, last: datetime) -> float:
    return (last - first).total_seconds() / 60


def _day_of_week(facts: Facts, _value: Any) -> Reading:
    return Reading(DAYS[facts.calendar.local_date(facts.now).weekday()])


def _duration(facts: Facts, _value: Any) -> Reading:
    if facts.started_at is None:
        return Reading(None, note="the session has not started", expected=True)
    return Reading(max(_minutes(facts.started_at, facts.now), 0.0))


def _shown(minutes: float) -> str:
    return f"{minutes:.1f}".removesuffix(".0")


class _Time(Threshold):
    """A time of day; both sides are the exchange's clock."""

    __slots__ = ()

    def say(self, found: Any, value: Any, *, holds: bool) -> str:
        """Return how the exchange's clock stands to the value."""
        return f"{found} is {'at or after' if holds is self.above else 'before'} {value}"


CLOCKS: tuple[Builtin, ...] = (
    YesNo(
        name="market_open",
        label="market",
        takes="`true` or `false`",
        means="the exchange is open by the calendar, has not halted trading, and quotes are fresh",
        check_value=flag,
        read_facts=_market_open,
        source=MARKET,
        yes="market open",
        no="market shut",
    ),
    YesNo(
        name="market_close",
        label="close",
        takes="`true` or `false`",
        means="a close has passed since the session was started; not started yet: today's has, or there is none today",
        check_value=flag,
        read_facts=_market_close,
        yes="the market has closed",
        no="no close yet",
    ),
    _Time(
        name="time_after",
        label="time",
        takes='`"HH:MM:SS"`, exchange time',
        means="the exchange's clock shows this time or a later one, on any day",
        check_value=clock,
        read_facts=_time,
        inclusive=True,
    ),
    _Time(
        name="time_before",
        label="time",
        takes='`"HH:MM:SS"`, exchange time',
        means="the exchange's clock shows an earlier time, on any day",
        check_value=before_clock,
        read_facts=_time,
        above=False,
    ),
    Threshold(
        name="minutes_after_open_above",
        label="minutes since the open",
        takes="minutes",
        means="more minutes than this since today's open; stays so after the close; never on a day without trading",
        check_value=number(0, _DAY_MINUTES, "minutes"),
        read_facts=_minutes_after_open,
        show=_shown,
    ),
    Threshold(
        name="minutes_to_close_below",
        label="minutes to the close",
        takes="minutes",
        means="fewer minutes than this to today's close; stays so after it; never on a day without trading",
        check_value=number(0, _DAY_MINUTES, "minutes", above_low=True),
        read_facts=_minutes_to_close,
        show=_shown,
        above=False,
    ),
    OneOf(
        name="day_of_week",
        label="it is",
        takes="a day's name, or a list",
        means="the exchange's date is one of these days; three letters are enough",
        check_value=days,
        read_facts=_day_of_week,
    ),
    Threshold(
        name="duration_above",
        label="minutes since the start",
        takes="minutes",
        means="more minutes than this since the session was first started, by its own clock, pauses and nights too",
        check_value=number(0, _DURATION_MAX, "minutes"),
        read_facts=_duration,
        show=_shown,
    ),
)
