"""Calling a memory system of another package: on a loop in a thread of its own, and never for longer than allowed.

What hangs without giving the loop back cannot be ended: its thread is left alone, a new one takes the next call, and
after a few of them the system is left alone too, until one has come back.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import TimeoutError as Late
from typing import Any, TypeVar

from fntx_sessions.exceptions import Unavailable

T = TypeVar("T")
_LOST_MAX = 3
_GRACE_S = 0.5
FIX = "Commands go on without it, and what it should remember waits. See that it runs; `fntx doctor` says since when."


class Caller:
    """The loop of this process that memory systems are called on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lost: list[threading.Thread] = []

    def call(self, name: str, make: Callable[[], Coroutine[Any, Any, T]], timeout_s: float) -> T:
        """Return what a coroutine returns; raises what it raises, and Unavailable when `timeout_s` is over."""

        async def bounded() -> T:
            async with asyncio.timeout(timeout_s):
                return await make()

        loop = self._running(name)
        waiting = asyncio.run_coroutine_threadsafe(bounded(), loop)
        try:
            return waiting.result(timeout_s + _GRACE_S)
        except (TimeoutError, Late):
            if not waiting.done():
                waiting.cancel()
                self._lose(loop)
            raise Unavailable(what(name), f"no answer within {timeout_s:g} s", FIX) from None

    def close(self) -> None:
        """End the thread, if it can be ended; another call begins a new one."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=_GRACE_S)

    def _running(self, name: str) -> asyncio.AbstractEventLoop:
        with self._lock:
            self._lost = [thread for thread in self._lost if thread.is_alive()]
            if len(self._lost) >= _LOST_MAX:
                raise Unavailable(what(name), f"{len(self._lost)} calls hang in it", FIX)
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name="fntx-memory", daemon=True)
                self._thread.start()
            return self._loop

    def _lose(self, loop: asyncio.AbstractEventLoop) -> None:
        """Leave a loop alone that does not come back; should it do so after all, its thread ends."""
        with self._lock:
            if self._loop is loop and self._thread is not None:
                self._lost.append(self._thread)
                self._loop = self._thread = None
        loop.call_soon_threadsafe(loop.stop)


def what(name: str) -> str:
    """Return how a memory system is called in sentences."""
    return f"the memory system {name!r}"


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    finally:
        loop.close()


caller = Caller()
# A thread does not come along into a forked child.
os.register_at_fork(after_in_child=caller.__init__)  # type: ignore[misc]
