"""From bytes to a sealed blob and back: compress, seal with the session's data key, label.

A blob of format 2 is a header (magic, format, seal, data key id, nonce, length) and what AES-256-GCM made of the
compressed bytes. Header and label (session, kind, name) are associated data, so a blob opens only as what it was sealed
as. Format 1 was a checksum without a seal; it is read only where FNTX_ACCEPT_UNSEALED says so.
"""

import hashlib
import hmac
import struct
import threading
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import zstandard
from cryptography.exceptions import InvalidTag

from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.state.data_key import DataKey

_MAGIC, _FORMAT, _AES_256_GCM = b"FX", 2, 2
_START = struct.Struct(">2sBB")  # magic, format, seal: the same in every format
_HEADER = struct.Struct(">2sBB8s12sQ")  # and data key id, nonce, bytes that follow
_NONCE_BYTES = 12
_UNSEALED_FORMAT, _UNSEALED = 1, 1
_UNSEALED_HEADER = struct.Struct(">2sBBQ")  # and bytes that follow: sha256 over label and data, then the data
_LEVEL = 1  # measured on realistic state: as small as level 3, and a fifth faster
# What a frame may claim to hold: so much in all and, where it is large, so much for each byte of it.
_MAX_PLAIN_BYTES = 1 << 30
_ANY_RATIO_BYTES, _MAX_RATIO = 64 << 20, 1000
_local = threading.local()


@dataclass(frozen=True, slots=True)
class Label:
    """What a blob is: whose, of which kind (`save`, `checkpoint`, `part`), and its own name."""

    session_id: UUID
    kind: str
    name: str = ""

    def __str__(self) -> str:
        name = f" {self.name}" if self.name else ""
        return f"{self.kind}{name} of session {self.session_id}"

    @property
    def associated(self) -> bytes:
        """The bytes a seal binds in."""
        return b"\x00".join((self.session_id.bytes.hex().encode(), self.kind.encode(), self.name.encode()))


class Seal(Protocol):
    """Where the data keys come from. accepts_unsealed: whether blobs of format 1 are read."""

    accepts_unsealed: bool

    def sealing(self, session_id: UUID) -> DataKey:
        """Return the key to seal and name with, made where there is none; raises Shredded and Unavailable."""
        ...

    def opening(self, session_id: UUID) -> DataKey:
        """Return the key to open with; raises IntegrityError (there is none), Shredded and Unavailable."""
        ...


