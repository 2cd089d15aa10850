"""Whose session a thing is that a command names by its own id, told to nobody who may not act there."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from fntx_sessions.exceptions import Forbidden, NotFound
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import ALLOWED, may, permit
from fntx_sessions.security.scope import admitted


@dataclass(frozen=True, slots=True)
class Named:
    """What a command names. session_id: the session that the caller says it is in, None where they said none."""

    kind: str
    id: UUID
    session_id: UUID | None
    listing: str


def known_to(actor: Actor, desk: Desk, trigger: Trigger, named: Named, found: Row[Any] | None) -> Row[Any]:
    """Return what was found where it is in a session of the caller's scope. found: its row, None: there is none.

    Raises NotFound, and Forbidden where the caller may not do this, or not there: in the same words whether the thing
    is there or not. Whose role alone falls short is left to `execute.command`, which refuses and audits it.
    """
    if found is not None and named.session_id in (None, found.session_id):
        owner = found.session_id
        if admitted(desk.engine, actor, owner).reaches(owner):
            return found
    if named.session_id is not None:
        permit(admitted(desk.engine, actor, named.session_id), trigger.value, named.session_id)
    elif actor.scoped or not may(actor, trigger):
        needed = " or ".join(sorted(ALLOWED[trigger])) + ", in the scope of the token"
        raise Forbidden(actor.name, actor.role_list(), f"{trigger.value} about {named.kind} {named.id}", needed)
    raise NotFound(named.kind, str(named.id), named.listing)
