"""The save every few seconds: what changed is read in one pipeline, sealed, and written for the whole batch at once.

Postgres holds the save of record, then Redis a hot copy, then this process's memory. A session that did not change
costs a timestamp; one whose state is invalid or gone keeps its last good save and is reported.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from uuid import UUID

import redis
import structlog
from sqlalchemy import Engine

from fntx_sessions.exceptions import InvalidArgument, Retryable, Unavailable
from fntx_sessions.settings import Settings
from fntx_sessions.state.claims import Claim, DueWork, Work
from fntx_sessions.state.live import LiveCut, LiveMark, LiveState
from fntx_sessions.state.save_rows import owned_by, write_saves
from fntx_sessions.state.snapshot import Packed, Packer, Snapshot
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.memory import MemoryTier, get_memory
from fntx_sessions.state.tiers.redis import HotTier
from fntx_sessions.testing import failpoint

SAVES = DueWork("save")
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class SaveReport:
    """What became of each session of a batch. skipped and failed say why; their last good save stands.

    hot_problem: why the hot copies could not be written, empty when they were; the saves themselves are safe.
    """

    saved: list[UUID] = field(default_factory=list)
    unchanged: list[UUID] = field(default_factory=list)
    skipped: dict[UUID, str] = field(default_factory=dict)
    failed: dict[UUID, str] = field(default_factory=dict)
    seconds: float = 0.0
    hot_problem: str = ""

    @property
    def claimed(self) -> int:
        """How many sessions the batch held."""
        return len(self.saved) + len(self.unchanged) + len(self.skipped) + len(self.failed)

    def counts(self) -> dict[str, int | float]:
        """Return the numbers, for logs and metrics."""
        numbers = {name: len(getattr(self, name)) for name in ("saved", "unchanged", "skipped", "failed")}
        return {**numbers, "seconds": round(self.seconds, 4)}

    def add(self, other: "SaveReport") -> None:
        """Take in the report of another batch."""
        self.saved += other.saved
        self.unchanged += other.unchanged
        self.skipped |= other.skipped
        self.failed |= other.failed
        self.seconds += other.seconds
        self.hot_problem = self.hot_problem or other.hot_problem


def save_due(engine: Engine, client: redis.Redis, settings: Settings, limit: int | None = None) -> SaveReport:
    """Save up to `limit` (None: `save_batch`) sessions that are due; raises Unavailable or Busy: then all stay due."""
    claim = SAVES.claim_due(engine, limit or settings.save_batch, settings.lease_s)
    return Saver(engine, client, settings).save(claim)


def save_sessions(engine: Engine, client: redis.Redis, settings: Settings, session_ids: Sequence[UUID]) -> SaveReport:
    """Save the named sessions now, due or not, in batches; the same promises as `save_due`."""
    report, saver = SaveReport(), Saver(engine, client, settings)
    for start in range(0, len(session_ids), settings.save_batch):
        batch = session_ids[start : start + settings.save_batch]
        report.add(saver.save(SAVES.claim_these(engine, batch, settings.lease_s)))
    return report


def save_owned(engine: Engine, client: redis.Redis, settings: Settings, host_id: str) -> SaveReport:
    """Save all sessions a host steps; its last act before it shuts down."""
    return save_sessions(engine, client, settings, owned_by(engine, host_id))


class Saver:
    """Saves claimed sessions through one set of stores."""

    def __init__(
        self, engine: Engine, client: redis.Redis, settings: Settings, memory: MemoryTier | None = None
    ) -> None:
        self._engine = engine
        self._chunk_bytes = settings.save_chunk_bytes
        self._live = LiveState(client, settings)
        self._hot = HotTier(client, settings.hot_ttl_s)
        self._memory = memory or get_memory()
        self._packer = Packer.of(settings, engine)

    def save(self, claim: Claim) -> SaveReport:
        """Save what changed, in chunks of bounded size, and give every claimed session back."""
        report, started = SaveReport(), perf_counter()
        failpoint("save.claimed")
        try:
            for chunk in self._chunks(self._changed(claim, report)):
                self._save_chunk(claim, chunk, report)
        except Retryable:
            SAVES.release(self._engine, claim)
            raise
        written = set(report.saved)
        rest = [work for work in claim.work if work.session_id not in written]
        SAVES.finish(self._engine, claim, rest, report.unchanged)
        report.seconds = perf_counter() - started
        return report

    def _changed(self, claim: Claim, report: SaveReport) -> list[tuple[Work, LiveMark]]:
        marks = self._live.marks([work.session_id for work in claim.work])
        found = []
        for work, mark in zip(claim.work, marks, strict=True):
            if mark is not None and (mark.epoch, mark.revision) == work.saved:
                report.unchanged.append(work.session_id)
            elif mark is None or (reason := _not_ours(work, mark)):
                report.skipped[work.session_id] = reason if mark else "not live: Redis holds no state of it"
            else:
                found.append((work, mark))
        return found

    def _chunks(self, changed: list[tuple[Work, LiveMark]]) -> Iterator[list[Work]]:
        # Sessions of 10 MB come by the hundred too: a chunk is what one worker holds at a time.
        chunk: list[Work] = []
        size = 0
        for work, mark in changed:
            if chunk and size + mark.size > self._chunk_bytes:
                yield chunk
                chunk, size = [], 0
            chunk.append(work)
            size += mark.size
        if chunk:
            yield chunk

    def _save_chunk(self, claim: Claim, chunk: list[Work], report: SaveReport) -> None:
        ids = [work.session_id for work in chunk]
        before = {session_id: self._memory.get(Ref(session_id)) for session_id in ids}
        packed = self._packed(ids, before, report)
        renamed = {p.session_id for p in packed if (former := before[p.session_id]) is None or former.parts}
        written = write_saves(self._engine, claim, packed, renamed)
        kept = [p for p in packed if p.session_id in written]
        report.saved += [p.session_id for p in kept]
        report.skipped |= dict.fromkeys({p.session_id for p in packed} - written, "superseded by a newer epoch or save")
        self._copy(kept, before, report)

    def _packed(self, ids: list[UUID], before: dict[UUID, Packed | None], report: SaveReport) -> list[Packed]:
        packed = []
        for session_id, cut in zip(ids, self._live.read(ids), strict=True):
            if cut is None:
                report.skipped[session_id] = "not live: Redis lost its state a moment ago"
                continue
            former = before[session_id]
            try:
                packed.append(self._packer.pack(snapshot_of(cut), former.parts if former else None))
            except InvalidArgument as error:
                report.failed[session_id] = str(error)
                _log.error("save.invalid_state", session_id=str(session_id), problem=str(error))
        return packed

    def _copy(self, kept: list[Packed], before: dict[UUID, Packed | None], report: SaveReport) -> None:
        copies = []
        for packed in kept:
            former = before[packed.session_id]
            copies.append((packed, packed.parts.keys() - (former.parts.keys() if former else set())))
            self._memory.put(packed)
        try:
            self._hot.put_many(copies)
        except Unavailable as error:
            # The save of record is committed; the next one writes the hot copy again.
            report.hot_problem = str(error)
            _log.warning("save.hot_copy_failed", problem=str(error))
        failpoint("save.after_hot")


def snapshot_of(cut: LiveCut) -> Snapshot:
    """Return a cut of the live state as a snapshot made now."""
    return Snapshot(cut.session_id, cut.epoch, cut.revision, datetime.now(UTC), cut.parts)


def _not_ours(work: Work, mark: LiveMark) -> str:
    if mark.epoch != work.epoch:
        return f"live state is at epoch {mark.epoch}, the session at {work.epoch}"
    if (mark.epoch, mark.revision) < work.saved:
        return "live state is behind the last save: Redis lost the newer one"
    if not mark.size and work.saved > (0, 0):
        return "live state is empty: Redis lost it, and its recovery has not put it back yet"
    return ""
