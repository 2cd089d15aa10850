"""The line before a queue: so many messages of a manager are under way, the others wait for their turn.

A line that moves is no outage. Whoever waits in it, or was sent behind others that are being answered, is waited for
beyond its deadline where that is the manager's own; one that the caller named is kept.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Line:
    """Turns to be under way, and how the line moves."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.waiting = self.under_way = self.answered = 0
        self._turns = asyncio.Semaphore(room)
        self._moved_at = float("-inf")

    @asynccontextmanager
    async def turn(self, within_s: float, *, patient: bool) -> AsyncIterator[bool]:
        """Run a block as one of those under way; False: no turn came `within_s`, nor, if patient, any answer."""
        mine = await self._acquired(within_s, patient=patient)
        self.under_way += mine
        try:
            yield mine
        finally:
            if mine:
                self.under_way -= 1
                self._turns.release()

    def note_answer(self) -> None:
        """Note that a worker answered one of them."""
        self.answered += 1
        self._moved_at = asyncio.get_running_loop().time()

    def moved_within(self, seconds: float) -> bool:
        """Tell whether any was answered lately."""
        return asyncio.get_running_loop().time() - self._moved_at < seconds

    def locked(self) -> bool:
        """Tell whether the next one would have to wait."""
        return self._turns.locked()

    async def _acquired(self, within_s: float, *, patient: bool) -> bool:
        self.waiting += 1
        try:
            async with asyncio.timeout(None) as bound:
                watch = _Watch(self, bound, within_s, patient=patient)
                try:
                    return await self._turns.acquire()
                finally:
                    watch.handle.cancel()
        except TimeoutError:
            return False
        finally:
            self.waiting -= 1


class _Watch:
    """Ends a wait in a line; where it is patient, not while the line moves. Whoever waits keeps their place."""

    def __init__(self, line: Line, bound: asyncio.Timeout, within_s: float, *, patient: bool) -> None:
        self._line, self._bound, self._within_s, self._patient = line, bound, max(0.0, within_s), patient
        self._loop = asyncio.get_running_loop()
        self.handle = self._loop.call_later(self._within_s, self._look)

    def _look(self) -> None:
        if self._patient and self._line.moved_within(self._within_s):
            self.handle = self._loop.call_later(self._within_s, self._look)
        else:
            self._bound.reschedule(self._loop.time())
