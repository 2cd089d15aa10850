"""Rules held against the hours of a calendar: times, days and minutes at which its market is never open."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import lru_cache

from fntx_sessions.automation.rules.conditions.hours import hours_of
from fntx_sessions.automation.rules.impossible import field_of
from fntx_sessions.automation.rules.model import Rule
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.trading.calendars import Calendar, get_calendar

_FIX = "Write a value at which it is open, or take market_open out."


@dataclass(frozen=True, slots=True)
class Openings:
    """A year of a calendar in short. opens, closes: the earliest and the latest, exchange time; None: past midnight."""

    name: str
    opens: time | None
    closes: time | None
    minutes: float
    weekdays: frozenset[str]


@lru_cache(maxsize=64)
def openings_of(name: str, year: int, extended: bool) -> Openings:  # noqa: FBT001 - a key of the cache
    """Return what the days of a year have in common."""
    calendar = get_calendar(name)
    days = calendar.trading_days(date(year, 1, 1), date(year, 12, 31))
    spans = [span for day in days if (span := hours_of(calendar, day, extended=extended))]
    opens = [local_on(calendar, first, day) for day, (first, _) in zip(days, spans, strict=True)]
    closes = [local_on(calendar, last, day) for day, (_, last) in zip(days, spans, strict=True)]
    return Openings(
        name,
        None if None in opens else min((one for one in opens if one), default=None),
        None if None in closes else max((one for one in closes if one), default=None),
        max(((last - first).total_seconds() / 60 for first, last in spans), default=0.0),
        frozenset(f"{day:%A}".lower() for day in days),
    )


def this_year(calendar: Calendar, *, extended: bool) -> Openings:
    """Return the openings of the year it is."""
    return openings_of(calendar.name, datetime.now(UTC).year, extended)


def local_on(calendar: Calendar, moment: datetime, day: date) -> time | None:
    """Return a moment's exchange time; None: it is not on that day, but past a midnight."""
    local = moment.astimezone(calendar.zone)
    return local.time() if local.date() == day else None


def doubtful(flat: list[Rule]) -> list[Rule]:
    """Return what may contradict a market_open beside it, so that a calendar, which takes a second, is worth loading.

    No stock exchange opens after noon, has less than two hours, or opens on a weekend alone.
    """
    if not any(rule.condition == "market_open" and rule.value is True for rule in flat):
        return []
    return [rule for rule in flat if _is_doubtful(rule)]


def _is_doubtful(rule: Rule) -> bool:
    if rule.condition == "time_before":
        return bool(rule.value <= "12:00:00")
    if rule.condition == "minutes_after_open_above":
        return bool(rule.value >= 120)  # noqa: PLR2004 - minutes, as said above
    return rule.condition == "day_of_week" and len(set(rule.value)) < 5  # noqa: PLR2004 - who names five days names one


def check_open(rules: list[Rule], found: Openings, field: str) -> None:
    """Raise InvalidArgument where one of the rules never holds while the market is open."""
    for rule in rules:
        for problem in _contradictions(rule, found):
            told = f"{problem}, and market_open must hold with it"
            raise InvalidArgument(field_of(rule, field), told, _FIX)


def _contradictions(rule: Rule, found: Openings) -> Iterator[str]:
    value, name = rule.value, found.name
    if rule.condition == "time_before" and found.opens is not None and value <= found.opens.isoformat():
        yield f"time_before {value} never holds while {name} is open: it opens at {found.opens.isoformat()}"
    if rule.condition == "minutes_after_open_above" and value >= found.minutes:
        yield f"{name} is never open for more than {found.minutes:g} minutes"
    if rule.condition == "day_of_week" and not found.weekdays & set(value):
        yield f"{name} does not trade on a {' or '.join(value)}"
