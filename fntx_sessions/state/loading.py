"""Reading the latest save: memory, Redis, Postgres, in this order; verified, and saying which tier answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import redis
import structlog
from sqlalchemy import Engine

from fntx_sessions.exceptions import IntegrityError, NotFound, Unavailable
from fntx_sessions.settings import Settings
from fntx_sessions.state.snapshot import Packed, Packer, Snapshot
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.memory import MemoryTier, get_memory
from fntx_sessions.state.tiers.postgres import PostgresTier
from fntx_sessions.state.tiers.redis import HotTier

_log = structlog.get_logger(__name__)
_NO_SAVE = "It was not live long enough to be saved; recover it from a checkpoint, or start it."


@dataclass(frozen=True, slots=True)
class Found:
    """A verified save, the tier that answered, and what kept nearer tiers from answering."""

    snapshot: Snapshot
    tier: str
    problems: tuple[str, ...] = ()


def load_save(
    engine: Engine, client: redis.Redis, settings: Settings, session_id: UUID, memory: MemoryTier | None = None
) -> Found:
    """Return the latest save of a session, from the nearest tier that holds it whole.

    A nearer tier answers only with what is not behind Postgres; when Postgres is out of reach, the nearest copy
    answers and `problems` says so. Raises NotFound (never saved), Unavailable (no tier could answer) and
    IntegrityError (the save of record is damaged, and no nearer copy is as new).
    """
    warm = PostgresTier(engine)
    problems: list[str] = []
    at_least = _mark(warm, session_id, problems)
    tiers: Sequence[MemoryTier | HotTier] = (memory or get_memory(), HotTier(client, settings.hot_ttl_s))
    for tier in tiers:
        snapshot = _from(tier, session_id, at_least, Packer.of(settings, engine), problems)
        if snapshot is not None:
            return Found(snapshot, tier.name, tuple(problems))
    packed = warm.get(Ref(session_id))
    if packed is None:
        raise NotFound("save", str(session_id), _NO_SAVE)
    return Found(Packer.of(settings, engine).unpack(packed), warm.name, tuple(problems))


def _mark(warm: PostgresTier, session_id: UUID, problems: list[str]) -> tuple[int, int]:
    try:
        mark = warm.mark(session_id)
    except Unavailable as error:
        problems.append(f"not compared with the save of record: {error}")
        return (0, 0)
    if mark is None:
        raise NotFound("save", str(session_id), _NO_SAVE)
    return mark


def _from(
    tier: MemoryTier | HotTier, session_id: UUID, at_least: tuple[int, int], packer: Packer, problems: list[str]
) -> Snapshot | None:
    try:
        packed = tier.get(Ref(session_id))
        return packer.unpack(packed) if packed and _as_new(packed, at_least) else None
    except (Unavailable, IntegrityError) as error:
        problems.append(f"{tier.name}: {error}")
        _log.warning("load.tier_passed_over", tier=tier.name, session_id=str(session_id), problem=str(error))
        return None


def _as_new(packed: Packed, at_least: tuple[int, int]) -> bool:
    return (packed.epoch, packed.revision) >= at_least
