"""The mover: checkpoints older than `warm_keep_s` go from Postgres to the cold store.

Copy, read back, compare, flip, delete, in this order, so that a kill at any point loses nothing: until the flip the
checkpoint is in Postgres, after it in the cold store, and whoever goes on finds out how far the other one came. Pinned
checkpoints, and those of pinned sessions, stay; so does the latest save of every session.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic
from uuid import UUID

import redis
import structlog
from sqlalchemy import Engine

from fntx_sessions.exceptions import IntegrityError, Rejected, Retryable, Unavailable
from fntx_sessions.settings import Settings
from fntx_sessions.state import retention_rows as rows
from fntx_sessions.state.cold_copies import Copy, keep
from fntx_sessions.state.cold_keys import ensure_cold_key
from fntx_sessions.state.container import from_bytes, to_bytes
from fntx_sessions.state.objects.base import ObjectStore
from fntx_sessions.state.pace import Pace
from fntx_sessions.state.retention_rows import Old
from fntx_sessions.state.snapshot import Packed, Packer, Snapshot
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.cold import object_name, told
from fntx_sessions.state.tiers.postgres import PostgresTier
from fntx_sessions.state.tiers.redis import HotTier
from fntx_sessions.testing import failpoint

# A claim has to outlast the sweep that made it, and the one object under way at its end.
CLAIM_BEYOND_SWEEP_S = 120.0
# What did not open will not open a minute later; it must not take the place of what can move.
AGAIN_S = 3600.0
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class MoveReport:
    """What became of the claimed checkpoints. stayed: what moved, was pinned or changed meanwhile. failed: why."""

    moved: list[UUID] = field(default_factory=list)
    stayed: list[UUID] = field(default_factory=list)
    failed: dict[UUID, str] = field(default_factory=dict)
    bytes_moved: int = 0

    @property
    def done(self) -> int:
        """How many checkpoints were dealt with."""
        return len(self.moved) + len(self.stayed) + len(self.failed)


def move_due(
    engine: Engine,
    client: redis.Redis,
    settings: Settings,
    store: ObjectStore,
    *,
    pace: Pace | None = None,
    until: float | None = None,
) -> MoveReport:
    """Move up to `retention_batch` checkpoints that are old enough, the oldest first.

    One that cannot be moved is reported and stops no other. until: moment of the monotonic clock after which none is
    begun. Raises Unavailable when a store is out of reach: then what was not moved is as it was, and is due again.
    """
    mover, report = Mover(engine, client, settings, store, pace), MoveReport()
    lease_s = settings.retention_sweep_s + CLAIM_BEYOND_SWEEP_S
    claimed = rows.claim(engine, settings.warm_keep_s, settings.retention_batch, lease_s)
    failpoint("move.claimed")
    with _given_back(engine, claimed) as left:
        while left and (until is None or monotonic() < until):
            mover.move(left[0], report)
            left.pop(0)
    return report


class Mover:
    """Moves claimed checkpoints through one set of stores."""

    def __init__(
        self, engine: Engine, client: redis.Redis, settings: Settings, store: ObjectStore, pace: Pace | None = None
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._store = store
        self._hot = HotTier.of(client, settings)
        self._warm = PostgresTier(engine)
        self._packer = Packer.of(settings, engine)
        self._pace = pace or Pace(settings.retention_bytes_per_s)

    def move(self, old: Old, report: MoveReport) -> None:
        """Move one checkpoint, or report why not; raises Unavailable and Busy."""
        ref = Ref(old.session_id, old.checkpoint_id)
        packed = self._warm.get(ref)
        if packed is None:
            report.stayed.append(old.checkpoint_id)
            return
        try:
            name = self._copied(packed)
        except (IntegrityError, Rejected) as error:
            report.failed[old.checkpoint_id] = str(error)
            rows.release(self._engine, [old], AGAIN_S)
            _log.error("move.failed", checkpoint_id=str(old.checkpoint_id), problem=str(error))
            return
        (report.moved if self._flipped(ref, packed, name) else report.stayed).append(old.checkpoint_id)
        report.bytes_moved += packed.size
        self._pace.after(packed.size)

    def _copied(self, packed: Packed) -> str:
        """Have a proven copy in the cold store, and return its name."""
        ref = Ref(packed.session_id, packed.checkpoint_id)
        snapshot = self._packer.unpack(packed)
        ensure_cold_key(self._engine, self._settings, self._store, packed.session_id)

        def opened(data: bytes) -> Snapshot:
            return self._packer.unpack(from_bytes(data, ref))

        keep(self._store, Copy(object_name(ref), to_bytes(packed), told(packed), snapshot, opened))
        return object_name(ref)

    def _flipped(self, ref: Ref, packed: Packed, name: str) -> bool:
        flipped = rows.flip(self._engine, packed, name)
        if flipped:
            failpoint("move.collected")
            with contextlib.suppress(Unavailable):  # what is left there goes by itself after its time
                self._hot.delete(ref)
        return flipped


@contextlib.contextmanager
def _given_back(engine: Engine, claimed: list[Old]) -> Iterator[list[Old]]:
    """Yield what was claimed, to be shortened as it is done; what is left at the end, or at an error, is free again."""
    left = list(claimed)
    try:
        yield left
    except Retryable:
        with contextlib.suppress(Retryable):
            rows.release(engine, left)
        raise
    rows.release(engine, left)
