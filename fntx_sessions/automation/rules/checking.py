"""Whether the rules of a config can work: asked where configs come in, never where stored ones are read."""

from collections.abc import Collection, Mapping
from datetime import date, time
from typing import Any

import orjson

from fntx_sessions.automation.rules.compile import compile_rules
from fntx_sessions.automation.rules.conditions.hours import hours_of
from fntx_sessions.automation.rules.impossible import field_of, required, together
from fntx_sessions.automation.rules.model import KEYS, Rule, RuleSets
from fntx_sessions.automation.rules.openings import check_open, doubtful, local_on, this_year
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.parsing import refuse_unstorable
from fntx_sessions.schemas import SessionType
from fntx_sessions.session_config import SessionConfig
from fntx_sessions.settings import get_settings
from fntx_sessions.trading.calendars import Calendar, get_calendar

_KEYS = tuple(KEYS.values())
_DEFAULT_CALENDAR = SessionConfig.model_fields["calendar"].default
# No stock exchange closes before noon: a rule up to then needs no calendar, which takes a second to load.
_NOON = "12:00:00"


def check_rules(config: Mapping[str, Any], field: str = "config", *, session_type: SessionType | None = None) -> None:
    """Raise InvalidArgument, with the path to the field and what to write, where a rule of a config cannot work.

    config: as it was written, or whole; keys that are missing have their defaults. session_type: what the session is,
    for its hours; None: not known, then the longer hours count.
    """
    lists = {key: config.get(key) or [] for key in _KEYS if config.get(key) is not None}
    for key, found in lists.items():
        if not isinstance(found, list):
            raise InvalidArgument(f"{field}.{key}", "should be a list of conditions", "Write a list, empty for none.")
    if any(lists.values()):
        sets = compile_rules(_text(lists, field), get_settings(), field)
        _check_hours(sets, config, field, session_type)


def _text(lists: Mapping[str, Any], field: str) -> str:
    refuse_unstorable(dict(lists), field)
    try:
        return orjson.dumps(lists).decode()
    except TypeError:  # what came as JSON and cannot be written as such is nested hundreds of levels deep
        fix = f"Nest at most {get_settings().rule_depth_max} deep (FNTX_RULE_DEPTH_MAX)."
        raise InvalidArgument(field, "has rules that are nested too deep", fix) from None


def rules_of(config: Mapping[str, Any], changed: Collection[str]) -> dict[str, Any]:
    """Return a config without the rule sets that did not change."""
    return {key: value for key, value in config.items() if key not in _KEYS or key in changed}


def _check_hours(sets: RuleSets, config: Mapping[str, Any], field: str, session_type: SessionType | None) -> None:
    extended = session_type in (None, SessionType.EXTENDED_HOURS)
    for rule in (*required(sets.start), *required(sets.resume)):
        if rule.condition == "time_after" and rule.value > _NOON:
            _check_before_close(rule, config, field, extended=extended)
    for flat in together(sets):
        doubts = doubtful(flat)
        if doubts:
            check_open(doubts, this_year(_calendar(config, field), extended=extended), field)


def _check_before_close(rule: Rule, config: Mapping[str, Any], field: str, *, extended: bool) -> None:
    calendar = _calendar(config, field)
    close = _close(calendar, _day(config), extended=extended)
    if close is not None and rule.value >= close.isoformat():
        problem = f"time_after {rule.value} never holds while {calendar.name} is open: it closes at {close.isoformat()}"
        raise InvalidArgument(field_of(rule, field), problem, "Write an earlier time.")


def _calendar(config: Mapping[str, Any], field: str) -> Calendar:
    try:
        return get_calendar(str(config.get("calendar") or _DEFAULT_CALENDAR))
    except InvalidArgument as error:
        raise InvalidArgument(f"{field}.calendar", *error.args[1:]) from None


def _day(config: Mapping[str, Any]) -> date | None:
    """Return the one day a simulated feed plays, None where there is none, or nonsense that is refused elsewhere."""
    feed = config.get("feed")
    feed = feed if isinstance(feed, dict) else {}
    day = feed.get("day")
    told = day.get("date") if isinstance(day, dict) else feed.get("trade_date")
    try:
        return date.fromisoformat(told) if isinstance(told, str) else None
    except ValueError:
        return None


def _close(calendar: Calendar, day: date | None, *, extended: bool) -> time | None:
    hours = None if day is None else hours_of(calendar, day, extended=extended)
    if day is not None and hours is not None:
        return local_on(calendar, hours[1], day)
    return this_year(calendar, extended=extended).closes
