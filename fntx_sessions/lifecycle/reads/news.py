"""What a session has told since somebody last looked: a page of events past a bookmark, and where the session stands.

Events carry the time at which they happened and are seen when they are committed, some seconds later at worst. So a
bookmark lags behind: `after` is a moment before which nothing comes any more, `known` what was handed out since.
"""

from typing import Any
from uuid import UUID

from pydantic import Field
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.lifecycle.reads.history import EVENT_COLUMNS, opened
from fntx_sessions.lifecycle.reads.rows import Row, unknown
from fntx_sessions.schemas import Model, SessionEvent, Time
from fntx_sessions.state.payloads import Payloads

MOST_KNOWN = 1000
PAGE = 200
_FIRST = UUID(int=0)

_NEWS = text(f"""
SELECT e.*, s.session_id AS about, s.status, s.version, s.epoch, now() AS now
FROM sessions s LEFT JOIN LATERAL (
  SELECT {EVENT_COLUMNS}
  FROM events WHERE session_id = s.session_id
    AND timestamp >= coalesce(CAST(:after AS timestamptz), '-infinity')
    AND (timestamp, event_id) > (coalesce(CAST(:after AS timestamptz), '-infinity'), CAST(:after_id AS uuid))
    AND event_id <> ALL(CAST(:known AS uuid[]))
    AND (CAST(:types AS text[]) IS NULL OR event_type = ANY(CAST(:types AS text[])))
  ORDER BY timestamp, event_id LIMIT :limit
) e ON true WHERE s.session_id = :session_id ORDER BY e.timestamp, e.event_id
""")
_SESSION = ("about", "status", "version", "epoch", "now")


class NewsArguments(Model):
    """news: whose events, past which bookmark. types: of these event types alone; None: of all."""

    session_id: UUID
    after: Time | None = None
    after_id: UUID = _FIRST
    known: list[UUID] = Field(default=[], max_length=MOST_KNOWN)
    types: list[str] | None = Field(default=None, max_length=100)
    limit: int = Field(default=PAGE, ge=1, le=PAGE)


def get_news(engine: Engine, asked: NewsArguments) -> dict[str, Any]:
    """Return the next events, oldest first, and the session's state in the very same moment; raises NotFound.

    ``{"events", "more", "now", "session": {session_id, status, version, epoch}}``; more: the page was full.
    """
    with transaction(engine) as connection:
        found = rows(connection.execute(_NEWS, asked.model_dump()))
    if not found:
        raise unknown(asked.session_id)
    stands, told = _apart(found)
    payloads = Payloads(engine)
    events = [SessionEvent.model_validate(opened(payloads, row)) for row in told]
    now = stands.pop("now")
    return {"events": events, "more": len(events) == asked.limit, "now": now, "session": stands}


def _apart(found: list[Row]) -> tuple[Row, list[Row]]:
    """Return where the session stands, and the events without it."""
    apart = [{name: row.pop(name) for name in _SESSION} for row in found]
    stands = apart[0] | {"session_id": apart[0]["about"]}
    del stands["about"]
    return stands, [row for row in found if row["event_id"] is not None]
