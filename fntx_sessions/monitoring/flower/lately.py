"""What is costly to look at: made when somebody asks for it, and shown to all for a while."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")
_MOST = 100


class Lately(Generic[T]):
    """The last looks by key, the longest unasked make room; safe to use from several threads."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T], kept_s: float) -> T:
        """Return what was made of `key` within `kept_s`, else make it; raises what `make` raises, and keeps nothing."""
        with self._lock:
            at, found = self._kept.get(key, (None, None))
        if at is not None and found is not None and time.monotonic() - at < kept_s:
            return found
        made = make()
        with self._lock:
            self._kept[key] = time.monotonic(), made
            self._kept.move_to_end(key)
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
        return made
