"""Bringing a session back: what a recovery would do, doing it, and answering for what it found."""

from typing import Unpack

from fntx_sessions.caller.manager import Asking, SessionId
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.managing.base import Sessions
from fntx_sessions.schemas import SessionRecoveryPlan, TradingSession


class Recovering(Sessions):
    """Commands and questions about recovery."""

    async def recover_session(
        self,
        session_id: SessionId,
        checkpoint_id: SessionId | None = None,
        reason: str = "",
        *,
        accept_identity: str | None = None,
        **asking: Unpack[Asking],
    ) -> TradingSession:
        """Put a session's memory back and return it, PAUSED; checkpoint_id None takes the newest state that holds.

        accept_identity: take what was made under this other identity too, its first 8 or more digits. Where memory,
        ledger and broker differ afterwards, `requires_action` says so and resuming needs `accept_differences`.
        """
        outcome = await self._on(
            "recover",
            session_id,
            asking,
            checkpoint_id=checkpoint_id,
            accept_identity=accept_identity,
            reason=reason,
        )
        return await self.get_session(outcome.session_id)

    async def create_recovery_plan(
        self, session_id: SessionId, checkpoint_id: SessionId | None = None, *, accept_identity: str | None = None
    ) -> SessionRecoveryPlan:
        """Return what a recovery would try, in its order, the first candidates proven; nothing is changed."""
        named = {"checkpoint_id": checkpoint_id, "accept_identity": accept_identity}
        return SessionRecoveryPlan.model_validate(await self._about("plan", session_id, **named))

    async def accept_differences(self, session_id: SessionId, reason: str, **asking: Unpack[Asking]) -> Outcome:
        """Answer for the differences a recovery found, so that the session may resume; needs a risk manager."""
        return await self._on("accept", session_id, asking, reason=reason)
