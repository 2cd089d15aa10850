"""A desk for a benchmark: stores of its own in a temporary folder, sessions, and real worker processes."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from celery import Celery
from redis import Redis
from sqlalchemy import Engine, text

from fntx_sessions.automation.hosts import renew
from fntx_sessions.database.engine import build_engine, migrate
from fntx_sessions.lifecycle import execute
from fntx_sessions.lifecycle.arguments import CreateArguments, StartArguments
from fntx_sessions.schemas import SessionType, Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.local import current_token, ensure_local_keys
from fntx_sessions.settings import Settings
from fntx_sessions.stack.folder import Folder
from fntx_sessions.stack.postgres import DATABASE, Postgres
from fntx_sessions.stack.valkey import Valkey
from fntx_sessions.state.redis_client import build_redis

ANN = Actor("bench", frozenset({"operator", "risk_manager"}))
READY_S = 90.0
# Sessions are numbered, so that pgbench can name them.
SESSION_ID = "00000000-0000-4000-9000-{}"
_FIRST_SESSION = 100_000_000_000


@dataclass(frozen=True)
class Desk:
    """Running stores, and what speaks to them."""

    folder: Folder
    postgres: Postgres
    settings: Settings

    @cached_property
    def engine(self) -> Engine:
        """This process's engine."""
        return build_engine(self.database_url, self.settings)

    @cached_property
    def redis(self) -> Redis:
        """This process's Redis."""
        return build_redis(self.redis_url, self.settings)

    @property
    def database_url(self) -> str:
        """The database's address."""
        assert self.settings.database_url is not None
        return self.settings.database_url.get_secret_value()

    @property
    def redis_url(self) -> str:
        """The address of Redis."""
        assert self.settings.redis_url is not None
        return self.settings.redis_url.get_secret_value()

    @property
    def token(self) -> str:
        """A signed token that may do everything."""
        return current_token(self.settings) or ""

    @property
    def tools(self) -> execute.Desk:
        """What the lifecycle works with."""
        return execute.Desk(self.engine, self.redis, self.settings)

    def active_sessions(self, count: int, **config: Any) -> list[UUID]:
        """Create sessions and start them; once a desk."""
        ids = [UUID(SESSION_ID.format(_FIRST_SESSION + number)) for number in range(count)]
        for session_id in ids:
            asked = CreateArguments(session_type=SessionType.PAPER_TRADING, session_id=session_id, config=config)
            execute.create(self.tools, ANN, asked, uuid4()).raise_for_refusal()
            started = StartArguments(session_id=session_id, reason="bench")
            execute.command(self.tools, Trigger.START, ANN, started, uuid4()).raise_for_refusal()
        return ids

    def waiting_follow_ups(self) -> int:
        """Return how many rows the outbox holds."""
        with self.engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM outbox")).scalar_one())

    def environment(self) -> dict[str, str]:
        """Return what a process of this desk is told."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FNTX_")}
        own = {
            "FNTX_HOME": str(self.folder.home),
            "FNTX_DATABASE_URL": self.database_url,
            "FNTX_REDIS_URL": self.redis_url,
        }
        return inherited | own

    @contextmanager
    def worker(self, name: str, *arguments: str, app: str = "tasks") -> Iterator[float]:
        """Run a worker until it is ready; yields the seconds that took."""
        began = time.monotonic()
        with self.working(name, *arguments, app=app):
            yield time.monotonic() - began

    @contextmanager
    def working(self, name: str, *arguments: str, app: str = "tasks") -> Iterator[subprocess.Popen[bytes]]:
        """Run a worker; yields its process once it is ready."""
        told = ("-A", app, "worker", "-n", f"{name}@bench", *arguments, "--without-gossip", "--without-mingle")
        with self.celery(name, *told) as process:
            with Celery(broker=self.redis_url, set_as_current=False) as asking:
                ping = partial(asking.control.ping, destination=[f"{name}@bench"], timeout=0.2, limit=1)
                wait(lambda: ping() or process.poll() is not None, f"worker {name}")
            if process.poll() is not None:
                raise SystemExit((self.folder.logs / f"{name}.log").read_text())
            yield process

    @contextmanager
    def celery(self, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a process of Celery and end it; its log is named after it."""
        with (self.folder.logs / f"{name}.log").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", *arguments],
                env=self.environment(), cwd=Path(__file__).parents[1], stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        try:
            yield process
        finally:
            _end(process)


def wait(condition: Callable[[], object], what: str, timeout_s: float = READY_S) -> None:
    """Return once `condition` holds; raises TimeoutError naming what did not happen."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.005)


@contextmanager
def own_desk() -> Iterator[Desk]:
    """Start stores, migrate, make keys; everything is gone afterwards."""
    home = Path(tempfile.mkdtemp(prefix="fntx-"))
    home.chmod(0o711 if os.geteuid() == 0 else 0o700)
    with ExitStack() as ending:
        ending.callback(shutil.rmtree, home, ignore_errors=True)
        folder = Folder(home)
        folder.prepare()
        postgres, valkey = Postgres(folder), Valkey.of(folder).prepare()
        postgres.prepare()
        for server, name in ((postgres, "postgres"), (valkey, "valkey")):
            log = folder.logs / f"{name}.log"
            process = server.start(log)
            ending.callback(_end, process, signal.SIGINT)
            server.wait_ready(log, partial(_lives, process))
        postgres.ensure_database(DATABASE)
        migrate(postgres.url())
        ensure_local_keys(home)
        # What the lifecycle seals in this process, it seals as its own settings say.
        os.environ["FNTX_KEY_RING_FILE"] = str(home / "keys" / "ring.json")
        settings = Settings(home=home, database_url=postgres.url(), redis_url=valkey.url())
        desk = Desk(folder, postgres, settings)
        # A host that lives, so that commands have nothing to warn of.
        renew(desk.engine, settings.model_copy(update={"lease_s": 86_400.0}), "bench", "agents")
        ending.callback(desk.engine.dispose)
        ending.callback(desk.redis.close)
        yield desk


def _lives(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is None


def _end(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
    process.send_signal(number)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
