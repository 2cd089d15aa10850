"""SessionLifecycleManager: the desk other services ask at, from their own event loop."""

from typing import Any
from uuid import UUID

from fntx_sessions.caller.desk_memory import DeskMemory
from fntx_sessions.caller.manager import Asking
from fntx_sessions.caller.telling import Telling
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.managing.approving import Approving
from fntx_sessions.managing.confirming import Confirming
from fntx_sessions.managing.creating import Creating
from fntx_sessions.managing.events import Events
from fntx_sessions.managing.following import Following
from fntx_sessions.managing.markets import Markets
from fntx_sessions.managing.ordering import Ordering
from fntx_sessions.managing.reading import Reading
from fntx_sessions.managing.recovering import Recovering
from fntx_sessions.managing.running import Running
from fntx_sessions.managing.templates import Templates
from fntx_sessions.memory.port import MCPManager
from fntx_sessions.schemas import SessionTransition
from fntx_sessions.settings import Settings
from fntx_sessions.state_manager import SessionStateManager

# As many as one question may ask for: what was not told for longer than that is the desk's own memory's to know.
_MOVES = 1000


class SessionLifecycleManager(
    Creating, Running, Recovering, Reading, Following, Events, Templates, Approving, Confirming, Ordering, Markets
):
    """Asks for lifecycle commands and awaits their outcomes without blocking the loop.

    Every command is sent again under its own id until its outcome is known or its deadline has passed; asking often
    acts once. All methods raise the error of a refusal (`Rejected`), OutcomeUnknown when the deadline passed, and
    Unavailable when nothing was sent. Sessions handed out stay fresh: their `status`, `version` and `epoch` follow
    whatever this manager learns. A session's id may be given by its first characters, 4 or more, where they fit one
    session alone. One manager serves one event loop; several may live in one process.
    """

    def __init__(
        self,
        mcp_manager: MCPManager | None = None,
        state_manager: SessionStateManager | None = None,
        *,
        settings: Settings | None = None,
        token: str | None = None,
    ) -> None:
        """Take what is at hand; everything is optional. settings: those of the process; token: FNTX_TOKEN's.

        mcp_manager: a memory system of the caller's own, which remembers what this manager's commands change. The
        desk's own (`DeskMemory`) does so by itself. Whoever made a manager that is given here shuts it down.
        """
        super().__init__(settings, token)
        self.mcp_manager = mcp_manager
        self.state_manager = state_manager
        # What the desk remembers by itself need not be told to it again.
        self._telling: Telling | None = None
        if mcp_manager is not None and not isinstance(mcp_manager, DeskMemory):
            self._telling = Telling(mcp_manager, self._moves, self._settings.memory_timeout_s)

    async def initialize(self) -> None:
        """Connect, and the managers it was given too; raises Unavailable when Redis is out of reach."""
        await super().initialize()
        for manager in (self.state_manager, self.mcp_manager):
            if isinstance(manager, SessionStateManager | DeskMemory):
                await manager.initialize()

    async def shutdown(self) -> None:
        """End every wait and close the connections; what is being remembered gets a moment to be so."""
        if self._telling is not None:
            await self._telling.close()
        await super().shutdown()

    async def _command(self, task: str, arguments: dict[str, Any], asking: Asking) -> Outcome:
        outcome = await super()._command(task, arguments, asking)
        if self._telling is not None:
            self._telling.note(outcome)
        return outcome

    async def _moves(self, session_id: UUID) -> tuple[list[str], list[SessionTransition]]:
        """Return a session's roster and its last transitions."""
        session = await self.get_session(session_id)
        return session.roster, await self.get_session_transitions(session_id, limit=_MOVES)
