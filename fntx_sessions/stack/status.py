"""What is up: read from the supervisor, the stores and the tables; nothing is changed and no failure is hidden."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

import beat_schedule
from fntx_sessions.database.engine import alembic_config, driven
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.confirming import rows as confirmations
from fntx_sessions.security.refusals import Refused
from fntx_sessions.settings import Settings
from fntx_sessions.stack.addresses import COLD, DATABASE, REDIS
from fntx_sessions.stack.anchor_status import AnchorsFound, read_anchors
from fntx_sessions.stack.backup_status import BackupStatus, read_backups
from fntx_sessions.stack.check import first_line
from fntx_sessions.stack.control import Process
from fntx_sessions.stack.halt_status import HaltFound, halts_sentence, read_halts
from fntx_sessions.stack.host_status import HostsFound, read_hosts
from fntx_sessions.stack.lag_status import LagFound, read_lag_status
from fntx_sessions.stack.redis_status import CONNECT_S, RedisStatus, read_redis
from fntx_sessions.stack.refused_status import read_refused
from fntx_sessions.stack.stack import Stack
from fntx_sessions.stack.tiers import TierFound, read_tiers, tiers_sentence
from fntx_sessions.stack.unerased import Unerased, read_unerased
from fntx_sessions.state.key_rotation import wrapped
from fntx_sessions.state.objects.cold import open_cold

PACKAGES = ("fntx-sessions", "celery", "flower", "redis", "sqlalchemy")
# What beat sends. Workers note there, too, what they do by themselves.
_LAST_SWEEPS = text("""
SELECT name, last_run, extract(epoch FROM now() - last_run)::float8 AS age_s FROM sweep_runs WHERE name = ANY(:names)
""")
# A save that is due is claimed within a second or two; so late, nobody saves.
SAVES_LATE_S = 15.0
_LATE_SAVES = text("""
SELECT count(*), CAST(max(extract(epoch FROM now() - next_save_at)) AS float8) FROM session_work
WHERE next_save_at < now() - :late_s * interval '1 second'
""")


@dataclass(frozen=True)
class DatabaseStatus:
    """Postgres as found; `error` is None where it answered. `revision` None: not migrated.

    newer: the revision is none of this package's: a newer one migrated.
    """

    error: str | None = None
    version: str | None = None
    revision: str | None = None
    newest: str | None = None
    sweeps: dict[str, datetime] = field(default_factory=dict)
    last_sweep_age_s: float | None = None
    late_saves: int = 0
    latest_save_s: float | None = None
    tiers: list[TierFound] = field(default_factory=list)
    hosts: HostsFound | None = None
    behind: LagFound | None = None
    halts: list[HaltFound] = field(default_factory=list)
    unerased: Unerased = field(default_factory=lambda: Unerased(0))
    refused: list[Refused] = field(default_factory=list)
    wrapped: dict[str, int] = field(default_factory=dict)
    anchors: AnchorsFound | None = None
    waiting_for_second: int = 0
    newer: bool = False

    @property
    def saves(self) -> str:
        """Say whether saves are made in time."""
        if self.latest_save_s is None:
            return "in time"
        return f"{self.late_saves} sessions wait for theirs, the longest for {self.latest_save_s:.0f} s"


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
    backups: BackupStatus | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; times are datetimes still."""
        return asdict(self)

    def facts(self) -> dict[str, str]:
        """Return what people read below the processes."""
        facts = {"home": self.home, "cold store": self.cold}
        if self.database:
            facts["Postgres"] = self.database.error or str(self.database.version)
            facts["migrations"] = migration_sentence(self.database)
            facts["last beat"] = "unknown" if self.database.error else _age(self.database.last_sweep_age_s)
            facts["saves"] = "into the backup folder" if self.database.error else self.database.saves
            facts["halts"] = "unknown" if self.database.error else halts_sentence(self.database.halts)
            if self.database.waiting_for_second:
                facts["two people"] = f"{self.database.waiting_for_second} wait for the second: fntx confirmations ls"
            facts["tiers"] = self._tiers()
            if self.database.behind:
                facts["beat"] = self.database.behind.beat
                facts["sweeps"] = str(self.database.behind.lag)
                facts["alerts"] = self.database.behind.told
            if self.database.hosts:
                facts["agents"] = str(self.database.hosts)
        if self.backups and (self.backups.files or (self.database and self.database.error)):
            facts["backups"] = str(self.backups)
        if self.database and self.database.unerased.sessions:
            facts["shredded"] = str(self.database.unerased)
        if self.redis:
            facts["Valkey"] = str(self.redis)
            facts["queues"] = ", ".join(f"{name} {depth}" for name, depth in self.redis.queues.items()) or "unknown"
            facts["unacked"] = str(self.redis.unacked)
        return facts | {"versions": ", ".join(f"{name} {number}" for name, number in self.versions.items())}

    def supervised(self, name: str) -> Process | None:
        """Return a process of the stack that its supervisor does not find running; None: it runs, or is not ours."""
        found = next((process for process in self.processes if process.name == name), None)
        return None if found is None or found.state == "RUNNING" else found

    def _tiers(self) -> str:
        """Name what is down as seen from here, then what the hosts found, as far as Postgres can say that."""
        here = []
        if self.database and self.database.error:
            store = self.supervised("postgres")
            here.append(f"postgres DOWN, seen from here{f': {store}' if store else ''}")
        if self.redis and (self.redis.error or self.redis.refuses):
            here.append(f"redis {'DOWN' if self.redis.error else 'takes nothing new'}, seen from here")
        if self.database and not self.database.error:
            here.append(tiers_sentence(self.database.tiers))
        return "; ".join(here)


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
        backups=read_backups(stack.folder.home),
    )


