"""One session as one archive: its rows as of one moment, then the snapshots and weeks that had left Postgres before."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any
from uuid import UUID

import msgspec
import orjson
import structlog
from sqlalchemy import Connection, Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import IntegrityError, NotFound
from fntx_sessions.settings import Settings
from fntx_sessions.state import archive_states as states
from fntx_sessions.state import archive_weeks
from fntx_sessions.state.archive_check import METRICS, PARTS, SNAPSHOTS, WEEKS, inspect
from fntx_sessions.state.archive_format import (
    FORMAT,
    OTHER,
    SEGMENT,
    STATE,
    TABLE,
    WHAT,
    Header,
    Room,
    Section,
    SectionWriter,
    assemble,
    open_archive,
)
from fntx_sessions.state.archive_tables import TABLES, columns_of, copy_out
from fntx_sessions.state.chain_key import ChainKeys
from fntx_sessions.state.codec import Codec
from fntx_sessions.state.data_keys import seal_of
from fntx_sessions.state.objects.base import ObjectStore
from fntx_sessions.state.segment_rows import Segment
from fntx_sessions.state.segments import read_lines
from fntx_sessions.state.snapshot import Packer
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.cold import ColdTier

Describe = Callable[[UUID], dict[str, Any]]
_log = structlog.get_logger(__name__)

# One moment for all that is read, whatever is committed meanwhile.
_BEGIN = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
_SESSION = text("""
SELECT s.session_type, s.status, s.version, s.epoch, s.created_at, s.started_at, s.ended_at, s.parent_session_id,
  s.audit_seq, v.epoch AS save_epoch, v.revision AS save_revision, now() AS made_at,
  (SELECT version_num FROM alembic_version) AS schema
FROM sessions s LEFT JOIN saves v USING (session_id) WHERE s.session_id = :session_id
""")


@dataclass(frozen=True, slots=True)
class Built:
    """An archive that was opened once from end to end. metrics: what it tells of the run; None: nothing."""

    header: Header
    data: bytes
    metrics: dict[str, Any] | None


class Builder:
    """Builds the archives of one database."""

    def __init__(self, engine: Engine, settings: Settings, store: ObjectStore, describe: Describe | None) -> None:
        """Take where sessions are; describe: what else a session's archive tells of it in `metrics`."""
        self._engine = engine
        self._settings = settings
        self._store = store
        self._cold = ColdTier(store)
        self._describe = describe
        self.codec = Codec(seal_of(settings, engine))
        self.packer = Packer.of(settings, engine)
        self.keys = ChainKeys(engine, settings, store)

    def build(self, session_id: UUID) -> Built:
        """Return a session's archive, opened and found whole.

        Raises NotFound, Shredded, TooLarge (above `archive_max_bytes`), Unavailable and IntegrityError.
        A snapshot that does not open stays as it is, and the header says so.
        """
        writers = Writers(self.codec, Room(session_id, self._settings.archive_max_bytes))
        with transaction(self._engine) as connection:
            connection.execute(_BEGIN)
            facts = _facts(connection, session_id)
            for table in TABLES:
                copy_out(connection, table, session_id, writers.table(table))
            kept, moved = states.warm_snapshots(connection, session_id)
            known = self._write_parts(writers, states.warm_parts(connection, session_id), set())
            weeks = archive_weeks.gone(connection, session_id)
        lost = self._write_weeks(writers, weeks)
        lost += [str(one) for one in moved if not self._brought(writers, Ref(session_id, one), kept, known)]
        for snapshot in kept:
            states.write(writers.named(SNAPSHOTS, STATE), snapshot)
        metrics = self._write_metrics(writers, session_id)
        header, data = self._assembled(writers, _header(session_id, facts, writers.end()), lost)
        return Built(header, data, metrics)

    def _write_parts(self, writers: "Writers", parts: Iterator[states.StoredPart], known: set[bytes]) -> set[bytes]:
        section = writers.named(PARTS, STATE)
        for part in parts:
            if part.part_hash not in known:
                states.write(section, part)
                known.add(part.part_hash)
        return known

    def _brought(self, writers: "Writers", ref: Ref, kept: list[states.StoredSnapshot], known: set[bytes]) -> bool:
        """Bring a checkpoint that had moved to the cold store; False: it is lost there, and the header will say so."""
        try:
            packed = self._cold.get(ref)
        except IntegrityError as error:
            _log.error("archive.checkpoint_damaged", checkpoint_id=str(ref.checkpoint_id), problem=str(error))
            return False
        if packed is None:
            _log.error("archive.checkpoint_missing", checkpoint_id=str(ref.checkpoint_id))
            return False
        snapshot, parts = states.cold_snapshot(packed)
        self._write_parts(writers, iter(parts), known)
        kept.append(snapshot)
        return True

    def _write_weeks(self, writers: "Writers", weeks: list[Segment]) -> list[str]:
        """Write weeks that only segments hold; return those that are lost there."""
        lost = []
        for one in weeks:
            try:
                lines = list(read_lines(self._engine, self._settings, self._store, one))
            except (IntegrityError, NotFound) as error:
                lost.append(f"{one.relation} of {one.week}")
                _log.error("archive.segment_lost", object=one.object, problem=str(error))
            else:
                states.write(writers.named(WEEKS, SEGMENT), archive_weeks.StoredWeek(one.relation, one.week, lines))
        return lost

    def _write_metrics(self, writers: "Writers", session_id: UUID) -> dict[str, Any] | None:
        if self._describe is None:
            return None
        metrics = self._describe(session_id)
        writers.named(METRICS, OTHER).record(orjson.dumps(metrics, default=str))
        return metrics

    def _assembled(self, writers: "Writers", header: Header, lost: list[str]) -> tuple[Header, bytes]:
        data = assemble(self.codec, header, writers.sealed())
        damaged = (
            inspect(open_archive(data, header.session_id, self.codec), self.codec, self.packer, self.keys.rows) + lost
        )
        if damaged:
            header = msgspec.structs.replace(header, damaged=damaged)
            data = assemble(self.codec, header, writers.sealed())
        return header, data


