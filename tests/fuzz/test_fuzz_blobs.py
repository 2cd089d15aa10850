"""Bytes of the stores: whatever they are, they open or are refused as what they claim to be."""

import os
import struct
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import google_crc32c
import msgspec
import pytest
import zstandard
from fuzzing import changed_bytes, changed_document, deep, documents, fuzz
from hypothesis import given
from hypothesis import strategies as st
from sealing import fixed_codec

from fntx_sessions.exceptions import FntxError, IntegrityError, InvalidArgument, StackError
from fntx_sessions.security.keyring import new_ring, parse_ring
from fntx_sessions.state import archive_format, container, parts
from fntx_sessions.state.codec import Label
from fntx_sessions.state.objects import folder_file
from fntx_sessions.state.objects.folder_names import path_of
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.trading.published import read_publication

ID = UUID("186d8101-4bf0-43d2-b12c-a7d80fdbae31")
LABEL = Label(ID, "save")
CODEC, UNSEALED = fixed_codec(), fixed_codec(accepts_unsealed=True)
BLOB = CODEC.encode(b'{"a": 1}' * 9, LABEL)
PACKED = container.to_bytes(Packed(ID, 1, 1, b"manifest", b"sum", {b"h": b"part"}, None))
HEADER = archive_format.Header(
    archive_format.WHAT,
    1,
    ID,
    datetime(2026, 11, 23, tzinfo=UTC),
    "1",
    "0027",
    {},
    [archive_format.Section("a", "table", 0, [])],
)
ARCHIVE = archive_format.assemble(CODEC, HEADER, [])
OBJECT = folder_file.header("sessions/a", b"data", {"kind": "save"}) + b"data"


@fuzz
@given(changed_bytes(BLOB) | st.binary(max_size=200))
def test_codec(data: bytes) -> None:
    """A blob opens, or is refused as damaged."""
    for codec in (CODEC, UNSEALED):
        with suppress(IntegrityError):
            codec.decode(data, LABEL)


@fuzz
@given(changed_bytes(zstandard.compress(b"x" * 2000)) | st.binary(max_size=64))
def test_what_is_compressed_under_a_seal(compressed: bytes) -> None:
    """Whoever has the key can seal bytes that are no zstd, or that ask for all memory."""
    key = CODEC._seal.sealing(ID)
    header = struct.pack(">2sBB8s12sQ", b"FX", 2, 2, key.key_id, b"n" * 12, len(compressed) + 16)
    blob = header + key.sealing.encrypt(b"n" * 12, compressed, header + LABEL.associated)
    with suppress(IntegrityError):
        CODEC.decode(blob, LABEL)


@fuzz
@given(
    changed_bytes(PACKED)
    | st.binary(max_size=64)
    | st.binary(max_size=80).map(
        lambda body: struct.pack(">3sBQI", b"FXC", 1, len(body), google_crc32c.value(body)) + body
    )
)
def test_container(data: bytes) -> None:
    """A snapshot's envelope, its checksum right or wrong: one of the stores' backups, copies, cold objects."""
    with suppress(IntegrityError):
        container.from_bytes(data)


def archived(header: bytes) -> bytes:
    """Return an archive whose header says anything at all, under a good seal."""
    seal = CODEC.encode(header, Label(ID, archive_format.ARCHIVE, "header"))
    return struct.pack(">4sHIQ", b"FXAR", 1, len(header), len(seal)) + header + seal


KNOWN_HEADER = msgspec.json.decode(msgspec.json.encode(HEADER)) | {
    "sections": [{"name": "a", "kind": "table", "rows": 1, "chunks": [{"stored": 9, "digest": "00"}], "columns": []}]
}


@fuzz
@given(changed_bytes(ARCHIVE) | changed_document(KNOWN_HEADER).map(archived) | st.binary(max_size=64))
def test_archive(data: bytes) -> None:
    """An archive from a bucket that others may write: read to its end, or refused."""
    with suppress(IntegrityError):
        archive = archive_format.open_archive(data, ID, CODEC)
        for section in archive.header.sections:
            list(archive.chunks(CODEC, section.name))


