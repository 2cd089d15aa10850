"""What tests and drills hold: failpoints in our own processes, and a clock that moves by hand.

A **failpoint** is a named place in the code, around a commit or another step that must survive a kill::

    failpoint("command.before_commit")

It does nothing unless ``FNTX_FAILPOINTS`` names it. The variable holds comma-separated ``name:action`` pairs, with
``@file`` behind one that must strike only once (the process that creates the file strikes; whoever finds it passes,
so that the retry after a kill goes through)::

    FNTX_FAILPOINTS=command.before_commit:kill@/tmp/once,save.after_write:raise

Actions: ``kill`` (SIGKILL of the process itself, as a power cut would), ``raise`` (FailpointReached), ``hang``
(never returns, as a stalled disk would) and ``hold`` (as a slow one: until somebody writes into its @file, which it
must have). Inside one process, ``failpoints_armed`` arms them for a block.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.settings import get_settings

_ACTIONS = ("kill", "raise", "hang", "hold")
_FIX = "Write name:kill, name:raise, name:hang or name:hold, separated by commas, each with an @file; hold needs it."
_HELD_POLL_S = 0.02
_overrides: list[dict[str, "Failpoint"]] = []


class FailpointReached(Exception):
    """Raised by a failpoint whose action is `raise`; argument: its name."""


@dataclass(frozen=True, slots=True)
class Failpoint:
    """One armed place: what it does, and the file that lets it strike only once (None: every time)."""

    name: str
    action: str
    once: Path | None = None

    def strike(self) -> None:
        """Act, unless another strike already left the once-file."""
        if self.once is not None and not _first(self.once):
            return
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.action == "raise":
            raise FailpointReached(self.name)
        if self.action == "hold" and self.once is not None:
            _hold(self.once)
        else:
            threading.Event().wait()


def failpoint(name: str) -> None:
    """Mark a place that may be made to fail; free of effect and nearly of cost while nothing names it."""
    armed = _overrides[-1] if _overrides else _from_settings()
    if armed and name in armed:
        armed[name].strike()


def parse_failpoints(spec: str) -> dict[str, Failpoint]:
    """Return the failpoints `spec` names; raises InvalidArgument for an unknown action or a missing name."""
    return {point.name: point for point in map(_parse_one, filter(None, map(str.strip, spec.split(","))))}


@contextmanager
def failpoints_armed(spec: str) -> Iterator[None]:
    """Arm `spec` in this process for the block, in place of what the environment says; an empty spec disarms all."""
    armed = parse_failpoints(spec)
    _overrides.append(armed)
    try:
        yield
    finally:
        _overrides.pop()


@lru_cache(maxsize=1)
def _from_settings() -> dict[str, Failpoint]:
    return parse_failpoints(get_settings().failpoints)


def _parse_one(item: str) -> Failpoint:
    name, _, rest = item.partition(":")
    action, _, once = rest.partition("@")
    if not name or action not in _ACTIONS or (action == "hold" and not once):
        raise InvalidArgument("FNTX_FAILPOINTS", f"{item!r} is not a failpoint", _FIX)
    return Failpoint(name, action, Path(once) if once else None)


def _first(marker: Path) -> bool:
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _hold(marker: Path) -> None:
    while marker.exists() and not marker.stat().st_size:
        time.sleep(_HELD_POLL_S)


class Clock(Protocol):
    """Whatever tells the time: aware UTC."""

    def now(self) -> datetime:
        """Return the present moment."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the present moment, aware UTC."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that stands still until told otherwise."""

    def __init__(self, start: datetime = datetime(2018, 1, 2, 14, 30, tzinfo=UTC)) -> None:
        """Start at `start`; raises InvalidArgument when it is naive."""
        self._now = _aware(start)

    def now(self) -> datetime:
        """Return the moment it was last set to, aware UTC."""
        return self._now

    def advance(self, seconds: float) -> datetime:
        """Move by `seconds` (negative: back, as a stepped clock does) and return the new moment."""
        self._now += timedelta(seconds=seconds)
        return self._now

    def set(self, moment: datetime) -> None:
        """Jump to `moment`; raises InvalidArgument when it is naive."""
        self._now = _aware(moment)


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise InvalidArgument("moment", f"{moment.isoformat()} has no time zone", "Pass an aware datetime, in UTC.")
    return moment.astimezone(UTC)
