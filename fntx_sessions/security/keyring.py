"""The key ring: keys that wrap each session's data key. Everything sealed hangs on it, so a fleet shares ONE ring.

It comes from FNTX_KEY_RING (the JSON itself), else FNTX_KEY_RING_FILE, else HOME/keys/ring.json (0600)::

    {"format": 1, "current": "<id>", "keys": {"<id>": {"key": "<base64, 32 bytes>", "created_at": "...",
                                                       "retired_at": null}}}

The current key wraps what is new. A retired key only unwraps what it wrapped before; one that is neither is staged:
handed out to every host before the next rotation makes it current. A changed file is read again when it is next used.
"""

import base64
import binascii
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fntx_sessions.exceptions import IntegrityError, InvalidArgument, StackError, Unavailable
from fntx_sessions.pasting import pasted
from fntx_sessions.security.keys import LocalKeys
from fntx_sessions.security.private_files import create_private, file_version
from fntx_sessions.settings import Settings

FORMAT = 1
KEY_BYTES = 32
_NONCE_BYTES = 12
_ENVIRONMENT = "FNTX_KEY_RING"
_NO_RING = (
    "Put back the ring that was there, from its copy, or that of another host: a fleet shares one. "
    "A new desk makes its first with `fntx keys init`."
)
_NOT_A_RING = "Put back the ring that was there, from a copy of it: without its keys nothing that is sealed opens."


@dataclass(frozen=True, slots=True)
class RingKey:
    """One key that wraps data keys; `secret` never shows."""

    key_id: str
    secret: bytes = field(repr=False)
    created_at: datetime
    retired_at: datetime | None = None

    @classmethod
    def new(cls) -> "RingKey":
        """Return a key made of fresh random bytes."""
        return cls(os.urandom(8).hex(), os.urandom(KEY_BYTES), datetime.now(UTC).replace(microsecond=0))


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A data key as it is stored: the id of the ring key that wrapped it, and the bytes."""

    ring_key_id: str
    data: bytes


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Ring keys by id; `where` is what messages call it. `locked`: it is not a file that we may write."""

    keys: Mapping[str, RingKey]
    current: str
    where: str
    locked: bool = False

    def wrap(self, secret: bytes, associated: bytes) -> Wrapped:
        """Return a data key wrapped by the current key and bound to `associated`."""
        nonce = os.urandom(_NONCE_BYTES)
        return Wrapped(self.current, nonce + AESGCM(self.keys[self.current].secret).encrypt(nonce, secret, associated))

    def unwrap(self, wrapped: Wrapped, associated: bytes) -> bytes:
        """Return a data key; raises Unavailable when this ring lacks its key, IntegrityError when it does not open."""
        key = self.keys.get(wrapped.ring_key_id)
        if key is None:
            detail = f"{self.where} has no key {wrapped.ring_key_id}"
            fix = "Give this host the ring that the others have (`fntx keys list` there shows its keys)."
            raise Unavailable("the key ring", detail, fix)
        nonce, sealed = wrapped.data[:_NONCE_BYTES], wrapped.data[_NONCE_BYTES:]
        try:
            return AESGCM(key.secret).decrypt(nonce, sealed, associated)
        except (InvalidTag, ValueError):
            detail = f"it does not open with key {key.key_id} of {self.where}: changed bytes, or another ring's key"
            raise IntegrityError("a wrapped data key", detail) from None

    def staged(self) -> list[RingKey]:
        """Return the keys that wrap nothing yet."""
        return [key for key in self.keys.values() if key.retired_at is None and key.key_id != self.current]

    def to_bytes(self) -> bytes:
        """Return the stored form, secrets included."""
        keys = {key.key_id: _stored(key) for key in self.keys.values()}
        return orjson.dumps({"format": FORMAT, "current": self.current, "keys": keys}, option=orjson.OPT_INDENT_2)


def new_ring(where: str = "a new ring") -> KeyRing:
    """Return a ring of one fresh key."""
    key = RingKey.new()
    return KeyRing(MappingProxyType({key.key_id: key}), key.key_id, where)


