"""Callers nobody can verify are counted, not written down one by one: forging a flood must not slow a stop."""

import threading
import time

import structlog

QUIET_S = 10.0


class Denials:
    """Counts refusals of unverifiable callers and logs their number, at most once per `QUIET_S` seconds."""

    def __init__(self, quiet_s: float = QUIET_S) -> None:
        self._quiet_s = quiet_s
        self._lock = threading.Lock()
        self._since_last_line = 0
        self._next_line_at = 0.0
        self.total = 0

    def count(self, detail: str) -> None:
        """Count one refusal; `detail` of the one that is logged goes into the line."""
        with self._lock:
            self.total += 1
            self._since_last_line += 1
            if time.monotonic() < self._next_line_at:
                return
            number, self._since_last_line = self._since_last_line, 0
            self._next_line_at = time.monotonic() + self._quiet_s
        self._say(number, detail)

    def _say(self, number: int, last: str) -> None:
        structlog.get_logger(__name__).warning("callers_unverified", number=number, last=last)


denials = Denials()
