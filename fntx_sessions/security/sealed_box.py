"""Sealing something to one reader's public key: libsodium's sealed boxes, which every language can open."""

import base64
import binascii

from nacl.exceptions import CryptoError
from nacl.public import PublicKey, SealedBox

from fntx_sessions.exceptions import InvalidArgument

KEY_BYTES = 32


def sealing_key_of(given: str) -> bytes:
    """Return the 32 bytes of an X25519 public key given as base64; raises InvalidArgument."""
    try:
        found = base64.b64decode(given, validate=True)
        seal_to(found, b"")  # refuses keys whose seal anybody could open
    except (binascii.Error, ValueError, TypeError, CryptoError):
        fix = f"Send the {KEY_BYTES} bytes of an X25519 public key, as base64."
        raise InvalidArgument("sealing_key", "is no key that anything can be sealed to", fix) from None
    return found


def seal_to(public: bytes, plain: bytes) -> bytes:
    """Return `plain` sealed to who holds the other half of a public key; raises CryptoError and TypeError."""
    return SealedBox(PublicKey(public)).encrypt(plain)