def headed(head: bytes) -> bytes:
    """Return a file whose header has a good checksum and says anything."""
    return struct.pack(">3sBII", b"FXO", 1, len(head), google_crc32c.value(head)) + head + b"data"


HEAD = {"name": "sessions/a", "created_at": datetime(2026, 11, 23, tzinfo=UTC), "size": 4, "crc": 0, "metadata": {}}
heads = st.fixed_dictionaries(
    {
        "name": st.just("sessions/a") | st.text(max_size=9),
        "created_at": st.just(HEAD["created_at"]) | st.just(datetime(2026, 1, 1)) | st.text(max_size=3),  # noqa: DTZ001
        "size": st.integers(-(1 << 63), 1 << 63) | st.just(4),
        "crc": st.integers(-5, 1 << 40),
        "metadata": st.just({}) | documents,
    }
).map(msgspec.msgpack.encode)


@fuzz
@given(data=changed_bytes(OBJECT) | (heads | st.binary(max_size=64)).map(headed) | st.binary(max_size=64))
def test_cold_object(data: bytes) -> None:
    """A file of a cold folder that others may write."""
    number = os.memfd_create("object")
    try:
        os.write(number, data)
        for look in (folder_file.read, folder_file.read_info):
            os.lseek(number, 0, os.SEEK_SET)
            with suppress(IntegrityError):
                look(number, "sessions/a")
    finally:
        os.close(number)


@fuzz
@given(st.text(max_size=300) | st.sampled_from(("../x", "/x", "a/../b", "a//b", "..", "%2e%2e/x", "a\x00b", "a" * 400)))
def test_no_name_of_an_object_leaves_the_folder(name: str) -> None:
    """Directories and file of any name lie below the folder, or the name is refused."""
    with suppress(InvalidArgument):
        directories, file = path_of(name)
        assert not {"", ".", ".."} & {*directories, file}
        assert not any("/" in part or "\x00" in part for part in (*directories, file))
        assert Path("/root", *directories, file).resolve().is_relative_to("/root")


@fuzz
@given(changed_document(msgspec.json.decode(new_ring().to_bytes())))
def test_key_ring(data: bytes) -> None:
    """A ring file that was cut, edited or is something else: refused, and nothing of it quoted."""
    with suppress(StackError):
        parse_ring(data, "ring")


@fuzz
@given(
    changed_document({"internal_state": {"a": 1}, "positions": [{"symbol": "x", "quantity": 1}]}),
    st.sampled_from(("agent/planner", "market", "trading", "agent/é", "", "../x")),
)
def test_part(data: bytes, name: str) -> None:
    """A part that an agent reports."""
    with suppress(InvalidArgument):
        parts.checked(name, data, 100_000)


@fuzz
@given(changed_document({"state": {"timestamp": "2026-11-23T10:00:00Z", "vix_level": 17.0, "spy_price": 600.0}}) | deep)
def test_published_market(data: bytes) -> None:
    """What lies in Redis as the market: ValueError, which its reader takes for none."""
    with suppress(ValueError):
        read_publication(data)


@pytest.mark.parametrize("size", [1 << 20, 1 << 34, 1 << 62])
def test_a_bomb_is_refused_before_memory_is_taken(size: int) -> None:
    """A frame that claims gigabytes, or more in proportion than state ever is, opens nothing."""
    frame = zstandard.ZstdCompressor(write_content_size=True).compress(b"\x00" * min(size, 200 << 20))
    if size > 1 << 20:
        frame = frame[:4] + bytes([0xE0]) + struct.pack("<Q", size) + frame[9:]
    key = CODEC._seal.sealing(ID)
    header = struct.pack(">2sBB8s12sQ", b"FX", 2, 2, key.key_id, b"n" * 12, len(frame) + 16)
    blob = header + key.sealing.encrypt(b"n" * 12, frame, header + LABEL.associated)
    if size == 1 << 20:
        assert len(CODEC.decode(blob, LABEL)) == size
    else:
        with pytest.raises(FntxError, match="larger"):
            CODEC.decode(blob, LABEL)
