"""Ed25519 key files, read with care: what others could have read or written is refused, and said.

A public file holds one PEM block a key; the line before each, which any reader of PEM passes over, says when the key
was made and since when it signs no more::

    # 0123456789abcdef made 2026-01-05T14:30:00+00:00 retired 2026-03-01T09:00:00+00:00
    -----BEGIN PUBLIC KEY-----
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from fntx_sessions.exceptions import StackError
from fntx_sessions.pasting import pasted
from fntx_sessions.security.private_files import file_version

_BEGIN, _END = b"-----BEGIN", b"-----END"
_PEM_END = b"-----END PUBLIC KEY-----"
_NOTE = re.compile(rb"# [0-9a-f]{16}((?: (?:made|retired) \S+)*)\s*$", re.MULTILINE)
MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies. made_at, retired_at: None where the file does not say."""

    key: Ed25519PublicKey
    made_at: datetime | None = None
    retired_at: datetime | None = None

    @property
    def key_id(self) -> str:
        """Its name, as in the header of what it signed."""
        return key_id(self.key)


def key_id(key: Ed25519PublicKey) -> str:
    """Return the name of a key: 16 hex digits of the sha256 of its raw bytes."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def new_private_pem() -> bytes:
    """Return a fresh private key."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key. Raises StackError where it is not usable or not its user's alone; OSError as is."""
    pem = private_bytes(path)
    with suppress(ValueError, TypeError):
        key = load_pem_private_key(pem, password=None)
        if isinstance(key, Ed25519PrivateKey):
            return key
    if _BEGIN in pem and _END not in pem:
        raise StackError(f"{path} is cut off: it was written half", "Put it back from a copy, or make a new key.")
    raise StackError(f"{path} holds no Ed25519 private key", "Delete it and run `fntx up`, or point to another file.")


def private_bytes(path: Path) -> bytes:
    """Return a private key's file. Raises StackError where it is not its user's alone; OSError as is."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        if path.is_symlink():
            told = f"the private key {path} is a symbolic link: what it leads to may change unseen"
            raise StackError(told, f"Point to the file itself: {path.resolve()}") from None
        raise
    try:
        _must_be_ours(path, os.fstat(handle), "the private key", 0o077, "open to other users")
        return os.read(handle, MOST_BYTES)
    finally:
        os.close(handle)


def _must_be_ours(path: Path, found: os.stat_result, what: str, bits: int, problem: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise StackError(f"{what} {path} is no file", "Point to a PEM file.")
    if stat.S_IMODE(found.st_mode) & bits:
        mode = 600 if bits & 0o044 else "go-w"
        raise StackError(f"{what} {path} is {problem}", f"Run: {pasted('chmod', mode, path)}")
    if os.geteuid() and found.st_uid not in (0, os.geteuid()):
        raise StackError(f"{what} {path} belongs to another user", "Make it this user's, or copy it.")


def load_public_keys(path: Path) -> Mapping[str, PublicKey]:
    """Return the keys of a public file by key id; a changed file is read again. Raises StackError, or OSError as is."""
    return _public_keys(path, file_version(path))


@lru_cache(maxsize=16)
def _public_keys(path: Path, _version: tuple[int, int, int]) -> Mapping[str, PublicKey]:
    with path.open("rb") as file:
        # Who may write it can add a key of their own.
        _must_be_ours(path, os.fstat(file.fileno()), "the file of public keys", 0o022, "writable for other users")
        *blocks, rest = file.read(MOST_BYTES).split(_PEM_END)
    if _BEGIN in rest:
        raise StackError(f"{path} is cut off after {len(blocks)} keys", "Put it back from a copy.")
    found = [_public_key(block) for block in blocks]
    if not found or None in found:
        raise StackError(f"{path} holds what is no Ed25519 public key", "Point to a PEM file of such keys alone.")
    return MappingProxyType({one.key_id: one for one in found if one is not None})


def _public_key(block: bytes) -> PublicKey | None:
    note, begin, body = block.partition(_BEGIN)
    with suppress(ValueError, TypeError):
        key = load_pem_public_key(begin + body + _PEM_END + b"\n")
        if isinstance(key, Ed25519PublicKey):
            moments = _moments(note)
            return PublicKey(key, moments.get("made"), moments.get("retired"))
    return None


def _moments(note: bytes) -> dict[str, datetime]:
    told = _NOTE.search(note)
    words = told[1].decode(errors="replace").split() if told else []
    found = {}
    for name, moment in zip(words[::2], words[1::2], strict=False):
        with suppress(ValueError):
            found[name] = datetime.fromisoformat(moment)
    return {name: at for name, at in found.items() if at.tzinfo is not None}


def public_pem(keys: Iterable[PublicKey]) -> bytes:
    """Return a public file's content."""
    return b"".join(_note(one) + _pem(one.key) for one in keys)


def _note(one: PublicKey) -> bytes:
    moments = {"made": one.made_at, "retired": one.retired_at}
    told = "".join(f" {name} {at.isoformat()}" for name, at in moments.items() if at is not None)
    return f"# {one.key_id}{told}\n".encode()


def _pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
