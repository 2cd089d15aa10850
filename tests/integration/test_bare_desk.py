"""A desk as its containers run it: without a shell, and, where it asks nobody for a token, loud about it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pages_world import ROOT, Pages, pages_running
from running_desk import RunningDesk, quiet_desk
from worker_process import beat, wait_until, worker

from fntx_sessions.security.open_desk import OPEN_TOLD
from fntx_sessions.stack.control import Process
from fntx_sessions.stack.openness import diagnose_openness

__all__ = ["quiet_desk"]
WATCHFUL = Path(__file__).parents[1] / "watchful"
WORKER = ("-Q", "commands,queries,celery", "-c", "1", "-n", "commands@%h")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file in which each program that the desk starts is noted."""
    found = tmp_path_factory.mktemp("started") / "started"
    found.touch()
    return found


@pytest.fixture(scope="module")
def environment(quiet_desk: RunningDesk, started: Path) -> dict[str, str]:
    """What the desk's processes are told: no other program is on their path than the environment's own."""
    watched = {"STARTED": str(started), "PATH": str(Path(sys.executable).parent)}
    return quiet_desk._environment() | watched | {"PYTHONPATH": f"{WATCHFUL}{os.pathsep}{WATCHFUL.parent}"}


@pytest.fixture(scope="module")
def commands(quiet_desk: RunningDesk, environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    """A worker as the image starts it."""
    with worker(environment, quiet_desk.folder / "commands.log", *WORKER, app="tasks") as process:
        yield process


@pytest.fixture(scope="module")
def pages(quiet_desk: RunningDesk, environment: dict[str, str]) -> Iterator[Pages]:
    with pages_running(quiet_desk, **environment) as found:
        yield found


@pytest.fixture(scope="module")
def clock(quiet_desk: RunningDesk, environment: dict[str, str]) -> Iterator[Path]:
    """The log of a beat."""
    log = quiet_desk.folder / "beat.log"
    with beat(environment, log):
        wait_until(lambda: "auth_open" in log.read_text(), "beat says that the desk is open")
        yield log


def alive(environment: dict[str, str], **more: str) -> int:
    command = [sys.executable, "-m", "fntx_sessions.stack.alive"]
    return subprocess.run(command, env=environment | more, cwd=ROOT, check=False, capture_output=True).returncode


def test_nothing_of_the_desk_starts_a_shell_or_another_program(commands, pages, clock, environment, started):
    """Worker, beat and Flower start and answer, the health check with them; Python alone was started by them."""
    assert alive(environment) == 0
    assert pages.nobody().get("/login").status == 200
    asked = [line.partition(" ")[2].strip("'\"") for line in started.read_text().splitlines()]
    assert any("inspect ping" in line for line in asked), "the health check was noted"
    # Python's own `platform` asks that, and goes on where there is no such program, as here.
    assert not [line for line in asked if line.split()[0] != sys.executable and line != "uname -p"]


def test_a_node_that_is_not_there_is_not_alive(commands, environment):
    """The check's code is 1, the only one that containers know for ill."""
    assert alive(environment, FNTX_NODE="nobody") == 1


@pytest.mark.parametrize(
    "path", ["/login", "/sessions", "/sessions/health", "/workers", "/tasks", "/broker", "/nothing"]
)
def test_an_open_desk_is_said_on_every_page(pages, path):
    """Flower's own pages and ours, the login too, whoever looks."""
    assert OPEN_TOLD in pages.somebody("admin").get(path).text


def test_who_starts_an_open_worker_or_beat_reads_it(commands, clock, quiet_desk):
    """Each says so as it starts, as an error."""
    own = quiet_desk.folder / "commands.log"
    wait_until(lambda: "auth_open" in own.read_text(), "the worker says that the desk is open")
    for log in (own, clock):
        [said] = [line for line in log.read_text().splitlines() if '"auth_open"' in line and "error" in line]
        assert OPEN_TOLD in said


def process(pid: int | None, name: str = "worker_commands") -> Process:
    return Process(group="work", name=name, state="RUNNING", pid=pid, detail="", started_at=None)


def test_doctor_finds_who_takes_commands_from_everybody(commands):
    """By what the processes run with, whatever the shell that looks was told; one that has ended is not asked."""
    own = process(os.getpid(), "worker_sweeps")
    [check] = diagnose_openness([process(commands.pid), own, process(None)], "required")
    assert (check.result, check.meaning.endswith("So run: worker_commands")) == ("fail", True)
    assert check.fix == "unset FNTX_AUTH_MODE; fntx down; fntx up"
    [check] = diagnose_openness(
        [own, process(next(pid for pid in range(2**22, 1, -1) if not psutil.pid_exists(pid)))], "open"
    )
    assert (check.result, "what is started from this shell" in check.meaning) == ("fail", True)
    [check] = diagnose_openness([own], "required")
    assert (check.result, check.meaning) == ("ok", "a token is required")


def test_the_hosts_name_is_the_nodes():
    """Celery's %h and the health check agree on it."""
    from celery.utils.nodenames import host_format  # noqa: PLC0415 -- of Celery's own making

    assert host_format("commands@%h") == f"commands@{socket.gethostname()}"
