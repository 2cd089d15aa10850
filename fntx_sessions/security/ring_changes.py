"""How a key ring changes: a key is staged, made current, retired, removed. One change at a time, each whole or not."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType

from fntx_sessions.exceptions import InvalidArgument, StackError
from fntx_sessions.security.keyring import KeyRing, RingKey, load_ring, ring_file
from fntx_sessions.security.private_files import write_private
from fntx_sessions.settings import Settings

_LOCKED = "Change the ring where FNTX_KEY_RING comes from; `fntx keys rotate` then wraps every data key anew."


@contextmanager
def changing(settings: Settings) -> Iterator[None]:
    """Keep others of this machine from changing the ring; raises InvalidArgument where it is no file of ours."""
    _file_ring(settings)
    path = ring_file(settings).with_suffix(".lock")
    try:
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise StackError(f"cannot lock {path}: {error.strerror}", "Run this as the user whose ring it is.") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def stage(settings: Settings) -> KeyRing:
    """Add a key that is not used yet, to be handed out to every host first; return the ring."""
    ring = _file_ring(settings)
    key = RingKey.new()
    return _written(settings, ring, {**ring.keys, key.key_id: key}, ring.current)


def advance(settings: Settings) -> KeyRing:
    """Make the newest staged key current, a fresh one where none is, and retire the one before; return the ring."""
    ring = _file_ring(settings)
    staged = sorted(ring.staged(), key=lambda key: (key.created_at, key.key_id))
    key = staged[-1] if staged else RingKey.new()
    former = replace(ring.keys[ring.current], retired_at=_now())
    return _written(settings, ring, {**ring.keys, former.key_id: former, key.key_id: key}, key.key_id)


def retire(settings: Settings, key_id: str) -> KeyRing:
    """Retire a staged key; raises InvalidArgument for the current one and for one that is not there."""
    ring = _file_ring(settings)
    key = spare(ring, key_id)
    retired = replace(key, retired_at=key.retired_at or _now())
    return _written(settings, ring, {**ring.keys, key_id: retired}, ring.current)


def remove(settings: Settings, key_id: str) -> KeyRing:
    """Take a key out of the ring. The caller has seen to it that nothing hangs on it; raises as `retire`."""
    ring = _file_ring(settings)
    spare(ring, key_id)
    kept = {held.key_id: held for held in ring.keys.values() if held.key_id != key_id}
    return _written(settings, ring, kept, ring.current)


def spare(ring: KeyRing, key_id: str) -> RingKey:
    """Return a key of the ring that is not the current one; raises InvalidArgument that says what it is instead."""
    if key_id not in ring.keys:
        raise InvalidArgument("key", f"{key_id!r} is not in {ring.where}", f"It holds {', '.join(ring.keys)}.")
    if key_id == ring.current:
        raise InvalidArgument("key", f"{key_id} is the current one", "Run `fntx keys rotate`: it retires this one.")
    return ring.keys[key_id]


def _file_ring(settings: Settings) -> KeyRing:
    ring = load_ring(settings)
    if ring.locked:
        raise InvalidArgument("key ring", f"{ring.where} holds it, which cannot be written", _LOCKED)
    return ring


def _written(settings: Settings, ring: KeyRing, keys: Mapping[str, RingKey], current: str) -> KeyRing:
    changed = replace(ring, keys=MappingProxyType(dict(keys)), current=current)
    try:
        write_private(ring_file(settings), changed.to_bytes())
    except OSError as error:
        raise StackError(f"cannot write {ring.where}: {error.strerror}", "Nothing was changed.") from error
    return changed


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
