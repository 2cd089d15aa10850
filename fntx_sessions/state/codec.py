"""From bytes to a sealed blob and back: compress, seal, label. Callers never see which seal is in use.

A blob is a header (magic, format, seal, length) and what the seal made of the compressed bytes. The label (session,
kind, name) is bound into the seal as associated data, so a blob opens only as what it was sealed as.
"""

import hashlib
import hmac
import struct
import threading
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import zstandard

from fntx_sessions.exceptions import IntegrityError

_MAGIC, _FORMAT = b"FX", 1
_HEADER = struct.Struct(">2sBBQ")  # magic, format, seal, bytes that follow
_LEVEL = 1  # measured on realistic state: as small as level 3, and a fifth faster
_MAX_PLAIN_BYTES = 1 << 30
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
    """How compressed bytes are protected. `number` is written into each blob's header and never used again."""

    number: int

    def close(self, data: bytes, label: Label) -> bytes:
        """Return `data` sealed and bound to `label`."""
        ...

    def open(self, data: bytes, label: Label) -> bytes:
        """Return what was sealed; raises IntegrityError when `data` was changed or is not what `label` says."""
        ...

    def hash_key(self, session_id: UUID) -> bytes:
        """Return the key under which this session's parts are named by their content."""
        ...


class PlainSeal:
    """Today's seal: a checksum over label and data. It finds accidents and mix-ups; it hides nothing."""

    number = 1

    def close(self, data: bytes, label: Label) -> bytes:
        """Return the checksum, then the data."""
        return self._digest(data, label) + data

    def open(self, data: bytes, label: Label) -> bytes:
        """Return the data; raises IntegrityError when the checksum does not match data and label."""
        found, plain = data[:32], data[32:]
        if not hmac.compare_digest(found, self._digest(plain, label)):
            raise IntegrityError(str(label), "checksum does not match: changed bytes, or another session's blob")
        return plain

    def hash_key(self, session_id: UUID) -> bytes:  # noqa: ARG002 - the next seal has a key per session
        """Return the empty key."""
        return b""

    @staticmethod
    def _digest(data: bytes, label: Label) -> bytes:
        digest = hashlib.sha256(label.associated + b"\x00\x00")
        digest.update(data)
        return digest.digest()


class Codec:
    """Encodes and decodes blobs with one seal."""

    def __init__(self, seal: Seal | None = None) -> None:
        self._seal = seal or PlainSeal()

    def encode(self, plain: bytes, label: Label) -> bytes:
        """Return the sealed blob of `plain`, good for `label` only."""
        sealed = self._seal.close(_compressor().compress(plain), label)
        return _HEADER.pack(_MAGIC, _FORMAT, self._seal.number, len(sealed)) + sealed

    def decode(self, blob: bytes, label: Label) -> bytes:
        """Return the plain bytes; raises IntegrityError that says what is wrong with the blob."""
        compressed = self._seal.open(self._payload(blob, label), label)
        try:
            return _decompressor().decompress(compressed, max_output_size=_MAX_PLAIN_BYTES)
        except zstandard.ZstdError as error:
            raise IntegrityError(str(label), f"cannot be decompressed ({error})") from None

    def part_hash(self, session_id: UUID, plain: bytes) -> bytes:
        """Return the name of a part's content: 32 bytes, keyed by session."""
        return hmac.digest(self._seal.hash_key(session_id), plain, "sha256")

    def _payload(self, blob: bytes, label: Label) -> bytes:
        if len(blob) < _HEADER.size:
            raise IntegrityError(str(label), f"truncated to {len(blob)} bytes")
        magic, form, seal, length = _HEADER.unpack_from(blob)
        payload = blob[_HEADER.size :]
        if magic != _MAGIC:
            raise IntegrityError(str(label), "not a blob of this service")
        if form != _FORMAT or seal != self._seal.number:
            detail = f"format {form} with seal {seal} is not known here; was it written by a newer version?"
            raise IntegrityError(str(label), detail)
        if len(payload) != length:
            raise IntegrityError(str(label), f"truncated or padded: {len(payload)} of {length} bytes")
        return payload


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
