"""The client from an event loop: the same methods, each run on a thread, so that the loop is never blocked."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

if TYPE_CHECKING:
    from fntx_sessions.agent_client.client import AgentClient

P = ParamSpec("P")
R = TypeVar("R")


class AsyncAgent:
    """The client's methods, awaited. Waiting for events has a thread of its own, so that it holds up no report.

    Each thread does one thing after the other, in the order asked. A cancelled await ends the wait, not the work.
    """

    def __init__(self, client: "AgentClient") -> None:
        self._waiting = ThreadPoolExecutor(1, thread_name_prefix="fntx-events")
        self._telling = ThreadPoolExecutor(1, thread_name_prefix="fntx-agent")
        self._client = client
        self.events = _awaited(self._waiting, client.events)
        self.join = _awaited(self._telling, client.join)
        self.ready = _awaited(self._telling, client.ready)
        self.leave = _awaited(self._telling, client.leave)
        self.heartbeat = _awaited(self._telling, client.heartbeat)
        self.report = _awaited(self._telling, client.report)
        self.credentials = _awaited(self._telling, client.credentials)
        self.ask = _awaited(self._telling, client.ask)

    def ack(self, event: Any) -> None:
        """Acknowledge an event; it only notes it, so there is nothing to await."""
        self._client.ack(event)

    async def close(self) -> None:
        """Close the client and end the threads, once what they are at is done."""
        await _awaited(self._telling, self._client.close)()
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        for threads in (self._waiting, self._telling):
            threads.shutdown(cancel_futures=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _awaited(threads: ThreadPoolExecutor, method: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    async def run(*args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.get_running_loop().run_in_executor(threads, partial(method, *args, **kwargs))

    run.__doc__, run.__name__ = method.__doc__, getattr(method, "__name__", "run")
    return run