class Writers:
    """The sections of one archive under way, in the order in which they were begun."""

    def __init__(self, codec: Codec, room: Room) -> None:
        self._codec = codec
        self._room = room
        self._writers: dict[str, SectionWriter] = {}

    def table(self, table: Any) -> SectionWriter:
        """Return the writer of a table's rows."""
        return self.named(str(table.name), TABLE, [str(column.name) for column in columns_of(table)])

    def named(self, name: str, kind: str, columns: list[str] | None = None) -> SectionWriter:
        """Return the writer of a section, begun when it is first asked for."""
        if name not in self._writers:
            self._writers[name] = SectionWriter(self._codec, self._room, name, kind, columns)
        return self._writers[name]

    def end(self) -> list[Section]:
        """End all sections and return them; those every archive has are there even when empty."""
        for name in (PARTS, SNAPSHOTS):
            self.named(name, STATE)
        return [writer.end() for writer in self._writers.values()]

    def sealed(self) -> list[bytes]:
        """Return the chunks of all sections in their order."""
        return [chunk for writer in self._writers.values() for chunk in writer.sealed]


def _facts(connection: Connection, session_id: UUID) -> dict[str, Any]:
    row = connection.execute(_SESSION, {"session_id": session_id}).mappings().one_or_none()
    if row is None:
        raise NotFound("session", str(session_id), "List sessions with `fntx ls`.")
    return dict(row)


def _header(session_id: UUID, facts: dict[str, Any], sections: list[Section]) -> Header:
    schema, made_at = facts.pop("schema"), facts.pop("made_at").astimezone(UTC)
    session = {name: value if isinstance(value, int | None) else _text(value) for name, value in facts.items()}
    return Header(WHAT, FORMAT, session_id, made_at, version("fntx-sessions"), schema, session, sections)


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
