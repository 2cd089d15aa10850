"""The engine of this process: one small pool, bounded waits, and foreign errors translated once, here."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import psycopg2
import psycopg2.extras
from psycopg2 import errors as pg
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from fntx_sessions.exceptions import Busy, FntxError, PreconditionFailed, StackError, Unavailable, way_out
from fntx_sessions.settings import Settings, get_settings

if TYPE_CHECKING:
    from alembic.config import Config

_START_POSTGRES = "Start the stack with `fntx up`, or set FNTX_DATABASE_URL to a server that runs."
_MIGRATE = "Migrate it first: `fntx migrate`, with FNTX_DATABASE_URL set to it."

# Constraint -> the sentence a caller can act on. The session id is not known here: callers that know it say more.
CONSTRAINTS: dict[str, tuple[str, str]] = {
    "uq_sessions_exclusive_account": (
        "account_free",
        "Another started session holds this account; stop it first, or use another account.",
    ),
}


def driven(url: str) -> str:
    """Return a Postgres URL that names the driver we ship; SQLAlchemy's own default for a bare one is another."""
    bare = "postgresql://"
    return f"postgresql+psycopg2://{url.removeprefix(bare)}" if url.startswith(bare) else url


def build_engine(url: str, settings: Settings, *, application: str = "fntx") -> Engine:
    """Return an engine for `url` whose every wait is bounded by `settings`."""
    options = (
        f"-c lock_timeout={settings.db_lock_timeout_ms} -c statement_timeout={settings.db_statement_timeout_ms} "
        f"-c idle_in_transaction_session_timeout={settings.db_idle_in_transaction_timeout_ms} -c timezone=UTC"
    )
    return create_engine(
        driven(url),
        pool_size=settings.db_pool_size,
        max_overflow=settings.db_pool_size,
        pool_pre_ping=False,
        pool_use_lifo=True,  # by turns, each connection finds the caches of its server process cold
        pool_recycle=600,
        json_serializer=lambda value: orjson.dumps(value, default=str).decode(),
        json_deserializer=orjson.loads,
        connect_args={
            "connect_timeout": settings.db_connect_timeout_s,
            "application_name": application,
            "options": options,
            "keepalives_idle": 10,
        },
    )


@lru_cache(maxsize=1)
def get_engine() -> Engine:
    """Return this process's engine, built on first use; raises Unavailable when no database is configured."""
    settings = get_settings()
    if settings.database_url is None:
        raise Unavailable("Postgres", "no address is configured", _START_POSTGRES)
    return build_engine(settings.database_url.get_secret_value(), settings)


def forget_engine_after_fork() -> None:
    """Drop inherited connections without closing the parent's sockets; call first thing in a forked child."""
    if get_engine.cache_info().currsize:
        get_engine().dispose(close=False)


os.register_at_fork(after_in_child=forget_engine_after_fork)


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Run a block in one transaction: commit at its end, roll back on any error, translate what the driver raises."""
    try:
        with engine.begin() as connection:
            yield connection
    except (DBAPIError, PoolTimeout) as error:
        raise translate(error) from error


@contextmanager
def statements(engine: Engine) -> Iterator[Connection]:
    """Run a block whose every message is a transaction of its own, one round trip; translate what the driver raises."""
    try:
        with engine.connect() as connection, _autocommit(connection):
            yield connection
    except (DBAPIError, PoolTimeout) as error:
        raise translate(error) from error


@contextmanager
def _autocommit(connection: Connection) -> Iterator[None]:
    # Not by execution_options: that way every checkout pays for more than what it asks the server.
    driver: Any = connection.connection.driver_connection
    driver.autocommit = True
    try:
        yield
    finally:
        if not driver.closed:
            driver.autocommit = False


def translate(error: DBAPIError | PoolTimeout) -> FntxError | DBAPIError | PoolTimeout:
    """Return our error for a driver's: Busy, Unavailable, PreconditionFailed, or StackError where it is not migrated.

    What is a bug stays itself.
    """
    if isinstance(error, PoolTimeout):
        return Busy("the connection pool", get_settings().db_lock_timeout_ms)
    original = error.orig
    if isinstance(original, pg.LockNotAvailable | pg.DeadlockDetected | pg.SerializationFailure):
        return Busy("the session row", get_settings().db_lock_timeout_ms)
    if isinstance(original, pg.UniqueViolation | pg.ExclusionViolation):
        return _constraint(error, original)
    told = _first_line(original or error)
    if isinstance(original, pg.DiskFull | pg.OutOfMemory | pg.TooManyConnections | pg.QueryCanceled):
        return Unavailable("Postgres", told, way_out(told, "See `fntx doctor`."))
    # A statement that the server's connection does not know is for whoever prepared it.
    prepared = isinstance(original, pg.InvalidSqlStatementName)
    if isinstance(original, psycopg2.OperationalError | psycopg2.InterfaceError) and not prepared:
        return Unavailable("Postgres", told, way_out(told, _START_POSTGRES))
    return _not_migrated(told) if isinstance(original, pg.UndefinedTable | pg.UndefinedColumn) else error


def _not_migrated(told: str) -> StackError:
    return StackError(f"this database has not the tables this version needs ({told}); nothing was changed", _MIGRATE)


def _constraint(error: DBAPIError, original: psycopg2.Error) -> FntxError | DBAPIError:
    name = original.diag.constraint_name or ""
    if name not in CONSTRAINTS:
        return error
    condition, fix = CONSTRAINTS[name]
    return PreconditionFailed("", "", condition, _first_line(original), fix)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def alembic_config(url: str) -> "Config":
    """Return Alembic's configuration for the shipped migrations against `url`."""
    from alembic.config import Config  # noqa: PLC0415 - half a second that only a migration needs

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def migrate(url: str) -> None:
    """Bring the database at `url` to the newest schema; safe to run from several processes at once."""
    from alembic import command as alembic_command  # noqa: PLC0415 - as above

    alembic_command.upgrade(alembic_config(url), "head")


def rows(result: Any) -> list[dict[str, Any]]:
    """Return a result's rows as plain dicts."""
    return [dict(row) for row in result.mappings()]
