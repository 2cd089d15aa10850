"""Following events page by page: what to ask next, and what of an answer is new. Nothing here asks anybody.

Events are seen when they are committed, some seconds after the time they carry. So each round looks back over the
last `overlap_s`, and what was handed out already is known by its id: each event comes once.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from fntx_sessions.lifecycle.reads.desk_events import EventPage
from fntx_sessions.schemas import SessionEvent

_PAGE = 500


class DeskFeed:
    """One stretch of following. full: the last answer was not all there is, so ask again at once."""

    def __init__(self, filters: dict[str, Any], since: datetime | None, overlap_s: float) -> None:
        """Take the filters of `EventsQuery`, and where to begin; None: at what comes from the first answer on."""
        self._filters = {name: value for name, value in filters.items() if value is not None}
        self._since = since
        self._begun = since is not None
        self._overlap = timedelta(seconds=overlap_s)
        self._seen: dict[UUID, datetime] = {}
        self._cursor: str | None = None
        self.full = False

    def question(self) -> dict[str, Any]:
        """Return what `fntx.events.list` is asked next."""
        if not self._begun:
            return self._filters | {"order": "newest", "limit": 1}
        asked = {"order": "oldest", "limit": _PAGE, "since": self._since, "cursor": self._cursor}
        return self._filters | {name: value for name, value in asked.items() if value is not None}

    def take(self, page: EventPage) -> list[SessionEvent]:
        """Return the events of an answer that were not handed out yet, oldest first."""
        if not self._begun:
            self._begun, self._since, self.full = True, page.now, True
            return []
        new = [event for event in page.events if event.event_id not in self._seen]
        self._seen |= {event.event_id: event.timestamp for event in new}
        self._cursor, self.full = page.cursor, page.cursor is not None
        if page.cursor is None:
            self._settle(page.now - self._overlap)
        return new

    def _settle(self, until: datetime) -> None:
        """Begin the next round where nothing comes any more, and forget what lies before it."""
        if self._since is None or until > self._since:
            self._since = until
        self._seen = {name: at for name, at in self._seen.items() if at >= self._since}
