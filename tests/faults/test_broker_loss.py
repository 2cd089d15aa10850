"""The worker outlives its broker, with a task in flight."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from worker_process import raw_app, wait_until, worker

from fntx_sessions.stack.folder import Folder
from fntx_sessions.stack.valkey import Valkey


class Broker:
    """A Valkey that a test may kill, and start again on the same port and data."""

    def __init__(self, home: Path) -> None:
        self.server = Valkey.of(Folder(home)).prepare()
        self._log = home / "valkey.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        process = self.process = self.server.start(self._log)
        self.server.wait_ready(self._log, lambda: process.poll() is None)
        assert process.poll() is None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    made.start()
    try:
        yield made
    finally:
        made.kill()


def environment(broker: Broker, home: Path) -> dict[str, str]:
    return {
        "FNTX_HOME": str(home),
        "FNTX_REDIS_URL": broker.server.url(),
        "FNTX_AUTH_MODE": "open",
        "FNTX_BROKER_VISIBILITY_TIMEOUT_S": "10",
        "FNTX_COMMAND_SOFT_TIME_LIMIT_S": "60",
        "FNTX_COMMAND_TIME_LIMIT_S": "70",
    }


def send_held(broker: Broker, folder: Path) -> str:
    task_id = str(uuid4())
    stranger = raw_app(broker.server.url())
    stranger.send_task("fntx.tests.hold", kwargs={"folder": str(folder)}, task_id=task_id, queue="commands")
    stranger.close()
    return task_id


def runs(folder: Path, task_id: str) -> int:
    return len(list(folder.glob(f"{task_id}.*.began")))


def test_the_worker_survives_and_runs_the_task_when_the_broker_is_back(broker, tmp_path):
    """Kill -9 of Redis with a late-acknowledged task in flight: same worker, nothing lost, and it takes new tasks."""
    log = tmp_path / "worker.log"
    with worker(environment(broker, tmp_path), log, "-Q", "commands", "-n", "w@%h") as process:
        in_flight = send_held(broker, tmp_path)
        wait_until(lambda: runs(tmp_path, in_flight) == 1, "the task began")
        broker.kill()
        wait_until(lambda: "Connection to broker lost" in log.read_text(), "the worker noticed")
        broker.start()
        (tmp_path / "let_go").touch()
        later = send_held(broker, tmp_path)
        wait_until((tmp_path / f"{later}.ended").exists, "the worker takes new tasks")
        wait_until((tmp_path / f"{in_flight}.ended").exists, "the task in flight was run again")
        assert process.poll() is None
        assert "CRITICAL" not in log.read_text()


def test_without_the_mend_this_kombu_ends_the_worker(broker, tmp_path):
    """Why tasks/kombu_patch.py is there. When this fails, the installed kombu needs it no longer: delete it."""
    log = tmp_path / "worker.log"
    unmended = environment(broker, tmp_path) | {"TEST_UNMENDED": "1"}
    with worker(unmended, log, "-Q", "commands", "-n", "w@%h") as process:
        in_flight = send_held(broker, tmp_path)
        wait_until(lambda: runs(tmp_path, in_flight) == 1, "the task began")
        broker.kill()
        wait_until(lambda: "Unrecoverable error: AttributeError" in log.read_text(), "the worker gave up")
        (tmp_path / "let_go").touch()
        wait_until(lambda: process.poll() is not None, "the worker ended")
        assert process.returncode != 0
