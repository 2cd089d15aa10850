"""Hearing of news: one task per caller reads the inboxes of all sessions that somebody follows, while anybody waits.

What is heard only says that looking is worth while; whoever follows looks now and then anyway. So nothing depends on
Redis keeping or telling anything.
"""

import asyncio
import contextlib
import logging
import weakref
from typing import Any
from uuid import UUID

import redis.asyncio
from redis.exceptions import RedisError

from fntx_sessions.caller.answers import shut_down
from fntx_sessions.state.redis_client import key

log = logging.getLogger(__name__)

# How long the inboxes that are being read may lack one that somebody began to follow meanwhile.
_BLOCK_MS = 250
_PAUSE_AFTER_ERROR_S = 0.5
_BATCH = 100


class Bell:
    """Rings when a session's inbox has something new; held by whoever follows the session."""

    def __init__(self, owner: "Announcements", name: str) -> None:
        self.name = name
        self.rung = asyncio.Event()
        self._owner = owner

    async def within(self, seconds: float) -> None:
        """Return when it has rung since the last time, or after `seconds`; raises StackError once it is all over."""
        self._owner.listen()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.rung.wait(), seconds)
        if self._owner.closed:
            raise shut_down()
        self.rung.clear()


class Announcements:
    """The inboxes that one event loop listens to."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.closed = False
        self._redis = client
        self._bells: weakref.WeakSet[Bell] = weakref.WeakSet()
        # How far each inbox was read. An inbox that is not here is read from its end, and rings once: something may
        # have come before.
        self._read: dict[str, bytes] = {}
        self._listener: asyncio.Task[None] | None = None

    @property
    def followers(self) -> int:
        """How many follow a session."""
        return len(self._bells)

    def bell(self, session_id: UUID) -> Bell:
        """Return a new bell of a session; it is forgotten when its holder lets go."""
        made = Bell(self, key(session_id, "inbox"))
        self._bells.add(made)
        return made

    def listen(self) -> None:
        """See to it that somebody listens."""
        if not self.closed and (self._listener is None or self._listener.done()):
            self._listener = asyncio.create_task(self._listen(), name="fntx-announcements")

    async def close(self) -> None:
        """End it; whoever waits gets an error."""
        self.closed = True
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        self._ring({bell.name for bell in self._bells})

    async def _listen(self) -> None:
        while names := {bell.name for bell in self._bells}:
            self._read = {name: at for name, at in self._read.items() if name in names}
            try:
                self._ring(await self._begin(names - self._read.keys()) or await self._heard())
            except (RedisError, OSError) as error:
                log.debug("inboxes out of reach: %s", error)
                self._read = {}  # what Redis holds when it is back may be another's copy
                await asyncio.sleep(_PAUSE_AFTER_ERROR_S)

    async def _begin(self, names: set[str]) -> set[str]:
        """Find the ends of inboxes that were not read yet."""
        listed = sorted(names)
        for start in range(0, len(listed), _BATCH):
            pipeline = self._redis.pipeline(transaction=False)
            for name in listed[start : start + _BATCH]:
                pipeline.xrevrange(name, count=1)
            for name, last in zip(listed[start:], await pipeline.execute(), strict=False):
                self._read[name] = last[0][0] if last else b"0-0"
        return names

    async def _heard(self) -> set[str]:
        """Return the inboxes that had something new within a moment."""
        streams: dict[Any, Any] = {**self._read}
        found: Any = await self._redis.xread(streams, count=_BATCH, block=_BLOCK_MS)
        heard = {name.decode(): entries[-1][0] for name, entries in found}
        self._read |= heard
        return set(heard)

    def _ring(self, names: set[str]) -> None:
        for bell in list(self._bells):
            if bell.name in names:
                bell.rung.set()
