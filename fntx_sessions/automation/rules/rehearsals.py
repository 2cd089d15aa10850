"""Rehearsals as they are asked for: over a file of days, which needs no desk, or over a recorded session."""

from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import Field
from sqlalchemy import Engine

from fntx_sessions.automation.rules import editing, recording
from fntx_sessions.automation.rules.compile import as_text, compile_rules
from fntx_sessions.automation.rules.moments import day_moments
from fntx_sessions.automation.rules.rehearsal_report import Json, report
from fntx_sessions.automation.rules.rehearse import Course, rehearse_day
from fntx_sessions.schemas import Model, SessionType
from fntx_sessions.settings import Settings
from fntx_sessions.trading.calendars import get_calendar
from fntx_sessions.trading.days import backtest_days, read_days

CALENDAR = "XNYS"
# Conditions times samples of one rehearsal in a worker: a few seconds, well within the time limit of a question.
_MOST_LOOKS = 200_000
DAYS_NOTES = (
    "five-minute bars along a seeded path: a file of days does not say when a price was reached",
    "the VIX is the previous day's close: a day's own is not known before its end",
    "a file of days records no P&L, positions, errors and latency: conditions that read them are unknown",
)


class RehearseArguments(Model):
    """fntx.rules.rehearse: these rules over that recorded session; None: its own type and calendar."""

    session_id: UUID
    rules: dict[str, Any]
    session_type: SessionType | None = None
    calendar: str | None = Field(default=None, max_length=20)


def over_days(
    path: Path,
    rules: dict[str, Any],
    settings: Settings,
    *,
    session_type: SessionType = SessionType.REGULAR,
    calendar: str = CALENDAR,
    first: date | None = None,
    last: date | None = None,
    seed: int = 0,
) -> Json:
    """Return a rehearsal over a CSV of days, its first day only telling the previous close and VIX.

    Raises InvalidArgument naming the file's line and column, or the rule's path.
    """
    course = _course(rules, settings, session_type, calendar)
    pairs = backtest_days(read_days(path, course.calendar), first, last)
    days = [
        rehearse_day(course, day.date, day_moments(previous, day, course.calendar, seed)) for previous, day in pairs
    ]
    return report(course, str(path), days, DAYS_NOTES, seed=seed)


def over_session(engine: Engine, settings: Settings, arguments: RehearseArguments) -> Json:
    """Return a rehearsal over what is recorded of a session; reads in a transaction that cannot write.

    Raises NotFound, InvalidArgument by the rule's path, and PreconditionFailed where nothing is recorded.
    """
    given = None if arguments.calendar is None else get_calendar(arguments.calendar)
    most = min(recording.MOST_SAMPLES, _MOST_LOOKS // max(_conditions(arguments.rules), 1))
    found = recording.read(engine, arguments.session_id, given, max(most, 1))
    kind = arguments.session_type or found.session_type
    course = _course(arguments.rules, settings, kind, found.calendar.name)
    days = [rehearse_day(course, day, moments) for day, moments in found.days]
    return report(course, str(arguments.session_id), days, found.notes, recorded=found.transitions)


def _conditions(rules: Any) -> int:
    """Return how many conditions rules hold, groups and their parts counted, whatever else is wrong with them."""
    parts = rules.values() if isinstance(rules, dict) else rules if isinstance(rules, list) else ()
    own = isinstance(rules, dict) and "condition" in rules
    return own + sum(_conditions(part) for part in parts)


def _course(rules: dict[str, Any], settings: Settings, session_type: SessionType, calendar: str) -> Course:
    found = get_calendar(calendar)
    whole = editing.checked(editing.rule_lists(rules, "rules"), calendar, session_type)
    extended = session_type is SessionType.EXTENDED_HOURS
    return Course(compile_rules(as_text(whole), settings), found, settings, extended)
