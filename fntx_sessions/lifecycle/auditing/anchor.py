"""An anchor: where chains ended at a moment, as an object that names the one before it and carries a MAC."""

import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
from msgspec import Struct, field

from fntx_sessions.exceptions import IntegrityError

PREFIX = "anchors/"
FORMAT = 1
_MAC_HEX = 64


class End(Struct, frozen=True, array_like=True):
    """The last row of a chain: whose, its number, and its hash in hex."""

    session_id: UUID
    seq: int
    head: str


class Anchor(Struct, frozen=True, kw_only=True):
    """The ends of some chains, ordered by id. made_at: by Postgres' clock, before any of them was read.

    run `full` names all chains, in several anchors where they are many; `first` is the number of the run's first anchor
    and `last` tells its last one. broken: what a full run found of earlier anchors that the rows bear out no more.
    """

    number: int
    made_at: datetime
    key_id: str
    previous: str | None
    run: Literal["full", "changed"]
    first: int
    last: bool
    chains: list[End]
    broken: list[str] = field(default_factory=list)
    format: int = FORMAT

    def metadata(self) -> dict[str, str]:
        """Return what is known of the object without reading it."""
        spans = {"from": str(self.chains[0].session_id), "to": str(self.chains[-1].session_id)} if self.chains else {}
        told = {"run": self.run, "first": str(self.first), "last": str(int(self.last)), "chains": str(len(self.chains))}
        return {"kind": "anchor", "made_at": self.made_at.isoformat(), **told, **spans}


_decoder = msgspec.json.Decoder(Anchor)


def folder_of(key_id: str) -> str:
    """Return under which prefix the anchors of a chain key lie."""
    return f"{PREFIX}{key_id}/"


def name_of(key_id: str, number: int) -> str:
    """Return an anchor's name; ordered by name is ordered by number."""
    return f"{folder_of(key_id)}{number:012d}"


def encoded(anchor: Anchor, key: bytes) -> bytes:
    """Return an anchor's bytes: JSON that anybody can read, and its MAC in hex on a line of its own."""
    body = msgspec.json.encode(anchor)
    return b"%b\n%b" % (body, hmac.digest(key, body, "sha256").hex().encode())


def decoded(name: str, data: bytes, key_of: Callable[[str], bytes]) -> Anchor:
    """Return an anchor that its MAC proves and that lies under its own name; raises IntegrityError and Unavailable."""
    body, mac = data[: -_MAC_HEX - 1], data[-_MAC_HEX:]
    key_id, number = name.split("/")[-2:]
    if not hmac.compare_digest(hmac.digest(key_of(key_id), body, "sha256").hex().encode(), mac):
        raise IntegrityError(name, "was changed after it was written, or was not written by this service")
    try:
        anchor = _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise IntegrityError(name, f"cannot be read ({error}); was it written by a newer version?") from None
    if (anchor.key_id, f"{anchor.number:012d}") != (key_id, number):
        raise IntegrityError(name, f"is anchor {anchor.number}, moved there")
    return anchor


def digest(data: bytes) -> bytes:
    """Return what the next anchor names this one by."""
    return hashlib.sha256(data).digest()
