"""Questions about a stretch of days: trade dates of the session's exchange, both ends included."""

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Literal, Self
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationInfo, field_validator, model_validator
from sqlalchemy import Engine, text

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.arguments import QueryArguments
from fntx_sessions.lifecycle.reads.rows import one
from fntx_sessions.schemas import Model, Severity
from fntx_sessions.trading.calendars import Calendar, get_calendar

Kind = Literal["transition", "event", "trade", "checkpoint", "sample", "decision", "error"]
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}")
_EARLIEST, _LATEST = date(1990, 1, 1), date(2099, 12, 31)
_DAY = timedelta(days=1)
_CALENDAR = text("SELECT config ->> 'calendar' AS calendar FROM sessions WHERE session_id = :session_id")


class Days(Model):
    """first and last: trade dates, both included; None: no bound on that side."""

    first: date | None = None
    last: date | None = None

    @field_validator("first", "last", mode="before")
    @classmethod
    def _is_a_day(cls, value: Any, info: ValidationInfo) -> date | None:
        return None if value is None else a_day(str(info.field_name), value)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.first is not None and self.last is not None and self.first > self.last:
            raise InvalidArgument("first", f"{self.first} is after last, {self.last}", "Exchange the two.")
        return self


class TradesQuery(QueryArguments, Days):
    """Which trades of a session: the last `limit` of those that were open on one of the days."""


class HistoryQuery(Days):
    """Which stretch of a session's history. kinds None: all but samples. after: the cursor an answer ended with.

    severity: events of at least this one alone. words: what holds them, in whichever case; sealed data is not searched.
    newest: the newest first.
    """

    session_id: UUID
    kinds: list[Kind] | None = Field(default=None, min_length=1)
    severity: Severity | None = None
    words: str | None = Field(default=None, min_length=1, max_length=200)
    newest: bool = False
    limit: int = Field(default=100, ge=1, le=1000)
    after: str | None = Field(default=None, max_length=2000)


@dataclass(frozen=True, slots=True)
class Span:
    """Moments from `since` on and before `until`; None: no bound on that side."""

    since: datetime | None = None
    until: datetime | None = None


def span_of(engine: Engine, session_id: UUID, asked: Days) -> Span:
    """Return the moments that count to the days asked for, by the session's calendar; raises NotFound.

    A trade date begins at 00:00 exchange time of a trading day; days without trading count to the one before them.
    """
    if asked.first is None and asked.last is None:
        return Span()
    calendar = get_calendar(one(engine, _CALENDAR, session_id)["calendar"])
    since = None if asked.first is None else _midnight(_trading_day_from(calendar, asked.first), calendar.zone)
    until = None if asked.last is None else _midnight(_trading_day_from(calendar, asked.last + _DAY), calendar.zone)
    return Span(since, until)


def a_day(field: str, value: Any) -> date:
    """Return a date given as ISO text; raises InvalidArgument naming `field`."""
    if isinstance(value, date) and not isinstance(value, datetime):
        found = value
    else:
        try:
            found = date.fromisoformat(value if isinstance(value, str) and _ISO.fullmatch(value) else "")
        except ValueError:
            raise InvalidArgument(field, "is not a date", "Give a trade date such as 2026-01-05.") from None
    if not _EARLIEST <= found <= _LATEST:
        raise InvalidArgument(field, f"{found} is outside {_EARLIEST.year}-{_LATEST.year}", "Give a date within.")
    return found


def _trading_day_from(calendar: Calendar, day: date) -> date:
    return day if calendar.is_trading_day(day) else calendar.next_trading_day(day)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone)
