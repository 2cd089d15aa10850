"""What tasks ask of memory. Nothing here waits for a memory system that is down.

What is to be kept or told is kept at once: in the shipped system, or in Postgres for the sweep to hand over. A question
to a system of another package is short, and refused while that is known to be down.
"""

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

import redis
from sqlalchemy import Engine

from fntx_sessions.memory.arguments import (
    ContextArguments,
    ListArguments,
    SearchArguments,
    ShareArguments,
    StoreArguments,
)
from fntx_sessions.memory.breaker import asked
from fntx_sessions.memory.context import Told, share
from fntx_sessions.memory.slices import MemorySlice, MemoryType, SharedContext, StoredMemory
from fntx_sessions.memory.store import Kept, checked, store
from fntx_sessions.memory.systems import OWN, Memory, memory_of
from fntx_sessions.memory.waiting import leave
from fntx_sessions.settings import Settings

T = TypeVar("T")


class Asked:
    """A desk's memory, as its tasks ask it."""

    def __init__(self, engine: Engine, client: redis.Redis, settings: Settings) -> None:
        self._engine, self._redis, self._settings = engine, client, settings

    def store(self, arguments: StoreArguments, memory_id: UUID) -> UUID:
        """Keep a slice under its id; raises as `store.store`."""
        agent, memory = arguments.agent, arguments.slice()
        if self._settings.memory != OWN:
            return self._left(agent, memory, memory_id)
        with asked(self._redis, self._settings):
            return store(self._engine, self._settings, agent, memory, memory_id)

    def share(self, arguments: ShareArguments, about: UUID) -> None:
        """Tell agents something; `about` names it. Raises InvalidArgument (too large) and Unavailable."""
        checked(arguments.context, self._settings, "context")
        recipients = list(dict.fromkeys(arguments.recipients))
        if self._settings.memory == OWN:
            share(self._redis, self._settings, [Told(arguments.sender, recipients, arguments.context, str(about))])
            return
        context = MemorySlice(MemoryType.CONTEXT, arguments.context, session_id=arguments.session_id)
        self._left(arguments.sender, context, about, recipients)

    def search(self, arguments: SearchArguments) -> list[StoredMemory]:
        """Return the slices that answer, the best first."""
        return self._ask(lambda memory: memory.search(arguments))

    def listed(self, arguments: ListArguments) -> list[StoredMemory]:
        """Return slices, newest first."""
        return self._ask(lambda memory: memory.listed(arguments))

    def context(self, arguments: ContextArguments) -> list[SharedContext]:
        """Return what an agent was told, oldest first."""
        return memory_of(self._engine, self._redis, self._settings).context(arguments)

    def _ask(self, ask: Callable[[Memory], T]) -> T:
        with asked(self._redis, self._settings):
            return ask(memory_of(self._engine, self._redis, self._settings))

    def _left(self, agent: str, memory: MemorySlice, memory_id: UUID, recipients: list[str] | None = None) -> UUID:
        keep_s = self._settings.memory_keep_s
        kept = Kept(memory_id, agent, memory, keep_s, waits=True, recipients=recipients)
        return leave(self._engine, self._settings, kept)
