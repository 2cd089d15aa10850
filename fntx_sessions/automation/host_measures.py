"""What a worker takes of its machine, over all its processes, and which agents its processes step at this moment."""

import os
import time
from typing import Any

import psutil

from fntx_sessions.agents.note import under_way

# A step that takes less is none of health's business; rows stay small.
_STEP_WORTH_TELLING_S = 2.0


class Measuring:
    """Measures the process tree of this process; the processor's share is since the measure before."""

    def __init__(self) -> None:
        """Begin; nothing is measured yet."""
        self._before: tuple[float, dict[int, float]] | None = None

    def measure(self) -> dict[str, Any]:
        """Return processes, memory_bytes, cpu_fraction of the machine (None: too early to tell), and `stepping`.

        stepping: session_id, agent, pid and for_s of each step that has been under way for two seconds or more.
        """
        memory, spent = _tree()
        now = time.monotonic()
        before, self._before = self._before, (now, spent)
        return {
            "processes": len(spent),
            "memory_bytes": memory,
            "cpu_fraction": None if before is None else _fraction(before, now, spent),
            "stepping": [
                {"session_id": one.session_id, "agent": one.agent, "pid": one.pid, "for_s": round(one.for_s, 1)}
                for one in under_way()
                if one.for_s >= _STEP_WORTH_TELLING_S
            ],
        }


def _tree() -> tuple[int, dict[int, float]]:
    """Return the memory of this process and all below it, and the processor seconds of each."""
    own = psutil.Process(os.getpid())
    memory, spent = 0, dict[int, float]()
    for process in (own, *own.children(recursive=True)):
        try:
            with process.oneshot():
                times = process.cpu_times()
                memory += process.memory_info().rss
                spent[process.pid] = times.user + times.system
        except psutil.Error:
            continue  # it has ended meanwhile
    return memory, spent


def _fraction(before: tuple[float, dict[int, float]], now: float, spent: dict[int, float]) -> float:
    """Return the share of all processors since then; a process that was not there began at nothing."""
    began, had = before
    used = sum(max(0.0, seconds - had.get(pid, 0.0)) for pid, seconds in spent.items())
    return round(used / max(now - began, 1e-3) / (os.cpu_count() or 1), 4)
