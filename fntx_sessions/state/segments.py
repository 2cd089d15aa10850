"""Segments: each full week of a long session's history, one sealed object a relation, once `warm_keep_s` has passed.

A segment is lines of JSON: the first says what it is, each other one is a row as Postgres writes it, so that numbers
keep their digits. It is written, read back, opened and compared before Postgres is told; killed anywhere, it is done
again, to the same bytes. A closed session is archived whole instead.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from time import monotonic
from typing import Any
from uuid import UUID

import orjson
import structlog
from sqlalchemy import Engine

from fntx_sessions.database.engine import transaction
from fntx_sessions.database.weeks import week_of
from fntx_sessions.exceptions import IntegrityError, NotFound, Rejected, Retryable
from fntx_sessions.settings import Settings
from fntx_sessions.state import segment_rows as db
from fntx_sessions.state.codec import Codec, Label
from fntx_sessions.state.cold_keys import ensure_cold_key
from fntx_sessions.state.data_keys import seal_of
from fntx_sessions.state.objects.base import ObjectStore
from fntx_sessions.state.pace import Pace
from fntx_sessions.state.segment_rows import Claimed, Segment
from fntx_sessions.testing import failpoint

FORMAT = 1
SEGMENT = "segment"
_CLAIM_BEYOND_SWEEP_S = 120.0  # a claim has to outlast the sweep, and the one object under way at its end
_FIRST = UUID(int=0)
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class SegmentReport:
    """What one sweep did. size_bytes: of the sealed objects. failed: weeks that are tried again later."""

    segments: int = 0
    rows: int = 0
    size_bytes: int = 0
    failed: int = 0


def object_name(session_id: UUID, relation: str, week: str) -> str:
    """Return a segment's name in the cold store; week: as `2026w47`."""
    return f"segments/{session_id}/{relation}/{week}"


def segment_due(engine: Engine, settings: Settings, store: ObjectStore) -> SegmentReport:
    """Write the segments that are due, oldest week first, for at most `retention_sweep_s` and at its pace.

    One that cannot be written is reported and stops no other. Raises Unavailable when a store is out of reach.
    """
    writer, until = _Writer(engine, settings, store), monotonic() + settings.retention_sweep_s
    for relation, week in db.old_weeks(engine, settings.warm_keep_s):
        after: UUID | None = _FIRST
        while after is not None and monotonic() < until:
            lease_s = settings.retention_sweep_s + _CLAIM_BEYOND_SWEEP_S
            claims = db.claim(engine, relation, week, after, settings.retention_batch, lease_s)
            writer.write_all(claims, until)
            after = claims[-1].session_id if claims else None
    return writer.report


def read(engine: Engine, settings: Settings, store: ObjectStore, segment: Segment) -> list[dict[str, Any]]:
    """Return a segment's rows, verified, in the order of their key; values as JSON has them.

    Raises NotFound, IntegrityError, Shredded and Unavailable.
    """
    return [orjson.loads(line) for line in read_lines(engine, settings, store, segment)]


def read_lines(engine: Engine, settings: Settings, store: ObjectStore, segment: Segment) -> Sequence[bytes]:
    """Return a segment's rows as Postgres wrote them, for `jsonb_populate_record`; raises as `read` does."""
    data = store.read(segment.object)
    if data is None:
        raise NotFound("segment", segment.object, "It is not in the cold store; see docs/operations.md.")
    label = _label(segment.session_id, segment.relation, week_of(segment.relation, segment.week).label)
    plain = Codec(seal_of(settings, engine)).decode(data, label)
    lines = plain.split(b"\n")[1:]
    if sha256(plain).digest() != segment.checksum or len(lines) != segment.rows:
        raise IntegrityError(segment.object, "it is another one than Postgres has the checksum of")
    return lines


class _Writer:
    """Writes claimed weeks through one store."""

    def __init__(self, engine: Engine, settings: Settings, store: ObjectStore) -> None:
        self.report = SegmentReport()
        self._engine = engine
        self._settings = settings
        self._store = store
        self._codec = Codec(seal_of(settings, engine))
        self._pace = Pace(settings.retention_bytes_per_s)

    def write_all(self, claims: Sequence[Claimed], until: float) -> None:
        """Write what was claimed; what is not begun before `until` is given back."""
        for claimed in claims:
            with _given_back(self._engine, claimed):
                if monotonic() < until:
                    self._write_or_tell(claimed)

    def _write_or_tell(self, claimed: Claimed) -> None:
        try:
            self._write(claimed)
        except (IntegrityError, Rejected) as error:
            self.report.failed += 1
            session_id, week = str(claimed.session_id), claimed.week.name
            _log.error("segment.failed", session_id=session_id, week=week, problem=str(error))

    def _write(self, claimed: Claimed) -> None:
        with transaction(self._engine) as connection:
            lines = db.week_rows(connection, claimed)
            held = db.proven_rows(connection, claimed)
        if len(lines) <= held:
            return
        plain, label = _plain(claimed, lines), _label(claimed.session_id, claimed.relation, claimed.week.label)
        name, size = self._kept(claimed, plain, label)
        facts = {"object": name, "checksum": sha256(plain).digest(), "rows": len(lines), "size_bytes": size}
        if db.record(self._engine, claimed, **facts):
            self.report.segments += 1
            self.report.rows += len(lines)
            self.report.size_bytes += size
        failpoint("segment.recorded")
        self._pace.after(size)

    def _kept(self, claimed: Claimed, plain: bytes, label: Label) -> tuple[str, int]:
        """Have the segment in the store, proven, and return its name and size.

        An object is never written over: where another one has the name (a row came late, or it is damaged), the new
        one is called by its content as well.
        """
        data = self._codec.encode(plain, label)
        ensure_cold_key(self._engine, self._settings, self._store, claimed.session_id)
        name = object_name(claimed.session_id, claimed.relation, claimed.week.label)
        failpoint("segment.before_write")
        if not self._store.create(name, data, _told(claimed)) and self._found(name) != data:
            name = f"{name}.{sha256(plain).hexdigest()[:16]}"
            self._store.create(name, data, _told(claimed))
        failpoint("segment.written")
        kept = self._store.read(name)
        if kept is None or self._codec.decode(kept, label) != plain:
            raise IntegrityError(name, f"{self._store.name} does not hold what was just written")
        failpoint("segment.verified")
        return name, len(data)

    def _found(self, name: str) -> bytes | None:
        try:
            return self._store.read(name)
        except IntegrityError:
            return None


@contextmanager
def _given_back(engine: Engine, claimed: Claimed) -> Iterator[None]:
    try:
        yield
    except Retryable:
        with suppress(Retryable):
            db.release(engine, claimed)
        raise
    db.release(engine, claimed)


def _plain(claimed: Claimed, lines: Sequence[str]) -> bytes:
    head = _told(claimed) | {"format": FORMAT, "rows": len(lines)}
    return b"\n".join([orjson.dumps(head), *(line.encode() for line in lines)])


def _label(session_id: UUID, relation: str, week: str) -> Label:
    return Label(session_id, SEGMENT, f"{relation}/{week}")


def _told(claimed: Claimed) -> dict[str, str]:
    facts = {"session_id": str(claimed.session_id), "kind": SEGMENT}
    return facts | {"relation": claimed.relation, "week": claimed.week.label}
