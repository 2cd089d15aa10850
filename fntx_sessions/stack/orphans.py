"""Processes of a folder whose supervisor was killed: found by the mark in their environment, never by name."""

import contextlib
import os
import signal
from pathlib import Path

import psutil

from fntx_sessions.stack.supervision import STORES

# In the environment of the supervisor and so of all its children, and of nothing else.
MARK = "FNTX_STACK_FOLDER"
WORK_ENDS_S = 30.0
STORES_END_S = 60.0


def find_orphans(home: Path) -> list[psutil.Process]:
    """Return the processes that carry this folder's mark; the caller and its ancestors are not among them."""
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [p for p in psutil.process_iter() if p.pid not in spared and _environment(p).get(MARK) == str(home)]


def stop_orphans(home: Path) -> list[int]:
    """Stop what a killed supervisor left, workers before stores, and return the pids. A first kill may leave some."""
    found = find_orphans(home)
    stores = [process for process in found if _is_store(process)]
    _stop([process for process in found if process not in stores], signal.SIGTERM, WORK_ENDS_S)
    _stop(stores, signal.SIGINT, STORES_END_S)
    return [process.pid for process in found]


def _stop(processes: list[psutil.Process], number: signal.Signals, wait_s: float) -> None:
    """Ask those whose parent is not among them (the rest are theirs to end), then kill what is left."""
    pids = {process.pid for process in processes}
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.ppid() not in pids:
                process.send_signal(number)
    _, left = psutil.wait_procs(processes, timeout=wait_s)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=wait_s)


def _is_store(process: psutil.Process) -> bool:
    return _environment(process).get("SUPERVISOR_GROUP_NAME") == STORES


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}  # another user's, or gone
