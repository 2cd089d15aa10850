"""What changed since the last save: compared by marks, read in chunks of bounded size, checked and sealed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

import structlog
from sqlalchemy import Engine

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.settings import Settings
from fntx_sessions.state.claims import Work
from fntx_sessions.state.invalid_states import Invalid
from fntx_sessions.state.live import LiveCut, LiveMark, LiveState
from fntx_sessions.state.parts import Known
from fntx_sessions.state.save_report import SaveReport
from fntx_sessions.state.snapshot import Packed, Packer, Snapshot

_log = structlog.get_logger(__name__)
Marks = Sequence[LiveMark | None]


class Changes:
    """Finds, reads and packs what changed, telling a report about every session that is not packed."""

    def __init__(self, engine: Engine, live: LiveState, settings: Settings) -> None:
        self._live = live
        self._chunk_bytes = settings.save_chunk_bytes
        self._packer = Packer.of(settings, engine)
        self._invalid: list[Invalid] = []

    def marks(self, works: Sequence[Work]) -> Marks:
        """Return how far each session is, in order, in one round trip; None: not live. Raises Unavailable."""
        return self._live.marks([work.session_id for work in works])

    def chunks(self, seen: Iterable[tuple[Work, LiveMark | None]], report: SaveReport) -> Iterator[list[UUID]]:
        """Yield the sessions that are ahead of their save; sessions of 10 MB come by the hundred too."""
        chunk: list[UUID] = []
        size = 0
        for session_id, mark in self._changed(seen, report):
            if chunk and size + mark.size > self._chunk_bytes:
                yield chunk
                chunk, size = [], 0
            chunk.append(session_id)
            size += mark.size
        if chunk:
            yield chunk

    def pack(self, ids: Sequence[UUID], before: Mapping[UUID, Packed | None], report: SaveReport) -> list[Packed]:
        """Read a chunk's cuts in one pipeline and seal each; an invalid one is left out, for `take_invalid`."""
        packed = []
        known = {one: former.known for one, former in before.items() if former and former.known}
        for session_id, cut in zip(ids, self._live.read(ids, known), strict=True):
            if cut is None:
                report.skipped[session_id] = "not live: Redis lost its state a moment ago"
                continue
            former = before.get(session_id)
            try:
                snapshot = snapshot_of(cut, former.known if former else None)
                packed.append(self._packer.pack(snapshot, former.parts if former else None))
            except InvalidArgument as error:
                report.failed[session_id] = str(error)
                self._invalid.append(Invalid(cut, error))
                _log.error("save.invalid_state", session_id=str(session_id), problem=str(error))
        return packed

    def take_invalid(self) -> list[Invalid]:
        """Return what could not be packed since this was last asked."""
        found, self._invalid = self._invalid, []
        return found

    @staticmethod
    def _changed(seen: Iterable[tuple[Work, LiveMark | None]], report: SaveReport) -> Iterator[tuple[UUID, LiveMark]]:
        for work, mark in seen:
            if is_current(work, mark):
                report.unchanged.append(work.session_id)
            elif mark is None or (reason := _not_ours(work, mark)):
                report.skipped[work.session_id] = reason if mark else "not live: Redis holds no state of it"
            else:
                yield work.session_id, mark


def snapshot_of(cut: LiveCut, known: Mapping[str, Known] | None = None) -> Snapshot:
    """Return a cut of the live state as a snapshot made now; `known` is what it was read with."""
    unread = {name: known[name] for name in cut.unread} if known else {}
    now = datetime.now(UTC)
    return Snapshot(cut.session_id, cut.epoch, cut.revision, now, cut.parts, marks=cut.marks, unread=unread)


def is_current(work: Work, mark: LiveMark | None) -> bool:
    """Tell whether the live state is what is saved."""
    return mark is not None and (mark.epoch, mark.revision) == work.saved


def _not_ours(work: Work, mark: LiveMark) -> str:
    if mark.epoch != work.epoch:
        return f"live state is at epoch {mark.epoch}, the session at {work.epoch}"
    if (mark.epoch, mark.revision) < work.saved:
        return "live state is behind the last save: Redis lost the newer one"
    if not mark.size and work.saved > (0, 0):
        return "live state is empty: Redis lost it, and its recovery has not put it back yet"
    return ""
