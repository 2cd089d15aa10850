"""The MCP memory port: what a memory system has to offer to be handed to a manager, or to serve a desk."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable
from uuid import UUID

from fntx_sessions.memory.slices import MemoryImportance, MemorySlice, MemoryType


@runtime_checkable
class MCPManager(Protocol):
    """A memory system: slices kept for an agent, and context shared between agents. What fails raises."""

    async def store_memory(self, agent: str, memory: MemorySlice) -> Any:
        """Keep a slice for `agent`; returns its id."""
        ...

    async def share_context(self, sender: str, recipients: Sequence[str], context: Mapping[str, Any]) -> Any:
        """Tell `recipients` what `sender` knows."""
        ...

    async def search_memories(
        self,
        query: str,
        *,
        agent: str | None = None,
        memory_type: MemoryType | str | None = None,
        session_id: UUID | str | None = None,
        limit: int = 20,
    ) -> Any:
        """Return the slices that answer `query`, the best first."""
        ...

    async def get_agent_memories(
        self,
        agent: str,
        *,
        memory_type: MemoryType | str | None = None,
        importance: MemoryImportance | str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> Any:
        """Return an agent's slices, newest first. importance: those that matter at least so much."""
        ...
