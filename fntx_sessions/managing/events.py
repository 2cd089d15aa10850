"""Events of the whole desk: by any of their columns, as they come, and who saw to them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Unpack

from fntx_sessions.caller.ids import as_id
from fntx_sessions.caller.manager import Asking, SessionId
from fntx_sessions.exceptions import Retryable
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.reads.desk_events import EventPage
from fntx_sessions.managing.base import Sessions
from fntx_sessions.managing.desk_feed import DeskFeed
from fntx_sessions.schemas import SessionEvent

_TASK = "fntx.events.list"


class Events(Sessions):
    """Questions about events of all sessions, and their acknowledgement."""

    async def list_events(self, session_id: SessionId | None = None, **filters: Any) -> EventPage:
        """Return a page of events of one session, or of the desk, newest first; `page.cursor` asks for the next one.

        filters: event_types, categories, severity (this one and worse), source_agent, impact, requires_action,
        acknowledged, text, since, until, order (``newest`` or ``oldest``), cursor, limit (100).
        """
        return EventPage.model_validate(await self._query(_TASK, await self._filters(session_id, filters)))

    async def follow_events(
        self, session_id: SessionId | None = None, *, since: datetime | None = None, **filters: Any
    ) -> AsyncIterator[SessionEvent]:
        """Yield events as they come, of one session or of the desk, each once; filters as `list_events` takes them.

        since: begin at this time; None: now. While Redis, Postgres or the workers are away it waits for them. Raises
        what `list_events` is refused with. Of one session to its end, none left out over restarts: `subscribe`.
        """
        settings = self._settings
        feed = DeskFeed(await self._filters(session_id, filters), since, settings.subscribe_overlap_s)
        while True:
            try:
                page = EventPage.model_validate(await self._query(_TASK, feed.question()))
            except Retryable:
                await asyncio.sleep(settings.subscribe_poll_s)
                continue
            for event in feed.take(page):
                yield event
            if not feed.full:
                await asyncio.sleep(settings.subscribe_poll_s)

    async def acknowledge_event(
        self,
        event_id: SessionId,
        action_taken: str = "",
        *,
        session_id: SessionId | None = None,
        reason: str = "",
        **asking: Unpack[Asking],
    ) -> Outcome:
        """Say that somebody saw to an event, and what was done, once; audited.

        Raises PreconditionFailed naming who acknowledged it before, and NotFound.
        """
        named = {} if session_id is None else {"session_id": await self._id(session_id)}
        arguments = {"event_id": as_id(event_id, "event_id"), "action_taken": action_taken, "reason": reason}
        return await self._command("fntx.events.acknowledge", arguments | named, asking)

    async def _filters(self, session_id: SessionId | None, filters: dict[str, Any]) -> dict[str, Any]:
        return filters if session_id is None else filters | {"session_id": await self._id(session_id)}
