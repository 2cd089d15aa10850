"""`make run` in small: the demo does what it says, on a stack of its own, and leaves nothing behind."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest.mock import Mock
from uuid import uuid4

import psutil
import pytest

from fntx_sessions.cli import demo_steps
from fntx_sessions.exceptions import IllegalTransition


@pytest.mark.timeout(300)
def test_the_demo_holds_every_step_and_leaves_nothing(tmp_path):
    """It exits 0 only if every step held: backtest, kill -9, recovery, flat stop; no process and no folder remain."""
    picture, folders = tmp_path / "pnl.png", Path(tempfile.mkdtemp(prefix="fntx-"))
    folders.chmod(0o711)  # Postgres may run as another user
    program = [sys.executable, "-c", "from fntx_sessions.cli import main; main()", "demo"]
    asked = ["--from", "2018-02-05", "--to", "2018-02-05", "--seeds", "2", "--out", str(picture)]
    environment = os.environ | {"TMPDIR": str(folders)}
    done = subprocess.run([*program, *asked], env=environment, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    for told in (
        "2018-02-05",
        "Demonstrates the system, not returns",
        "kill to recovered",
        "all audit chains verified",
    ):
        assert told in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert _processes_of(folders) == []
    folders.rmdir()  # which only an empty folder allows


@pytest.mark.parametrize("status", ["closing", "closed"])
def test_a_day_that_is_over_before_the_stop_arrives_is_no_failure(monkeypatch, status):
    """On a slow machine the session may have stopped by itself, which the steps after it check as well."""
    late = IllegalTransition("7c1e", "stop_session", status, "system", "its simulated day is over", "nothing")
    monkeypatch.setattr(demo_steps, "line", lambda: Mock(command=Mock(side_effect=late)))
    assert demo_steps._stop(uuid4()) == status


def test_a_stop_that_is_refused_for_another_reason_fails_the_demo(monkeypatch):
    """What goes on has to stop."""
    refused = IllegalTransition("7c1e", "stop_session", "error", "system", "cannot be stepped", "nothing")
    monkeypatch.setattr(demo_steps, "line", lambda: Mock(command=Mock(side_effect=refused)))
    with pytest.raises(IllegalTransition):
        demo_steps._stop(uuid4())


def _processes_of(folder: Path) -> list[list[str]]:
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if any(str(folder) in word for word in line)]
