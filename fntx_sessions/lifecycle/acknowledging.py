"""Acknowledging an event from outside: whose it is, then the command."""

from uuid import UUID

from sqlalchemy import text

from fntx_sessions.database.engine import transaction
from fntx_sessions.lifecycle import execute
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.events_arguments import AcknowledgeArguments, AcknowledgedArguments
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.named import Named, known_to
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.actor import Actor

_OWNER = text("SELECT session_id FROM events WHERE event_id = :event_id LIMIT 1")


def acknowledge(desk: Desk, actor: Actor, arguments: AcknowledgeArguments, command_id: UUID) -> Outcome:
    """Say that somebody saw to an event; who comes second is told who was first, and what they did.

    What was done stands in the audit as the command's reason too, where none is given. Raises NotFound and Forbidden
    where no session is named, as `named.known_to` says, Busy and Unavailable.
    """
    asked = AcknowledgedArguments(
        session_id=arguments.session_id or _owner(desk, actor, arguments.event_id),
        reason=arguments.reason or arguments.action_taken,
        event_id=arguments.event_id,
        action_taken=arguments.action_taken,
    )
    return execute.command(desk, Trigger.ACKNOWLEDGE, actor, asked, command_id)


def _owner(desk: Desk, actor: Actor, event_id: UUID) -> UUID:
    with transaction(desk.engine) as connection:
        found = connection.execute(_OWNER, {"event_id": event_id}).one_or_none()
    named = Named("event", event_id, None, "See `fntx events`.")
    owner: UUID = known_to(actor, desk, Trigger.ACKNOWLEDGE, named, found).session_id
    return owner
