"""The save every few seconds: what changed is read in one pipeline, sealed, and written for the whole batch at once.

Postgres holds the save of record, then Redis a hot copy, then this process's memory. A session that did not change
costs a timestamp; one whose state is invalid or gone keeps its last good save and is reported.
"""

import os
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from time import perf_counter
from uuid import UUID

import redis
import structlog
from sqlalchemy import Engine

from fntx_sessions import figures
from fntx_sessions.exceptions import Retryable
from fntx_sessions.settings import Settings
from fntx_sessions.state.changes import Changes, Marks, is_current
from fntx_sessions.state.claims import Claim, DueWork, Work
from fntx_sessions.state.data_keys import DataKeys
from fntx_sessions.state.hot_copies import HotCopies
from fntx_sessions.state.invalid_states import keep_invalid
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.remembered import get_remembered
from fntx_sessions.state.save_claims import look, settle
from fntx_sessions.state.save_report import SaveReport
from fntx_sessions.state.save_rows import owned_by, write_saves
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.memory import MemoryTier, get_memory
from fntx_sessions.testing import failpoint

SAVES = DueWork("save")
_LOOKS = 6
_LOOK_AHEAD = 2
_log = structlog.get_logger(__name__)


class _Pace:
    """How many batches this process looks at together: several while few sessions change."""

    ahead = _LOOK_AHEAD


def save_due(engine: Engine, client: redis.Redis, settings: Settings, limit: int | None = None) -> SaveReport:
    """Save up to `limit` (None: `save_batch`) sessions that are due and changed, and settle the unchanged among them.

    Raises Unavailable or Busy: then what was not done stays due.
    """
    return Saver(engine, client, settings).save_due(limit or settings.save_batch)


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
        self._settings = settings
        self._memory = memory or get_memory()
        self._hot = HotCopies(engine, client, settings, self._memory)
        self._keys = DataKeys(engine, settings)
        self._changes = Changes(engine, LiveState(client, settings), settings)

    def save_due(self, limit: int) -> SaveReport:
        """Save what is due and changed; what is due and did not change is current until it is due again."""
        # Who looks at the same moment should not look at the same: processes begin a stretch apart, by their number.
        # Nothing found, or all of it taken by others: then the other stretch.
        for turn in range(os.getpid() % 2, _LOOKS):
            stretch = turn % 2
            looked = look(self._engine, limit * _Pace.ahead, stretch * limit * _Pace.ahead)
            report, claim, marks = self._settled(looked, limit)
            if claim.work or report.unchanged or not (looked or stretch):
                break
        return self._saved(claim, marks, report)

    def _settled(self, looked: Sequence[Work], limit: int) -> tuple[SaveReport, Claim, Marks]:
        get_remembered().note(looked)
        problems = self._keys.ensure([work.session_id for work in looked])
        marks = self._changes.marks(looked)
        current = list(map(is_current, looked, marks))
        changed = list(accumulate(not one for one in current))
        _Pace.ahead = 1 if looked and 2 * changed[-1] > len(looked) else _LOOK_AHEAD
        mine = bisect_right(changed, limit)
        settled = settle(self._engine, looked[:mine], current[:mine], self._settings.lease_s)
        claimed = {work.session_id for work in settled.claim.work} if problems else set()
        failed = {one: str(problem) for one, problem in problems.items() if one in claimed}
        report = SaveReport(unchanged=settled.current, failed=failed)
        return report, settled.claim, [marks[place] for place in settled.seen]

    def save(self, claim: Claim) -> SaveReport:
        """Save what changed of claimed sessions, in chunks of bounded size, and give every one back."""
        ids = [work.session_id for work in claim.work]
        get_remembered().note(claim.work)
        try:
            report = SaveReport(failed={one: str(problem) for one, problem in self._keys.ensure(ids).items()})
            marks = self._changes.marks(claim.work)
        except Retryable:
            SAVES.release(self._engine, claim)
            raise
        return self._saved(claim, marks, report)

    def _saved(self, claim: Claim, marks: Marks, report: SaveReport) -> SaveReport:
        started, before = perf_counter(), len(report.unchanged)
        if claim.work:
            failpoint("save.claimed")
        seen = zip(claim.work, marks, strict=True)
        usable = [one for one in seen if one[0].session_id not in report.failed] if report.failed else seen
        try:
            for ids in self._changes.chunks(usable, report):
                self._save_chunk(claim, ids, report)
            keep_invalid(self._engine, self._settings, self._changes.take_invalid())
        except Retryable:
            SAVES.release(self._engine, claim)
            raise
        if len(report.saved) < len(claim.work):
            self._give_back(claim, report, before)
        self._hot.settle()
        report.seconds = perf_counter() - started
        report.count()
        return report

    def _give_back(self, claim: Claim, report: SaveReport, settled: int) -> None:
        written = set(report.saved)
        rest = [work for work in claim.work if work.session_id not in written]
        SAVES.finish(self._engine, claim, rest, report.unchanged[settled:])

    def _save_chunk(self, claim: Claim, ids: list[UUID], report: SaveReport) -> None:
        before = {session_id: self._memory.get(Ref(session_id)) for session_id in ids}
        packed = self._changes.pack(ids, before, report)
        renamed = {one for one, former in before.items() if former is None or former.parts}
        with figures.TIER_SECONDS.timed("postgres_writes"):
            written = write_saves(self._engine, claim, packed, renamed)
        kept = [p for p in packed if p.session_id in written]
        figures.SAVE_BYTES.note(sum(p.size for p in kept))
        report.saved += [p.session_id for p in kept]
        if len(kept) < len(packed):
            left = {p.session_id for p in packed} - written
            report.skipped |= dict.fromkeys(left, "superseded by a newer epoch or save")
        get_remembered().keep(kept)
        self._copy(kept, before, report)

    def _copy(self, kept: list[Packed], before: dict[UUID, Packed | None], report: SaveReport) -> None:
        copies = []
        for packed in kept:
            former = before[packed.session_id]
            copies.append((packed, packed.parts.keys() - (former.parts.keys() if former else set())))
            self._memory.put(packed)
        # The save of record is committed: a hot copy that cannot be written now is made up for later.
        report.hot_problem = self._hot.write(copies) or report.hot_problem
        failpoint("save.after_hot")
