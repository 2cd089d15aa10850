"""Acknowledging an event from outside: whose it is, then the command."""

from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import NotFound
from fntx_sessions.lifecycle import execute
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.events_arguments import AcknowledgeArguments, AcknowledgedArguments
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.actor import Actor

_OWNER = text("SELECT session_id FROM events WHERE event_id = :event_id LIMIT 1")


def acknowledge(desk: Desk, actor: Actor, arguments: AcknowledgeArguments, command_id: UUID) -> Outcome:
    """Say that somebody saw to an event; who comes second is told who was first, and what they did.

    What was done stands in the audit as the command's reason too, where none is given. Raises NotFound for an event
    that is not there where no session is named, Busy and Unavailable.
    """
    asked = AcknowledgedArguments(
        session_id=arguments.session_id or _owner(desk.engine, arguments.event_id),
        reason=arguments.reason or arguments.action_taken,
        event_id=arguments.event_id,
        action_taken=arguments.action_taken,
    )
    return execute.command(desk, Trigger.ACKNOWLEDGE, actor, asked, command_id)


def _owner(engine: Engine, event_id: UUID) -> UUID:
    with transaction(engine) as connection:
        found: UUID | None = connection.execute(_OWNER, {"event_id": event_id}).scalar_one_or_none()
    if found is None:
        raise NotFound("event", str(event_id), "See `fntx events`.")
    return found
