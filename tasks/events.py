"""fntx.events.*: what happened on the whole desk, and who saw to it."""

from uuid import UUID

from fntx_sessions.lifecycle import acknowledging
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.events_arguments import AcknowledgeArguments, EventsQuery
from fntx_sessions.lifecycle.reads.desk_events import EventPage, list_events
from fntx_sessions.security.actor import Actor
from tasks.base import command, query
from tasks.desk import desk


@query("fntx.events.list")
def listed(arguments: EventsQuery) -> EventPage:
    """Return a page of events of one session or of all, newest first unless asked for otherwise."""
    return list_events(desk().engine, arguments)


@command("fntx.events.acknowledge")
def acknowledge(actor: Actor, command_id: UUID, arguments: AcknowledgeArguments) -> Outcome:
    """Say that somebody saw to an event, and what was done; once."""
    return acknowledging.acknowledge(desk(), actor, arguments, command_id)
