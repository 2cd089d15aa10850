"""How far somebody has followed a session's events: what may be asked again with, in this process or another."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import SessionEvent

MOST_KNOWN = 1000
_FIRST = UUID(int=0)
Mark = tuple[datetime, UUID]


class Bookmark:
    """A mark behind which nothing comes any more, and the events past it that were handed out."""

    def __init__(self, after: Mark | None = None, known: list[Mark] | None = None) -> None:
        self._after = after
        self._known = {event_id: moment for moment, event_id in known or ()}

    @staticmethod
    def of(after: "SessionEvent | datetime | str | None", overlap_s: float) -> "Bookmark":
        """Return where to begin: at the session's beginning, at a moment, past an event, or at a bookmark's text.

        Past an event that no subscription handed out, what may be committed late beside it comes too: events of the
        `overlap_s` before it. Raises InvalidArgument.
        """
        if after is None:
            return Bookmark()
        if isinstance(after, SessionEvent):
            since = after.timestamp - timedelta(seconds=overlap_s)
            return Bookmark((since, _FIRST), [(after.timestamp, after.event_id)])
        if isinstance(after, str):
            return Bookmark.from_text(after)
        if after.tzinfo is None:
            raise InvalidArgument("after", "has no time zone", "Give an aware time, as datetime.now(UTC).")
        return Bookmark((after, _FIRST))

    @staticmethod
    def from_text(told: str) -> "Bookmark":
        """Return the bookmark that `text` was made of; raises InvalidArgument."""
        try:
            after, known = orjson.loads(told)
            return Bookmark(None if after is None else _mark(after), [_mark(one) for one in known])
        except (ValueError, TypeError) as error:
            fix = "Give the `bookmark` of a subscription, an event, or a time."
            raise InvalidArgument("after", f"{told[:60]!r} is not a bookmark", fix) from error

    def text(self) -> str:
        """Return it as text."""
        known = [(moment, event_id) for event_id, moment in self._known.items()]
        return orjson.dumps([self._after, known]).decode()

    def question(self) -> dict[str, Any]:
        """Return what `fntx.sessions.news` is asked past it."""
        after, after_id = self._after or (None, _FIRST)
        return {"after": after, "after_id": after_id, "known": list(self._known)}

    def pass_by(self, event: SessionEvent) -> None:
        """Note that an event was handed out."""
        self.pass_mark((event.timestamp, event.event_id))

    def pass_mark(self, mark: Mark) -> None:
        """Note that the event of a mark was handed out."""
        self._known[mark[1]] = mark[0]

    def settle(self, until: datetime) -> None:
        """Forget what happened before `until`, as nothing comes there any more; and the oldest of too many."""
        marks = sorted((moment, event_id) for event_id, moment in self._known.items())
        surplus = len(marks) - MOST_KNOWN
        gone = [mark for place, mark in enumerate(marks) if mark[0] < until or place < surplus]
        for _, event_id in gone:
            del self._known[event_id]
        if gone:
            self._after = max(gone[-1], self._after or gone[-1])


def _mark(told: list[str]) -> Mark:
    moment, event_id = told
    return datetime.fromisoformat(moment), UUID(event_id)
