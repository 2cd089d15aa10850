"""Free-form payloads in tables, sealed: event data, command arguments, command outcomes. JSON in, JSON out.

What belongs to no session (a command that named none that exists) is sealed with a key of the desk's own.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4, uuid5

import orjson
from sqlalchemy import Engine

from fntx_sessions.exceptions import IntegrityError, Shredded
from fntx_sessions.security.keyring import Wrapped
from fntx_sessions.settings import get_settings
from fntx_sessions.state.codec import Codec, Label
from fntx_sessions.state.data_keys import DataKeys, KeyRow

DESK = UUID(int=0)
_PLAIN = b"{"  # how a payload begins that was written before they were sealed
EVENT, ARGUMENTS, OUTCOME = "event", "arguments", "outcome"
REPORT = "report"
APPROVAL, HAND_ORDER = "approval", "hand_order"


class Payloads:
    """Seals and opens the payloads of one database; raises Shredded, Unavailable and IntegrityError."""

    def __init__(self, engine: Engine) -> None:
        self._keys = DataKeys(engine, get_settings())
        self._codec = Codec(self._keys)

    def learn(self, row: Mapping[str, Any]) -> None:
        """Take a session's key out of a row that has the columns of `session_keys` beside others; None: it has none."""
        if row["data_key_id"] is not None:
            wrapped = None if row["wrapped"] is None else Wrapped(row["ring_key_id"], bytes(row["wrapped"]))
            self._keys.learn(KeyRow(row["session_id"], bytes(row["data_key_id"]), wrapped, row["shredded_at"]))

    def seal(self, owner: UUID, kind: str, name: UUID, value: Any) -> bytes:
        """Return a value's sealed JSON, bound to its owner, its kind and the id of its row; see `sealable`."""
        return self._codec.encode(sealable(value), Label(owner, kind, str(name)))

    def seal_some(self, owner: UUID, kind: str, name: UUID, value: Any) -> bytes | None:
        """Return as `seal`; None for a value that is empty, which needs no bytes."""
        return self.seal(owner, kind, name, value) if value else None

    def open(self, owner: UUID, kind: str, name: UUID, blob: bytes | memoryview | None) -> Any:
        """Return the value; an empty dict for None. The desk's own key opens what its owner's does not."""
        if blob is None:
            return {}
        sealed = bytes(blob)
        if self._keys.accepts_unsealed and sealed.startswith(_PLAIN):
            return orjson.loads(sealed)
        try:
            return orjson.loads(self._codec.decode(sealed, Label(owner, kind, str(name))))
        except (IntegrityError, Shredded) as error:
            if owner == DESK:
                raise
            try:
                return self.open(DESK, kind, name, sealed)
            except IntegrityError:
                raise error from None

    def sealed_events(self, owner: UUID, events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return events with an id each and their data sealed, as the table takes them."""
        named = [{"event_id": uuid4(), **event} for event in events]
        return [event | {"data": self.seal_some(owner, EVENT, event["event_id"], event.get("data"))} for event in named]


def report_name(agent: str, kind: str, report_id: str) -> UUID:
    """Return what a report of an agent is sealed under: it has no id of ours, only the one its agent gave it."""
    return uuid5(DESK, f"{agent}/{kind}/{report_id}")


def sealable(value: Any) -> bytes:
    """Return compact JSON; times as ISO text, ids as text, bytes as hex."""
    return orjson.dumps(value, default=_plain)


def _plain(value: Any) -> str:
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else str(value)
