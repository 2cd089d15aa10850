"""`make run` in small: the demo does what it says, on a stack of its own, and leaves nothing behind."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest


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


def _processes_of(folder: Path) -> list[list[str]]:
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if any(str(folder) in word for word in line)]
