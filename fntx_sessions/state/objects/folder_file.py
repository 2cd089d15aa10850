"""One object as one file: a header that says what it is, then its bytes; both with a checksum."""

import os
import stat
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

import google_crc32c
import msgspec
from msgspec import Meta, Struct

from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.state.objects.base import ObjectInfo

_MAGIC, _FORMAT = b"FXO", 1
_MAX_HEAD_BYTES = 1_000_000
_PREFIX = struct.Struct(">3sBII")  # magic, format, bytes of the head, their crc32c


class Head(Struct, frozen=True):
    """What a file says of its object; crc: crc32c of the bytes that follow."""

    name: str
    created_at: Annotated[datetime, Meta(tz=True)]
    size: Annotated[int, Meta(ge=0)]
    crc: int
    metadata: dict[str, str]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Head)


def header(name: str, data: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return what goes before an object's bytes."""
    head = _encoder.encode(Head(name, datetime.now(UTC), len(data), google_crc32c.value(data), dict(metadata)))
    return _PREFIX.pack(_MAGIC, _FORMAT, len(head), google_crc32c.value(head)) + head


def read(descriptor: int, name: str) -> bytes:
    """Return the bytes of the object `name` from its file; raises IntegrityError that says what is wrong."""
    head = _head(descriptor, name)
    data = _exactly(descriptor, head.size, name)
    if os.read(descriptor, 1):
        raise IntegrityError(_what(name), f"its file is longer than the {head.size} bytes written")
    if google_crc32c.value(data) != head.crc:
        raise IntegrityError(_what(name), "checksum does not match: its file was changed")
    return data


def read_info(descriptor: int, name: str) -> ObjectInfo:
    """Return what the file says of the object `name`; raises IntegrityError."""
    head = _head(descriptor, name)
    return ObjectInfo(name, head.size, head.created_at, head.metadata)


def damaged_info(descriptor: int, name: str) -> ObjectInfo:
    """Return what can be said of an object whose header cannot be read: that it is there."""
    found = os.fstat(descriptor)
    return ObjectInfo(name, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _head(descriptor: int, name: str) -> Head:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise IntegrityError(_what(name), "there is something else than a file in its place")
    magic, form, length, crc = _PREFIX.unpack(_exactly(descriptor, _PREFIX.size, name))
    if magic != _MAGIC:
        raise IntegrityError(_what(name), "its file was not written by this service")
    if form != _FORMAT:
        raise IntegrityError(_what(name), f"format {form} is not known here; was it written by a newer version?")
    if length > _MAX_HEAD_BYTES:
        raise IntegrityError(_what(name), f"its header claims {length} bytes")
    data = _exactly(descriptor, length, name)
    if google_crc32c.value(data) != crc:
        raise IntegrityError(_what(name), "checksum of its header does not match: its file was changed")
    try:
        head = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IntegrityError(_what(name), f"its header cannot be read ({error})") from None
    if head.name != name:
        raise IntegrityError(_what(name), f"its file holds {head.name}")
    return head


def _exactly(descriptor: int, size: int, name: str) -> bytes:
    chunks, left = [], size
    while left:
        chunk = os.read(descriptor, min(left, 1 << 24))
        if not chunk:
            raise IntegrityError(_what(name), f"truncated: {left} bytes are missing")
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def _what(name: str) -> str:
    return f"cold object {name}"
