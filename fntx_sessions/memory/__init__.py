"""What agents remember beyond a session: a port to the MCP memory system."""

from fntx_sessions.memory.port import MCPManager

__all__ = ["MCPManager"]