class Codec:
    """Encodes and decodes blobs with the keys of one seal."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    def encode(self, plain: bytes, label: Label) -> bytes:
        """Return the sealed blob of `plain`, good for `label` only; raises Shredded and Unavailable."""
        key, associated = self._seal.sealing(label.session_id), label.associated
        compressed = _compressor().compress(plain)
        # Made of what is sealed, so that the same part is the same bytes wherever and however often it is sealed.
        nonce = hmac.digest(key.nonces, b"\x00".join((associated, compressed)), "sha256")[:_NONCE_BYTES]
        length = len(compressed) + 16  # the tag
        header = _HEADER.pack(_MAGIC, _FORMAT, _AES_256_GCM, key.key_id, nonce, length)
        return header + key.sealing.encrypt(nonce, compressed, header + associated)

    def decode(self, blob: bytes, label: Label) -> bytes:
        """Return the plain bytes; raises IntegrityError that says what is wrong, Shredded and Unavailable."""
        form = _format_of(blob, label)
        compressed = self._unsealed(blob, label) if form == _UNSEALED_FORMAT else self._opened(blob, label)
        try:
            _refuse_bomb(compressed, label)
            return _decompressor().decompress(compressed)
        except zstandard.ZstdError as error:
            raise IntegrityError(str(label), f"cannot be decompressed ({error})") from None

    def part_hash(self, session_id: UUID, plain: bytes) -> bytes:
        """Return the name of a part's content: 32 bytes, keyed by session; raises Shredded and Unavailable."""
        return hmac.digest(self._seal.sealing(session_id).naming, plain, "sha256")

    def is_named(self, session_id: UUID, plain: bytes, digest: bytes) -> bool:
        """Tell whether `digest` is the name of a part's content, where unsealed blobs are read also the unkeyed one."""
        if hmac.compare_digest(hmac.digest(self._seal.opening(session_id).naming, plain, "sha256"), digest):
            return True
        return self._seal.accepts_unsealed and hmac.compare_digest(hmac.digest(b"", plain, "sha256"), digest)

    def _opened(self, blob: bytes, label: Label) -> bytes:
        key = self._seal.opening(label.session_id)
        header, payload = _split(_HEADER, blob, label)
        _, _, _, key_id, nonce, _ = _HEADER.unpack(header)
        if key_id != key.key_id:
            detail = f"sealed with data key {key_id.hex()}, not with this session's {key.key_id.hex()}"
            raise IntegrityError(str(label), f"{detail}: another session's blob, or changed bytes")
        try:
            return key.sealing.decrypt(nonce, payload, header + label.associated)
        except InvalidTag:
            detail = "does not open with its session's key: changed bytes, or a blob that was sealed as something else"
            raise IntegrityError(str(label), detail) from None

    def _unsealed(self, blob: bytes, label: Label) -> memoryview:
        if not self._seal.accepts_unsealed:
            detail = "is not sealed (format 1); FNTX_ACCEPT_UNSEALED=true reads such blobs of an earlier version"
            raise IntegrityError(str(label), detail)
        _, payload = _split(_UNSEALED_HEADER, blob, label)
        found, plain = payload[:32], payload[32:]
        digest = hashlib.sha256(label.associated + b"\x00\x00")
        digest.update(plain)
        if not hmac.compare_digest(found, digest.digest()):
            raise IntegrityError(str(label), "checksum does not match: changed bytes, or another session's blob")
        return plain


def _refuse_bomb(compressed: bytes | memoryview, label: Label) -> None:
    # The library takes as much memory as a frame claims to need, whatever limit it is given.
    claimed = zstandard.frame_content_size(compressed)
    if not 0 <= claimed <= min(_MAX_PLAIN_BYTES, max(_ANY_RATIO_BYTES, _MAX_RATIO * len(compressed))):
        told = "does not say how large it is" if claimed < 0 else f"claims {claimed} bytes in {len(compressed)}"
        raise IntegrityError(str(label), f"its content {told}: larger than state ever is")


def _format_of(blob: bytes, label: Label) -> int:
    if len(blob) < _START.size:
        raise IntegrityError(str(label), f"truncated to {len(blob)} bytes")
    magic, form, seal = _START.unpack_from(blob)
    if magic != _MAGIC:
        raise IntegrityError(str(label), "not a blob of this service")
    if (form, seal) not in ((_FORMAT, _AES_256_GCM), (_UNSEALED_FORMAT, _UNSEALED)):
        detail = f"format {form} with seal {seal} is not known here; was it written by a newer version?"
        raise IntegrityError(str(label), detail)
    return int(form)


def _split(layout: struct.Struct, blob: bytes, label: Label) -> tuple[bytes, memoryview]:
    """Return header and payload; every format's header ends with the length of what follows."""
    if len(blob) < layout.size:
        raise IntegrityError(str(label), f"truncated to {len(blob)} bytes")
    header, payload = blob[: layout.size], memoryview(blob)[layout.size :]
    length = layout.unpack(header)[-1]
    if len(payload) != length:
        raise IntegrityError(str(label), f"truncated or padded: {len(payload)} of {length} bytes")
    return header, payload


def _compressor() -> zstandard.ZstdCompressor:
    if not hasattr(_local, "compressor"):
        _local.compressor = zstandard.ZstdCompressor(level=_LEVEL)
    compressor: zstandard.ZstdCompressor = _local.compressor
    return compressor


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    decompressor: zstandard.ZstdDecompressor = _local.decompressor
    return decompressor
