"""The day: what a trade date came to over all sessions, and the same as CSV."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import tornado.web
from sqlalchemy import Engine

from fntx_sessions.exceptions import InvalidArgument, Rejected, Retryable
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads import day as reads
from fntx_sessions.lifecycle.reads.day import Day, DayQuery
from fntx_sessions.lifecycle.reads.rows import Row
from fntx_sessions.monitoring.flower.csv_cells import to_csv
from fntx_sessions.monitoring.flower.guarded import Guarded
from fntx_sessions.monitoring.flower.lately import Lately
from fntx_sessions.monitoring.flower.page import Asked, Draw, Page
from fntx_sessions.monitoring.flower.views import Parts
from fntx_sessions.parsing import parse

SECTIONS = ("choose", "total", "accounts", "templates", "sessions", "stops", "exits", "changes", "alerts")
_SUMS = ("sessions", "unknown", "net", "realized", "unrealized", "fees", "trades", "won", "lost", "contracts")
_ASKED = frozenset({"day", "backtests", "page"})


class TheDay(Page):
    """A trade date."""

    template = "day.html"
    tab = "day"
    whole_desk = True

    def __init__(self) -> None:
        self._reports: Lately[reads.DayReport] = Lately()

    def title(self, asked: Asked) -> str:
        """Return the page's title."""
        return f"The day {asked.get('day')}".rstrip()

    def draw(self, desk: Desk, asked: Asked, draw: Draw) -> Parts:
        """Ask for the day and draw it."""
        query = query_of(asked.arguments, _ASKED)
        day, rows = reads.the_day(query, datetime.now(UTC)), desk.settings.pages_rows
        report = self._reports.get(
            (day, query.page),
            lambda: reads.read_day(desk.engine, day, rows, (query.page - 1) * rows),
            desk.settings.pages_day_s,
        )
        facts = {"report": report, "day": day, "query": query, "rows": rows, "address": _addresses(day, query)}
        facts["exports"] = list(EXPORTS)
        return {f"day-{name}": draw.part(f"day_{name}.html", **facts) for name in SECTIONS}


def query_of(arguments: Mapping[str, str], known: frozenset[str]) -> DayQuery:
    """Return what an address asks for; raises InvalidArgument for what it cannot."""
    unknown = sorted(set(arguments) - known)
    if unknown:
        raise InvalidArgument(unknown[0], "is not a known argument", f"Known here: {', '.join(sorted(known))}.")
    given: dict[str, Any] = {name: arguments[name] for name in ("day", "page") if arguments.get(name)}
    return parse(DayQuery, given | {"backtests": arguments.get("backtests", "") not in ("", "no")})


def _addresses(day: Day, query: DayQuery) -> Callable[..., str]:
    """Return what makes the question of an address: of this day, but for what is given."""

    def question(**changed: Any) -> str:
        asked = {"day": day.day, "backtests": "yes" if query.backtests else None} | changed
        return "?" + urlencode({name: str(value) for name, value in asked.items() if value is not None})

    return question


def _sums(what: str) -> Callable[[Engine, Day], list[Row]]:
    return lambda engine, day: getattr(reads.read_day(engine, day, 1, most=reads.EVERYTHING), what)


# What is exported: its columns, and where its rows come from.
EXPORTS: dict[str, tuple[tuple[str, ...], Callable[[Engine, Day], list[Row]]]] = {
    "sessions": (
        ("session_id", "status", "session_type", "template_name", "account_id", "started_at", "ended_at", "net",
         "realized", "unrealized", "fees", "trades", "won", "lost", "contracts", "requires_action", "updated_at"),
        reads.list_sessions_of,
    ),
    "accounts": (("name", "equity_at_roll", "carried", *_SUMS), _sums("accounts")),
    "templates": (("name", *_SUMS), _sums("templates")),
    "trades": (
        ("session_id", "template_name", "account_id", "trade_id", "agent", "opened_at", "closed_at", "reason", "gross",
         "fees", "net"),
        reads.list_trades_of,
    ),
    "stops": (("to_status", "actor", "why", "times", "sessions", "first", "last", "reason", "some"), _sums("stops")),
    "exits": (("reason", "trades", "won", "lost", "unknown", "net", "fees"), _sums("exits")),
    "changes": (("at", "what", "whose", "who", "why"), reads.list_changes_of),
    "alerts": (("name", "subject", "severity", "description", "since", "cleared_at"), _sums("alerts")),
}  # fmt: skip


def warm() -> None:
    """Load the exchange's calendar, which takes a second or two: nobody's first page is to wait for that."""
    reads.the_day(DayQuery(), datetime.now(UTC))


class DayCsv(Guarded):
    """Sends one table of a day, whole."""

    @tornado.web.authenticated
    async def get(self) -> None:
        """Send it, named by its date; 403 for those who may see some sessions alone."""
        if self.viewer.scoped:
            raise tornado.web.HTTPError(403, "Your token is good for some sessions alone.")
        asked = {name: self.get_argument(name)[:200] for name in self.request.query_arguments}
        site, key = self.site, ("csv", *sorted(asked.items()))
        try:
            name, text = await site.views.once(key, lambda: export(site.desk.engine, asked))
        except Rejected as error:
            raise tornado.web.HTTPError(400, str(error)) from None
        except Retryable as error:
            raise tornado.web.HTTPError(503, str(error)) from None
        self.set_header("Content-Type", "text/csv; charset=utf-8; header=present")
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        self.finish(text)


def export(engine: Engine, asked: Mapping[str, str]) -> tuple[str, str]:
    """Return the name and the text of a day's table; raises InvalidArgument, Busy and Unavailable."""
    table = asked.get("table", "sessions")
    if table not in EXPORTS:
        raise InvalidArgument("table", "is none that a day has", f"Give one of {', '.join(EXPORTS)}.")
    day = reads.the_day(query_of(asked, _ASKED | {"table"}), datetime.now(UTC))
    columns, rows = EXPORTS[table]
    return f"day-{day.day}-{table}.csv", to_csv(columns, rows(engine, day))
