"""In whose name somebody may keep and tell: an agent in its own, people for agents, the system as the desk."""

from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import statements
from fntx_sessions.exceptions import Forbidden
from fntx_sessions.memory.context import DESK_SENDER
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import REMEMBER, SPEAK_AS_DESK, SPEAK_FOR_AGENTS, authorize, may

_JOINED = text("""
SELECT EXISTS (SELECT FROM session_agents WHERE session_id = :session_id AND agent = :agent AND NOT hosted
  AND ticket_hash IS NOT NULL AND joined_by = :actor)
""")


def speak(engine: Engine, actor: Actor, name: str, field: str, session_id: UUID | None) -> None:
    """Return when `actor` may speak as `name`, about this session or none; raises Forbidden otherwise.

    An agent's own name is its token's, or one that it joined this session as. field: what `name` is called there.
    """
    authorize(actor, REMEMBER, session_id)
    if name == DESK_SENDER:
        authorize(actor, SPEAK_AS_DESK, session_id)
    elif name != actor.name and not may(actor, SPEAK_FOR_AGENTS) and not _joined(engine, actor, name, session_id):
        asked = f"remember with {field} {name!r}"
        raise Forbidden(actor.name, actor.role_list(), asked, "its own name, or one it joined the named session as")


def _joined(engine: Engine, actor: Actor, agent: str, session_id: UUID | None) -> bool:
    if session_id is None:
        return False
    with statements(engine) as connection:
        bound = {"session_id": session_id, "agent": agent, "actor": actor.name}
        return bool(connection.execute(_JOINED, bound).scalar_one())
