"""Worker processes for tests: started on their own, waited for, and always ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from celery import Celery

TESTS = Path(__file__).parent


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    """Return once `condition` holds; fail naming what did not happen."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.02)


def raw_app(url: str) -> Celery:
    """A stranger's Celery: broker and backend, and nothing of ours."""
    app = Celery("stranger", broker=url, backend=url, set_as_current=False)
    app.conf.broker_transport_options = {"socket_timeout": 5, "socket_connect_timeout": 2}
    return app


@contextmanager
def beat(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen]:
    """Run a beat; end it however the test ended."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FNTX_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "tasks", "beat", "--pidfile="],
            env=inherited | environment, cwd=TESTS.parent, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        end(process)


@contextmanager
def worker(
    environment: dict[str, str], log: Path, *arguments: str, app: str = "edge_app"
) -> Iterator[subprocess.Popen]:
    """Run a worker until it is ready; end it and its children however the test ended."""
    command = [sys.executable, "-m", "celery", "-A", app, "worker", "--without-gossip", "--without-mingle", *arguments]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FNTX_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=inherited | {"FNTX_KEY_RING": os.environ["FNTX_KEY_RING"], "PYTHONPATH": str(TESTS)} | environment,
            cwd=TESTS.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until(lambda: " ready." in log.read_text() or process.poll() is not None, "the worker is ready")
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen) -> None:
    """End a worker's whole process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
