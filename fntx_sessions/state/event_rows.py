"""Events that the keeping of state itself has to tell, each at most once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Connection, text

from fntx_sessions.schemas import Severity
from fntx_sessions.state.payloads import EVENT, Payloads, sealable

# Only of sessions that are there: a stray file may name any.
_ADD = text("""
INSERT INTO events (event_id, session_id, event_type, event_category, severity, description, data, requires_action)
SELECT x.event_id, x.session_id, x.event_type, 'state', x.severity, x.description, decode(x.data, 'hex'),
  x.requires_action
FROM jsonb_to_recordset(CAST(:events AS jsonb)) AS x(event_id uuid, session_id uuid, event_type text, severity text,
  description text, data text, requires_action boolean)
JOIN sessions s ON s.session_id = x.session_id
WHERE NOT EXISTS (SELECT FROM events e WHERE e.session_id = x.session_id AND e.event_id = x.event_id)
""")


@dataclass(frozen=True, slots=True)
class StateEvent:
    """One thing to tell. `once` names it among the session's events of its type: told again, it is passed over."""

    session_id: UUID
    event_type: str
    once: str
    description: str
    severity: Severity = Severity.WARNING
    data: dict[str, Any] = field(default_factory=dict)
    requires_action: bool = False

    @property
    def event_id(self) -> UUID:
        """Its id, the same each time."""
        return uuid5(self.session_id, f"{self.event_type}/{self.once}")


def add_events(connection: Connection, events: Sequence[StateEvent]) -> None:
    """Store events in the caller's transaction, but for those told before."""
    if not events:
        return
    payloads = Payloads(connection.engine)
    rows = [
        {
            "event_id": str(event.event_id),
            "session_id": str(event.session_id),
            "event_type": event.event_type,
            "severity": event.severity.value,
            "description": event.description,
            "data": payloads.seal_some(event.session_id, EVENT, event.event_id, event.data),
            "requires_action": event.requires_action,
        }
        for event in events
    ]
    connection.execute(_ADD, {"events": sealable(rows).decode()})
