"""A session's data key: one secret, and what is derived of it for sealing and for naming."""

import os
from dataclasses import dataclass, field
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_ID_BYTES = 8
SECRET_BYTES = 32
_USES = (b"fntx sealing", b"fntx naming of parts", b"fntx nonces")


@dataclass(frozen=True, slots=True)
class DataKey:
    """What seals and names a session's blobs; nothing of it shows. `key_id` is written into every blob."""

    key_id: bytes
    sealing: AESGCM = field(repr=False)
    naming: bytes = field(repr=False)
    nonces: bytes = field(repr=False)

    @classmethod
    def of(cls, session_id: UUID, key_id: bytes, secret: bytes) -> "DataKey":
        """Derive the keys, each for its own use, from a session's secret of 32 bytes."""
        sealing, naming, nonces = (_derived(secret, session_id, use) for use in _USES)
        return cls(key_id, AESGCM(sealing), naming, nonces)


def new_secret() -> tuple[bytes, bytes]:
    """Return a fresh (key id, secret)."""
    return os.urandom(KEY_ID_BYTES), os.urandom(SECRET_BYTES)


def binding(session_id: UUID, key_id: bytes) -> bytes:
    """Return what a wrapped data key is bound to: it opens for no other session and under no other id."""
    return b"fntx data key\x00" + session_id.bytes + key_id


def _derived(secret: bytes, session_id: UUID, use: bytes) -> bytes:
    return HKDF(SHA256(), 32, session_id.bytes, use).derive(secret)
