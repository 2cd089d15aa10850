"""The nearest tier: what this worker itself saved last, sealed as stored, bounded in bytes."""

import os
import threading
from collections import OrderedDict
from collections.abc import Collection
from functools import lru_cache
from uuid import UUID

from fntx_sessions.settings import get_settings
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.state.tiers.base import Held, Ref


class MemoryTier:
    """The latest snapshots of this process; those not used for longest leave first. Readers check the revision."""

    name = "memory"

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[Ref, Packed] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, ref: Ref) -> Packed | None:
        """Return what this process holds of a snapshot, however old."""
        with self._lock:
            packed = self._held.get(ref)
            if packed is not None:
                self._held.move_to_end(ref)
            return packed

    head = get

    def parts(self, packed: Packed, hashes: Collection[bytes]) -> dict[bytes, bytes]:
        """Return large parts of a snapshot read here; what it has not got is not in the answer."""
        return {digest: packed.parts[digest] for digest in hashes if digest in packed.parts}

    def put(self, packed: Packed) -> bool:
        """Hold a snapshot in place of an older one; False: it is no newer, or larger than the whole tier."""
        with self._lock:
            return self._put(packed)

    def offer(self, packed: Packed) -> bool:
        """Hold a snapshot if there is room for it: one that was only read drives out nothing that was saved here."""
        with self._lock:
            former = self._held.get(_ref(packed))
            room = self._max_bytes - self._bytes + (former.size if former else 0)
            return packed.size <= room and self._put(packed)

    def replace(self, damaged: Packed, sound: Packed) -> bool:
        """Hold `sound` instead of `damaged`, if that is what is held still."""
        with self._lock:
            if self._held.get(_ref(damaged)) is not damaged:
                return False
            self._drop(_ref(damaged))
            return self._put(sound)

    def delete(self, ref: Ref) -> None:
        """Let go of a snapshot."""
        with self._lock:
            self._drop(ref)

    def forget(self, session_id: UUID) -> None:
        """Let go of a session: its save and its checkpoints."""
        with self._lock:
            for ref in [ref for ref in self._held if ref.session_id == session_id]:
                self._drop(ref)

    def held(self, session_id: UUID) -> list[Held]:
        """Return what is held of a session, its save first, then checkpoints, newest first."""
        with self._lock:
            mine = [(ref, packed) for ref, packed in self._held.items() if ref.session_id == session_id]
        found = [Held(ref, packed.epoch, packed.revision, packed.size) for ref, packed in mine]
        return sorted(found, key=lambda one: (one.ref.checkpoint_id is not None, -one.epoch, -one.revision))

    def _put(self, packed: Packed) -> bool:
        ref = _ref(packed)
        if packed.size > self._max_bytes or not _gives_way(self._held.get(ref), packed):
            return False
        self._drop(ref)
        self._held[ref] = packed
        self._bytes += packed.size
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._held)))
        return True

    def _drop(self, ref: Ref) -> None:
        packed = self._held.pop(ref, None)
        if packed is not None:
            self._bytes -= packed.size


def _ref(packed: Packed) -> Ref:
    return Ref(packed.session_id, packed.checkpoint_id)


def _gives_way(former: Packed | None, packed: Packed) -> bool:
    if former is None:
        return True
    return not packed.checkpoint_id and (former.epoch, former.revision) < (packed.epoch, packed.revision)


@lru_cache(maxsize=1)
def get_memory() -> MemoryTier:
    """Return this process's memory tier."""
    return MemoryTier(get_settings().memory_tier_bytes)


# A lock that another thread of the parent held would stay locked in a forked child for ever.
os.register_at_fork(after_in_child=get_memory.cache_clear)
