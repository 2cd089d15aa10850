"""Reading answers: one task per caller polls Redis for all that is awaited, in batches, while anything is.

Nothing leans on notifications, which Redis may drop: a poll that starts quick and slows down costs little and misses
nothing.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import redis.asyncio
from redis.exceptions import RedisError

from fntx_sessions.caller.stored import Answer, answer_key, read_answer
from fntx_sessions.exceptions import StackError
from fntx_sessions.settings import Settings

# Not structlog: a service that holds a manager need not have set it up, and then it prints to stdout.
log = logging.getLogger(__name__)

_BATCH = 500
# (seconds since the newest question, pause before the next look)
_PACE_S = ((0.05, 0.002), (0.5, 0.01), (5.0, 0.05), (float("inf"), 0.25))
# Looking for hundreds of answers takes a millisecond or more: it must not take the processor from who answers.
_PAUSE_PER_WAITER_S = 100e-6
_PAUSE_AFTER_ERROR_S = 0.25
_AT_ONCE = 4


class Answers:
    """The answers one event loop waits for."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            url,
            socket_timeout=settings.redis_socket_timeout_s,
            socket_connect_timeout=settings.redis_connect_timeout_s,
            health_check_interval=settings.redis_health_check_interval_s,
        )
        self._waiting: dict[UUID, list[Expected]] = {}
        self._newest = 0.0
        # Each of them takes a connection while it lasts.
        self._few = asyncio.Semaphore(_AT_ONCE)
        self._poller: asyncio.Task[None] | None = None

    @property
    def redis(self) -> redis.asyncio.Redis:
        """The client they are read with."""
        return self._redis

    async def ping(self) -> None:
        """Return when Redis answers; raises redis-py's errors."""
        await self._redis.ping()

    @contextmanager
    def expect(self, task_id: UUID) -> "Iterator[Expected]":
        """Watch for the answer of a task inside the block; leaving it, however, ends the watch."""
        expected = Expected()
        self._waiting.setdefault(task_id, []).append(expected)
        self.quicken()
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(), name="fntx-answers")
        try:
            yield expected
        finally:
            self._waiting[task_id].remove(expected)
            if not self._waiting[task_id]:
                del self._waiting[task_id]

    def quicken(self) -> None:
        """Look often again: something was just sent."""
        self._newest = asyncio.get_running_loop().time()

    async def forget(self, task_id: UUID) -> None:
        """Delete a stored answer, so that the next one is seen; Redis away: it is not seen either, and not an error."""
        try:
            async with self._few:
                await self._redis.unlink(answer_key(task_id))
        except RedisError as error:
            log.debug("answer not forgotten: %s", error)

    async def behind(self, queue: str) -> bool:
        """Tell whether messages wait in a queue; Redis away: False."""
        try:
            async with self._few:
                return bool(await self._redis.exists(queue))
        except RedisError:
            return False

    async def close(self) -> None:
        """End the poll and close the connections; whoever still waits gets an error."""
        for expected in [one for waiting in self._waiting.values() for one in waiting]:
            expected.end()
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
        await self._redis.aclose()

    async def _poll(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._pause_s())
            try:
                for task_id, answer in (await self._read(list(self._waiting))).items():
                    for expected in self._waiting.get(task_id, ()):
                        expected.take(answer)
            except (RedisError, OSError) as error:
                log.debug("answers out of reach: %s", error)
                await asyncio.sleep(_PAUSE_AFTER_ERROR_S)

    def _pause_s(self) -> float:
        age = asyncio.get_running_loop().time() - self._newest
        pause = next(pause for limit, pause in _PACE_S if age < limit)
        return max(pause, _PAUSE_PER_WAITER_S * len(self._waiting))

    async def _read(self, task_ids: list[UUID]) -> dict[UUID, Answer]:
        found: dict[UUID, Answer] = {}
        for start in range(0, len(task_ids), _BATCH):
            batch = task_ids[start : start + _BATCH]
            stored = await self._redis.mget([answer_key(task_id) for task_id in batch])
            for task_id, data in zip(batch, stored, strict=True):
                answer = None if data is None else read_answer(data)
                if answer is not None:
                    found[task_id] = answer
        return found


class Expected:
    """One wait for the answer of one task."""

    def __init__(self) -> None:
        self._future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def take(self, answer: Answer) -> None:
        """Hand the answer to whoever waits; the first one stands until `again`."""
        if not self._future.done():
            self._future.set_result(answer)

    def again(self) -> None:
        """Wait for another answer."""
        if self._future.done():
            self._future = asyncio.get_running_loop().create_future()

    def end(self) -> None:
        """End the wait with an error: nobody looks for answers any more."""
        if not self._future.done():
            self._future.set_exception(shut_down())
            self._future.exception()  # whoever waits gets it; if nobody does any more, it is no news

    async def within(self, seconds: float) -> Answer | None:
        """Return the answer, or None when none came within `seconds`."""
        done, _ = await asyncio.wait([self._future], timeout=max(0.0, seconds))
        return self._future.result() if done else None


def shut_down() -> StackError:
    """Return the error for whoever asks, or still waits, after the end."""
    return StackError("this manager was shut down", "Initialize it again, or ask through another.")
