"""The key of an archived session, where the database that is to read it has none."""

from uuid import UUID

from sqlalchemy import Engine

from fntx_sessions.exceptions import IntegrityError, NotFound
from fntx_sessions.settings import Settings
from fntx_sessions.state.cold_keys import import_cold_key
from fntx_sessions.state.key_rows import read_keys
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
