"""Events of the whole desk or of one session, by any of their columns, a page at a time."""

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.event_types import types_with_impact
from fntx_sessions.lifecycle.events_arguments import EventsQuery
from fntx_sessions.lifecycle.reads.history import EVENT_COLUMNS, opened
from fntx_sessions.lifecycle.reads.rows import Row, unknown
from fntx_sessions.schemas import Model, SessionEvent, Severity, Time
from fntx_sessions.state.payloads import Payloads

# What was not given falls away before planning: the driver sends values, not parameters.
_PAGE = """
SELECT e.*, k.data_key_id, k.ring_key_id, k.wrapped, k.shredded_at FROM (
  SELECT {columns} FROM events
  WHERE (CAST(:session_id AS uuid) IS NULL OR session_id = CAST(:session_id AS uuid))
    AND (CAST(:scope AS uuid[]) IS NULL OR session_id = ANY(CAST(:scope AS uuid[])))
    AND (CAST(:event_types AS text[]) IS NULL OR event_type = ANY(CAST(:event_types AS text[])))
    AND (CAST(:categories AS text[]) IS NULL OR event_category = ANY(CAST(:categories AS text[])))
    AND (CAST(:severities AS text[]) IS NULL OR severity = ANY(CAST(:severities AS text[])))
    AND (CAST(:source_agent AS text) IS NULL OR source_agent = CAST(:source_agent AS text))
    AND (CAST(:impact AS text) IS NULL OR strpos(lower(impact_assessment), lower(CAST(:impact AS text))) > 0
      OR (impact_assessment IS NULL AND event_type = ANY(CAST(:impact_types AS text[]))))
    AND (CAST(:text AS text) IS NULL OR strpos(lower(event_type || ' ' || description), lower(CAST(:text AS text))) > 0)
    AND (CAST(:requires_action AS boolean) IS NULL OR requires_action = CAST(:requires_action AS boolean))
    AND (CAST(:acknowledged AS boolean) IS NULL
      OR (acknowledged_at IS NOT NULL) = CAST(:acknowledged AS boolean))
    AND (CAST(:first_id AS uuid) IS NULL OR event_id BETWEEN CAST(:first_id AS uuid) AND CAST(:last_id AS uuid))
    AND (CAST(:since AS timestamptz) IS NULL OR timestamp >= CAST(:since AS timestamptz))
    AND (CAST(:until AS timestamptz) IS NULL OR timestamp < CAST(:until AS timestamptz))
    AND (CAST(:at AS timestamptz) IS NULL OR (timestamp {bound} CAST(:at AS timestamptz)
      AND (timestamp, event_id) {past} (CAST(:at AS timestamptz), CAST(:at_id AS uuid))))
    AND (CAST(:window_s AS double precision) IS NULL OR timestamp
      >= coalesce(CAST(:at AS timestamptz), CAST(:until AS timestamptz), now()) - make_interval(secs => :window_s))
  ORDER BY timestamp {way}, event_id {way} LIMIT :limit
) e LEFT JOIN session_keys k USING (session_id) ORDER BY timestamp {way}, event_id {way}
"""
_PAGES = {
    "newest": text(_PAGE.format(columns=EVENT_COLUMNS, bound="<=", past="<", way="DESC")),
    "oldest": text(_PAGE.format(columns=EVENT_COLUMNS, bound=">=", past=">", way="ASC")),
}
_TO_DO = text("""
SELECT count(*) FROM events WHERE requires_action AND acknowledged_at IS NULL
  AND (CAST(:scope AS uuid[]) IS NULL OR session_id = ANY(CAST(:scope AS uuid[])))
""")
_STANDS = text("""
SELECT now() AS now, CAST(:session_id AS uuid) AS session_id, CAST(:session_id AS uuid) IS NULL
  OR EXISTS (SELECT FROM sessions WHERE session_id = CAST(:session_id AS uuid)) AS known
""")
_WORSE = tuple(Severity)  # in the order of how much they matter
# The desk's events have no order but their time's, in blocks: the newest are looked for in ever longer stretches.
_WINDOWS_S: tuple[float, ...] = (900, 21_600, 259_200)


