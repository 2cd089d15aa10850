"""What the desk's workers take for a token, noted in Postgres: who works beside them is held to the same.

Else the environment of a shell would say whether anybody is asked for a token, and whose keys count. Who has a worker's
login may write the note by hand: it keeps the product from doing it for them.
"""

import time
from dataclasses import dataclass

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import StackError, Unauthenticated
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.local import current_token
from fntx_sessions.security.still_good import keys_taken
from fntx_sessions.security.tokens import verify
from fntx_sessions.settings import Settings

_NOTED = text("SELECT auth_mode, key_ids FROM desk_auth")
_NOTE = text("""
INSERT INTO desk_auth AS d (auth_mode, key_ids) VALUES (:auth_mode, :key_ids)
ON CONFLICT (one) DO UPDATE SET auth_mode = excluded.auth_mode, key_ids = excluded.key_ids, noted_at = now()
WHERE (d.auth_mode, d.key_ids) IS DISTINCT FROM (excluded.auth_mode, excluded.key_ids)
""")
_AGAIN_S = 60.0
_SEND = "Set FNTX_TOKEN, or run it with the FNTX_HOME of this desk."
_WAIT = "Get a token of this desk; after `fntx signing-keys rotate` its workers note the new key within seconds."


@dataclass(frozen=True, slots=True)
class Taken:
    """Whether a token is asked for (`required` or `open`), and the keys that one may be signed with."""

    auth_mode: str
    key_ids: tuple[str, ...]


class Taking:
    """Notes what a worker takes when it begins, whenever that is something else, and now and then: it may be gone over.

    By a host with older keys that was there for a while.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._noted: Taken | None = None
        self._noted_at = 0.0

    def note(self) -> None:
        """Note it where it is not what was noted last; raises Busy and Unavailable, and is then to be asked again."""
        key_ids = keys_taken(self._settings)
        if key_ids is None and self._settings.auth_mode != "open":
            return  # nothing is known of keys by who cannot read them
        taken = Taken(self._settings.auth_mode, tuple(sorted(key_ids or ())))
        if taken != self._noted or time.monotonic() - self._noted_at > _AGAIN_S:
            with transaction(self._engine) as connection:
                connection.execute(_NOTE, {"auth_mode": taken.auth_mode, "key_ids": list(taken.key_ids)})
            self._noted, self._noted_at = taken, time.monotonic()


def noted(engine: Engine) -> Taken | None:
    """Return what the desk's workers take; None: none ever noted it. Raises Unavailable."""
    try:
        with transaction(engine) as connection:
            found = connection.execute(_NOTED).one_or_none()
    except StackError:  # a database from before: nothing may get harder for it not being migrated yet
        return None
    return None if found is None else Taken(found.auth_mode, tuple(found.key_ids))


def straight_actor(engine: Engine, settings: Settings) -> Actor:
    """Return who works straight on the stores: whom the token here speaks for, as the desk's workers would take it.

    Raises Unauthenticated where this process, or they, would not take it; and Unavailable.
    """
    actor = verify(current_token(settings), settings)
    taken = noted(engine)
    if taken is None or taken.auth_mode == "open":
        return actor
    if not actor.token_id:
        raise Unauthenticated("there is no token, and the workers of this desk ask for one", _SEND)
    if actor.key_id not in taken.key_ids:
        told = f"the token is signed with key {actor.key_id}, which the workers of this desk do not know"
        raise Unauthenticated(told, _WAIT)
    return actor
