"""A session out of its archive: into an empty database, or back where only its row and audit chain were kept.

One transaction brings all of it or nothing, so that a kill leaves nothing half restored; asking again is enough. Rows
that are there already stay as they are; at the end everything the archive holds must be there and the audit chain hold.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, Table, text

from fntx_sessions.database import models as m
from fntx_sessions.database.engine import rows as dicts
from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import IntegrityError, NotFound, PreconditionFailed
from fntx_sessions.settings import Settings
from fntx_sessions.state import archive_states as states
from fntx_sessions.state import archive_tables as tables
from fntx_sessions.state import archive_weeks
from fntx_sessions.state.archive import Archiver, facts_of, object_name
from fntx_sessions.state.archive_check import PARTS, SNAPSHOTS, WEEKS, metrics_of, problems_of_chain
from fntx_sessions.state.archive_check import rows_of as archive_rows_of
from fntx_sessions.state.archive_format import Archive
from fntx_sessions.state.archive_key import have_key
from fntx_sessions.state.archive_rows import NOTE_RESTORE
from fntx_sessions.state.chain_key import ChainKeys, bring_chain_keys
from fntx_sessions.state.codec import Codec
from fntx_sessions.state.data_keys import seal_of
from fntx_sessions.state.event_rows import StateEvent, add_events
from fntx_sessions.state.objects.base import ObjectStore
from fntx_sessions.testing import failpoint

RESTORE = "restore_session"
_PARENTS = 20  # how far up a chain of forks is followed
_STANDING = text("""
SELECT s.status, a.rows_dropped_at IS NOT NULL AS dropped FROM sessions s LEFT JOIN archives a USING (session_id)
WHERE s.session_id = :session_id
""")
_KNOWN = text("SELECT EXISTS (SELECT FROM sessions WHERE session_id = :session_id)")
# The guard of sessions.status lets a closed session in that this very transaction says it restores.
_RESTORING = text("SELECT set_config('fntx.restoring', :session_id, true)")
_UNLINK = text("""
UPDATE restored_sessions r SET parent_session_id = NULL
WHERE NOT EXISTS (SELECT FROM sessions s WHERE s.session_id = r.parent_session_id)
""")
_MANIFESTS = text("""
CREATE TEMP TABLE restored_manifests (snapshot_id uuid PRIMARY KEY, manifest bytea NOT NULL) ON COMMIT DROP
""")
_MANIFEST = text("INSERT INTO restored_manifests VALUES (:snapshot_id, :manifest)")
_AUDIT = text("SELECT * FROM audit WHERE session_id = :session_id ORDER BY seq")
_SESSION = text("SELECT audit_head FROM sessions WHERE session_id = :session_id")


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore brought: rows by table; none where the session was whole already. lost: damaged snapshots."""

    session_id: UUID
    rows: dict[str, int]
    lost: list[str]

    @property
    def already_there(self) -> bool:
        """Tell whether there was nothing to do."""
        return not self.rows


Noted = Callable[[Connection, Restored], None]


def _unnoted(_connection: Connection, _brought: Restored) -> None:
    pass


def restore_session(
    engine: Engine, settings: Settings, store: ObjectStore, session_id: UUID, asked_by: str, noted: Noted = _unnoted
) -> list[Restored]:
    """Bring a session back from its archive, its parents first where they are missing; return what was brought.

    Restored twice, the second time finds nothing to do. asked_by: who is named in the event that tells of it. noted:
    writes down what a transaction brings, as the last thing in it. Raises
    PreconditionFailed (a session of that id is there that is not closed), NotFound (no archive), Shredded,
    IntegrityError (archive or key are damaged or missing) and Unavailable; then nothing was changed.
    """
    return Restorer(engine, settings, store, asked_by, noted).restore(session_id, _PARENTS)


