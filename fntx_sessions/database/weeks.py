"""How history is cut by week: the names and bounds of partitions, which there are, and the SQL that makes one.

Each relation is cut by its `timestamp`, Monday to Monday, UTC::

    events_past        all before the first week: simulated times, and what is kept of weeks that were dropped
    events_2026w47     one ISO week; they follow each other without a gap
    events_default     all after the last week: nothing, as long as partitions are made ahead
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from fntx_sessions.database.engine import rows
from fntx_sessions.database.guards import truncate_guard_sql
from fntx_sessions.database.history import RELATIONS

WEEK = timedelta(days=7)
APPEND_ONLY = frozenset({"transitions"})
# Rows are only ever added: indexes alone answer more often where vacuum keeps up with the inserts.
STORAGE = "autovacuum_vacuum_insert_scale_factor = 0.05"
_NAME = re.compile(rf"({'|'.join(RELATIONS)})_(past|default|\d{{4}}w\d{{2}})")
_LAYOUT = text(r"""
SELECT p.relname AS relation, c.relname AS name,
  ((substring(b.bound FROM 'FROM \(''([^'']+)''\)'))::timestamptz AT TIME ZONE 'UTC')::date AS since,
  ((substring(b.bound FROM 'TO \(''([^'']+)''\)'))::timestamptz AT TIME ZONE 'UTC')::date AS until
FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN pg_class c ON c.oid = i.inhrelid
CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid) AS bound) b
WHERE p.relname = ANY(:relations) AND p.relkind = 'p' AND pg_table_is_visible(p.oid) ORDER BY since
""")


@dataclass(frozen=True, slots=True)
class Week:
    """A partition of one week."""

    name: str
    since: date
    until: date

    @property
    def label(self) -> str:
        """The week alone, as `2026w47`."""
        return self.name.rpartition("_")[2]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a relation is cut. past_until: where its past ends, and its first week begins or would."""

    relation: str
    past_until: date
    weeks: tuple[Week, ...]

    def missing(self, today: date, ahead: int) -> list[Week]:
        """Return the weeks that are not there: this one first, then the coming ones, then those that were missed."""
        this = monday(today)
        known = {week.since for week in self.weeks}
        count = (this - self.past_until).days // 7 + ahead + 1
        wanted = (self.past_until + number * WEEK for number in range(count))
        lacking = sorted((since < this, since) for since in wanted if since not in known)
        return [week_of(self.relation, since) for _, since in lacking]


def is_partition(name: str | None) -> bool:
    """Tell whether a table is, by its name, a partition: what models and migrations do not speak of."""
    return _NAME.fullmatch(name or "") is not None


def monday(day: date) -> date:
    """Return the first day of a day's ISO week."""
    return day - timedelta(days=day.weekday())


def week_of(relation: str, day: date) -> Week:
    """Return the week of a relation that holds `day`, whether it is there or not."""
    year, number, _ = day.isocalendar()
    since = monday(day)
    return Week(f"{relation}_{year}w{number:02}", since, since + WEEK)


def moment(day: date) -> str:
    """Return the day's beginning as an SQL literal that means the same in every time zone."""
    return f"'{datetime(day.year, day.month, day.day, tzinfo=UTC).isoformat()}'"


def layouts(connection: Connection) -> dict[str, Layout]:
    """Return how each relation of history is cut at present."""
    found = rows(connection.execute(_LAYOUT, {"relations": list(RELATIONS)}))
    return {name: _layout(name, [row for row in found if row["relation"] == name]) for name in RELATIONS}


def _layout(relation: str, found: list[dict[str, Any]]) -> Layout:
    past = next(row["until"] for row in found if row["name"] == f"{relation}_past")
    weeks = tuple(Week(row["name"], row["since"], row["until"]) for row in found if row["since"])
    return Layout(relation, past, weeks)


def create_sql(relation: str, week: Week) -> str:
    """Return the statement that makes a week's table by itself, its bounds proven by a CHECK.

    ``PARTITION OF`` would keep readers of every week out as well; attaching lets them go on.
    """
    bounds = f"timestamp >= {moment(week.since)} AND timestamp < {moment(week.until)}"
    like = f"LIKE {relation} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE"
    return f"CREATE TABLE {week.name} ({like}, CONSTRAINT of_week CHECK ({bounds})) WITH ({STORAGE})"


def attach_sql(relation: str, week: Week) -> list[str]:
    """Return the statements that make the table a partition; Postgres adds keys, indexes and row triggers."""
    bounds = f"FROM ({moment(week.since)}) TO ({moment(week.until)})"
    attach = f"ALTER TABLE {relation} ATTACH PARTITION {week.name} FOR VALUES {bounds}"
    # Triggers on statements are not handed down.
    guards = [truncate_guard_sql(relation, week.name)] if relation in APPEND_ONLY else []
    return [attach, f"ALTER TABLE {week.name} DROP CONSTRAINT of_week", *guards]


def move_sql(relation: str, week: Week) -> str:
    """Return the statement that moves rows of the week from DEFAULT into its table, not yet attached."""
    bounds = f"timestamp >= {moment(week.since)} AND timestamp < {moment(week.until)}"
    moved = f"DELETE FROM ONLY {relation}_default WHERE {bounds} RETURNING *"
    return f"WITH moved AS ({moved}) INSERT INTO {week.name} SELECT * FROM moved"
