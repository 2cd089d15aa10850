"""Waiting on a condition, bounded."""

import time
from collections.abc import Callable

PAUSE_S = 0.05


def until(condition: Callable[[], bool], timeout_s: float, error: Callable[[], Exception]) -> None:
    """Return once `condition()` holds; raises what `error()` builds when it does not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            raise error()
        time.sleep(PAUSE_S)
