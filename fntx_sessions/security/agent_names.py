"""Whose an agent of another service is: the name's of the token it joined under, whoever else has that role."""

from fntx_sessions.exceptions import Forbidden
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import ADMIN, SYSTEM


def must_be_own(actor: Actor, action: str, agent: str, joined_by: str | None) -> None:
    """Return where the caller may do `action` as this agent; raises Forbidden where it joined under another's token.

    Administrators and the desk may as any. joined_by: None where nobody has joined as it, or who did has left.
    """
    if joined_by in (None, actor.name) or own_all(actor):
        return
    needed = f"the token that it joined with, of {joined_by!r} (until it leaves, or an administrator has it leave)"
    raise Forbidden(actor.name, actor.role_list(), f"{action} as {agent}", needed)


def own_all(actor: Actor) -> bool:
    """Tell whether the caller may do as any agent what agents do."""
    return not actor.roles.isdisjoint({ADMIN, SYSTEM})
