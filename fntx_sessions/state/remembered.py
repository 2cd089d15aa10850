"""What this process knows of the sessions it claimed last: all it can go by while Postgres is out of reach."""

import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from fntx_sessions.state.claims import Work
from fntx_sessions.state.snapshot import Packed

# Not claimed here for so long: another worker's, or closed.
FORGET_S = 900.0


@dataclass(slots=True)
class _Known:
    work: Work
    kept: tuple[int, int]
    seen_at: float
    backed_up_at: float = float("-inf")


class Remembered:
    """Sessions by id: the epoch they had, how far they are kept, when a backup was last tried."""

    def __init__(self) -> None:
        self._known: dict[UUID, _Known] = {}
        self._lock = threading.Lock()

    def note(self, works: Iterable[Work]) -> None:
        """Take in what was claimed, or looked at, just now."""
        now = time.monotonic()
        with self._lock:
            for work in works:
                known = self._known.get(work.session_id)
                if known is None:
                    self._known[work.session_id] = _Known(work, work.saved, now)
                else:
                    known.work, known.kept, known.seen_at = work, max(known.kept, work.saved), now

    def keep(self, saves: Iterable[Packed]) -> None:
        """Note how far sessions are kept now, in Postgres or in a backup."""
        with self._lock:
            for packed in saves:
                known = self._known.get(packed.session_id)
                if known is not None:
                    known.kept = max(known.kept, (packed.epoch, packed.revision))

    def due(self, every_s: float) -> list[Work]:
        """Return the sessions whose last backup was tried `every_s` ago or longer, saved as far as they are kept."""
        now = time.monotonic()
        with self._lock:
            self._known = {one: known for one, known in self._known.items() if known.seen_at > now - FORGET_S}
            found = [known for known in self._known.values() if known.backed_up_at <= now - every_s]
            for known in found:
                # An outage is not a reason to forget: nothing can be claimed in it.
                known.backed_up_at = known.seen_at = now
            return [_at(known) for known in found]


def _at(known: _Known) -> Work:
    work = known.work
    return Work(work.session_id, work.epoch, known.kept, work.due_at, work.checkpoint_type)


@lru_cache(maxsize=1)
def get_remembered() -> Remembered:
    """Return what this process remembers."""
    return Remembered()


# A lock that another thread of the parent held would stay locked in a forked child for ever.
os.register_at_fork(after_in_child=get_remembered.cache_clear)