def ring_file(settings: Settings) -> Path:
    """Return where this process's ring file would be; it need not exist."""
    return settings.key_ring_file or LocalKeys.of(settings.home).directory / "ring.json"


def load_ring(settings: Settings) -> KeyRing:
    """Return the ring of this process, read again where its file changed.

    Raises Unavailable when there is none, StackError when other users may read it or it is no ring.
    """
    if settings.key_ring is not None:
        return _from_environment(settings.key_ring.get_secret_value())
    path = ring_file(settings)
    try:
        return _from_file(path, (*file_version(path), path.stat().st_mode))
    except (FileNotFoundError, NotADirectoryError):
        raise Unavailable("the key ring", f"there is none at {path}", _NO_RING) from None
    except OSError as error:
        detail = f"{path} cannot be read: {error.strerror}"
        raise Unavailable("the key ring", detail, "Let the user of this process read it, and nobody else.") from error


def ensure_ring(home: Path) -> Path:
    """Make the ring of `home` where there is none, and return its file; two processes at once agree on one ring.

    Raises StackError when the folder is not usable.
    """
    path = LocalKeys.of(home).directory / "ring.json"
    _create(path)
    return path


def has_ring(settings: Settings) -> bool:
    """Tell whether this process was given a ring, or has a file where its own would be."""
    return settings.key_ring is not None or os.path.lexists(ring_file(settings))


def create_ring(settings: Settings) -> KeyRing:
    """Make the ring of this process; raises InvalidArgument where there is one, or it comes from the environment."""
    if settings.key_ring is not None:
        raise InvalidArgument(_ENVIRONMENT, "holds a ring already", "Unset it to make another in a file.")
    path = ring_file(settings)
    if not _create(path):
        raise InvalidArgument("key ring", f"{path} exists already", "See it with `fntx keys list`.")
    return load_ring(settings)


def parse_ring(data: bytes | str, where: str, *, locked: bool = False) -> KeyRing:
    """Return the ring that stored bytes hold; raises StackError that quotes none of them."""
    try:
        found = orjson.loads(data)
        if found["format"] != FORMAT:
            raise StackError(f"{where} is of format {found['format']!r}, not {FORMAT}", "Use a newer version of fntx.")
        keys = {str(key_id): _loaded(str(key_id), facts) for key_id, facts in found["keys"].items()}
        current = str(found["current"])
        if keys[current].retired_at is None:
            return KeyRing(MappingProxyType(keys), current, where, locked)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError, binascii.Error):
        raise StackError(f"{where} is not a key ring", _NOT_A_RING) from None
    raise StackError(f"the current key of {where} is a retired one", _NOT_A_RING)


def _create(path: Path) -> bool:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists():
            return False
        made = new_ring().to_bytes()
        create_private(path, made)
        return path.read_bytes() == made
    except OSError as error:
        raise StackError(f"cannot keep a key ring at {path}: {error.strerror}", "Set FNTX_HOME.") from error


@lru_cache(maxsize=4)
def _from_environment(text: str) -> KeyRing:
    return parse_ring(text, _ENVIRONMENT, locked=True)


@lru_cache(maxsize=8)
def _from_file(path: Path, _version: tuple[int, ...]) -> KeyRing:
    with path.open("rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise StackError(f"the key ring {path} is open to other users", f"Run: {pasted('chmod', 600, path)}")
        return parse_ring(file.read(), str(path))


def _loaded(key_id: str, facts: dict[str, Any]) -> RingKey:
    secret = base64.b64decode(facts["key"], validate=True)
    if len(secret) != KEY_BYTES:
        raise ValueError(key_id)
    retired = facts.get("retired_at")
    return RingKey(
        key_id, secret, datetime.fromisoformat(facts["created_at"]), retired and datetime.fromisoformat(retired)
    )


def _stored(key: RingKey) -> dict[str, str | None]:
    return {
        "key": base64.b64encode(key.secret).decode(),
        "created_at": key.created_at.isoformat(),
        "retired_at": key.retired_at.isoformat() if key.retired_at else None,
    }
