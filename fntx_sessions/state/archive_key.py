"""The key of an archived session: from the cold store alone, as a restore into an empty database has it."""

from uuid import UUID

from sqlalchemy import Engine

from fntx_sessions.exceptions import IntegrityError, NotFound, Unavailable
from fntx_sessions.security.keyring import load_ring
from fntx_sessions.settings import Settings
from fntx_sessions.state.codec import Codec
from fntx_sessions.state.cold_keys import import_cold_key, object_name, read_cold_key, write_cold_key
from fntx_sessions.state.data_key import DataKey
from fntx_sessions.state.key_rows import KeyRow, read_keys
from fntx_sessions.state.objects.base import ObjectStore

_GONE = "its key is not in the cold store: it was shredded, or lost. Nobody can read it any more"


def have_key(engine: Engine, settings: Settings, store: ObjectStore, session_id: UUID) -> None:
    """See to it that the database has the session's data key, from its cold object where it has none.

    Raises IntegrityError (there is no such object either, or it does not open with this ring) and Unavailable.
    """
    if session_id in read_keys(engine, [session_id]):
        return
    try:
        import_cold_key(engine, settings, store, session_id)
    except NotFound:
        raise IntegrityError(f"the archive of session {session_id}", _GONE) from None


class ColdSeal:
    """One session's data key as its cold object holds it; of any other session there is none."""

    def __init__(self, session_id: UUID, key: DataKey, *, accepts_unsealed: bool) -> None:
        self.accepts_unsealed = accepts_unsealed
        self._session_id = session_id
        self._key = key

    def sealing(self, session_id: UUID) -> DataKey:
        """Return the key; raises IntegrityError for another session."""
        if session_id != self._session_id:
            raise IntegrityError(f"what is sealed of session {session_id}", "it lies in another session's archive")
        return self._key

    opening = sealing


def cold_codec(engine: Engine, settings: Settings, store: ObjectStore, session_id: UUID) -> Codec:
    """Return a codec over the key in the cold store alone, whatever Postgres or this process know.

    Raises IntegrityError where that does not lead into the archive (there is no such object, the ring lacks its key, it
    is not the key Postgres has), Shredded and Unavailable.
    """
    row, found = read_keys(engine, [session_id]).get(session_id), read_cold_key(store, session_id)
    if row is not None:
        row.sealed()
    if found is None:
        raise IntegrityError(f"the archive of session {session_id}", _GONE)
    if row is not None and row.data_key_id != found.data_key_id:
        raise IntegrityError(object_name(session_id), "it is not the data key that Postgres has of the session")
    key = DataKey.of(session_id, found.data_key_id, _secret(settings, found))
    return Codec(ColdSeal(session_id, key, accepts_unsealed=settings.accept_unsealed))


def mend_cold_key(engine: Engine, store: ObjectStore, session_id: UUID) -> None:
    """See to it that the key object is just what Postgres has, before Postgres lets go of anything; raises Unavailable.

    Raises Shredded too.
    """
    row = read_keys(engine, [session_id])[session_id]
    if row.sealed() != _wrapping(store, session_id):
        write_cold_key(engine, store, row)


def _wrapping(store: ObjectStore, session_id: UUID) -> object:
    try:
        found = read_cold_key(store, session_id)
    except IntegrityError:
        return None
    return None if found is None else found.wrapped


def _secret(settings: Settings, found: KeyRow) -> bytes:
    ring = load_ring(settings)
    wrapped = found.sealed()
    try:
        return found.secret(ring)
    except Unavailable:
        detail = f"{ring.where} lacks key {wrapped.ring_key_id}, on which it hangs: restore it from a copy of the ring"
        raise IntegrityError(object_name(found.session_id), detail) from None
