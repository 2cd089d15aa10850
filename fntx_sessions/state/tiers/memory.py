"""The nearest tier: what this worker itself saved last, sealed as stored, bounded in bytes."""

import threading
from collections import OrderedDict
from functools import lru_cache
from uuid import UUID

from fntx_sessions.settings import get_settings
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.state.tiers.base import Ref


class MemoryTier:
    """The latest saves of this process; those not used for longest leave first. Readers check the revision."""

    name = "memory"

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[UUID, Packed] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, ref: Ref) -> Packed | None:
        """Return what this process saved last of a session, however old."""
        with self._lock:
            packed = self._held.get(ref.session_id)
            if packed is not None:
                self._held.move_to_end(ref.session_id)
            return packed

    def put(self, packed: Packed) -> None:
        """Hold a save in place of the session's former one; one larger than the whole tier is not held."""
        with self._lock:
            self._forget(packed.session_id)
            self._held[packed.session_id] = packed
            self._bytes += packed.size
            while self._bytes > self._max_bytes:
                self._forget(next(iter(self._held)))

    def forget(self, session_id: UUID) -> None:
        """Let go of a session."""
        with self._lock:
            self._forget(session_id)

    def _forget(self, session_id: UUID) -> None:
        packed = self._held.pop(session_id, None)
        if packed is not None:
            self._bytes -= packed.size


@lru_cache(maxsize=1)
def get_memory() -> MemoryTier:
    """Return this process's memory tier."""
    return MemoryTier(get_settings().memory_tier_bytes)
