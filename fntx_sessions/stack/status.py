"""What is up: read from the supervisor, the stores and the tables; nothing is changed and no failure is hidden."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import redis
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from fntx_sessions.database.engine import alembic_config
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.settings import Settings
from fntx_sessions.stack.addresses import COLD, DATABASE, REDIS
from fntx_sessions.stack.control import Process
from fntx_sessions.stack.queues import queue_depths, unacked
from fntx_sessions.stack.stack import Stack
from fntx_sessions.stack.tiers import TierFound, read_tiers, tiers_sentence
from fntx_sessions.state.objects.cold import open_cold

PACKAGES = ("fntx-sessions", "celery", "flower", "redis", "sqlalchemy")
CONNECT_S = 3
_LAST_SWEEPS = text("SELECT name, last_run, extract(epoch FROM now() - last_run)::float8 AS age_s FROM sweep_runs")


@dataclass(frozen=True)
class DatabaseStatus:
    """Postgres as found; `error` is None where it answered. `revision` None: not migrated."""

    error: str | None = None
    version: str | None = None
    revision: str | None = None
    newest: str | None = None
    sweeps: dict[str, datetime] = field(default_factory=dict)
    last_sweep_age_s: float | None = None
    tiers: list[TierFound] = field(default_factory=list)


@dataclass(frozen=True)
class RedisStatus:
    """Valkey or Redis as found; `error` is None where it answered."""

    error: str | None = None
    version: str | None = None
    policy: str | None = None
    append_only: bool = False
    used_bytes: int = 0
    queues: dict[str, int] = field(default_factory=dict)
    unacked: int = 0


@dataclass(frozen=True)
class Status:
    """One look at a stack; `running` says whether its supervisor, or servers given from outside, answer."""

    home: str
    running: bool
    sentence: str
    processes: list[Process]
    database: DatabaseStatus | None
    redis: RedisStatus | None
    versions: dict[str, str]
    cold: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; times are datetimes still."""
        return asdict(self)

    def facts(self) -> dict[str, str]:
        """Return what people read below the processes."""
        facts = {"home": self.home, "cold store": self.cold}
        if self.database:
            facts["Postgres"] = self.database.error or str(self.database.version)
            facts["migrations"] = migration_sentence(self.database)
            facts["last beat"] = _age(self.database.last_sweep_age_s)
            facts["tiers"] = "unknown" if self.database.error else tiers_sentence(self.database.tiers)
        if self.redis:
            facts["Valkey"] = self.redis.error or str(self.redis.version)
            facts["queues"] = ", ".join(f"{name} {depth}" for name, depth in self.redis.queues.items()) or "unknown"
            facts["unacked"] = str(self.redis.unacked)
        return facts | {"versions": ", ".join(f"{name} {number}" for name, number in self.versions.items())}


def read_status(stack: Stack) -> Status:
    """Look at a stack, up or down. Servers given by FNTX_*_URL are asked whether or not a supervisor runs."""
    processes = sorted(stack.processes().values(), key=lambda process: (process.group, process.name))
    # Without a supervisor the addresses of an earlier start lead nowhere; only those given from outside count.
    known = stack.environment() if processes else stack.given()
    database = read_database(known[DATABASE]) if known.get(DATABASE) else None
    redis_found = read_redis(known[REDIS]) if known.get(REDIS) else None
    home = str(stack.folder.home)
    return Status(
        home=home,
        running=bool(processes),
        sentence="running" if processes else f"nothing runs in {home}; start it with `fntx up`",
        processes=processes,
        database=database,
        redis=redis_found,
        versions={name: version(name) for name in PACKAGES},
        cold=_cold(stack.folder.home, known.get(COLD)),
    )


def read_database(url: str) -> DatabaseStatus:
    """Ask Postgres; an unreachable one is a finding, not an error."""
    try:
        with _connected(url) as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
            sweeps = list(connection.execute(_LAST_SWEEPS).mappings()) if revision else []
            return DatabaseStatus(
                version=str(connection.scalar(text("SHOW server_version"))),
                revision=revision,
                newest=newest_revision(url),
                sweeps={row["name"]: row["last_run"] for row in sweeps},
                last_sweep_age_s=min((row["age_s"] for row in sweeps), default=None),
                tiers=read_tiers(connection) if revision == newest_revision(url) else [],
            )
    except SQLAlchemyError as error:
        return DatabaseStatus(error=first_line(error))


def read_redis(url: str) -> RedisStatus:
    """Ask Valkey or Redis; an unreachable one is a finding, not an error."""
    client = redis.Redis.from_url(url, socket_timeout=CONNECT_S, socket_connect_timeout=CONNECT_S)
    with contextlib.closing(client):
        try:
            found: dict[str, Any] = client.info()
            return RedisStatus(
                version=str(found.get("valkey_version") or found.get("redis_version")),
                policy=found.get("maxmemory_policy"),
                append_only=bool(found.get("aof_enabled")),
                used_bytes=int(found.get("used_memory", 0)),
                queues=queue_depths(client),
                unacked=unacked(client),
            )
        except redis.RedisError as error:
            return RedisStatus(error=first_line(error))


def newest_revision(url: str) -> str | None:
    """Return the newest migration this package ships."""
    return ScriptDirectory.from_config(alembic_config(url)).get_current_head()


def migration_sentence(found: DatabaseStatus) -> str:
    """Say how the schema stands to this package."""
    if found.error:
        return "unknown"
    if found.revision == found.newest:
        return f"at {found.revision}, the newest"
    return f"at {found.revision or 'nothing'}, the newest is {found.newest}"


def first_line(error: BaseException) -> str:
    """Return an error's first line without the SQLAlchemy prefix, which names a Python class."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return line.split(") ", 1)[1] if line.startswith("(") and ") " in line else line


@contextlib.contextmanager
def _connected(url: str) -> Iterator[Connection]:
    options = {"connect_timeout": CONNECT_S, "application_name": "fntx status", "options": "-c statement_timeout=3000"}
    engine = create_engine(url, connect_args=options, pool_size=1)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _cold(home: Path, url: str | None) -> str:
    """Return where the cold store lies; it is not asked."""
    try:
        return str(open_cold(Settings(home=home).model_copy(update={"cold_url": url})))
    except InvalidArgument as error:
        return str(error)


def _age(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.0f} s ago"
