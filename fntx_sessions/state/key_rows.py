"""Data keys in Postgres: one row a session, wrapped by the key ring."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg2 import Binary
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import IntegrityError, Shredded
from fntx_sessions.security.keyring import KeyRing, Wrapped
from fntx_sessions.state.data_key import binding, new_secret

_READ = text("""
SELECT session_id, data_key_id, ring_key_id, wrapped, cold_at, cold_stores, shredded_at FROM session_keys
WHERE session_id = ANY(CAST(:ids AS uuid[]))
""")

# Until then most commands of a creation are over, and a backtest's day is known to be one.
_COLD_AFTER_S = 10

# Whoever is second finds the row of whoever was first; the order keeps two batches from waiting for each other.
_INSERT = text("""
INSERT INTO session_keys (session_id, data_key_id, ring_key_id, wrapped, cold_due_at)
SELECT n.*, now() + make_interval(secs => :cold_after_s)
FROM unnest(CAST(:ids AS uuid[]), CAST(:key_ids AS bytea[]), CAST(:ring AS text[]), CAST(:wrapped AS bytea[])) AS n
ORDER BY 1
ON CONFLICT (session_id) DO NOTHING
""")

# Only under the wrapping that was written: a rotation or a shredding in between wins.
_COLD = text("""
UPDATE session_keys SET cold_at = now(), cold_due_at = NULL,
  cold_stores = cold_stores || jsonb_build_object(CAST(:store AS text), ring_key_id)
WHERE session_id = :session_id AND wrapped = :wrapped
""")


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A session's wrapped data key; wrapped None: it was shredded.

    cold_at: when a cold object held this wrapping. cold_stores: every store with an object of it -> its ring key there.
    """

    session_id: UUID
    data_key_id: bytes
    wrapped: Wrapped | None
    shredded_at: datetime | None = None
    cold_at: datetime | None = None
    cold_stores: Mapping[str, str] = field(default_factory=dict)

    def sealed(self) -> Wrapped:
        """Return the wrapped key; raises Shredded."""
        if self.wrapped is None:
            raise Shredded(str(self.session_id), str(self.shredded_at))
        return self.wrapped

    def secret(self, ring: KeyRing) -> bytes:
        """Return the plain secret; raises Shredded, Unavailable (no such ring key) and IntegrityError."""
        try:
            return ring.unwrap(self.sealed(), binding(self.session_id, self.data_key_id))
        except IntegrityError as error:
            raise IntegrityError(f"the data key of session {self.session_id}", error.args[1]) from None


def read_keys(engine: Engine, session_ids: Iterable[UUID]) -> dict[UUID, KeyRow]:
    """Return the rows of those sessions that have one; raises Unavailable."""
    with transaction(engine) as connection:
        found = connection.execute(_READ, {"ids": list(map(str, session_ids))}).all()
    return {row.session_id: key_row(row) for row in found}


def refuse_shredded(engine: Engine, session_id: UUID) -> None:
    """Return where a session was not shredded; raises Shredded, and Unavailable."""
    row = read_keys(engine, [session_id]).get(session_id)
    if row is not None:
        row.sealed()


def create_keys(engine: Engine, ring: KeyRing, session_ids: Sequence[UUID]) -> None:
    """Make the keys of those sessions that have none, in one statement; raises Unavailable."""
    rows = []
    for session_id in session_ids:
        key_id, secret = new_secret()
        rows.append(KeyRow(session_id, key_id, ring.wrap(secret, binding(session_id, key_id))))
    insert_keys(engine, rows)


def insert_keys(engine: Engine, rows: Sequence[KeyRow]) -> None:
    """Store wrapped keys of sessions that have none; those that have one keep it. Raises Unavailable."""
    values = {
        "ids": [str(row.session_id) for row in rows],
        "key_ids": [Binary(row.data_key_id) for row in rows],
        "ring": [row.sealed().ring_key_id for row in rows],
        "wrapped": [Binary(row.sealed().data) for row in rows],
        "cold_after_s": _COLD_AFTER_S,
    }
    with transaction(engine) as connection:
        connection.execute(_INSERT, values)


def mark_cold(engine: Engine, row: KeyRow, store: str) -> bool:
    """Note that the object in that store (its address) holds this wrapping.

    False: the row was wrapped anew or shredded meanwhile.
    """
    with transaction(engine) as connection:
        values = {"session_id": row.session_id, "wrapped": Binary(row.sealed().data), "store": store}
        return connection.execute(_COLD, values).rowcount == 1


def key_row(row: Any) -> KeyRow:
    """Return what a row of session_keys says."""
    wrapped = None if row.wrapped is None else Wrapped(row.ring_key_id, bytes(row.wrapped))
    return KeyRow(row.session_id, bytes(row.data_key_id), wrapped, row.shredded_at, row.cold_at, row.cold_stores)
