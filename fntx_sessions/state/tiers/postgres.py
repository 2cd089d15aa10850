"""The warm tier: the save of record and the checkpoints in Postgres, with the large parts they name."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from psycopg2 import Binary
from psycopg2 import errors as pg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError as ConstraintError

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import NotFound
from fntx_sessions.state import part_rows
from fntx_sessions.state.event_rows import StateEvent, add_events
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.state.tiers import postgres_sql as sql
from fntx_sessions.state.tiers.base import Held, Ref

_IMPORTED = {"checkpoint_type": "imported", "identity": "", "note": None}
_NO_SESSION = "Its row must be there first; `fntx archive restore` brings back an archived session."


@dataclass(frozen=True, slots=True)
class Record:
    """A save of record: its mark, the mark noted when one was written last, SHA-256 of its manifest and checksum."""

    mark: tuple[int, int]
    noted: tuple[int, int]
    digest: bytes

    @property
    def newest(self) -> tuple[int, int]:
        """How far the session is saved."""
        return max(self.mark, self.noted)


class PostgresTier:
    """Snapshots as Postgres holds them; what was moved to the cold store is not here."""

    name = "postgres"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get(self, ref: Ref) -> Packed | None:
        """Return a snapshot as stored; None: there is none, or it was moved. Raises Unavailable."""
        if ref.checkpoint_id is None:
            return self.get_many([ref.session_id]).get(ref.session_id)
        with transaction(self._engine) as connection:
            rows = connection.execute(sql.READ_CHECKPOINT, _named(ref)).all()
        return _packed(rows, ref.checkpoint_id).get(ref.session_id)

    def get_many(self, session_ids: Sequence[UUID]) -> dict[UUID, Packed]:
        """Return the saves of many sessions in one round trip; those without a save are not in the answer."""
        with transaction(self._engine) as connection:
            rows = connection.execute(sql.READ_SAVES, {"ids": list(map(str, session_ids))}).all()
        return _packed(rows, None)

    def head(self, ref: Ref) -> Packed | None:
        """Return a snapshot without its large parts; None: there is none, or it was moved. Raises Unavailable."""
        statement = sql.CHECKPOINT_HEAD if ref.checkpoint_id else sql.SAVE_HEAD
        with transaction(self._engine) as connection:
            row = connection.execute(statement, _named(ref)).one_or_none()
        if row is None:
            return None
        manifest, checksum = bytes(row.manifest), bytes(row.checksum)
        return Packed(ref.session_id, row.epoch, row.revision, manifest, checksum, {}, ref.checkpoint_id)

    def parts(self, packed: Packed, hashes: Collection[bytes]) -> dict[bytes, bytes]:
        """Return large parts of a session's snapshots; what is not here is not in the answer. Raises Unavailable."""
        values = {"session_id": packed.session_id, "hashes": [Binary(digest) for digest in hashes]}
        with transaction(self._engine) as connection:
            rows = connection.execute(sql.PARTS, values).all() if hashes else []
        return {bytes(row.part_hash): bytes(row.data) for row in rows}

    def mark(self, session_id: UUID) -> tuple[int, int] | None:
        """Return (epoch, revision) of the save of record; None: there is none. Raises Unavailable."""
        found = self.record(session_id)
        return found.mark if found else None

    def record(self, session_id: UUID) -> Record | None:
        """Return what is known of the save of record without reading it; None: there is none. Raises Unavailable."""
        with transaction(self._engine) as connection:
            row = connection.execute(sql.MARK, {"session_id": session_id}).one_or_none()
        if row is None:
            return None
        return Record((row.epoch, row.revision), (row.saved_epoch, row.saved_revision), bytes(row.digest))

    def put(self, packed: Packed, facts: Mapping[str, Any] | None = None) -> bool:
        """Store a snapshot with its parts in one transaction; False: what is here stays. Raises Unavailable, NotFound.

        A save gives way only to one of higher (epoch, revision) whose epoch is not behind the session's. A checkpoint
        is written once; `facts`: its checkpoint_type, identity and note, where its writer knows them.
        """
        if packed.checkpoint_id:
            row = {**_IMPORTED, **(facts or {}), **_row(packed), "size_bytes": packed.size}
            return self._store(packed, lambda connection: connection.execute(sql.PUT_CHECKPOINT, row).first())
        return self._store(packed, lambda connection: connection.execute(sql.PUT_SAVE, _row(packed)).first())

    def replace(self, damaged: Packed, sound: Packed, why: str = "") -> bool:
        """Put sound bytes where damaged ones were read; False: something else is here by now. Raises Unavailable.

        A save is replaced only by one at least as new as what was saved, and never by one of an epoch to come. The
        session's events tell of it; `why`: what was wrong, and where the sound bytes come from.
        """
        with transaction(self._engine) as connection:
            dropped = _replace(connection, damaged, sound)
            if dropped is None:
                return False
            add_events(connection, [_repaired(damaged, why)])
        part_rows.collect(self._engine, dropped)
        return True

    def delete(self, ref: Ref) -> None:
        """Delete a snapshot, and the parts no other one names. Raises Unavailable."""
        values = {"session_id": ref.session_id, "snapshot_id": ref.checkpoint_id or ref.session_id}
        with transaction(self._engine) as connection:
            connection.execute(sql.DELETE_CHECKPOINT if ref.checkpoint_id else sql.DELETE_SAVE, values)
            dropped = {(ref.session_id, bytes(row.part_hash)) for row in connection.execute(sql.UNNAME, values)}
        part_rows.collect(self._engine, dropped)

    def held(self, session_id: UUID) -> list[Held]:
        """Return what Postgres has of a session, its save first, then checkpoints, newest first. Raises Unavailable."""
        values = {"session_id": session_id}
        with transaction(self._engine) as connection:
            save = connection.execute(sql.HELD_SAVE, values).all()
            checkpoints = connection.execute(sql.HELD_CHECKPOINTS, values).all()
        saves = [Held(Ref(session_id), row.epoch, row.revision, int(row.size_bytes)) for row in save]
        refs = [Ref(session_id, row.checkpoint_id) for row in checkpoints]
        kept = zip(refs, checkpoints, strict=True)
        return [*saves, *(Held(ref, row.epoch, row.revision, row.size_bytes) for ref, row in kept)]

    def _store(self, packed: Packed, write: Any) -> bool:
        dropped: set[part_rows.Ref] = set()

        def work(connection: Connection, sent: set[part_rows.Ref]) -> bool:
            if write(connection) is None:
                return False
            part_rows.insert(connection, [packed], sent)
            if not packed.checkpoint_id:
                dropped.update(part_rows.unname(connection, [packed]))
            return True

        try:
            written = part_rows.storing(self._engine, [packed], work)
        except ConstraintError as error:
            if isinstance(error.orig, pg.ForeignKeyViolation):
                raise NotFound("session", str(packed.session_id), _NO_SESSION) from None
            raise
        part_rows.collect(self._engine, dropped)
        return written


