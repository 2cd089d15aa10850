"""Refusals are told in few lines and written down in few rows, however many come."""

import hashlib
import os
import threading
import time

import structlog
from redis import Redis
from redis.exceptions import RedisError

QUIET_S = 10.0
_MINUTE_S = 60


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


class Allowance:
    """Which denials of a verified caller are audited row by row: so many a minute; the others are counted.

    The first of each action in a minute always is: harmless ones cannot use up what a grave one would have had. The
    desk's processes share the numbers in Redis. While that is away each has them to itself.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a forked child must: its parent's counts are its parent's."""
        self._lock = threading.Lock()
        self._taken: dict[tuple[int, str], int] = {}
        self._seen: set[tuple[int, str, str]] = set()
        self._beyond: dict[tuple[int, str], int] = {}

    def take(self, name: str, most: int, redis: Redis, action: str) -> bool:
        """Tell whether one more denial of `name` in this minute may have a row, and take it.

        action: one of a closed list, as the first of each may have a row beyond `most`.
        """
        minute, taken, first = self._noted(name, action)
        # Whoever is far beyond it costs no question.
        within = taken <= most and self._shared(redis, minute, name) <= most
        return (first and self._shared(redis, minute, f"{name}\0{action}") <= 1) or within

    def is_beyond(self, name: str, most: int, action: str) -> bool:
        """Tell whether this process alone, with this one, passed on more denials of `name` than a minute has rows for.

        For who passes them on to those that `take`: it asks nobody.
        """
        _, taken, first = self._noted(name, action)
        return taken > most and not first

    def _noted(self, name: str, action: str) -> tuple[int, int, bool]:
        minute = int(time.time()) // _MINUTE_S
        with self._lock:
            self._taken = {key: number for key, number in self._taken.items() if key[0] == minute}
            self._seen = {key for key in self._seen if key[0] == minute}
            taken = self._taken[minute, name] = self._taken.get((minute, name), 0) + 1
            first = (minute, name, action) not in self._seen
            self._seen.add((minute, name, action))
        return minute, taken, first

    def count(self, name: str) -> None:
        """Count a denial that gets no row."""
        minute = int(time.time()) // _MINUTE_S
        with self._lock:
            self._beyond[minute, name] = self._beyond.get((minute, name), 0) + 1

    def counted(self, *, whole: bool = False) -> dict[tuple[int, str], int]:
        """Hand out what was counted by minute (since the epoch) and name, of minutes that are over; whole: of all."""
        minute = int(time.time()) // _MINUTE_S
        with self._lock:
            found = {key: number for key, number in self._beyond.items() if whole or key[0] < minute}
            for key in found:
                del self._beyond[key]
        return found

    def give_back(self, counted: dict[tuple[int, str], int]) -> None:
        """Take back what could not be written down."""
        with self._lock:
            for key, number in counted.items():
                self._beyond[key] = self._beyond.get(key, 0) + number

    @property
    def waiting(self) -> bool:
        """Tell whether anything is counted that was not handed out."""
        return bool(self._beyond)

    @staticmethod
    def _shared(redis: Redis, minute: int, what: str) -> int:
        # A name is whatever its issuer chose: its hash is as long as any other's.
        key = f"fntx:denials:{minute}:{hashlib.sha256(what.encode()).hexdigest()[:16]}"
        try:
            with redis.pipeline(transaction=False) as together:
                together.incr(key)
                together.expire(key, 2 * _MINUTE_S)
                return int(together.execute()[0])
        except RedisError:
            return 0


allowance = Allowance()
os.register_at_fork(after_in_child=allowance.forget)
