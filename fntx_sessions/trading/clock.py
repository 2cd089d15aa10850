"""The clock of a session: the wall, or a simulated day that each step moves on. All judging of time reads it."""

from datetime import UTC, datetime, timedelta


class SessionClock:
    """`now` in UTC. A simulated clock starts at `start`, moves by `step_s` and is finished past `end`.

    The last moment of a simulated day is exactly `end`, so that what happens at the close has a step of its own.
    """

    def __init__(self, start: datetime | None = None, end: datetime | None = None, step_s: int = 300) -> None:
        self._now = start
        self._end = end
        self._step = timedelta(seconds=step_s)
        self._finished = start is not None and end is not None and start > end

    @property
    def simulated(self) -> bool:
        """Tell a simulated clock from the wall."""
        return self._now is not None

    @property
    def now(self) -> datetime:
        """Return the moment, aware, UTC."""
        return datetime.now(UTC) if self._now is None else self._now

    @property
    def finished(self) -> bool:
        """Tell whether the simulated day is over; the wall never is."""
        return self._finished

    def advance(self) -> None:
        """Move a simulated clock one step; does nothing to the wall or to a finished clock."""
        if self._now is None or self._finished:
            return
        if self._end is not None and self._now >= self._end:
            self._finished = True
            return
        following = self._now + self._step
        self._now = following if self._end is None else min(following, self._end)
