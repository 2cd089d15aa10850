"""How fast whoever moves bytes may go."""

import time
from collections.abc import Callable


class Pace:
    """Holds a mover to so many bytes a second, counted from when it began."""

    def __init__(
        self,
        bytes_per_s: float,
        wait: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bytes_per_s = bytes_per_s
        self._wait = wait
        self._clock = clock
        self._began = clock()
        self._moved = 0

    def after(self, size: int) -> None:
        """Note that `size` bytes were moved, and wait until that many are due."""
        self._moved += size
        early = self._moved / self._bytes_per_s - (self._clock() - self._began)
        if early > 0:
            self._wait(early)
