"""Real servers for every test: one Postgres and one Valkey a run, a fresh database and an empty Redis a test."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg2
import pytest
import redis
from gcs_server import GcsServer, gcs_server_running
from longest_first import pytest_collection_modifyitems
from owning import DESK, as_owner, note_owner
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT
from psycopg2.sql import SQL, Identifier
from scratch import scratch_home
from sqlalchemy import make_url

from fntx_sessions.settings import Settings
from fntx_sessions.stack import valkey
from fntx_sessions.stack.folder import Folder
from fntx_sessions.stack.postgres import Postgres
from fntx_sessions.stack.valkey import Valkey

# Any port: all processes of a run look for one at the same moment, and the usual one seems free to each.
valkey.USUAL_PORT = 0

# Servers somebody else runs, for those who have them. Everything else of FNTX_* would leak into Settings().
GIVEN_DATABASE_URL = os.environ.get("FNTX_DATABASE_URL")
GIVEN_REDIS_URL = os.environ.get("FNTX_REDIS_URL")
for name in [name for name in os.environ if name.startswith("FNTX_")]:
    del os.environ[name]
# Every Settings() and every child process seals with the golden files' ring.
os.environ["FNTX_KEY_RING"] = (Path(__file__).parent / "golden" / "ring.json").read_text().strip()

# Hundreds of processes are started: where no bytecode may be kept, each would compile all it imports anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

__all__ = ["pytest_collection_modifyitems"]
_numbers = itertools.count(1)


class DatabaseServer:
    """A Postgres that makes databases by copying others."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        note_owner(url)

    def url(self, database: str) -> str:
        """Return the URL of one of its databases for the house: its login may do what workers may, and no more."""
        return self._url.set(database=database, username=DESK).render_as_string(hide_password=False)

    def owner_url(self, database: str) -> str:
        """Return the URL of one of its databases for the owner of its tables."""
        return self._url.set(database=database).render_as_string(hide_password=False)

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """Create a database from `template`, yield its name, drop it with whoever is still connected."""
        name = f"fntx_test_{os.getpid()}_{next(_numbers)}"
        self._run(
            SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(Identifier(name), Identifier(template))
        )
        try:
            yield name
        finally:
            self._run(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))

    def quicken(self) -> None:
        """Let it wait for no disk: thousands of databases are made and dropped in a run."""
        for statement in ("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"):
            self._run(SQL(statement))

    def _run(self, statement) -> None:
        found = psycopg2.connect(
            host=self._url.query.get("host") or self._url.host,
            port=self._url.query.get("port") or self._url.port,
            user=self._url.username,
            password=self._url.password,
            dbname="postgres",
        )
        try:
            found.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
            with found.cursor() as cursor:
                cursor.execute(statement)
        finally:
            found.close()


@pytest.fixture(autouse=True)
def _no_width_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no terminal's size, which libraries leave in the environment, decide how wide a test's output is."""
    for size in ("COLUMNS", "LINES"):
        monkeypatch.delenv(size, raising=False)


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Folder]:
    """A short-named data folder that is gone after the run."""
    home = scratch_home()
    home.chmod(0o711 if os.geteuid() == 0 else 0o700)
    folder = Folder(home)
    folder.prepare()
    try:
        yield folder
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def postgres_server(servers_folder: Folder) -> Iterator[DatabaseServer]:
    """The run's Postgres: FNTX_DATABASE_URL's, or one of our own."""
    if GIVEN_DATABASE_URL:
        yield DatabaseServer(GIVEN_DATABASE_URL)
        return
    server = Postgres(servers_folder)
    server.prepare()
    log = servers_folder.logs / "postgres.log"
    with running(server.start(log)) as process:
        server.wait_ready(log, lambda: process.poll() is None)
        found = DatabaseServer(server.url("postgres"))
        # What a killed process wrote is there without it; only a machine that goes down would lose anything.
        found.quicken()
        yield found


@pytest.fixture(scope="session")
def valkey_server(servers_folder: Folder) -> Iterator[str]:
    """The URL of the run's Valkey: FNTX_REDIS_URL's, or one of our own."""
    if GIVEN_REDIS_URL:
        _refuse_used_database(GIVEN_REDIS_URL)
        yield GIVEN_REDIS_URL
        return
    server = Valkey.of(servers_folder).prepare()
    log = servers_folder.logs / "valkey.log"
    with running(server.start(log)) as process:
        server.wait_ready(log, lambda: process.poll() is None)
        yield server.url()


@pytest.fixture(scope="session")
def gcs_server(servers_folder: Folder) -> Iterator[GcsServer]:
    """The run's server of buckets."""
    with gcs_server_running(servers_folder.logs / "gcs.log") as server:
        yield server


@pytest.fixture(scope="session")
def database_template(postgres_server: DatabaseServer) -> Iterator[str]:
    """The name of a migrated database nobody is connected to: copy it, leave it alone."""
    from fntx_sessions.database.engine import migrate  # noqa: PLC0415 -- stack tests run without it
    from fntx_sessions.database.logins import ensure_login  # noqa: PLC0415 -- as above

    with postgres_server.database() as name:
        migrate(postgres_server.owner_url(name))
        ensure_login(postgres_server.owner_url(name), postgres_server.url(name))
        yield name


@pytest.fixture
def database_url(postgres_server: DatabaseServer, database_template: str) -> Iterator[str]:
    """The URL of a migrated, empty database of this test's own."""
    with postgres_server.database(database_template) as name:
        yield postgres_server.url(name)


@pytest.fixture(scope="module")
def module_database_url(postgres_server: DatabaseServer, database_template: str) -> Iterator[str]:
    """The URL of a migrated database shared by the tests of one module."""
    with postgres_server.database(database_template) as name:
        yield postgres_server.url(name)


@pytest.fixture
def new_database(postgres_server: DatabaseServer) -> Iterator[Callable[[], str]]:
    """Call for the URL of one more database without any table."""
    with ExitStack() as made:
        yield lambda: postgres_server.owner_url(made.enter_context(postgres_server.database()))


@pytest.fixture
def redis_url(valkey_server: str) -> str:
    """The URL of an empty Redis."""
    _flush(valkey_server)
    return valkey_server


@pytest.fixture
def settings(tmp_path: Path, database_url: str, redis_url: str) -> Settings:
    """Settings over this test's database and Redis; commands need no token."""
    return Settings(
        home=tmp_path, database_url=database_url, maintenance_database_url=as_owner(database_url),
        redis_url=redis_url, auth_mode="open",
    )  # fmt: skip


@contextmanager
def running(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a server's process, and see to it that it has ended."""
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)  # Postgres: drop the clients and end
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _flush(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        client.flushdb()


def _refuse_used_database(url: str) -> None:
    with redis.Redis.from_url(url) as client:
        keys = client.dbsize()
    if keys:
        pytest.exit(f"FNTX_REDIS_URL holds {keys} keys and tests empty it: give the URL of an empty database", 4)
