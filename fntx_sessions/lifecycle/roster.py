"""Which agents of a session are ready. Hosted ones are from the beginning; another service's say so themselves."""

from typing import Any
from uuid import UUID

from pydantic import Field
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import NotFound
from fntx_sessions.schemas import Model
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import REPORT, authorize

# A start that waits for this agent is looked at by the next pending sweep.
_READY = text("""
WITH ready AS (
  UPDATE session_agents SET ready_at = coalesce(ready_at, now()) WHERE session_id = :session_id AND agent = :agent
  RETURNING session_id
)
UPDATE session_work w SET pending_due_at = CASE WHEN pending_due_at IS NOT NULL THEN now() END
FROM ready, sessions s WHERE w.session_id = ready.session_id AND s.session_id = ready.session_id
RETURNING s.status, s.epoch
""")


class ReadyArguments(Model):
    """An agent of another service is ready for a session."""

    session_id: UUID
    agent: str = Field(min_length=1, max_length=100)


def mark_ready(engine: Engine, actor: Actor, arguments: ReadyArguments) -> dict[str, Any]:
    """Note that an agent is ready, once however often it says so; return the session's status and epoch.

    Raises Forbidden for who may not report, and NotFound when the session's roster does not name the agent.
    """
    authorize(actor, REPORT, arguments.session_id)
    with transaction(engine) as connection:
        bound = {"session_id": arguments.session_id, "agent": arguments.agent}
        found = connection.execute(_READY, bound).one_or_none()
    if found is None:
        where = f"the roster of session {arguments.session_id}"
        raise NotFound("agent", arguments.agent, f"It is not in {where}; see `fntx show`.")
    return {"state": "done", "session_id": arguments.session_id, "status": found.status, "epoch": found.epoch}
