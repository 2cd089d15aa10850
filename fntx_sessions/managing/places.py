"""Where events were handed out: what had been handed out before each, for whoever goes on after it.

Kept beside the event objects, and for as long as they are there: an event equals one that was read otherwise.
"""

import weakref
from dataclasses import dataclass

from fntx_sessions.managing.bookmark import Bookmark, Mark
from fntx_sessions.schemas import SessionEvent


@dataclass(frozen=True, slots=True)
class _Place:
    """An event is the last of the first `count` of a page that began at a bookmark."""

    page_began: str
    marks: list[Mark]
    count: int


_places: dict[int, _Place] = {}


class Page:
    """A page of events as they are handed out, one after the other."""

    def __init__(self, began: Bookmark) -> None:
        """Take the bookmark that the page was asked with."""
        self._began = began.text()
        self._marks: list[Mark] = []

    def hand_out(self, event: SessionEvent) -> None:
        """Note where an event stands."""
        self._marks.append((event.timestamp, event.event_id))
        known = id(event)
        _places[known] = _Place(self._began, self._marks, len(self._marks))
        weakref.finalize(event, _places.pop, known, None).atexit = False


def after(event: SessionEvent) -> Bookmark | None:
    """Return the bookmark of whoever was handed this very object; None where nobody was."""
    place = _places.get(id(event))
    if place is None:
        return None
    bookmark = Bookmark.from_text(place.page_began)
    for mark in place.marks[: place.count]:
        bookmark.pass_mark(mark)
    return bookmark
