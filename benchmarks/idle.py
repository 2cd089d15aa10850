"""`python -m benchmarks.idle [SESSIONS]`: what a whole stack takes of a core while nothing happens.

Active sessions whose next step is an hour away: everything else is due at its interval, and nothing changed.
"""

import sys
import time
from contextlib import ExitStack, suppress

import psutil

from benchmarks.desk import Desk, own_desk
from benchmarks.report import Result, show

SESSIONS = 100
SETTLE_S, WATCH_S = 20.0, 60.0
MOST = 0.05
WORKERS = {"commands": "commands,queries,celery", "agents": "agents", "sweeps": "sweeps,checkpoints,maintenance"}


def idle(desk: Desk, sessions: int) -> list[Result]:
    """Return the share of one core, in all and by process."""
    desk.active_sessions(sessions, step_interval_s=3600, feed={"kind": "published"})
    print(f"{sessions} sessions started", flush=True)
    with ExitStack() as stack:
        stack.enter_context(desk.celery("beat", "-A", "tasks", "beat", "--pidfile="))
        for name, queues in WORKERS.items():
            stack.enter_context(desk.working(name, "-Q", queues))
        stack.enter_context(desk.celery("flower", "-A", "tasks", "flower"))
        time.sleep(SETTLE_S)
        before, began = _seconds_of_cpu(), time.monotonic()
        time.sleep(WATCH_S)
        after, took = _seconds_of_cpu(), time.monotonic() - began
    shares = {name: (after[name] - before.get(name, 0.0)) / took for name in after}
    return [
        *(Result(f"idle, {name}", "core", share) for name, share in sorted(shares.items())),
        Result(f"idle, {sessions} sessions", "core", sum(shares.values()), "must", MOST, 1, fewer=True),
    ]


def _seconds_of_cpu() -> dict[str, float]:
    """Return the processor seconds of this benchmark's children, by what they are; one that just ended is left out."""
    found: dict[str, float] = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            name, times = _name(process), process.cpu_times()
            found[name] = found.get(name, 0.0) + times.user + times.system
    return found


def _name(process: psutil.Process) -> str:
    words = process.cmdline()
    known = next((word.split("@")[0] for word in words if word.endswith("@bench")), None)
    return known or next((word for word in words if word in {"beat", "flower"}), process.name())


if __name__ == "__main__":
    with own_desk() as own:
        show(idle(own, int(sys.argv[1]) if len(sys.argv) > 1 else SESSIONS))
