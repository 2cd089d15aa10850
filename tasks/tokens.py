"""fntx.tokens.*: who you are, what was given out, and what is refused from now on."""

from typing import Any
from uuid import UUID

from fntx_sessions.agents.shutting_out import shut_out_at_once
from fntx_sessions.lifecycle import granting
from fntx_sessions.lifecycle.granting import RevokeArguments, Tokens, TokensQuery
from fntx_sessions.security.actor import Actor
from tasks.base import command, query
from tasks.desk import desk
from tasks.handlers import plain


@command("fntx.tokens.revoke")
def revoke(actor: Actor, command_id: UUID, arguments: RevokeArguments) -> dict[str, Any]:
    """Refuse a token, or all of a name, from now on; the agents that joined with it speak no more."""
    at = desk()
    found = granting.revoke(at.engine, at.settings, actor, arguments, command_id)
    shut_out_at_once(at)
    return {"command_id": str(command_id), "state": "done", "result": plain(found), "error": None}


@query("fntx.tokens.list")
def list_tokens(actor: Actor, arguments: TokensQuery) -> Tokens:
    """Return what was issued and is not over, and what was revoked."""
    at = desk()
    return granting.list_tokens(at.engine, at.settings, actor, arguments)


@query("fntx.tokens.whoami", within_scope=True)
def whoami(actor: Actor) -> dict[str, Any]:
    """Return who the desk takes you for: name, roles, scope, and the token's id."""
    scope = {"sessions": actor.sessions, "templates": actor.templates, "tags": actor.tags}
    return {
        "name": actor.name,
        "roles": sorted(actor.roles),
        **{kind: sorted(held) for kind, held in scope.items()},
        "token_id": actor.token_id or None,
        "issued_at": actor.issued_at,
    }
