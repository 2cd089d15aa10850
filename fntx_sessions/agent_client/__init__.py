"""What an agent in another service holds: it joins a session, reads its events, beats its heart and reports."""

from fntx_sessions.agent_client.client import AgentClient
from fntx_sessions.agent_client.joined import AgentEvent, Joined, Limits

__all__ = ["AgentClient", "AgentEvent", "Joined", "Limits"]