class Restorer:
    """Restores sessions of one cold store into one database."""

    def __init__(
        self, engine: Engine, settings: Settings, store: ObjectStore, asked_by: str, noted: Noted = _unnoted
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._store = store
        self._asked_by = asked_by
        self._noted = noted
        self._archiver = Archiver(engine, settings, store)
        self._codec = Codec(seal_of(settings, engine))
        self._keys = ChainKeys(engine, settings, store)

    def restore(self, session_id: UUID, parents: int) -> list[Restored]:
        """Restore a session and up to `parents` missing parents of it; raises as `restore_session` does."""
        if self._is_whole(session_id):
            return [Restored(session_id, {}, [])]
        if self._store.info(object_name(session_id)) is None:
            fix = "`fntx archive ls --cold` lists what the cold store holds."
            raise NotFound("archive", str(session_id), fix)
        have_key(self._engine, self._settings, self._store, session_id)
        archive = self._archiver.open(session_id)
        self._bring_chain_keys(archive)
        above = self._restored_parent(archive, parents)
        with self._transaction(session_id) as connection:
            brought = Restored(session_id, self._bring(connection, archive), archive.header.damaged)
            self._prove(connection, archive)
            self._note(connection, archive)
            self._noted(connection, brought)
            failpoint("restore.before_commit")
        failpoint("restore.committed")
        return [*above, brought]

    def _bring_chain_keys(self, archive: Archive) -> None:
        """Have the keys of another database's chains in this one: its rows are verified here from now on."""
        rows = archive_rows_of(archive, self._codec, m.audit)
        named = {str(row["key_id"]) for row in rows if row.get("key_id") is not None}
        bring_chain_keys(self._engine, self._settings, self._store, named)

    def _is_whole(self, session_id: UUID) -> bool:
        with transaction(self._engine) as connection:
            row = connection.execute(_STANDING, {"session_id": session_id}).one_or_none()
        if row is not None and row.status != "closed":
            raise PreconditionFailed(
                str(session_id), RESTORE, "it is not there", f"it is {row.status} in this database",
                "Only what is gone is restored; `fntx archive restore --to-database URL` brings it elsewhere.",
            )  # fmt: skip
        return row is not None and not row.dropped

    def _restored_parent(self, archive: Archive, parents: int) -> list[Restored]:
        parent = archive.header.session["parent_session_id"]
        if parent is None or parents == 0 or self._known(UUID(parent)):
            return []
        if self._store.info(object_name(UUID(parent))) is None:
            return []
        return self.restore(UUID(parent), parents - 1)

    def _known(self, session_id: UUID) -> bool:
        with transaction(self._engine) as connection:
            return bool(connection.execute(_KNOWN, {"session_id": session_id}).scalar_one())

    @contextmanager
    def _transaction(self, session_id: UUID) -> Iterator[Connection]:
        with transaction(self._engine) as connection:
            connection.execute(_RESTORING, {"session_id": str(session_id)})
            yield connection

    def _bring(self, connection: Connection, archive: Archive) -> dict[str, int]:
        brought, held = {}, archive.header.counts()
        for table in tables.TABLES:
            # One of an earlier version lacks the tables that came since.
            if table.name not in tables.WITH_BYTES and table.name in held:
                brought[table.name] = self._bring_table(connection, archive, table)
                failpoint("restore.table")
        if WEEKS in held:
            weeks = archive_weeks.read_weeks(archive.chunks(self._codec, WEEKS))
            brought[WEEKS] = archive_weeks.put_weeks(connection, weeks)
        self._bring_snapshots(connection, archive)
        for table in tables.TABLES:
            if table.name in tables.WITH_BYTES:
                brought[table.name] = self._bring_with_bytes(connection, archive, table)
        return brought

    def _bring_table(self, connection: Connection, archive: Archive, table: Table) -> int:
        staged = self._staged(connection, archive, table)
        if table is m.sessions:
            connection.execute(_UNLINK)
        return tables.insert_staged(connection, table, *staged)

    def _staged(self, connection: Connection, archive: Archive, table: Table) -> tuple[str, str]:
        columns = archive.header.section(table.name).columns
        return tables.stage(connection, table, columns, archive.chunks(self._codec, table.name))

    def _bring_snapshots(self, connection: Connection, archive: Archive) -> None:
        session_id = archive.header.session_id
        states.put_parts(connection, session_id, states.read_parts(archive.chunks(self._codec, PARTS)))
        failpoint("restore.parts")
        connection.execute(_MANIFESTS)
        for snapshot in states.read_snapshots(archive.chunks(self._codec, SNAPSHOTS)):
            states.put_names(connection, session_id, [snapshot])
            values = {"snapshot_id": snapshot.checkpoint_id or session_id, "manifest": snapshot.manifest}
            connection.execute(_MANIFEST, values)

    def _bring_with_bytes(self, connection: Connection, archive: Archive, table: Table) -> int:
        staged, listed = self._staged(connection, archive, table)
        [key] = [column.name for column in table.primary_key]
        source = f"{staged} JOIN restored_manifests ON snapshot_id = {key}"
        return tables.insert_staged(connection, table, source, f"{listed}, manifest")

    def _prove(self, connection: Connection, archive: Archive) -> None:
        """Check that all the archive holds is there, and that the audit chain ends at the session's head."""
        session_id, lost = archive.header.session_id, len(archive.header.damaged)
        found = tables.count_rows(connection, session_id)
        for name, expected in archive.header.moment()["counts"].items():
            missing = expected - found[name]
            if missing > (lost if name in tables.WITH_BYTES else 0):
                detail = f"{found[name]} of {expected} rows of {name} after restoring; nothing was changed"
                raise IntegrityError(f"session {session_id}", detail)
        rows = dicts(connection.execute(_AUDIT, {"session_id": session_id}))
        session = connection.execute(_SESSION, {"session_id": session_id}).mappings().one()
        if problems := problems_of_chain(rows, dict(session), self._keys.rows):
            raise IntegrityError(f"session {session_id}", f"audit chain after restoring: {problems[0]}")

    def _note(self, connection: Connection, archive: Archive) -> None:
        header = archive.header
        values = facts_of(header, archive.data, metrics_of(archive, self._codec)) | {
            "keep_s": self._settings.warm_keep_s
        }
        connection.execute(NOTE_RESTORE, values)
        when = connection.execute(text("SELECT now()")).scalar_one()
        said = f"restored from the archive of {header.made_at:%Y-%m-%d %H:%M} UTC, asked by {self._asked_by}"
        event: dict[str, Any] = {"event_type": "session_restored", "once": str(when), "description": said}
        add_events(connection, [StateEvent(header.session_id, **event)])