def read_database(url: str) -> DatabaseStatus:
    """Ask Postgres; an unreachable one is a finding, not an error."""
    try:
        with connected(url) as connection:
            revision, newest = MigrationContext.configure(connection).get_current_revision(), newest_revision(url)
            migrated = revision == newest
            names = [entry.name for entry in beat_schedule.ENTRIES]
            sweeps = list(connection.execute(_LAST_SWEEPS, {"names": names}).mappings()) if revision else []
            late = connection.execute(_LATE_SAVES, {"late_s": SAVES_LATE_S}).one() if revision else (0, None)
            return DatabaseStatus(
                version=str(connection.scalar(text("SHOW server_version"))),
                revision=revision,
                newest=newest,
                newer=not migrated and is_newer(url, revision),
                sweeps={row["name"]: row["last_run"] for row in sweeps},
                last_sweep_age_s=min((row["age_s"] for row in sweeps), default=None),
                late_saves=late[0],
                latest_save_s=late[1],
                tiers=read_tiers(connection) if migrated else [],
                hosts=read_hosts(connection) if migrated else None,
                behind=read_lag_status(connection) if migrated else None,
                halts=read_halts(connection) if migrated else [],
                waiting_for_second=confirmations.count(connection) if migrated else 0,
                unerased=read_unerased(connection) if migrated else Unerased(0),
                refused=read_refused(connection) if migrated else [],
                wrapped=dict(wrapped(connection)) if migrated else {},
                anchors=_anchors(connection) if revision else None,
            )
    except SQLAlchemyError as error:
        return DatabaseStatus(error=first_line(error))


def _anchors(connection: Connection) -> AnchorsFound | None:
    """Return what is known of the anchors, migrated or not; None: by tables that know no anchors yet."""
    with contextlib.suppress(ProgrammingError), connection.begin_nested():
        return read_anchors(connection)
    return None


def newest_revision(url: str) -> str | None:
    """Return the newest migration this package ships."""
    return ScriptDirectory.from_config(alembic_config(url)).get_current_head()


def is_newer(url: str, revision: str | None) -> bool:
    """Return whether a database is at a migration that this package does not ship."""
    shipped = {script.revision for script in ScriptDirectory.from_config(alembic_config(url)).walk_revisions()}
    return revision is not None and revision not in shipped


def migration_sentence(found: DatabaseStatus) -> str:
    """Say how the schema stands to this package."""
    if found.error:
        return "unknown"
    if found.revision == found.newest:
        return f"at {found.revision}, the newest"
    if found.newer:
        return f"at {found.revision}, which this fntx does not know: the database is newer than it ({found.newest})"
    return f"at {found.revision or 'nothing'}, the newest is {found.newest}"


@contextlib.contextmanager
def connected(url: str, application: str = "fntx status") -> Iterator[Connection]:
    """Hold a connection of its own for one look, with every wait bounded; raises SQLAlchemyError."""
    options = {"connect_timeout": CONNECT_S, "application_name": application, "options": "-c statement_timeout=3000"}
    engine = create_engine(driven(url), connect_args=options, pool_size=1)
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
    return "never" if seconds is None else f"{max(seconds, 0.0):.0f} s ago"
