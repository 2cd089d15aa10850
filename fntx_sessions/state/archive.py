"""Archiving: a closed session becomes one object in the cold store, and later leaves Postgres.

Write, read back, verify, note, and only when its time in Postgres is over, verify again and let go of its rows. A kill
at any point loses nothing: what is there already is compared, and what Postgres learned since is archived before
anything is deleted. Archiving follows the close; no session waits for it.
"""

import contextlib
from dataclasses import dataclass, field
from hashlib import sha256
from time import monotonic
from typing import Any
from uuid import UUID

import orjson
import structlog
from sqlalchemy import Engine

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import FntxError, IntegrityError, NotFound, Rejected, Retryable, Shredded
from fntx_sessions.schemas import Severity
from fntx_sessions.settings import Settings
from fntx_sessions.state import archive_rows as rows
from fntx_sessions.state.archive_build import Builder, Built, Describe
from fntx_sessions.state.archive_check import check
from fntx_sessions.state.archive_format import ARCHIVE, HEADER_ROOM_BYTES, Archive, Header, open_archive, too_large
from fntx_sessions.state.archive_key import mend_cold_key
from fntx_sessions.state.archive_rows import Due
from fntx_sessions.state.chain_key import keep_chain_keys
from fntx_sessions.state.cold_copies import Copy, keep
from fntx_sessions.state.cold_keys import ensure_cold_key
from fntx_sessions.state.event_rows import StateEvent, add_events
from fntx_sessions.state.objects.base import ObjectStore
from fntx_sessions.state.pace import Pace
from fntx_sessions.state.retention import CLAIM_BEYOND_SWEEP_S
from fntx_sessions.testing import failpoint

# What cannot be archived now will not be a minute later; a pinned session may be unpinned any day.
AGAIN_S = 3600.0
PREFIX = "archives/"
NOT_THERE = "`fntx archive ls` lists what there is; a session is archived after it was closed."
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ArchiveReport:
    """What became of the claimed sessions. failed: why."""

    archived: list[UUID] = field(default_factory=list)
    dropped: list[UUID] = field(default_factory=list)
    kept: list[UUID] = field(default_factory=list)
    failed: dict[UUID, str] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """How many sessions were dealt with."""
        return len(self.archived) + len(self.dropped) + len(self.kept) + len(self.failed)


def object_name(session_id: UUID) -> str:
    """Return the name of a session's archive in the cold store."""
    return f"{PREFIX}{session_id}/session"


def archive_due(
    engine: Engine,
    settings: Settings,
    store: ObjectStore,
    describe: Describe | None = None,
    *,
    pace: Pace | None = None,
    until: float | None = None,
) -> ArchiveReport:
    """Archive up to `retention_batch` closed sessions that are due, or let go of rows whose time is over.

    One that cannot be archived is reported, by an event too, and stops no other. until: moment of the monotonic clock
    after which none is begun. Raises Unavailable when a store is out of reach: what was not done is due again.
    """
    archiver, report = Archiver(engine, settings, store, describe, pace), ArchiveReport()
    left = rows.claim(engine, settings.retention_batch, settings.retention_sweep_s + CLAIM_BEYOND_SWEEP_S)
    failpoint("archive.claimed")
    try:
        while left and (until is None or monotonic() < until):
            archiver.do(left[0], report)
            left.pop(0)
    except Retryable:
        with contextlib.suppress(Retryable):
            rows.release(engine, left)
        raise
    rows.release(engine, left)
    return report


