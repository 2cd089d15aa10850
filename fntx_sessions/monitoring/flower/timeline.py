"""A session's timeline: everything that happened to it, newest first, filtered by kind, severity, days and words."""

from hashlib import blake2s
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import orjson

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.asked import HistoryQuery
from fntx_sessions.lifecycle.reads.records import HistoryEntry
from fntx_sessions.lifecycle.reads.rows import Row
from fntx_sessions.lifecycle.reads.timeline import get_history
from fntx_sessions.lifecycle.reads.timeline_sql import EVERYTHING
from fntx_sessions.monitoring.flower.offers import event_offers
from fntx_sessions.monitoring.flower.page import Asked, Draw
from fntx_sessions.monitoring.flower.session_page import SessionPage
from fntx_sessions.monitoring.flower.tables import table
from fntx_sessions.monitoring.flower.views import Part, Parts
from fntx_sessions.parsing import parse

# What the form asks besides kinds, each of which is a box of its own.
_ASKED = ("severity", "first", "last", "words")
# What an entry's words say already.
_SAID = frozenset({"description", "event_type", "severity", "requires_action", "acknowledged_at", "acknowledged_by"})


class Timeline(SessionPage):
    """All that happened, a page at a time."""

    template = "timeline.html"
    here = "timeline"

    def body(self, desk: Desk, asked: Asked, draw: Draw, head: Row) -> Parts:
        """Draw a page of entries; raises InvalidArgument for a filter that is none."""
        query = _query(asked, head["session_id"], desk.settings.pages_timeline_rows)
        return {"entries": _entries(desk, asked, draw, query, simulated=head["simulated"])}


def _query(asked: Asked, session_id: UUID, limit: int) -> HistoryQuery:
    given = {name: asked.get(name).strip() or None for name in (*_ASKED, "after")}
    unknown = set(asked.arguments) - {*_ASKED, *EVERYTHING, "after"}
    if unknown:
        raise InvalidArgument(min(unknown)[:50], "is no filter of a timeline", "Go there by the page's form and links.")
    kinds = [kind for kind in EVERYTHING if asked.get(kind)]
    return parse(
        HistoryQuery, {**given, "session_id": session_id, "kinds": kinds or None, "limit": limit, "newest": True}
    )


def _entries(desk: Desk, asked: Asked, draw: Draw, query: HistoryQuery, *, simulated: bool) -> Part:
    found = get_history(desk.engine, query)
    shown = [_entry(asked, query.session_id, one) for one in found.entries]
    older = urlencode({**_filters(asked), "after": found.after}) if found.after else None
    facts = {
        "entries": shown,
        "older": older,
        "newest": urlencode(_filters(asked)),
        "first": query.after is None,
        "simulated": simulated,
    }
    return table(draw, "timeline_entries.html", [one["row"] for one in shown], **facts)


def _filters(asked: Asked) -> dict[str, str]:
    return {name: value for name, value in asked.arguments.items() if name != "after" and value}


def _entry(asked: Asked, session_id: UUID, entry: HistoryEntry) -> dict[str, Any]:
    data = entry.data
    row = blake2s(f"{entry.kind} {entry.id} {entry.at}".encode(), digest_size=8).hexdigest()
    waits = bool(data.get("requires_action")) and not data.get("acknowledged_at")
    offers = event_offers(asked.viewer, session_id, entry.id) if entry.kind == "event" and waits else []
    more = {name: _told(value) for name, value in data.items() if name not in _SAID and value not in (None, "", {}, [])}
    return entry.model_dump(exclude={"data"}) | {
        "row": f"entry-{row}", "severity": data.get("severity"), "waits": waits, "offers": offers, "more": more,
        "by": data.get("acknowledged_by"),
    }  # fmt: skip


def _told(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
