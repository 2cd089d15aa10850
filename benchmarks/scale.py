"""What a sweep costs where ten times as many sessions live, and how many one process keeps saved."""

import time
from uuid import UUID

from benchmarks.desk import Desk
from benchmarks.report import Result, middle
from benchmarks.saves import SMALL, live_sessions, report_states
from fntx_sessions.state.saves import save_due

FEW, MANY = 1_000, 10_000
HALF = 2  # one in
ROUNDS = 3
INTERVAL_S = 5.0


def scale(desk: Desk) -> list[Result]:
    """Return the seconds of one process to save all sessions once, half of them changed, at 10,000 and at 1,000."""
    few, many = live_sessions(desk, FEW), live_sessions(desk, MANY)
    for ids in (few, many):
        _swept(desk, ids, 1, 0)
    took = [(_swept(desk, few, HALF, 1 + number), _swept(desk, many, HALF, 1 + number)) for number in range(ROUNDS)]
    at_few, at_many = (middle(list(times)) for times in zip(*took, strict=True))
    kept = MANY / at_many * INTERVAL_S
    swept = f"sweep of {MANY:,} sessions, half changed"
    return [
        Result(swept, "s", at_many, f"of {FEW:,}", at_few, 12, fewer=True, rounds=ROUNDS),
        Result("sessions one process keeps saved each 5 s", "", kept, "budget", 3_000, 1, rounds=ROUNDS),
    ]


def _swept(desk: Desk, ids: list[UUID], one_in: int, seed: int) -> float:
    report_states(desk, ids, ids[::one_in], SMALL, seed)
    began = time.perf_counter()
    while (report := save_due(desk.engine, desk.redis, desk.settings)).claimed:
        if report.failed or report.skipped:
            raise RuntimeError(report)
    return time.perf_counter() - began
