"""What is printed in a worker, by agents and libraries: lines of the log like any other, secrets left out.

Celery redirects stdout and stderr itself only where it sets up logging itself, and makes a line of every piece.
"""

import logging
import sys
import threading
import time

import structlog
from celery.utils.log import LoggingProxy

from fntx_sessions.settings import get_settings

# A line that is longer is logged in pieces, cut where one write ended and the next began.
_LINE_CHARACTERS = 16_384
log = structlog.get_logger(__name__)


class _Begun(threading.local):
    text = ""


class Printed(LoggingProxy):
    """A stdout or stderr whose lines are logged, at most `most_per_s` of them; the others are counted.

    A value of several lines is found in them: lines that one `print` makes are logged as one.
    """

    encoding = "utf-8"

    def __init__(self, most_per_s: int) -> None:
        super().__init__(logging.getLogger("printed"), logging.WARNING)
        self._most = most_per_s
        self._begun = _Begun()
        self._second, self._number = 0, 0

    def write(self, data: str) -> int:  # type: ignore[override]  # the stubs allow bytes, which no stdout does
        """Log what ends with a newline; what does not waits for it."""
        text = self._begun.text + data
        whole = text.endswith("\n") or len(text) > _LINE_CHARACTERS
        self._begun.text = "" if whole else text
        if whole and text.strip() and self._may():
            super().write(text.strip("\n"))
        return len(data)

    def _may(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            left_out = self._number - self._most
            self._second, self._number = second, 0
            if left_out > 0:
                log.warning("printed_left_out", number=left_out)
        self._number += 1
        return self._number <= self._most


def print_into_log() -> None:
    """Let this process, and those it forks, print into the log alone; what writes to the descriptors goes past it."""
    sys.stdout = sys.stderr = Printed(get_settings().log_printed_per_s)
