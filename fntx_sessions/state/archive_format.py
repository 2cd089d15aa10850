"""What an archive is: one object that says in plain words what it is, and holds a session in sealed sections.

::

    magic, format, length of header, length of its seal
    header      JSON that anybody can read: what this is, whose, when and by which version made, what every section
                holds; no more of the session than its type, its times and counts
    seal        the header again, sealed: what the plain one says is believed only where both are the same
    chunks      of each section in turn, each sealed and compressed by itself, so that no more than one is opened at a
                time

The data key is not in it: it lies wrapped in `keys/<session id>`, and with it goes everything.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta, Struct, field

from fntx_sessions.exceptions import IntegrityError, TooLarge
from fntx_sessions.state.codec import Codec, Label

ARCHIVE = "archive"
FORMAT = 1
CHUNK_BYTES = 4_000_000  # of plain rows in one chunk; a large part makes a larger one
WHAT = (
    "Archive of one closed trading session of fntx-sessions. The chunks after this header and its seal are the "
    "sections below in their order: zstd inside AES-256-GCM, under the session's data key, which is wrapped in the "
    "object keys/<session_id> and not here. Sections of kind `table` are the rows of that table as Postgres COPY "
    "writes text, `state` are the stored snapshots and the large parts they share, in msgpack, `segment` are weeks of "
    "history that had left the database before. "
    "`fntx archive show|verify|restore <session_id>` reads it."
)
HEADER_ROOM_BYTES = 1_000_000  # of headers and seals, which no limit counts
_MAGIC = b"FXAR"
_PREFIX = struct.Struct(">4sHIQ")  # magic, format, bytes of header, bytes of its seal
TABLE, STATE, SEGMENT, OTHER = "table", "state", "segment", "other"


class Chunk(Struct, frozen=True):
    """Stored bytes of a chunk, and the keyed hash of what is in it."""

    stored: Annotated[int, Meta(ge=0)]
    digest: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class Section(Struct, frozen=True):
    """One kind of thing in an archive. rows: of a table, records of anything else."""

    name: str
    kind: str
    rows: int
    chunks: list[Chunk]
    columns: list[str] = field(default_factory=list)


class Header(Struct, frozen=True):
    """What an archive says of itself. session: type, times, counters. schema: the migration its tables were at.

    made_at: by Postgres's clock, not after what was read.
    damaged: snapshots that did not open any more when the archive was made; it holds them as they were.
    """

    what: str
    format: int
    session_id: UUID
    made_at: datetime
    code: str
    schema: str
    session: dict[str, Any]
    sections: list[Section]
    damaged: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Return how many rows or records each section has."""
        return {section.name: section.rows for section in self.sections}

    def section(self, name: str) -> Section:
        """Return a section; raises IntegrityError when there is none of that name."""
        for section in self.sections:
            if section.name == name:
                return section
        raise IntegrityError(_told(self.session_id), f"has no section {name}")

    def moment(self) -> dict[str, Any]:
        """Return what changes when anything in the session does: the same moment, the same archive."""
        tables = {section.name: section.rows for section in self.sections if section.kind == TABLE}
        return {"session": self.session, "counts": tables}


_headers = msgspec.json.Decoder(Header)


class Room:
    """How much an archive may still grow."""

    def __init__(self, session_id: UUID, limit_bytes: int) -> None:
        self.session_id = session_id
        self._limit = limit_bytes
        self._taken = 0

    def take(self, size: int) -> None:
        """Count `size` bytes more; raises TooLarge where there is no room for them."""
        self._taken += size
        if self._taken > self._limit:
            raise too_large(self.session_id, self._taken, self._limit)


def too_large(session_id: UUID, size: int, limit: int) -> TooLarge:
    """Return the error of an archive that is not held in memory."""
    return TooLarge(_told(session_id), size, limit, "FNTX_ARCHIVE_MAX_BYTES")


