"""Approvals: openings of agents that a person lets through, or not."""

from collections.abc import Iterable
from typing import Unpack

from fntx_sessions.caller.ids import as_id
from fntx_sessions.caller.manager import Asking, SessionId
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.reads.approvals import ApprovalRecord
from fntx_sessions.managing.base import Sessions


class Approving(Sessions):
    """Questions and commands about approvals."""

    async def list_approvals(
        self, session_id: SessionId | None = None, states: str | Iterable[str] | None = None, limit: int = 100
    ) -> list[ApprovalRecord]:
        """Return approvals with their reasons, risk and how far the price moved since; of all sessions for None.

        states: waiting, approved, rejected, expired, stale, executed, refused, withdrawn; None: those that wait or
        may be carried out.
        """
        asked = [states] if isinstance(states, str) else states
        arguments = {
            "session_id": None if session_id is None else await self._id(session_id),
            "states": None if asked is None else list(asked),
            "limit": limit,
        }
        found = await self._query("fntx.approvals.list", arguments)
        return [ApprovalRecord.model_validate(one) for one in found]

    async def approve(self, approval_id: SessionId, reason: str = "", **asking: Unpack[Asking]) -> Outcome:
        """Let an order through, once; raises PreconditionFailed when it was decided, is over, or its price moved."""
        return await self._decide("approve", approval_id, reason, asking)

    async def reject(self, approval_id: SessionId, reason: str = "", **asking: Unpack[Asking]) -> Outcome:
        """Let an order not through; raises PreconditionFailed when it was decided or is over."""
        return await self._decide("reject", approval_id, reason, asking)

    async def _decide(self, verb: str, approval_id: SessionId, reason: str, asking: Asking) -> Outcome:
        arguments = {"approval_id": as_id(approval_id, "approval_id"), "reason": reason}
        return await self._command(f"fntx.approvals.{verb}", arguments, asking)
