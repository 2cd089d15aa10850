"""Partitions of the coming weeks, made before anybody writes to them; one change of partitions at a time.

The DEFAULT partition, which Postgres reads whole under an exclusive lock for each partition that is attached, stays
empty that way. Should nobody have made partitions for weeks, rows fall into it and are moved when their week is made.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import structlog
from sqlalchemy import Connection, Engine, text

from fntx_sessions.database.engine import build_engine, transaction
from fntx_sessions.database.history import FORGET
from fntx_sessions.database.weeks import Week, attach_sql, create_sql, layouts, move_sql
from fntx_sessions.exceptions import Busy, Retryable
from fntx_sessions.settings import Settings
from fntx_sessions.testing import failpoint

LOCK_TIMEOUT_MS = 300  # how long trading may have to queue behind a change of partitions that waits for its lock
MOVE_TIMEOUT_MS = 5_000  # how long a statement that moves rows out of DEFAULT may hold up writers of DEFAULT
_ATTEMPTS, _PAUSE_S = 3, 0.2
_TODAY = text("SELECT (now() AT TIME ZONE 'UTC')::date")
_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('fntx_sessions.partitions'))")
_BOUNDS = text("SELECT set_config('lock_timeout', :lock, true), set_config('statement_timeout', :statement, true)")
log = structlog.get_logger(__name__)


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
    return [week.name for relation, week in missing if _made(engine, relation, week, move_ms)]


def _made(engine: Engine, relation: str, week: Week, move_ms: int) -> bool:
    """Make a week, trying again when a lock is not to be had; True when it was this call that did it."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with changing(engine, move_ms) as connection:
                moved = _make(connection, relation, week)
        except Busy as error:
            log.info("partition_waits", partition=week.name, attempt=attempt, error=str(error))
            time.sleep(_PAUSE_S)
        except Retryable as error:
            log.warning("partition_not_made", partition=week.name, error=str(error))
            return False
        else:
            failpoint("partition.committed")
            return _told(week, moved)
    log.warning("partition_not_made", partition=week.name, error="no lock was to be had")
    return False


def _told(week: Week, moved: int | None) -> bool:
    if moved is not None:
        log.info("partition_made", partition=week.name, moved=moved)
    return moved is not None


def _make(connection: Connection, relation: str, week: Week) -> int | None:
    """Make a week with whatever of it fell into DEFAULT; return how many rows that were, None: it is there."""
    if any(known.since == week.since for known in layouts(connection)[relation].weeks):
        return None
    # Nobody writes to DEFAULT from the LOCK to the commit; it may be read until the partition is attached.
    run(connection, create_sql(relation, week), f"LOCK TABLE ONLY {relation}_default IN SHARE ROW EXCLUSIVE MODE")
    connection.execute(FORGET, {"whose": "*"})
    moved = connection.exec_driver_sql(move_sql(relation, week)).rowcount
    connection.execute(FORGET, {"whose": ""})
    failpoint("partition.moved")
    run(connection, *attach_sql(relation, week))
    failpoint("partition.attached")
    return moved
