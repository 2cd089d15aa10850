"""The clock of a session: the desk's wall, or a simulated day that each step moves on. All judging of time reads it.

The desk's wall is Postgres's clock, and nobody else's: a worker whose own clock is wrong, jumps, or stands in another
time zone judges hold times, flat-by and quotes as any other worker does.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_JITTER_S = 1.0  # what an answer's way through the network may take; further back than that, Postgres's clock was set


class WallClock:
    """Postgres's time in this process: what it said last, carried on by the monotonic clock, which nobody sets."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._at_zero: float | None = None
        self._last = 0.0

    def sync(self, now: datetime) -> None:
        """Take what Postgres has just answered as its `clock_timestamp()`; call it as soon as the answer is there."""
        self._at_zero = now.timestamp() - self._monotonic()

    def now(self) -> datetime:
        """Return the moment, aware, UTC; never back by less than a second, as the way of an answer may vary.

        Raises RuntimeError while nobody in this process has asked Postgres: its own clock is not to be trusted.
        """
        if self._at_zero is None:
            msg = "no session was claimed in this process yet, so Postgres's time is not known here"
            raise RuntimeError(msg)
        found = self._at_zero + self._monotonic()
        if self._last - _JITTER_S < found < self._last:
            found = self._last
        self._last = found
        return datetime.fromtimestamp(found, UTC)


WALL = WallClock()


class SessionClock:
    """`now` in UTC. A simulated clock starts at `start`, moves by `step_s` and is finished past `end`.

    The last moment of a simulated day is exactly `end`, so that what happens at the close has a step of its own.
    """

    def __init__(
        self, start: datetime | None = None, end: datetime | None = None, step_s: int = 300, *, wall: WallClock = WALL
    ) -> None:
        self._now = start
        self._end = end
        self._step = timedelta(seconds=step_s)
        self._finished = start is not None and end is not None and start > end
        self._wall = wall

    @property
    def simulated(self) -> bool:
        """Tell a simulated clock from the wall."""
        return self._now is not None

    @property
    def now(self) -> datetime:
        """Return the moment, aware, UTC."""
        return self._wall.now() if self._now is None else self._now

    @property
    def finished(self) -> bool:
        """Tell whether the simulated day is over; the wall never is."""
        return self._finished

    def advance(self, at_most_s: float | None = None) -> None:
        """Move a simulated clock one step, or less; does nothing to the wall or to a finished clock."""
        if self._now is None or self._finished:
            return
        if self._end is not None and self._now >= self._end:
            self._finished = True
            return
        step = self._step if at_most_s is None else min(self._step, timedelta(seconds=at_most_s))
        following = self._now + step
        self._now = following if self._end is None else min(following, self._end)