class SectionWriter:
    """Collects a section's bytes and seals them chunk by chunk; a file to write into, as COPY wants one."""

    def __init__(self, codec: Codec, room: "Room", name: str, kind: str, columns: list[str] | None = None) -> None:
        self._codec = codec
        self._room = room
        self._session_id = room.session_id
        self._name, self._kind, self._columns = name, kind, columns or []
        self._waiting: list[bytes] = []
        self._size = 0
        self._rows = 0
        self._chunks: list[Chunk] = []
        self.sealed: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Take one row of a table, or several, each ended by a newline."""
        self._rows += data.count(b"\n")
        return self._take(data)

    def record(self, data: bytes) -> None:
        """Take one record of anything else."""
        self._rows += 1
        self._take(data)

    def end(self) -> Section:
        """Seal what is left and return the section."""
        self._seal()
        return Section(self._name, self._kind, self._rows, self._chunks, self._columns)

    def _take(self, data: bytes) -> int:
        self._waiting.append(bytes(data))
        self._size += len(data)
        if self._size >= CHUNK_BYTES:
            self._seal()
        return len(data)

    def _seal(self) -> None:
        if not self._waiting:
            return
        plain = b"".join(self._waiting)
        sealed = self._codec.encode(plain, _label(self._session_id, self._name, len(self._chunks)))
        self._chunks.append(Chunk(len(sealed), self._codec.part_hash(self._session_id, plain).hex()))
        self._room.take(len(sealed))
        self.sealed.append(sealed)
        self._waiting, self._size = [], 0


def assemble(codec: Codec, header: Header, sealed: list[bytes]) -> bytes:
    """Return the archive of a header and its sections' chunks, in their order."""
    plain = msgspec.json.format(msgspec.json.encode(header), indent=1)
    seal = codec.encode(plain, Label(header.session_id, ARCHIVE, "header"))
    return b"".join([_PREFIX.pack(_MAGIC, FORMAT, len(plain), len(seal)), plain, seal, *sealed])


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive that was read: its header, and its chunks, still sealed."""

    header: Header
    data: bytes
    _body: int

    def chunks(self, codec: Codec, name: str) -> Iterator[bytes]:
        """Yield a section's plain chunks one by one, each verified; raises IntegrityError naming what is wrong."""
        section = self.header.section(name)
        at = self._body + sum(chunk.stored for before in self._before(name) for chunk in before.chunks)
        for number, chunk in enumerate(section.chunks):
            plain = codec.decode(self.data[at : at + chunk.stored], _label(self.header.session_id, name, number))
            if not codec.is_named(self.header.session_id, plain, bytes.fromhex(chunk.digest)):
                raise IntegrityError(_told(self.header.session_id), f"{name} is not what its header says")
            at += chunk.stored
            yield plain

    def _before(self, name: str) -> Iterator[Section]:
        for section in self.header.sections:
            if section.name == name:
                return
            yield section


def open_archive(data: bytes, session_id: UUID, codec: Codec) -> Archive:
    """Return an archive whose header is proven; raises IntegrityError (also for another session's) and Shredded."""
    header, plain, seal, body = _split(data, session_id)
    if codec.decode(seal, Label(session_id, ARCHIVE, "header")) != plain:
        raise IntegrityError(_told(session_id), "its header was changed")
    stored = sum(chunk.stored for section in header.sections for chunk in section.chunks)
    if len(data) != body + stored:
        raise IntegrityError(_told(session_id), f"truncated or padded: {len(data)} of {body + stored} bytes")
    return Archive(header, data, body)


def _split(data: bytes, session_id: UUID) -> tuple[Header, bytes, bytes, int]:
    if len(data) < _PREFIX.size:
        raise IntegrityError(_told(session_id), f"truncated to {len(data)} bytes")
    magic, form, head, seal = _PREFIX.unpack_from(data)
    if magic != _MAGIC:
        raise IntegrityError(_told(session_id), "not an archive of this service")
    if form != FORMAT:
        raise IntegrityError(_told(session_id), f"format {form} is not known here; was it written by a newer version?")
    plain, body = data[_PREFIX.size : _PREFIX.size + head], _PREFIX.size + head + seal
    try:
        header = _headers.decode(plain)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise IntegrityError(_told(session_id), f"its header cannot be read ({error})") from None
    if header.session_id != session_id:
        raise IntegrityError(_told(session_id), f"holds session {header.session_id}")
    return header, plain, data[_PREFIX.size + head : body], body


def _label(session_id: UUID, section: str, number: int) -> Label:
    return Label(session_id, ARCHIVE, f"{section}/{number}")


def _told(session_id: UUID) -> str:
    return f"the archive of session {session_id}"