class EventPage(Model):
    """Events in the order asked for. cursor: where the next page begins; None: there is none. now: Postgres's clock."""

    events: list[SessionEvent]
    now: Time
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    at: datetime | None = None
    event_id: UUID | None = None


def list_events(engine: Engine, asked: EventsQuery, scope: Sequence[UUID] | None = None) -> EventPage:
    """Return a page of events; scope: of these sessions alone, None: of all.

    An event that is committed late, under an earlier time than a cursor's, is not behind that cursor. Data that does
    not open is said so in its place. Raises InvalidArgument for a cursor that is none, NotFound for a session that is
    none, Busy and Unavailable.
    """
    bound = _bound(asked, scope)
    found: list[Row] = []
    with transaction(engine) as connection:
        for window_s in _windows(asked, scope):
            found = rows(connection.execute(_PAGES[asked.order], bound | {"window_s": window_s}))
            if len(found) > asked.limit:
                break
        stands = connection.execute(_STANDS, {"session_id": asked.session_id}).one()
    if not stands.known:
        raise unknown(stands.session_id)
    shown = found[: asked.limit]
    cursor = _cursor_after(shown[-1]) if len(found) > asked.limit else None
    return EventPage(events=_events(Payloads(engine), shown), now=stands.now, cursor=cursor)


def count_to_do(engine: Engine, scope: Sequence[UUID] | None = None) -> int:
    """Return how many events still require that somebody does something; raises Busy and Unavailable."""
    with transaction(engine) as connection:
        found: int = connection.execute(_TO_DO, {"scope": _ids(scope)}).scalar_one()
    return found


def _windows(asked: EventsQuery, scope: Sequence[UUID] | None) -> Iterator[float | None]:
    to_do = asked.requires_action is True and asked.acknowledged is False
    indexed = asked.session_id is not None or scope is not None or to_do or asked.id_prefix is not None
    if asked.order == "newest" and not indexed and asked.since is None:
        yield from _WINDOWS_S
    yield None


def _bound(asked: EventsQuery, scope: Sequence[UUID] | None) -> dict[str, Any]:
    place, prefix = _place(asked.cursor), asked.id_prefix
    worse = None if asked.severity is None else [one.value for one in _WORSE[_WORSE.index(asked.severity) :]]
    return asked.model_dump() | {
        "scope": _ids(scope),
        "severities": worse,
        "impact_types": None if asked.impact is None else types_with_impact(asked.impact),
        "first_id": UUID(prefix.ljust(32, "0")) if prefix else None,
        "last_id": UUID(prefix.ljust(32, "f")) if prefix else None,
        "at": place.at,
        "at_id": place.event_id,
        "limit": asked.limit + 1,
    }


def _ids(scope: Sequence[UUID] | None) -> list[str] | None:
    return None if scope is None else [str(one) for one in scope]


def _events(payloads: Payloads, found: Sequence[Row]) -> list[SessionEvent]:
    for row in found:
        payloads.learn(row)
    return [SessionEvent.model_validate(_shown(opened(payloads, row))) for row in found]


def _shown(row: Row) -> Row:
    return {name: value for name, value in row.items() if name in SessionEvent.model_fields}


def _cursor_after(row: Row) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([row["timestamp"].isoformat(), str(row["event_id"])])).decode()


def _place(given: str | None) -> _Place:
    if given is None:
        return _Place()
    try:
        at, event_id = orjson.loads(base64.b64decode(given, altchars=b"-_", validate=True))
        place = _Place(datetime.fromisoformat(at), UUID(event_id))
    except (ValueError, TypeError, AttributeError, binascii.Error):
        place = _Place()
    if place.at is None or place.at.tzinfo is None:
        raise InvalidArgument("cursor", "is no cursor", "Give what the page before ended with, unchanged.")
    return place
