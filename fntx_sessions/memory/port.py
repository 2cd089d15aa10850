"""The MCP memory port: what a memory system has to offer to be handed to a manager."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class MCPManager(Protocol):
    """A memory system: slices kept for an agent, and context shared between agents."""

    async def store_memory(self, agent: str, memory: Any) -> Any:
        """Keep a memory slice for `agent`."""
        ...

    async def share_context(self, sender: str, recipients: Sequence[str], context: Mapping[str, Any]) -> Any:
        """Tell `recipients` what `sender` knows."""
        ...
