"""Partitions of the coming weeks, made before anybody writes to them; one change of partitions at a time.

The DEFAULT partition, which Postgres reads whole under an exclusive lock for each partition that is attached, stays
empty that way. Should nobody have made partitions for weeks, rows fall into it and are moved when their week is made.
`python -m fntx_sessions.database.partitions SECONDS` does so by hand, where more rows have to move than sweeps may.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import TypeVar

import structlog
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import ProgrammingError

from fntx_sessions.database.engine import build_engine, transaction
from fntx_sessions.database.granting import close
from fntx_sessions.database.history import FORGET
from fntx_sessions.database.weeks import Week, attach_sql, create_sql, layouts, move_sql
from fntx_sessions.exceptions import Busy, Retryable, Unavailable
from fntx_sessions.settings import Settings, get_settings
from fntx_sessions.testing import failpoint

T = TypeVar("T")
LOCK_TIMEOUT_MS = 300  # how long trading may have to queue behind a change of partitions that waits for its lock
MOVE_TIMEOUT_MS = 1_500  # how long moving rows out of DEFAULT may hold up writers, who give up after 2 s
_ATTEMPTS, _PAUSE_S = 3, 0.2
_NOT_OWNER = "this user does not own the tables; set FNTX_MAINTENANCE_DATABASE_URL for the sweeps' worker"
_TODAY = text("SELECT (now() AT TIME ZONE 'UTC')::date")
_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('fntx_sessions.partitions'))")
_BOUNDS = text("SELECT set_config('lock_timeout', :lock, true), set_config('statement_timeout', :statement, true)")
_log = structlog.get_logger(__name__)


@contextmanager
def maintenance(settings: Settings, engine: Engine) -> Iterator[Engine]:
    """Yield the engine that may change tables: that of `maintenance_database_url`, else `engine`."""
    if settings.maintenance_database_url is None:
        yield engine
        return
    made = build_engine(settings.maintenance_database_url.get_secret_value(), settings, application="fntx-maintenance")
    try:
        yield made
    finally:
        made.dispose()


@contextmanager
def changing(engine: Engine, statement_ms: int) -> Iterator[Connection]:
    """Run a block as the only change of partitions, in one transaction that waits briefly for any lock.

    Raises Busy when somebody else is at it or trading holds a table for longer, Unavailable past `statement_ms`.
    """
    with transaction(engine) as connection:
        connection.execute(_BOUNDS, {"lock": f"{LOCK_TIMEOUT_MS}ms", "statement": f"{statement_ms}ms"})
        connection.execute(_LOCK)
        yield connection


def today(connection: Connection) -> date:
    """Return Postgres's own date, UTC."""
    found: date = connection.execute(_TODAY).scalar_one()
    return found


def run(connection: Connection, *statements: str) -> None:
    """Run statements without parameters as they are."""
    for statement in statements:
        connection.exec_driver_sql(statement)


def make_ahead(engine: Engine, weeks: int, move_ms: int = MOVE_TIMEOUT_MS) -> list[str]:
    """Make what is missing of this week, the next `weeks` and those since the past; return the names made.

    What cannot be made now (a lock that is not to be had, more rows to move than `move_ms` allows) is logged and left
    to the next call: rows go to DEFAULT meanwhile, and nobody is refused.
    """
    with transaction(engine) as connection:
        now = today(connection)
        missing = [(name, week) for name, layout in layouts(connection).items() for week in layout.missing(now, weeks)]
    return [week.name for name, week in missing if patiently(week.name, _making(engine, name, week, move_ms))]


def make_ahead_at(url: str, settings: Settings, move_ms: int = MOVE_TIMEOUT_MS) -> list[str]:
    """Make the coming weeks of the database at `url`, which somebody has just migrated; return the names made."""
    engine = build_engine(url, settings, application="fntx-maintenance")
    try:
        with maintenance(settings, engine) as may_change:
            return make_ahead(may_change, settings.partitions_ahead, move_ms)
    finally:
        engine.dispose()


def patiently(partition: str, change: Callable[[], T]) -> T | None:
    """Return what a change of partitions returns, tried again when a lock is not to be had; None, logged: given up."""
    for _ in range(_ATTEMPTS):
        try:
            return change()
        except Busy:
            time.sleep(_PAUSE_S)
        except ProgrammingError as error:
            if not isinstance(error.orig, InsufficientPrivilege):
                raise
            _log.warning("partition_not_changed", partition=partition, error=f"{_NOT_OWNER}: {error.orig}".strip())
            return None
        except Retryable as error:
            _log.warning("partition_not_changed", partition=partition, error=str(error))
            return None
    _log.warning("partition_not_changed", partition=partition, error="no lock was to be had")
    return None


def _making(engine: Engine, relation: str, week: Week, move_ms: int) -> Callable[[], bool]:
    def make() -> bool:
        with changing(engine, move_ms) as connection:
            moved = _make(connection, relation, week)
        failpoint("partition.committed")
        if moved is not None:
            _log.info("partition_made", partition=week.name, moved=moved)
        return moved is not None

    return make


def _make(connection: Connection, relation: str, week: Week) -> int | None:
    """Make a week with whatever of it fell into DEFAULT; return how many rows that were, None: it is there."""
    if any(known.since == week.since for known in layouts(connection)[relation].weeks):
        return None
    run(connection, create_sql(relation, week))
    close(connection, week.name)
    # Writers stand still from here to the commit, before they have chosen a partition: one that had chosen DEFAULT
    # would be refused once the row belongs elsewhere. Readers go on until the partition is attached.
    run(connection, f"LOCK TABLE ONLY {relation} IN SHARE ROW EXCLUSIVE MODE")
    connection.execute(FORGET, {"whose": "*"})
    moved = connection.exec_driver_sql(move_sql(relation, week)).rowcount
    connection.execute(FORGET, {"whose": ""})
    failpoint("partition.moved")
    run(connection, *attach_sql(relation, week))
    failpoint("partition.attached")
    return moved


def main(seconds: str = "600") -> None:
    """Make what is missing of the configured database, and take up to `seconds` a week to move its rows."""
    settings = get_settings()
    url = settings.database_url or settings.maintenance_database_url
    if url is None:
        raise Unavailable("Postgres", "no address is configured", "Set FNTX_DATABASE_URL.")
    made = make_ahead_at(url.get_secret_value(), settings, int(float(seconds) * 1000))
    sys.stdout.write("".join(f"{name}\n" for name in made) or "nothing is missing\n")


if __name__ == "__main__":
    main(*sys.argv[1:2])
