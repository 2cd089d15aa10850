"""SessionStateManager: the desk other services ask at about the state a session has kept."""

from uuid import UUID

from fntx_sessions.caller.manager import Manager, as_id
from fntx_sessions.schemas import SessionCheckpoint


class SessionStateManager(Manager):
    """Asks about checkpoints without blocking the loop; raises as `SessionLifecycleManager` does."""

    async def list_checkpoints(self, session_id: UUID | str, limit: int = 10) -> list[SessionCheckpoint]:
        """Return the last `limit` checkpoints, newest first, without their states."""
        found = await self._query("fntx.sessions.checkpoints", {"session_id": as_id(session_id), "limit": limit})
        return [SessionCheckpoint.model_validate(one) for one in found]
