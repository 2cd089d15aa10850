"""`python -m benchmarks.takeover [SESSIONS]`: kill -9 of a worker, until each of its sessions is recovered.

Everything that promise is made of is in the time: the lease that runs out, the sweep that notices, and the recoveries
themselves, by the processes that a stack has. The sessions are stepped all the while, by another worker too.
"""

import os
import signal
import sys
import time
from contextlib import ExitStack

from sqlalchemy import text

from benchmarks.desk import Desk, own_desk, wait
from benchmarks.report import Result, show

SESSIONS = 500
STEP_INTERVAL_S = 10.0
MOST_S = 45.0
_STATES = text("""
SELECT count(*) FILTER (WHERE w.host_id LIKE 'lost@%' AND w.saved_revision > 0) AS hosted,
  count(*) FILTER (WHERE w.epoch > 1 AND s.status = 'paused') AS recovered,
  count(*) FILTER (WHERE w.epoch = 1 AND w.host_id LIKE 'other@%') AS adopted FROM session_work w
JOIN sessions s USING (session_id)
""")


def takeover(desk: Desk, sessions: int) -> list[Result]:
    """Return the seconds from the kill to the first and to the last recovered session."""
    desk.active_sessions(sessions, step_interval_s=STEP_INTERVAL_S)
    _say(f"{sessions} sessions started")
    with ExitStack() as stack:
        stack.enter_context(desk.celery("beat", "-A", "tasks", "beat", "--pidfile="))
        stack.enter_context(desk.working("sweeps", "-Q", "sweeps,checkpoints,maintenance"))
        victim = stack.enter_context(desk.working("lost", "-Q", "agents"))
        wait(lambda: _count(desk, "hosted") == sessions, "all are hosted and saved", 300)
        stack.enter_context(desk.working("other", "-Q", "agents"))
        _say("all of them hosted by one worker; it is killed")
        killed = time.monotonic()
        os.killpg(victim.pid, signal.SIGKILL)
        first = _seconds(desk, killed, 1)
        last = _seconds(desk, killed, sessions)
        adopted = _count(desk, "adopted")
    return [
        Result("worker killed: first session recovered", "s", first),
        Result("worker killed: adopted by the other, nothing to recover", "", adopted),
        Result(f"worker killed: {sessions} active sessions recovered", "s", last, "must", MOST_S, 1, fewer=True),
    ]


def _seconds(desk: Desk, began: float, count: int) -> float:
    """Return when `count` sessions were under a new epoch, or adopted by a living worker within the lease."""
    wait(lambda: _count(desk, "recovered") + (_count(desk, "adopted") if count > 1 else 0) >= count, "recovery", 120)
    return time.monotonic() - began


def _count(desk: Desk, what: str) -> int:
    time.sleep(0.1)  # so that asking is no load worth the name
    with desk.engine.connect() as connection:
        return int(connection.execute(_STATES).mappings().one()[what])


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    with own_desk() as own:
        show(takeover(own, int(sys.argv[1]) if len(sys.argv) > 1 else SESSIONS))
