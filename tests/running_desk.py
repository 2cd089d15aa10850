"""A desk that runs: a database of its own, a Redis database of its own, and real worker processes."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
import redis
from conftest import DatabaseServer
from owning import as_owner
from worker_process import raw_app, wait_until, worker

from fntx_sessions import SessionLifecycleManager
from fntx_sessions.settings import Settings

REDIS_DATABASE = 7


@dataclass(frozen=True)
class RunningDesk:
    """Where the desk is. `settings` is what a caller of it needs."""

    settings: Settings
    folder: Path

    @property
    def database_url(self) -> str:
        return self.settings.database_url.get_secret_value()

    @property
    def redis_url(self) -> str:
        return self.settings.redis_url.get_secret_value()

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url)

    def manager(self, **changed: Any) -> SessionLifecycleManager:
        """Return a manager of this desk, its settings changed."""
        return SessionLifecycleManager(settings=self.settings.model_copy(update=changed))

    def worker(self, *arguments: str, **environment: str) -> AbstractContextManager[Any]:
        """Run one more worker; `environment` adds to what every worker of this desk has."""
        name = uuid4().hex[:8]
        return worker(
            self._environment() | environment,
            self.folder / f"{name}.log",
            *(arguments or ("-Q", "commands,queries,celery", "-c", "2")),
            "-n",
            f"{name}@test",
            app="tasks",
        )

    def sweep(self, name: str) -> None:
        """Send what beat would send."""
        raw_app(self.redis_url).send_task(f"fntx.sweeps.{name}", queue="sweeps")

    def _environment(self) -> dict[str, str]:
        return {
            "FNTX_HOME": str(self.folder),
            "FNTX_DATABASE_URL": self.database_url,
            "FNTX_MAINTENANCE_DATABASE_URL": as_owner(self.database_url),
            "FNTX_REDIS_URL": self.redis_url,
            "FNTX_AUTH_MODE": "open",
            "FNTX_KEY_RING": os.environ["FNTX_KEY_RING"],
        }


@pytest.fixture(scope="module")
def quiet_desk(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: DatabaseServer,
    database_template: str,
    valkey_server: str,
) -> Iterator[RunningDesk]:
    """A desk whose workers the test itself starts."""
    url = valkey_server.rsplit("/", 1)[0] + f"/{REDIS_DATABASE}"
    folder = tmp_path_factory.mktemp("desk")
    with postgres_server.database(database_template) as name:
        settings = Settings(
            home=folder, database_url=postgres_server.url(name), redis_url=url, auth_mode="open", command_resend_s=1.0
        )
        desk = RunningDesk(settings, folder)
        with desk.redis() as client:
            client.flushdb()
        yield desk


@pytest.fixture(scope="module")
def desk(quiet_desk: RunningDesk) -> Iterator[RunningDesk]:
    """A desk with a worker for commands and queries."""
    with quiet_desk.worker():
        yield quiet_desk


def run(scenario: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any) -> Any:
    """Run a scenario on a loop of its own; what is left running on it is a failure."""

    async def alone() -> Any:
        result = await scenario(*arguments)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, left
        return result

    return asyncio.run(alone())


@contextmanager
def frozen(process: Any) -> Iterator[None]:
    """Hold a worker and its children still."""
    everyone = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    for pid in everyone:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in everyone:
            os.kill(pid, signal.SIGCONT)


__all__ = ["RunningDesk", "desk", "frozen", "quiet_desk", "run", "wait_until"]
