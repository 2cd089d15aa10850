"""Reading the events of one session, from what was acknowledged on."""

import threading
import time
from typing import Any

import redis

from fntx_sessions.agent_client.joined import AgentEvent
from fntx_sessions.exceptions import FellBehind
from fntx_sessions.state.redis_client import redis_errors

BEGINNING = "0-0"


class Inbox:
    """One session's stream of events. wait_s: longest time one read may hold its connection; closed: ends all waits."""

    def __init__(
        self, client: redis.Redis, key: str, who: tuple[str, str], wait_s: float, closed: threading.Event
    ) -> None:
        self._redis = client
        self._key = key
        self._who = who
        self._wait_s = wait_s
        self._closed = closed

    def after(self, position: str, block_s: float, limit: int, *, lossy: bool = False) -> list[AgentEvent]:
        """Return up to `limit` events after an id, oldest first; waits up to `block_s` for the first one.

        lossy: who asks knows that some are gone. Raises FellBehind where entries after it may have been let go of
        unread, and Unavailable.
        """
        ends = time.monotonic() + block_s
        while True:
            with redis_errors():
                entries = self._read(position, limit, lossy=lossy)
                left_s = ends - time.monotonic()
                if entries or left_s <= 0 or self._closed.is_set():
                    return [AgentEvent.of(*entry) for entry in entries]
                # Only to be woken up: what there is to read is read again, in one moment with the oldest entry.
                wait_ms = max(1, int(min(left_s, self._wait_s) * 1000))
                self._redis.xread({self._key: position}, count=1, block=wait_ms)

    def _read(self, position: str, limit: int, *, lossy: bool) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.xrange(self._key, count=1)
        pipeline.xrange(self._key, min=f"({position}", count=limit)
        first, entries = pipeline.execute()
        if not lossy and first and order(position) < order(first[0][0].decode()) and self._has_lost(position):
            raise FellBehind(*self._who, position, first[0][0].decode())
        return list(entries)

    def _has_lost(self, position: str) -> bool:
        """Tell whether entries may have gone unread. Read from the beginning, it takes that anything ever went."""
        if position != BEGINNING:
            return True
        info = self._redis.xinfo_stream(self._key)
        return bool(info.get("entries-added", 0) > info["length"])


def order(entry_id: str) -> tuple[int, int]:
    """Return what puts ids of entries in order."""
    major, _, minor = entry_id.partition("-")
    return int(major), int(minor or 0)
