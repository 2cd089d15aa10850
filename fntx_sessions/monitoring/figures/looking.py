"""Looks that may take long, for a page that must not: made in a thread, at most every few seconds, when asked."""

import threading
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import structlog

from fntx_sessions.exceptions import FntxError

FRESH_S = 3.0
# How long a page waits for a new look; and what is older than that is not shown at all.
_WAIT_S = 1.0
_OLD_S = 30.0
_log = structlog.get_logger(__name__)


class _Dated(Protocol):
    @property
    def at(self) -> float: ...


T = TypeVar("T", bound=_Dated)


class Looking(Generic[T]):
    """Holds what was found last, and has it found anew where that is old."""

    def __init__(self, look: Callable[[], T], what: str) -> None:
        self._look, self._what = look, what
        self._found: T | None = None
        self._failed_at = float("-inf")
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Have it found anew where that is due; waits for nothing."""
        with self._lock:
            newest = max(self._failed_at, self._found.at if self._found else float("-inf"))
            if time.monotonic() - newest >= FRESH_S and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name=f"fntx-{self._what}", daemon=True)
                self._thread.start()

    def found(self) -> T | None:
        """Return what is known, waiting a second at most for a look under way; None: nothing of the last 30 s."""
        if self._thread is not None:
            self._thread.join(timeout=_WAIT_S)
        known = self._found
        return known if known is not None and time.monotonic() - known.at < _OLD_S else None

    def _run(self) -> None:
        try:
            self._found = self._look()
        except FntxError as error:
            self._failed_at = time.monotonic()
            _log.warning("gauges_not_read", what=self._what, problem=str(error))
        except Exception:  # noqa: BLE001 -- logged whole; the other figures are shown all the same
            self._failed_at = time.monotonic()
            _log.exception("gauges_not_read", what=self._what)
