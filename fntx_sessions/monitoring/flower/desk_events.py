"""Events of the whole desk, newest first: by any of their columns, followed live, with a way to acknowledge them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import orjson

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.events_arguments import EventsQuery
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.desk_events import EventPage, count_to_do, list_events
from fntx_sessions.monitoring.flower.offers import event_offers
from fntx_sessions.monitoring.flower.page import Asked, Draw, Page
from fntx_sessions.monitoring.flower.tables import table
from fntx_sessions.monitoring.flower.views import Parts
from fntx_sessions.parsing import parse
from fntx_sessions.schemas import SessionEvent, Severity
from fntx_sessions.security.scope import sessions_in

# What an address may ask: our name, the query's, and whether several may be given with commas between.
_SAME = {"severity": "severity", "agent": "source_agent", "session": "session_id", "impact": "impact", "text": "text"}
_LISTS = {"type": "event_types", "category": "categories"}
_TIMES = ("since", "until")
_CURSOR = "cursor"
STATES: dict[str, tuple[str, dict[str, bool]]] = {
    "": ("any", {}),
    "open": ("waits for somebody", {"requires_action": True, "acknowledged": False}),
    "action": ("required action", {"requires_action": True}),
    "seen": ("acknowledged", {"acknowledged": True}),
}
_KNOWN = frozenset({*_SAME, *_LISTS, *_TIMES, _CURSOR, "state"})


class DeskEvents(Page):
    """What happened, over all sessions that the viewer may see."""

    template = "events.html"
    tab = "events"

    def title(self, asked: Asked) -> str:
        """Return the page's title."""
        _ = asked
        return "Events"

    def draw(self, desk: Desk, asked: Asked, draw: Draw) -> Parts:
        """Draw the form and a page of events; raises InvalidArgument for a filter that is none."""
        query, scope = query_of(asked, desk.settings.pages_rows), sessions_in(desk.engine, asked.viewer.actor)
        asked = replace(asked, viewer=asked.viewer.knowing(scope or ()))
        found = list_events(desk.engine, query, scope)
        shown = [_shown(asked, event) for event in found.events]
        facts = {"form": _form(asked, query), "states": STATES, "severities": list(Severity)}
        return {
            "events-form": draw.part("events_form.html", waiting=count_to_do(desk.engine, scope), **facts),
            "events-list": table(
                draw, "events_list.html", [one["row"] for one in shown], shown=shown, **_ways(asked, query, found)
            ),
        }


def query_of(asked: Asked, limit: int) -> EventsQuery:
    """Return what an address asks for; raises InvalidArgument naming the argument that cannot be."""
    unknown = sorted(set(asked.arguments) - _KNOWN)
    if unknown:
        raise InvalidArgument(unknown[0][:50], "is no filter of events", f"Known here: {', '.join(sorted(_KNOWN))}.")
    state = asked.get("state")
    if state not in STATES:
        raise InvalidArgument("state", "is none of an event", f"Give one of {', '.join(filter(None, STATES))}.")
    given: dict[str, Any] = {ours: asked.get(name).strip() for name, ours in _SAME.items()}
    given |= {ours: [one.strip() for one in asked.get(name).split(",") if one.strip()] for name, ours in _LISTS.items()}
    given |= {name: _moment(name, asked.get(name)) for name in _TIMES}
    given |= {_CURSOR: asked.get(_CURSOR), "limit": limit, **STATES[state][1]}
    return parse(EventsQuery, {name: value for name, value in given.items() if value not in ("", [], None)})


def _moment(name: str, given: str) -> datetime | None:
    """Return a time; without a zone it is UTC, as a browser's form sends it."""
    if not given:
        return None
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        raise InvalidArgument(name, "is no time", "Give one such as 2026-01-05T14:30, in UTC.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _form(asked: Asked, query: EventsQuery) -> dict[str, str]:
    given = {name: asked.get(name) for name in _KNOWN}
    times = {name: getattr(query, name) for name in _TIMES}
    return given | {name: f"{at:%Y-%m-%dT%H:%M:%S}" if at else "" for name, at in times.items()}


def _ways(asked: Asked, query: EventsQuery, found: EventPage) -> dict[str, Any]:
    """Return where to go from here; followed: whether what happens next will be shown here."""
    asks = {name: value for name, value in asked.arguments.items() if value and name != _CURSOR}
    newest = found.events[0].timestamp + timedelta(microseconds=1) if found.events else None
    return {
        "followed": query.cursor is None and query.until is None,
        "follow": urlencode({name: value for name, value in asks.items() if name != "until"}),
        "hold": urlencode(asks | {"until": newest.isoformat()}) if newest else None,
        "older": urlencode(asks | {_CURSOR: found.cursor}) if found.cursor else None,
    }


def _shown(asked: Asked, event: SessionEvent) -> dict[str, Any]:
    waits = event.requires_action and event.acknowledged_at is None
    return {
        "row": f"event-{event.event_id}",
        "event": event,
        "waits": waits,
        "offers": event_offers(asked.viewer, event.session_id, event.event_id) if waits else [],
        "data": orjson.dumps(event.data, option=orjson.OPT_INDENT_2, default=str).decode() if event.data else "",
    }