def _replace(connection: Connection, damaged: Packed, sound: Packed) -> set[part_rows.Ref] | None:
    values = {**_row(sound), "former_manifest": damaged.manifest, "former_checksum": damaged.checksum}
    statement = sql.REPLACE_CHECKPOINT if sound.checkpoint_id else sql.REPLACE_SAVE
    if connection.execute(statement, values).first() is None:
        return None
    part_rows.insert(connection, [sound], {(sound.session_id, digest) for digest in sound.parts})
    # A part that is there already may be what is damaged.
    hashes, data = list(map(Binary, sound.parts)), list(map(Binary, sound.parts.values()))
    connection.execute(sql.RENEW_PARTS, {"session_id": sound.session_id, "hashes": hashes, "data": data})
    return set() if sound.checkpoint_id else part_rows.unname(connection, [sound])


def _repaired(damaged: Packed, why: str) -> StateEvent:
    what = f"checkpoint {damaged.checkpoint_id}" if damaged.checkpoint_id else "the latest save"
    told = f"{what} was damaged in Postgres and is whole again{': ' if why else ''}{why}"
    data = {"tier": "postgres", "epoch": damaged.epoch, "revision": damaged.revision}
    return StateEvent(damaged.session_id, "state_repaired", str(uuid4()), told, data=data)


def _row(packed: Packed) -> dict[str, Any]:
    return {
        "session_id": packed.session_id,
        "checkpoint_id": packed.checkpoint_id,
        "epoch": packed.epoch,
        "revision": packed.revision,
        "manifest": packed.manifest,
        "checksum": packed.checksum,
    }


def _named(ref: Ref) -> dict[str, UUID | None]:
    return {"session_id": ref.session_id, "checkpoint_id": ref.checkpoint_id}


def _packed(rows: Sequence[Any], checkpoint_id: UUID | None) -> dict[UUID, Packed]:
    parts: dict[UUID, dict[bytes, bytes]] = {}
    found: dict[UUID, Packed] = {}
    for row in rows:
        mine = parts.setdefault(row.session_id, {})
        if row.part_hash is not None:
            mine[bytes(row.part_hash)] = bytes(row.data)
        if row.session_id not in found:
            manifest, checksum = bytes(row.manifest), bytes(row.checksum)
            found[row.session_id] = Packed(
                row.session_id, row.epoch, row.revision, manifest, checksum, mine, checkpoint_id
            )
    return found
