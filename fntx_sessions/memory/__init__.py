"""What agents remember beyond a session: a port to the MCP memory system, and one that is shipped."""

from fntx_sessions.memory.port import MCPManager
from fntx_sessions.memory.slices import MemoryImportance, MemorySlice, MemoryType, SharedContext, StoredMemory

__all__ = ["MCPManager", "MemoryImportance", "MemorySlice", "MemoryType", "SharedContext", "StoredMemory"]