class Archiver:
    """Archives sessions of one database into one cold store."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        store: ObjectStore,
        describe: Describe | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self.store = store
        self._builder = Builder(engine, settings, store, describe)
        self._pace = pace or Pace(settings.retention_bytes_per_s)

    def do(self, due: Due, report: ArchiveReport) -> None:
        """Do what is due for a claimed session, or report why not; raises Unavailable and Busy."""
        try:
            if not due.archived:
                self.archive(due.session_id)
                report.archived.append(due.session_id)
            elif due.pinned or not self.drop(due.session_id):
                rows.later(self._engine, due.session_id, AGAIN_S)
                report.kept.append(due.session_id)
            else:
                report.dropped.append(due.session_id)
        except Shredded:
            rows.later(self._engine, due.session_id, None)
            report.kept.append(due.session_id)
        except (IntegrityError, Rejected) as error:
            report.failed[due.session_id] = str(error)
            self._tell(due, error)

    def archive(self, session_id: UUID) -> Header:
        """Have a verified archive of a session as it is now, noted in Postgres; return its header.

        Nothing that a former archive holds is lost: weeks of history that left Postgres since are taken from it. Raises
        NotFound, Shredded, Unavailable and IntegrityError.
        """
        known = rows.find(self._engine, session_id)
        if known is not None:
            self._complete(session_id, known)
        built = self._builder.build(session_id)
        ensure_cold_key(self._engine, self._settings, self.store, session_id)
        keep_chain_keys(self._engine, self._settings, self.store, session_id)
        moment = built.header.moment()
        copy = Copy(
            object_name(session_id), built.data, _metadata(built), moment, self._moment_of(session_id), replaces=True
        )
        data = keep(self.store, copy)
        failpoint("archive.written")
        rows.stored(self._engine, facts_of(built.header, data, built.metrics) | {"keep_s": self._settings.warm_keep_s})
        self._pace.after(len(data))
        return built.header

    def drop(self, session_id: UUID) -> bool:
        """Let go of a session's rows once its archive was verified again; False: it was pinned meanwhile.

        Where the archive is damaged or the session has changed since, it is archived again first.
        """
        known = rows.find(self._engine, session_id)
        if known is None or not self._sound(session_id) or not self._current(session_id, known):
            self.archive(session_id)
            known = rows.find(self._engine, session_id)
        mend_cold_key(self._engine, self.store, session_id)
        failpoint("drop.verified")
        return known is not None and rows.drop(self._engine, session_id, bytes(known["checksum"]))

    def verify(self, session_id: UUID) -> Header:
        """Read and open all of a session's archive; return its header.

        Raises NotFound, Shredded, TooLarge, Unavailable, and IntegrityError that says what is wrong.
        """
        return self.open(session_id).header

    def open(self, session_id: UUID) -> Archive:
        """Return a session's archive, read and found whole; raises as `verify` does."""
        info, limit = self.store.info(object_name(session_id)), self._settings.archive_max_bytes
        if info is not None and info.size_bytes > limit + HEADER_ROOM_BYTES:
            raise too_large(session_id, info.size_bytes, limit)
        data = self.store.read(object_name(session_id))
        if data is None:
            raise NotFound("archive", str(session_id), NOT_THERE)
        return self._checked(session_id, data)

    def _checked(self, session_id: UUID, data: bytes) -> Archive:
        archive = open_archive(data, session_id, self._builder.codec)
        check(archive, self._builder.codec, self._builder.packer, self._builder.keys.rows)
        return archive

    def _moment_of(self, session_id: UUID) -> Any:
        return lambda data: self._checked(session_id, data).header.moment()

    def _sound(self, session_id: UUID) -> bool:
        try:
            self.verify(session_id)
        except (IntegrityError, NotFound) as error:
            _log.error("archive.damaged", session_id=str(session_id), problem=str(error))
            return False
        return True

    def _current(self, session_id: UUID, known: dict[str, Any]) -> bool:
        """Tell whether the archive holds all that Postgres does, weeks that were dropped meanwhile brought back."""
        self._complete(session_id, known)
        return rows.as_archived(self._engine, session_id, known["contents"])

    def _complete(self, session_id: UUID, known: dict[str, Any]) -> None:
        """Bring back into Postgres what only the present archive has; raises IntegrityError where it is damaged."""
        missing = rows.missing_history(self._engine, session_id, known["contents"])
        if not missing:
            return
        try:
            archive = self.open(session_id)
        except (IntegrityError, NotFound) as error:
            told = ", ".join(f"{count} rows of {name}" for name, count in missing.items())
            detail = f"{error}. Left as it is, for {told} are in no other place"
            raise IntegrityError(object_name(session_id), detail) from None
        rows.bring_history(self._engine, archive, self._builder.codec)

    def _tell(self, due: Due, error: FntxError) -> None:
        _log.error("archive.failed", session_id=str(due.session_id), problem=str(error))
        rows.release(self._engine, [due], AGAIN_S)
        event = StateEvent(due.session_id, "archive_failed", str(error), str(error), Severity.ERROR)
        with transaction(self._engine) as connection:
            add_events(connection, [event])


def facts_of(header: Header, data: bytes, metrics: dict[str, Any] | None) -> dict[str, Any]:
    """Return what Postgres notes of an archive."""
    return {
        "session_id": header.session_id,
        "object": object_name(header.session_id),
        "checksum": sha256(data).digest(),
        "size_bytes": len(data),
        "contents": orjson.dumps(header.moment() | {"metrics": metrics}, default=str).decode(),
        "archived_at": header.made_at,
    }


def _metadata(built: Built) -> dict[str, str]:
    """Return what is known of an archive without reading it."""
    header = built.header
    told = {name: str(value) for name, value in header.session.items() if value is not None}
    counts = {f"rows_{section.name}": str(section.rows) for section in header.sections if section.rows}
    damaged = {"damaged": f"{len(header.damaged)}: {header.damaged[0]} ..."} if header.damaged else {}
    return {
        "session_id": str(header.session_id),
        "kind": ARCHIVE,
        "format": str(header.format),
        "archived_at": header.made_at.isoformat(),
        "code": header.code,
        "schema": header.schema,
        **told,
        **counts,
        **damaged,
    }
