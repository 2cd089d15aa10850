"""The cold key object: a session's wrapped data key in the cold store, apart from everything that it opens."""

from uuid import UUID

import orjson
from sqlalchemy import Engine

from fntx_sessions.exceptions import Busy, IntegrityError, NotFound
from fntx_sessions.security.keyring import Wrapped, load_ring
from fntx_sessions.settings import Settings
from fntx_sessions.state.key_rows import KeyRow, create_keys, insert_keys, mark_cold, read_keys
from fntx_sessions.state.objects.base import ObjectStore
from fntx_sessions.testing import failpoint

PREFIX = "keys/"
RING_KEY = "ring_key_id"  # in an object's metadata: which ring key it hangs on, without reading it
_FORMAT = 1
_ATTEMPTS = 5  # each lost to a rotation that came to this very key


def object_name(session_id: UUID) -> str:
    """Return the name of a session's cold key object."""
    return f"{PREFIX}{session_id}"


def ensure_cold_key(engine: Engine, settings: Settings, store: ObjectStore, session_id: UUID) -> None:
    """See to it that the cold store holds the session's key as it is wrapped now; call before a first cold object.

    Raises Shredded, and Unavailable when Postgres, the store or the ring is out of reach.
    """
    row = read_keys(engine, [session_id]).get(session_id)
    if row is None:
        create_keys(engine, load_ring(settings), [session_id])
        row = read_keys(engine, [session_id])[session_id]
    if row.wrapped is None or row.cold_at is None or store.address not in row.cold_stores:
        write_cold_key(engine, store, row)


def write_cold_key(engine: Engine, store: ObjectStore, row: KeyRow) -> None:
    """Write a session's key object as the row says, and note it; raises Shredded, Busy and Unavailable."""
    name = object_name(row.session_id)
    for _ in range(_ATTEMPTS):
        put_object(store, row)
        failpoint("keys.cold_written")
        if mark_cold(engine, row, store.address):
            return
        row = read_keys(engine, [row.session_id])[row.session_id]
        if row.wrapped is None:
            # The shredding may have looked before we wrote: nobody else would take it away.
            store.destroy(name)
    raise Busy(f"the data key of session {row.session_id}", 0)


def put_object(store: ObjectStore, row: KeyRow) -> None:
    """Write a session's key object in place of any other; raises Shredded and Unavailable."""
    wrapped = row.sealed()
    facts = {"session_id": str(row.session_id), "data_key_id": row.data_key_id.hex(), RING_KEY: wrapped.ring_key_id}
    data = orjson.dumps({"format": _FORMAT, **facts, "wrapped": wrapped.data.hex()})
    store.replace(object_name(row.session_id), data, {"kind": "key", **facts})


def read_cold_key(store: ObjectStore, session_id: UUID) -> KeyRow | None:
    """Return what a session's key object says; None: there is none. Raises IntegrityError and Unavailable."""
    data = store.read(object_name(session_id))
    return None if data is None else _from_bytes(data, session_id)


def import_cold_key(engine: Engine, settings: Settings, store: ObjectStore, session_id: UUID) -> None:
    """Bring a session's data key from its cold object into a database that has none of it.

    Raises NotFound (no such object), IntegrityError (it is not that session's, does not open with this ring, or the
    database has another key for the session already), Shredded and Unavailable.
    """
    found = read_cold_key(store, session_id)
    if found is None:
        raise NotFound("cold key object", object_name(session_id), "Without it nothing of the session can be opened.")
    found.secret(load_ring(settings))
    insert_keys(engine, [found])
    row = read_keys(engine, [session_id])[session_id]
    row.sealed()
    if row.data_key_id != found.data_key_id:
        detail = f"the database has data key {row.data_key_id.hex()}, the object {found.data_key_id.hex()}"
        raise IntegrityError(object_name(session_id), detail)
    mark_cold(engine, found, store.address)


def _from_bytes(data: bytes, session_id: UUID) -> KeyRow:
    name = object_name(session_id)
    try:
        facts = orjson.loads(data)
        wrapped = Wrapped(facts[RING_KEY], bytes.fromhex(facts["wrapped"]))
        row = KeyRow(UUID(facts["session_id"]), bytes.fromhex(facts["data_key_id"]), wrapped)
        form = facts["format"]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise IntegrityError(name, "is not a key object of this service") from None
    if form != _FORMAT:
        raise IntegrityError(name, f"format {form} is not known here; was it written by a newer version?")
    if row.session_id != session_id:
        raise IntegrityError(name, f"holds the key of another session, {row.session_id}")
    return row
