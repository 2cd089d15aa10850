"""A session's snapshots in an archive: each manifest once, each large part once, however many checkpoints name it."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct
from psycopg2 import Binary
from sqlalchemy import Connection, text

from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.state.archive_format import SectionWriter
from fntx_sessions.state.snapshot import Packed

T = TypeVar("T", bound=Struct)
_LENGTH = struct.Struct(">I")

_SNAPSHOTS = text("""
SELECT NULL AS checkpoint_id, epoch, revision, manifest, checksum FROM saves WHERE session_id = :session_id
UNION ALL
SELECT * FROM (SELECT checkpoint_id, epoch, revision, manifest, checksum FROM checkpoints
  WHERE session_id = :session_id ORDER BY timestamp, checkpoint_id) c
""")
_NAMED = text("SELECT snapshot_id, part_hash FROM snapshot_parts WHERE session_id = :session_id ORDER BY 1, 2")
# A few at a time: a part may be large.
_PARTS = text("""
SELECT part_hash, data FROM parts p WHERE session_id = :session_id AND EXISTS (
  SELECT FROM snapshot_parts sp WHERE sp.session_id = p.session_id AND sp.part_hash = p.part_hash)
ORDER BY part_hash
""").execution_options(yield_per=4)

_PUT_PARTS = text("""
INSERT INTO parts (session_id, part_hash, data)
SELECT :session_id, * FROM unnest(CAST(:hashes AS bytea[]), CAST(:data AS bytea[])) ON CONFLICT DO NOTHING
""")
_PUT_NAMES = text("""
INSERT INTO snapshot_parts (session_id, snapshot_id, part_hash)
SELECT :session_id, :snapshot_id, * FROM unnest(CAST(:hashes AS bytea[])) ON CONFLICT DO NOTHING
""")


class StoredPart(Struct, array_like=True, frozen=True):
    """A large part, sealed as stored, under the name of its content."""

    part_hash: bytes
    data: bytes


class StoredSnapshot(Struct, array_like=True, frozen=True):
    """A snapshot as stored, but for its large parts, which it names. checkpoint_id None: the latest save."""

    checkpoint_id: UUID | None
    epoch: int
    revision: int
    manifest: bytes
    checksum: bytes
    parts: list[bytes]

    def packed(self, session_id: UUID) -> Packed:
        """Return it as other tiers hold it, without its large parts."""
        return Packed(session_id, self.epoch, self.revision, self.manifest, self.checksum, {}, self.checkpoint_id)


_parts, _snapshots = msgspec.msgpack.Decoder(StoredPart), msgspec.msgpack.Decoder(StoredSnapshot)


def warm_parts(connection: Connection, session_id: UUID) -> Iterator[StoredPart]:
    """Yield the large parts that Postgres holds for a session's snapshots."""
    for row in connection.execute(_PARTS, {"session_id": session_id}):
        yield StoredPart(bytes(row.part_hash), bytes(row.data))


def warm_snapshots(connection: Connection, session_id: UUID) -> tuple[list[StoredSnapshot], list[UUID]]:
    """Return the snapshots whose bytes Postgres holds, and the checkpoints that it holds no more."""
    values = {"session_id": session_id}
    named: dict[UUID, list[bytes]] = {}
    for row in connection.execute(_NAMED, values):
        named.setdefault(row.snapshot_id, []).append(bytes(row.part_hash))
    kept, cold = [], []
    for row in connection.execute(_SNAPSHOTS, values).all():
        if row.manifest is None:
            cold.append(row.checkpoint_id)
            continue
        names = named.get(row.checkpoint_id or session_id, [])
        head = (row.checkpoint_id, row.epoch, row.revision, bytes(row.manifest), bytes(row.checksum))
        kept.append(StoredSnapshot(*head, names))
    return kept, cold


def cold_snapshot(packed: Packed) -> tuple[StoredSnapshot, list[StoredPart]]:
    """Return what an archive holds of a snapshot that came from the cold store, and its parts."""
    head = (packed.checkpoint_id, packed.epoch, packed.revision, packed.manifest, packed.checksum)
    parts = [StoredPart(digest, data) for digest, data in sorted(packed.parts.items())]
    return StoredSnapshot(*head, [part.part_hash for part in parts]), parts


def write(section: SectionWriter, record: Struct) -> None:
    """Write a record into a section."""
    data = msgspec.msgpack.encode(record)
    section.record(_LENGTH.pack(len(data)) + data)


def read_parts(chunks: Iterable[bytes]) -> Iterator[StoredPart]:
    """Yield the parts of a section."""
    return records(chunks, _parts)


def read_snapshots(chunks: Iterable[bytes]) -> Iterator[StoredSnapshot]:
    """Yield the snapshots of a section."""
    return records(chunks, _snapshots)


def put_parts(connection: Connection, session_id: UUID, parts: Iterable[StoredPart]) -> None:
    """Store the parts that are not there."""
    for part in parts:
        values = {"hashes": [Binary(part.part_hash)], "data": [Binary(part.data)]}
        connection.execute(_PUT_PARTS, values | {"session_id": session_id})


def put_names(connection: Connection, session_id: UUID, snapshots: Sequence[StoredSnapshot]) -> None:
    """Store which parts the snapshots name."""
    for snapshot in snapshots:
        if snapshot.parts:
            values = {"snapshot_id": snapshot.checkpoint_id or session_id, "hashes": list(map(Binary, snapshot.parts))}
            connection.execute(_PUT_NAMES, values | {"session_id": session_id})


def records(chunks: Iterable[bytes], decoder: "msgspec.msgpack.Decoder[T]") -> Iterator[T]:
    """Yield the records of a section; raises IntegrityError."""
    for chunk in chunks:
        at = 0
        while at < len(chunk):
            (size,) = _LENGTH.unpack_from(chunk, at)
            record = chunk[at + _LENGTH.size : at + _LENGTH.size + size]
            at += _LENGTH.size + size
            try:
                yield decoder.decode(record)
            except msgspec.MsgspecError as error:
                raise IntegrityError("the archive", f"a record cannot be read ({error})") from None
