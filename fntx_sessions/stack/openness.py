"""Whether the desk asks for tokens, by what its processes run with, whatever the shell that looks was told."""

from collections.abc import Iterable, Iterator

import psutil

from fntx_sessions.security.open_desk import CLOSE_IT, OPEN_TOLD, VARIABLE
from fntx_sessions.stack.check import Check
from fntx_sessions.stack.control import Process


def diagnose_openness(processes: Iterable[Process], mode: str) -> Iterator[Check]:
    """Yield a failed check where some process takes commands from everybody, or one begun now would.

    mode: what this shell's own settings say.
    """
    opened = sorted(process.name for process in processes if process.pid and _mode(process.pid) == "open")
    if opened:
        yield Check("who may ask", "fail", f"{OPEN_TOLD} So run: {', '.join(opened)}", CLOSE_IT)
    elif mode == "open":
        yield Check("who may ask", "fail", f"what is started from this shell: {OPEN_TOLD}", f"unset {VARIABLE}")
    else:
        yield Check("who may ask", "ok", "a token is required")


def _mode(pid: int) -> str:
    try:
        return str(psutil.Process(pid).environ().get(VARIABLE, ""))
    except psutil.Error:  # it has ended, or is somebody else's
        return ""
