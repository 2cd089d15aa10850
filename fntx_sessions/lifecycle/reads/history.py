"""What happened to a session: events, transitions, commands."""

from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.exceptions import IntegrityError, NotFound, Shredded
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.confirming.reading import tell
from fntx_sessions.lifecycle.event_types import impact_of
from fntx_sessions.lifecycle.machine import stored_outcome
from fntx_sessions.lifecycle.reads.rows import Row, of_session
from fntx_sessions.schemas import SessionEvent, SessionTransition
from fntx_sessions.state.payloads import EVENT, Payloads

# What of `events` a SessionEvent shows, its data sealed.
EVENT_COLUMNS = """event_id, session_id, timestamp, event_type, event_category, severity, source_agent, description,
    data, requires_action, action_taken, impact_assessment, acknowledged_at, acknowledged_by"""
_EVENTS = text(f"""
SELECT e.event_id IS NOT NULL AS found, e.* FROM sessions s LEFT JOIN LATERAL (
  SELECT {EVENT_COLUMNS}
  FROM events WHERE session_id = s.session_id ORDER BY timestamp DESC, event_id DESC LIMIT :limit
) e ON true WHERE s.session_id = :session_id ORDER BY e.timestamp, e.event_id
""")
_TRANSITIONS = text("""
SELECT t.transition_id IS NOT NULL AS found, t.* FROM sessions s LEFT JOIN LATERAL (
  SELECT * FROM transitions WHERE session_id = s.session_id ORDER BY version DESC LIMIT :limit
) t ON true WHERE s.session_id = :session_id ORDER BY t.version
""")


def get_events(engine: Engine, session_id: UUID, limit: int) -> list[SessionEvent]:
    """Return the last `limit` events, oldest first; raises NotFound."""
    found = of_session(engine, _EVENTS, session_id, limit=limit)
    return [SessionEvent.model_validate(opened(Payloads(engine), row)) for row in found]


def opened(payloads: Payloads, event: Row) -> Row:
    """Return an event's row with its data opened, and the impact of its type where it tells none of its own.

    Data that does not open is said so in its place.
    """
    try:
        data = payloads.open(event["session_id"], EVENT, event["event_id"], event["data"])
    except (IntegrityError, Shredded) as error:
        data = {"unreadable": str(error)}
    impact = event.get("impact_assessment") or impact_of(event.get("event_type", ""))
    return event | {"data": data, "impact_assessment": impact}


def get_transitions(engine: Engine, session_id: UUID, limit: int) -> list[SessionTransition]:
    """Return the last `limit` transitions, oldest first; raises NotFound."""
    return [SessionTransition.model_validate(row) for row in of_session(engine, _TRANSITIONS, session_id, limit=limit)]


def get_outcome(engine: Engine, command_id: UUID, session_id: UUID | None = None) -> Outcome:
    """Return what became of a command; raises NotFound when none of this id, for this session, was ever committed.

    Raises NeedsSecond while it waits for a second person, and NotConfirmed where that one said no.
    """
    found = stored_outcome(engine, command_id)
    if found is None:
        tell(engine, command_id, session_id)
    if found is None or session_id not in (None, found.session_id):
        raise NotFound("command", str(command_id), "It did not happen: ask again under the same id.")
    return found
