"""The tasks, as a worker's app, with a memory system of another package that never answers."""

import asyncio
from typing import Any

from fntx_sessions.memory import systems
from tasks.celery import app

__all__ = ["app"]


class _Hanging:
    async def store_memory(self, *_: Any) -> None:
        await asyncio.Event().wait()

    share_context = search_memories = get_agent_memories = store_memory


systems.load = lambda _: _Hanging()
