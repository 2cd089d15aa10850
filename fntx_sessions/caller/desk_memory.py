"""DeskMemory: the desk's memory system for a service that holds a manager; an MCPManager that asks by tasks."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from fntx_sessions.caller.ids import as_id
from fntx_sessions.caller.manager import Manager
from fntx_sessions.memory.slices import MemoryImportance, MemorySlice, MemoryType, SharedContext, StoredMemory
from fntx_sessions.parsing import parse


class DeskMemory(Manager):
    """Remembers at the desk, wherever that keeps it; nothing blocks the loop, and what is sent again is kept once.

    Raises InvalidArgument, NotFound, Forbidden, Shredded; OutcomeUnknown and Unavailable as every manager does.
    """

    async def store_memory(
        self, agent: str, memory: MemorySlice | Mapping[str, Any], *, memory_id: UUID | str | None = None
    ) -> UUID:
        """Keep a slice for `agent` and return its id. memory_id: your own, under which it is kept once."""
        slice_ = memory if isinstance(memory, MemorySlice) else parse(MemorySlice, dict(memory))
        arguments = {"agent": agent, **slice_.model_dump(mode="json", exclude_none=True)}
        command_id = uuid4() if memory_id is None else as_id(memory_id, "memory_id")
        stored = await self._asked().ask("fntx.memory.store", arguments, command_id=command_id)
        return UUID(stored["memory_id"])

    async def share_context(
        self,
        sender: str,
        recipients: Sequence[str],
        context: Mapping[str, Any],
        *,
        session_id: UUID | str | None = None,
    ) -> None:
        """Tell `recipients` what `sender` knows. session_id: needed by a token that is good for one session alone."""
        arguments = {
            "sender": sender,
            "recipients": list(recipients),
            "context": dict(context),
            "session_id": session_id,
        }
        await self._asked().ask("fntx.memory.share", arguments, command_id=uuid4())

    async def search_memories(
        self,
        query: str,
        *,
        agent: str | None = None,
        memory_type: MemoryType | str | None = None,
        session_id: UUID | str | None = None,
        limit: int = 20,
        **filters: Any,
    ) -> list[StoredMemory]:
        """Return the slices that hold the words, the best first; `"a phrase"`, OR and -not as in a web search.

        filters: importance (at least), tag, since, until.
        """
        asked = {"query": query, "agent": agent, "memory_type": memory_type, "session_id": session_id, "limit": limit}
        return _slices(await self._query("fntx.memory.search", asked | filters))

    async def get_agent_memories(
        self,
        agent: str | None,
        *,
        memory_type: MemoryType | str | None = None,
        importance: MemoryImportance | str | None = None,
        since: datetime | None = None,
        limit: int = 100,
        **filters: Any,
    ) -> list[StoredMemory]:
        """Return an agent's slices, newest first; None: everybody's. filters: session_id, tag, until."""
        asked = {
            "agent": agent,
            "memory_type": memory_type,
            "importance": importance,
            "since": since,
            "limit": limit,
        }
        return _slices(await self._query("fntx.memory.list", asked | filters))

    async def get_context(
        self, agent: str, *, after: str | None = None, session_id: UUID | str | None = None, limit: int = 100
    ) -> list[SharedContext]:
        """Return what an agent was told after the entry `after`, oldest first; None: the newest `limit`."""
        asked = {"agent": agent, "after": after, "session_id": session_id, "limit": limit}
        return [SharedContext.model_validate(one) for one in await self._query("fntx.memory.context", asked)]


def _slices(found: Sequence[Any]) -> list[StoredMemory]:
    return [StoredMemory.model_validate(one) for one in found]
