"""Mending what a search passed over: copies that are damaged or missing nearer than the one that answered."""

import contextlib
from hashlib import sha256

import structlog

from fntx_sessions.exceptions import FntxError, Retryable
from fntx_sessions.state.reading import Copy, Damage, Reading
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.state.tier_health import REDIS_WRITES
from fntx_sessions.state.tiers.base import Tier

_log = structlog.get_logger(__name__)


def repair(reading: Reading, copy: Copy) -> list[str]:
    """Write the copy that answered where a damaged or no copy was met; return the names of tiers that were damaged.

    What cannot be mended stays as it is, and is logged: a read never fails for it.
    """
    _check_record(reading, copy)
    missing = [tier for tier in reading.absent if tier is reading.memory or tier is reading.hot]
    if not reading.damaged and (reading.only is not None or not missing):
        return []
    whole = _whole(reading, copy)
    if whole is None:
        return []
    for tier in missing:
        _fill(reading, tier, whole)
    return [damage.tier.name for damage in reading.damaged if _mend(reading, damage, whole, copy.tier.name)]


def _check_record(reading: Reading, copy: Copy) -> None:
    """Look at the record too where its bytes are not those of the copy of the same mark: one of them is damaged."""
    if not reading.record_digest or copy.mark != reading.record_mark or copy.tier is reading.warm:
        return
    if any(damage.tier is reading.warm for damage in reading.damaged):
        return
    if sha256(copy.packed.manifest + copy.packed.checksum).digest() != reading.record_digest:
        reading.read(reading.warm)


def _whole(reading: Reading, copy: Copy) -> Packed | None:
    if reading.only is None:
        return copy.packed
    try:
        packed = copy.tier.get(reading.ref)
        if packed is None or packed.manifest != copy.packed.manifest:
            return None  # replaced meanwhile; the next reader mends
        reading.packer.unpack(packed)
    except FntxError as error:
        _log.warning("load.not_repaired", session_id=str(reading.ref.session_id), problem=str(error))
        return None
    return packed


def _fill(reading: Reading, tier: Tier, whole: Packed) -> None:
    if tier is reading.memory:
        # Checkpoints stay out: this memory is there to spare saves the parts that did not change.
        if not whole.checkpoint_id:
            reading.memory.offer(whole)
        return
    with contextlib.suppress(Retryable), reading.health.calling(REDIS_WRITES):
        reading.hot.put(whole)


def _mend(reading: Reading, damage: Damage, whole: Packed, source: str) -> bool:
    names = {"tier": damage.tier.name, "session_id": str(whole.session_id)}
    try:
        done = _replace(reading, damage, whole, f"{damage.problem}; written again from {source}")
    except FntxError as error:
        _log.warning("load.not_repaired", **names, problem=str(error))
        return False
    if done:
        _log.warning("load.repaired", **names, source=source, problem=damage.problem)
    return done


def _replace(reading: Reading, damage: Damage, whole: Packed, why: str) -> bool:
    if damage.tier is reading.warm:
        return damage.packed is not None and reading.warm.replace(damage.packed, whole, why)
    if damage.tier is reading.memory:
        return damage.packed is not None and reading.memory.replace(damage.packed, whole)
    if damage.tier is not reading.hot:
        return False  # a cold object is written once; the sweep that moves snapshots there compares before it lets go
    with reading.health.calling(REDIS_WRITES):
        if damage.packed is not None:
            return reading.hot.replace(damage.packed, whole)
        reading.hot.delete(reading.ref)
        return reading.hot.put(whole)
