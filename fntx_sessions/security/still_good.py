"""Whether the token that somebody came by earlier would be taken now: for what they asked then and is done later."""

import time
from pathlib import Path

from fntx_sessions.exceptions import Unauthenticated
from fntx_sessions.security import key_files, keys
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.revocations import refuse_revoked
from fntx_sessions.security.token_claims import EXPIRED
from fntx_sessions.settings import Settings

_ASK = "Ask again with another token."


def must_be_still_good(actor: Actor, settings: Settings) -> None:
    """Raise Unauthenticated where a caller's token is over or revoked by now, or its key retired."""
    if actor.ends_at is not None and actor.ends_at + settings.token_leeway_s <= time.time():
        raise Unauthenticated(EXPIRED, _ASK)
    files = (keys.signing_pair(settings).public, keys.system_pair(settings).public)
    if actor.key_id and not any(_holds(path, actor.key_id) for path in files):
        raise Unauthenticated("the token's key was retired", _ASK)
    refuse_revoked(actor, settings)


def _holds(path: Path, key_id: str) -> bool:
    try:
        return key_id in key_files.load_public_keys(path)
    except OSError:
        return False
