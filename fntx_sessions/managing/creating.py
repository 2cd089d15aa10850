"""Making sessions: of a type, from a template, out of another one."""

from typing import Any, Unpack

from fntx_sessions.caller.ids import as_id
from fntx_sessions.caller.manager import Asking, SessionId
from fntx_sessions.managing.base import Sessions
from fntx_sessions.schemas import SessionType, TradingSession


class Creating(Sessions):
    """Commands that begin a session."""

    async def create_session(
        self,
        session_type: SessionType | str,
        config: dict[str, Any] | None = None,
        *,
        risk_parameters: dict[str, Any] | None = None,
        enabled_strategies: list[str] | None = None,
        strategy_parameters: dict[str, Any] | None = None,
        parent_session_id: SessionId | None = None,
        session_id: SessionId | None = None,
        reason: str = "",
        **asking: Unpack[Asking],
    ) -> TradingSession:
        """Create a session of a type; what is given is laid over the defaults of that type's own template."""
        arguments = {
            "session_type": session_type,
            "config": config,
            "risk_parameters": risk_parameters,
            "enabled_strategies": enabled_strategies,
            "strategy_parameters": strategy_parameters,
            "parent_session_id": parent_session_id,
            "session_id": None if session_id is None else as_id(session_id),
            "reason": reason,
        }
        return await self._created("fntx.sessions.create", arguments, asking)

    async def create_session_from_template(
        self, template_name: str, overrides: dict[str, Any] | None = None, *, reason: str = "", **asking: Unpack[Asking]
    ) -> TradingSession:
        """Create a session from a template; overrides are flat (``{"position_limit": 5}``) or by section."""
        arguments = {"template_name": template_name, "overrides": overrides, "reason": reason}
        return await self._created("fntx.sessions.create_from_template", arguments, asking)

    async def fork_session(
        self,
        session_id: SessionId,
        checkpoint_id: SessionId | None = None,
        *,
        account: str | None = None,
        session_type: SessionType | str | None = None,
        reason: str = "",
        **asking: Unpack[Asking],
    ) -> TradingSession:
        """Create a session with another one's settings and memory, of a checkpoint or of this moment (None).

        Paper, on an account of its own, unless named: a type that may trade live takes a risk manager. Orders,
        positions and P&L are not copied; a fork on its parent's account shares the account's loss used.
        """
        arguments = {
            "session_id": await self._id(session_id),
            "checkpoint_id": None if checkpoint_id is None else as_id(checkpoint_id, "checkpoint_id"),
            "account": account,
            "session_type": session_type,
            "reason": reason,
        }
        return await self._created("fntx.sessions.fork", arguments, asking)

    async def _created(self, task: str, arguments: dict[str, Any], asking: Asking) -> TradingSession:
        outcome = await self._command(task, arguments, asking)
        return await self.get_session(outcome.session_id)
