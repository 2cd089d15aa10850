"""A trade date of the whole desk: its sessions, what they made, why they stopped, and which limits were changed."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from pydantic import Field, field_validator
from sqlalchemy import Connection, Engine, TextClause

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.lifecycle.decisions.limits import CONFIG_CHANGED
from fntx_sessions.lifecycle.events_arguments import EventsQuery
from fntx_sessions.lifecycle.reads import day_sql as sql
from fntx_sessions.lifecycle.reads.asked import a_day
from fntx_sessions.lifecycle.reads.desk_events import list_events
from fntx_sessions.lifecycle.reads.rows import Row
from fntx_sessions.schemas import Model, SessionEvent
from fntx_sessions.session_config import SessionConfig
from fntx_sessions.trading.calendars import Calendar, get_calendar

_DATES = 10
_MOST = 200
_EVENTS_AT_ONCE = 1000
# Whole days are taken whole: no desk has as many rows.
EVERYTHING = 1_000_000


class DayQuery(Model):
    """Which day. day None: the trade date it is now. backtests: count them too. page: of its sessions, from 1 on."""

    day: date | None = None
    backtests: bool = False
    page: int = Field(default=1, ge=1, le=100_000)

    @field_validator("day", mode="before")
    @classmethod
    def _is_a_day(cls, value: Any) -> date | None:
        return None if value in (None, "") else a_day("day", value)


@dataclass(frozen=True, slots=True)
class Day:
    """A trade date, and the moments that count to it: from `since` on and before `until`, by the desk's exchange.

    asked: the date that was asked for, which may be one without trading; before, after: the trading days beside it,
    after None where that is yet to come. exchange: whose hours.
    """

    day: date
    asked: date
    since: datetime
    until: datetime
    before: date
    after: date | None
    exchange: str
    backtests: bool = False

    def bound(self, limit: int = _MOST, offset: int = 0) -> dict[str, Any]:
        """Return what the statements take."""
        return {"day": self.day, "since": self.since, "until": self.until, "backtests": self.backtests,
                "limit": limit, "offset": offset}  # fmt: skip


@dataclass(frozen=True, slots=True)
class DayReport:
    """One look at a day. Amounts are dollars; None: not known. dates: the newest trade dates that have results.

    total: sessions, unknown (of them without a result), net, realized, unrealized, fees, trades, won, lost, contracts;
    accounts, templates: the same of each, the worst first. stops: times, sessions, the newest of them, by status,
    actor and reason. exits: trades that ended, by what closed them.
    """

    day: Day
    total: Row
    accounts: list[Row]
    templates: list[Row]
    sessions: list[Row]
    stops: list[Row]
    exits: list[Row]
    changes: list[Row]
    alerts: list[Row]
    dates: list[date]


def the_day(asked: DayQuery, now: datetime) -> Day:
    """Return the day asked for; one without trading counts to the trading day before it."""
    calendar = get_calendar(SessionConfig.model_fields["calendar"].default)
    today = calendar.trade_date(now)
    wanted = asked.day or today
    day = wanted if calendar.is_trading_day(wanted) else calendar.previous_trading_day(wanted)
    after = calendar.next_trading_day(day)
    return Day(
        day, wanted, _begins(day, calendar), _begins(after, calendar), calendar.previous_trading_day(day),
        after if after <= today else None, calendar.name, asked.backtests,
    )  # fmt: skip


def read_day(engine: Engine, day: Day, limit: int, offset: int = 0, *, most: int = _MOST) -> DayReport:
    """Return a day with `limit` of its sessions from `offset` on, the worst first, and `most` rows of the rest.

    Accounts, templates and exits are all there. Raises Busy and Unavailable.
    """
    with transaction(engine) as connection:
        sums = _rows(connection, sql.SUMS, day.bound())
        kept = {name: [row for row in sums if row["what"] == name] for name in ("all", "account", "template")}
        report = DayReport(
            day,
            kept["all"][0],
            kept["account"],
            kept["template"],
            _rows(connection, sql.SESSIONS, day.bound(limit, offset)),
            _rows(connection, sql.STOPS, day.bound(most)),
            _rows(connection, sql.EXITS, day.bound(most)),
            _rows(connection, sql.CHANGES, day.bound(most)),
            _rows(connection, sql.ALERTS, day.bound(most)),
            list(connection.execute(sql.DATES, {"limit": _DATES}).scalars()),
        )
    report.changes.extend(_edits(engine, day, most))
    report.changes.sort(key=lambda row: row["at"], reverse=True)
    return report


def list_sessions_of(engine: Engine, day: Day) -> list[Row]:
    """Return all sessions of a day, the worst first. Raises Busy and Unavailable."""
    with transaction(engine) as connection:
        return _rows(connection, sql.SESSIONS, day.bound(EVERYTHING))


def list_trades_of(engine: Engine, day: Day) -> list[Row]:
    """Return all trades that ended on a day, the worst first. Raises Busy and Unavailable."""
    with transaction(engine) as connection:
        return _rows(connection, sql.TRADES, day.bound(EVERYTHING))


def list_changes_of(engine: Engine, day: Day) -> list[Row]:
    """Return all that was changed on a day, newest first. Raises Busy and Unavailable."""
    with transaction(engine) as connection:
        found = _rows(connection, sql.CHANGES, day.bound(EVERYTHING))
    return sorted([*found, *_edits(engine, day, EVERYTHING)], key=lambda row: row["at"], reverse=True)


def _edits(engine: Engine, day: Day, limit: int) -> list[Row]:
    """Return the edits of single sessions, newest first, as rows of changes."""
    found: list[Row] = []
    asked = EventsQuery(
        event_types=[CONFIG_CHANGED], since=day.since, until=day.until, limit=min(limit, _EVENTS_AT_ONCE)
    )
    while True:
        page = list_events(engine, asked)
        found += map(_edit, page.events)
        if page.cursor is None or len(found) >= limit:
            return found
        asked = asked.model_copy(update={"cursor": page.cursor})


def _edit(event: SessionEvent) -> Row:
    data = event.data
    moved = [f"{name} {_said(before)} \u2192 {_said(after)}" for name, (before, after) in _limits(data).items()]
    if data.get("latch_cleared"):
        moved.append("fired loss limit lifted")
    return {
        "at": event.timestamp, "who": data.get("actor"), "what": "; ".join(moved) or "session edited",
        "whose": event.session_id, "why": data.get("why", event.description),
    }  # fmt: skip


def _limits(data: dict[str, Any]) -> dict[str, list[Any]]:
    found = data.get("limits")
    return found if isinstance(found, dict) else {}


def _said(value: Any) -> str:
    return f"{len(value)} rules" if isinstance(value, list) else "none" if value is None else str(value)


def _rows(connection: Connection, statement: TextClause, bound: dict[str, Any]) -> list[Row]:
    return rows(connection.execute(statement, bound))


def _begins(day: date, calendar: Calendar) -> datetime:
    return datetime.combine(day, time(), calendar.zone).astimezone(UTC)
