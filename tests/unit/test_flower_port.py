"""Flower's port: whose Flower listens there is never guessed, and one that is taken is not waited for."""

import os
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fntx_sessions.settings import Settings
from fntx_sessions.stack import Process, Stack, doctor
from fntx_sessions.stack.addresses import DATABASE, FLOWER, REDIS
from fntx_sessions.stack.check import Check
from fntx_sessions.stack.flower_port import own_port
from fntx_sessions.stack.orphans import MARK
from fntx_sessions.stack.plan import Plan
from fntx_sessions.stack.status import Status

ADDRESSES = {DATABASE: "postgresql://127.0.0.1:1/none", REDIS: "redis://127.0.0.1:1/0"}
NOW = datetime(2026, 11, 20, 15, 58, tzinfo=UTC)


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def deaf() -> Iterator[int]:
    """The pid of a process that listens nowhere."""
    with subprocess.Popen(["sleep", "60"]) as found:
        yield found.pid
        found.kill()


@pytest.fixture
def stack(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A stack whose folder names that port as its Flower's."""
    monkeypatch.setenv(MARK, str(tmp_path))
    (tmp_path / "Procfile").write_text("flower: celery -A tasks flower\nother: sleep 1\n")
    found = Stack(tmp_path, procfile=tmp_path / "Procfile")
    found.folder.write_state(environment=ADDRESSES | {FLOWER: str(port)})
    return found


def process(name: str, pid: int, state: str = "RUNNING", later_s: float = 0) -> Process:
    return Process(name, "work", state, pid, NOW + timedelta(seconds=later_s), "pid 1")


def checked(stack: Stack, *processes: Process) -> dict[str, Check]:
    status = Status(str(stack.folder.home), True, "running", list(processes), None, None, {})  # noqa: FBT003 -- it runs
    return {check.name: check for check in doctor._processes(stack, status)}


def test_flower_is_ready_when_it_listens_itself(stack, tmp_path, deaf):
    """Another desk's that answers on the port is not ours; one that the supervisor still has as starting is."""
    plan = Plan(tmp_path, {}, tmp_path / "Procfile")
    names = {"flower", "other"}
    ours = {"flower": process("flower", os.getpid(), "STARTING"), "other": process("other", 1)}
    theirs = ours | {"flower": process("flower", deaf)}
    assert plan.ready(names, ours) == names
    assert plan.ready(names, theirs) == {"other"}
    assert plan.ready(names, {}) == set()


def test_a_port_that_was_taken_meanwhile_is_given_up_for_another(stack, port):
    """Which the folder names from then on, so that `fntx up` prints it; it stays as long as it is free."""
    chosen = own_port(Settings())
    assert chosen != port
    assert stack.addresses().flower == f"http://127.0.0.1:{chosen}/"
    assert ADDRESSES.items() <= stack.environment().items()
    assert own_port(Settings()) == chosen


def test_a_flower_of_no_stack_listens_where_it_is_told(port, monkeypatch):
    """Taken or not: whoever started it named the port."""
    monkeypatch.delenv(MARK, raising=False)
    assert own_port(Settings(flower_port=port)) == port


def test_the_doctor_does_not_take_anothers_flower_for_ours(stack, deaf):
    """It says so, with the log to read."""
    assert checked(stack, process("flower", os.getpid()))["flower"].result == "ok"
    found = checked(stack, process("flower", deaf))["flower"]
    assert (found.result, "whoever answers there is another" in found.meaning) == ("warn", True)
    assert "flower.log" in found.fix


def test_the_doctor_sees_what_dies_again_and_again(stack):
    """A process that starts long after the stack did is not well; one that starts with it is."""
    first, again = process("other", 1), process("flower", os.getpid(), "STARTING", later_s=1200)
    found = checked(stack, first, again)
    assert [found["other"].result, found["flower"].result] == ["ok", "warn"]
    assert checked(stack, first, process("flower", 1, "STARTING", later_s=30))["flower"].result == "ok"
