"""What an agent elsewhere may know: sealed to the key it joined with, in an inbox of its own in Redis.

Only the process that joined holds the other half of that key, so that neither who reads Redis nor who asks with the
same token has anything of it; who joins anew under the same name, with a key of its own, takes the agent over, and that
is seen. Another's agent nobody joins.
"""

import hashlib
from typing import Any

import orjson
from sqlalchemy import text

from fntx_sessions.agents.joining import AgentArguments, invited, keep_whose
from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import InvalidArgument, NotJoined
from fntx_sessions.lifecycle import desk_audit
from fntx_sessions.lifecycle.credentials import credentials_of
from fntx_sessions.lifecycle.credentials.opening import Opened
from fntx_sessions.lifecycle.desk_audit import Deed
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.sealed_box import seal_to
from fntx_sessions.state.redis_client import key, redis_errors

HAND_OUT = "hand_out_credentials"
_OF = b""  # the field that tells for which key and which versions the others were sealed
_SEALING_KEY = text("""
SELECT sealing_key FROM session_agents WHERE session_id = :session_id AND agent = :agent AND ticket_hash IS NOT NULL
""")


def inbox_key(arguments: AgentArguments) -> str:
    """Return the Redis key of an agent's own inbox."""
    return key(arguments.session_id, f"inbox:{arguments.agent}")


def hand_out(desk: Desk, actor: Actor, arguments: AgentArguments) -> dict[str, Any]:
    """Seal a session's credentials to an agent's key, put them into its inbox, and return their names and versions.

    What lies there already, sealed to the same key, stays; anything else is written into the desk's audit chain. Raises
    Forbidden (another's, too), NotFound, InvalidArgument (joined without a key), NotJoined, Shredded and Unavailable.
    """
    invited(desk, actor, arguments)
    public = _public_key(desk, actor, arguments)
    found = credentials_of(desk.engine, desk.settings, arguments.session_id)
    versions = {name: one.version for name, one in sorted(found.items())}
    _put(desk, actor, arguments, public, found, versions)
    named = {"session_id": arguments.session_id, "agent": arguments.agent}
    return {"state": "done", **named, "credentials": versions, "inbox": inbox_key(arguments)}


def _public_key(desk: Desk, actor: Actor, arguments: AgentArguments) -> bytes:
    with transaction(desk.engine) as connection:
        keep_whose(connection, actor, arguments)
        row = connection.execute(_SEALING_KEY, arguments.model_dump()).one_or_none()
    if row is None:
        raise NotJoined(str(arguments.session_id), arguments.agent, "nobody has joined as it, or it has left")
    if row.sealing_key is None:
        fix = "Join again with `sealing_key`: what is secret is sealed to it."
        raise InvalidArgument("sealing_key", f"was not told when {arguments.agent} joined", fix)
    return bytes(row.sealing_key)


def _put(
    desk: Desk, actor: Actor, arguments: AgentArguments, public: bytes, found: dict[str, Opened],
    versions: dict[str, int],
) -> None:  # fmt: skip
    """Write the inbox where it holds anything else; first audited, then handed out."""
    of = orjson.dumps({"key": hashlib.sha256(public).hexdigest(), "versions": versions})
    inbox = inbox_key(arguments)
    with redis_errors():
        there = desk.redis.hget(inbox, _OF)
    if there == of:
        return
    _note(desk, actor, arguments, versions)
    sealed: dict[Any, Any] = {name.encode(): seal_to(public, _letter(arguments, one)) for name, one in found.items()}
    with redis_errors():
        pipeline = desk.redis.pipeline(transaction=True)
        pipeline.delete(inbox)
        pipeline.hset(inbox, mapping={_OF: of, **sealed})
        pipeline.expire(inbox, desk.settings.credential_inbox_s)
        pipeline.execute()


def _note(desk: Desk, actor: Actor, arguments: AgentArguments, versions: dict[str, int]) -> None:
    told = ", ".join(f"{name} version {version}" for name, version in versions.items()) or "none"
    target = f"{arguments.agent} of session {arguments.session_id}"
    desk_audit.record(desk.engine, actor, Deed(HAND_OUT, "done", target, told))


def _letter(arguments: AgentArguments, one: Opened) -> bytes:
    """Return what is sealed: the value, and what it is, so that none can be taken for another."""
    named = {"session_id": str(arguments.session_id), "agent": arguments.agent}
    return orjson.dumps({**named, "name": one.name, "version": one.version, "value": one.value.get_secret_value()})
