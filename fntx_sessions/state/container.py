"""One snapshot as one blob: what a cold object, a backup file or an archive entry holds.

The pieces inside are sealed already, so this is an envelope: a header (magic, format, length, crc32c) and a msgpack
map. The checksum finds accidents before anything is opened; whether the bytes are genuine, their seals say.
"""

import struct
from collections.abc import Callable
from uuid import UUID

import google_crc32c
import msgspec
from msgspec import Struct

from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.state.tiers.base import Ref

_MAGIC, _FORMAT = b"FXC", 1
_HEADER = struct.Struct(">3sBQI")  # magic, format, bytes that follow, their crc32c
_WHAT = "snapshot blob"


class _Body(Struct, frozen=True):
    session_id: UUID
    epoch: int
    revision: int
    manifest: bytes
    checksum: bytes
    parts: dict[bytes, bytes]
    checkpoint_id: UUID | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Body)


def to_bytes(packed: Packed) -> bytes:
    """Return a snapshot as one self-contained blob."""
    body = _encoder.encode(
        _Body(
            packed.session_id,
            packed.epoch,
            packed.revision,
            packed.manifest,
            packed.checksum,
            dict(packed.parts),
            packed.checkpoint_id,
        )
    )
    return _HEADER.pack(_MAGIC, _FORMAT, len(body), google_crc32c.value(body)) + body


def from_bytes(data: bytes, expected: Ref | None = None) -> Packed:
    """Return the snapshot in a blob, its seals not opened yet.

    Raises IntegrityError that says what is wrong: truncated, changed, of a newer version, or, where `expected` names
    a snapshot, another one than that.
    """
    what = f"{_WHAT} of the {_told(expected)}" if expected else _WHAT
    form, body = _opened(data, what)
    packed = _READERS[form](body, what)
    found = Ref(packed.session_id, packed.checkpoint_id)
    if expected is not None and found != expected:
        raise IntegrityError(what, f"holds the {_told(found)}, not the {_told(expected)}")
    return packed


def _opened(data: bytes, what: str) -> tuple[int, bytes]:
    if len(data) < _HEADER.size:
        raise IntegrityError(what, f"truncated to {len(data)} bytes")
    magic, form, length, crc = _HEADER.unpack_from(data)
    body = data[_HEADER.size :]
    if magic != _MAGIC:
        raise IntegrityError(what, "not a snapshot of this service")
    if form not in _READERS:
        raise IntegrityError(what, f"format {form} is not known here; was it written by a newer version?")
    if len(body) != length:
        raise IntegrityError(what, f"truncated or padded: {len(body)} of {length} bytes")
    if google_crc32c.value(body) != crc:
        raise IntegrityError(what, "checksum does not match: bytes were changed")
    return form, body


def _read_1(body: bytes, what: str) -> Packed:
    try:
        found = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IntegrityError(what, f"cannot be read ({error})") from None
    return Packed(
        found.session_id,
        found.epoch,
        found.revision,
        found.manifest,
        found.checksum,
        found.parts,
        found.checkpoint_id,
    )


_READERS: dict[int, Callable[[bytes, str], Packed]] = {1: _read_1}


def _told(ref: Ref) -> str:
    return f"{'save' if ref.checkpoint_id is None else f'checkpoint {ref.checkpoint_id}'} of session {ref.session_id}"
