"""Whether the token that somebody came by earlier would be taken now: for what they asked then and is done later."""

import time
from pathlib import Path

from fntx_sessions.exceptions import StackError, Unauthenticated
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
    if actor.key_id and not any(_holds(path, actor.key_id) for path in _files(settings)):
        raise Unauthenticated("the token's key was retired", _ASK)
    refuse_revoked(actor, settings)


def keys_taken(settings: Settings) -> list[str] | None:
    """Return the keys whose tokens this process takes; None where it cannot read them, and so knows of none retired."""
    try:
        return [key_id for path in _files(settings) for key_id in key_files.load_public_keys(path)]
    except (OSError, StackError):
        return None


def _files(settings: Settings) -> tuple[Path, Path]:
    return keys.signing_pair(settings).public, keys.system_pair(settings).public


def _holds(path: Path, key_id: str) -> bool:
    try:
        return key_id in key_files.load_public_keys(path)
    except OSError:
        return False
