"""Following a session: its events as they come, over every interruption."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from fntx_sessions.caller.announcements import Bell
from fntx_sessions.caller.answers import shut_down
from fntx_sessions.caller.caller import NEWS, Caller
from fntx_sessions.caller.manager import SessionId
from fntx_sessions.exceptions import Retryable
from fntx_sessions.managing import places
from fntx_sessions.managing.base import Sessions
from fntx_sessions.managing.bookmark import Bookmark
from fntx_sessions.schemas import SessionEvent, SessionStatus
from fntx_sessions.settings import Settings

log = logging.getLogger(__name__)

# However many sessions one manager follows, it asks no more than a hundred times a second.
_PAUSE_PER_FOLLOWER_S = 0.01


@dataclass(frozen=True, slots=True)
class _Desk:
    """What a subscription needs of its manager."""

    settings: Settings
    asked: Callable[[], Caller]
    whole_id: Callable[[SessionId], Awaitable[UUID]]
    learn: Callable[[dict[str, Any]], SessionStatus]


class Following(Sessions):
    """Events as they come."""

    def subscribe(
        self,
        session_id: SessionId,
        *,
        after: SessionEvent | datetime | str | None = None,
        types: Iterable[str] | None = None,
    ) -> "Subscription":
        """Return the session's events as an async iterator: at least once, none left out, until it is closed.

        after: begin past this event, at this time, or at another subscription's `bookmark`; None: at the session's
        first event. After the very object that a subscription handed out, what it had handed out until then does not
        come again; after an event that was read otherwise, those of the `subscribe_overlap_s` before it do, as nobody
        can tell which of them were seen. types: of these event types alone. Events come in the order of their time;
        one that was committed after a later one had been handed out follows that. While Redis, Postgres or the
        workers are away it waits for them. It ends after the last event of a closed session; it raises NotFound,
        Forbidden and the like, and StackError when the manager is shut down.
        """
        desk = _Desk(self._settings, self._asked, self._id, self._learn)
        handed = places.after(after) if isinstance(after, SessionEvent) else None
        bookmark = handed or Bookmark.of(after, self._settings.subscribe_overlap_s)
        return Subscription(desk, session_id, bookmark, None if types is None else sorted({*types}))


class Subscription:
    """The events of one session, for one `async for` after another; to stop half-way leaves nothing behind."""

    def __init__(self, desk: _Desk, session_id: SessionId, bookmark: Bookmark, types: list[str] | None) -> None:
        self._desk = desk
        self._given = session_id
        self._bookmark = bookmark
        self._types = types
        self._one_at_a_time = asyncio.Lock()
        self._page: deque[SessionEvent] = deque()
        self._handing = places.Page(bookmark)
        self._following: _Followed | None = None
        self._settled: datetime | None = None
        self._at_once, self._ended, self._away = True, False, False

    @property
    def bookmark(self) -> str:
        """How far it has come, as text for another subscription's `after`: what was not handed out yet follows."""
        return self._bookmark.text()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionEvent:
        async with self._one_at_a_time:
            while not self._page:
                if self._ended:
                    raise StopAsyncIteration
                await self._look()
            event = self._page.popleft()
            self._bookmark.pass_by(event)
            self._handing.hand_out(event)
            return event

    async def _look(self) -> None:
        """Wait until looking is worth while, and take the next page."""
        try:
            followed = await self._begun()
            if not self._at_once:
                await followed.bell.within(self._pause_s(followed))
            news = await followed.caller.query("fntx.sessions.news", self._question(followed.session_id), line=NEWS)
        except Retryable as error:
            await self._wait_out(error)
        else:
            self._take(news)

    async def _begun(self) -> "_Followed":
        caller = self._desk.asked() if self._following is None else self._following.caller
        if caller.is_closed():
            raise shut_down()
        if self._following is None:
            session_id = await self._desk.whole_id(self._given)
            self._following = _Followed(caller, session_id, caller.bell(session_id))
        return self._following

    def _pause_s(self, followed: "_Followed") -> float:
        return max(self._desk.settings.subscribe_poll_s, followed.caller.followers * _PAUSE_PER_FOLLOWER_S)

    def _question(self, session_id: UUID) -> dict[str, Any]:
        if self._settled is not None:
            self._bookmark.settle(self._settled)
        return {"session_id": session_id, "types": self._types} | self._bookmark.question()

    def _take(self, news: dict[str, Any]) -> None:
        if self._away:
            log.info("following session %s again", news["session"]["session_id"])
        self._away = False
        self._handing = places.Page(self._bookmark)
        self._page.extend(SessionEvent.model_validate(one) for one in news["events"])
        closed = self._desk.learn(news["session"]) is SessionStatus.CLOSED
        # A closed session's last page may have been cut: an empty one ends it.
        self._ended = closed and not self._page
        self._at_once = closed or news["more"]
        overlap = timedelta(seconds=self._desk.settings.subscribe_overlap_s)
        self._settled = datetime.fromisoformat(news["now"]) - overlap

    async def _wait_out(self, error: Retryable) -> None:
        if not self._away:
            log.warning("session %s cannot be followed for now: %s", self._given, error)
        self._away, self._at_once = True, True
        await asyncio.sleep(self._desk.settings.subscribe_poll_s)


@dataclass(frozen=True, slots=True)
class _Followed:
    """What a subscription holds while it is under way. caller: the one it began with, and no other."""

    caller: Caller
    session_id: UUID
    bell: Bell
