"""SessionLifecycleManager: the desk other services ask at, from their own event loop."""

import asyncio
from typing import Any, Unpack
from uuid import UUID

from fntx_sessions.caller.fresh import FreshSessions
from fntx_sessions.caller.manager import Asking, Manager, as_id
from fntx_sessions.exceptions import OutcomeUnknown, PreconditionFailed, VersionConflict
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.reads.records import TradeRecord
from fntx_sessions.memory.port import MCPManager
from fntx_sessions.schemas import (
    Hold,
    SessionEvent,
    SessionMetrics,
    SessionRecoveryPlan,
    SessionStatus,
    SessionTemplate,
    SessionTransition,
    SessionType,
    TradingSession,
)
from fntx_sessions.settings import Settings
from fntx_sessions.state_manager import SessionStateManager

SessionId = UUID | str
_CLOSED_PAUSE_S = 0.25


class SessionLifecycleManager(Manager):
    """Asks for lifecycle commands and awaits their outcomes without blocking the loop.

    Every command is sent again under its own id until its outcome is known or its deadline has passed; asking often
    acts once. All methods raise the error of a refusal (`Rejected`), OutcomeUnknown when the deadline passed, and
    Unavailable when nothing was sent. Sessions handed out stay fresh: their `status`, `version` and `epoch` follow
    whatever this manager learns. One manager serves one event loop; several may live in one process.
    """

    def __init__(
        self,
        mcp_manager: MCPManager | None = None,
        state_manager: SessionStateManager | None = None,
        *,
        settings: Settings | None = None,
        token: str | None = None,
    ) -> None:
        """Take what is at hand; everything is optional. settings: those of the process; token: FNTX_TOKEN's."""
        super().__init__(settings, token)
        self.mcp_manager = mcp_manager
        self.state_manager = state_manager
        self._sessions = FreshSessions()

    async def initialize(self) -> None:
        """Connect, the state manager it was given too; raises Unavailable when Redis is out of reach."""
        await super().initialize()
        if self.state_manager is not None:
            await self.state_manager.initialize()

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
            "session_id": session_id,
            "reason": reason,
        }
        return await self._created("create", arguments, asking)

    async def create_session_from_template(
        self, template_name: str, overrides: dict[str, Any] | None = None, *, reason: str = "", **asking: Unpack[Asking]
    ) -> TradingSession:
        """Create a session from a template; overrides are flat (``{"position_limit": 5}``) or by section."""
        arguments = {"template_name": template_name, "overrides": overrides, "reason": reason}
        return await self._created("create_from_template", arguments, asking)

    async def start_session(self, session_id: SessionId, reason: str = "", **asking: Unpack[Asking]) -> Outcome:
        """Begin trading; returns when the session is ACTIVE.

        What the holder of the session edited since it was created (`config`, `risk_parameters`, strategies) takes
        effect with the start. Raises InvalidArgument naming an edit that is not possible, VersionConflict when what
        was edited has been changed elsewhere meanwhile, and PreconditionFailed when agents were not ready in time.
        """
        session_id = as_id(session_id)
        edits = self._sessions.edits(session_id)
        if edits and self._sessions.behind(session_id):
            await self.get_session(session_id)
            edits = self._sessions.edits(session_id)
        try:
            outcome = await self._command("start", {"session_id": session_id, "reason": reason, **edits}, asking)
        except VersionConflict:
            self._sessions.drop_edits(session_id)
            raise
        if edits:
            self._sessions.drop_edits(session_id)
            await self.get_session(session_id)
        return outcome

    async def pause_session(self, session_id: SessionId, reason: str = "", **asking: Unpack[Asking]) -> Outcome:
        """Halt trading: reduce-only from now on. ``outcome.extra["in_flight"]`` lists the orders not yet settled."""
        return await self._command("pause", {"session_id": as_id(session_id), "reason": reason}, asking)

    async def resume_session(
        self, session_id: SessionId, reason: str = "", *, hold: Hold | None = None, **asking: Unpack[Asking]
    ) -> Outcome:
        """Trade again. hold: lift only this hold, as a rule does; None lifts what a person may lift."""
        return await self._command("resume", {"session_id": as_id(session_id), "reason": reason, "hold": hold}, asking)

    async def suspend_session(self, session_id: SessionId, reason: str = "", **asking: Unpack[Asking]) -> Outcome:
        """Stop a session for a system fault; it leaves only by recovery or a stop."""
        return await self._command("suspend", {"session_id": as_id(session_id), "reason": reason}, asking)

    async def stop_session(
        self,
        session_id: SessionId,
        reason: str = "",
        *,
        close_positions: bool | None = None,
        leave_positions_with: str | None = None,
        stop_deadline_s: float | None = None,
        wait_closed: bool = False,
        **asking: Unpack[Asking],
    ) -> Outcome:
        """Begin to close; returns at CLOSING, or with `wait_closed` when the session is CLOSED.

        close_positions None takes the session's own `close_positions_on_stop`. With `wait_closed` the deadline counts
        for both; raises OutcomeUnknown when it passes while the session is still closing, which it goes on to do.
        """
        arguments = {
            "session_id": as_id(session_id),
            "reason": reason,
            "close_positions": close_positions,
            "leave_positions_with": leave_positions_with,
            "stop_deadline_s": stop_deadline_s,
        }
        began = asyncio.get_running_loop().time()
        outcome = await self._command("stop", arguments, asking)
        if wait_closed:
            deadline_s = asking.get("deadline_s") or self._settings.command_deadline_s
            await self._closed(outcome, began, deadline_s)
        return outcome

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
        arguments = {
            "session_id": as_id(session_id),
            "checkpoint_id": checkpoint_id,
            "accept_identity": accept_identity,
            "reason": reason,
        }
        await self._command("recover", arguments, asking)
        return await self.get_session(session_id)

    async def create_recovery_plan(
        self, session_id: SessionId, checkpoint_id: SessionId | None = None, *, accept_identity: str | None = None
    ) -> SessionRecoveryPlan:
        """Return what a recovery would try, in its order, the first candidates proven; nothing is changed."""
        arguments = {
            "session_id": as_id(session_id),
            "checkpoint_id": checkpoint_id,
            "accept_identity": accept_identity,
        }
        return SessionRecoveryPlan.model_validate(await self._query("fntx.sessions.plan", arguments))

    async def accept_differences(self, session_id: SessionId, reason: str, **asking: Unpack[Asking]) -> Outcome:
        """Answer for the differences a recovery found, so that the session may resume; needs a risk manager."""
        return await self._command("accept", {"session_id": as_id(session_id), "reason": reason}, asking)

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
            "session_id": as_id(session_id),
            "checkpoint_id": None if checkpoint_id is None else as_id(checkpoint_id, "checkpoint_id"),
            "account": account,
            "session_type": session_type,
            "reason": reason,
        }
        return await self._created("fork", arguments, asking)

    async def update_session(
        self,
        session_id: SessionId,
        *,
        config: dict[str, Any] | None = None,
        risk_parameters: dict[str, Any] | None = None,
        enabled_strategies: list[str] | None = None,
        strategy_parameters: dict[str, Any] | None = None,
        reason: str = "",
        **asking: Unpack[Asking],
    ) -> Outcome:
        """Change the keys that are named, now; raising a limit of a started session needs a risk manager."""
        arguments = {
            "session_id": as_id(session_id),
            "config": config,
            "risk_parameters": risk_parameters,
            "enabled_strategies": enabled_strategies,
            "strategy_parameters": strategy_parameters,
            "reason": reason,
        }
        outcome = await self._command("update", arguments, asking)
        if self._sessions.behind(outcome.session_id):
            await self.get_session(outcome.session_id)
        return outcome

    async def update_risk_parameters(
        self, session_id: SessionId, risk_parameters: dict[str, Any], reason: str = "", **asking: Unpack[Asking]
    ) -> Outcome:
        """Change the risk parameters that are named, now."""
        return await self.update_session(session_id, risk_parameters=risk_parameters, reason=reason, **asking)

    async def get_session(self, session_id: SessionId) -> TradingSession:
        """Return a session whole, fresh; the same object for as long as somebody holds it."""
        found = await self._query("fntx.sessions.get", {"session_id": as_id(session_id)})
        return self._sessions.take_in(TradingSession.model_validate(found))

    async def list_sessions(self, **filters: Any) -> list[TradingSession]:
        """Return the sessions that pass all filters, newest first, without states, events and checkpoints.

        filters: status (one or a list), session_type, template_name, account_id, tag, parent_session_id,
        include_children (False), limit (100), order (``newest`` or ``oldest``).
        """
        if isinstance(filters.get("status"), str):
            filters["status"] = [filters["status"]]
        found = await self._query("fntx.sessions.list", filters)
        return [self._sessions.take_in(TradingSession.model_validate(one), whole=False) for one in found]

    async def get_session_metrics(self, session_id: SessionId) -> SessionMetrics:
        """Return the measures of a session's run; its status is learned on the way."""
        found = await self._query("fntx.sessions.metrics", {"session_id": as_id(session_id)})
        self._learn(found["session"])
        return SessionMetrics.model_validate(found["metrics"])

    async def get_session_events(self, session_id: SessionId, limit: int = 100) -> list[SessionEvent]:
        """Return the last events, oldest first."""
        found = await self._query("fntx.sessions.events", {"session_id": as_id(session_id), "limit": limit})
        return [SessionEvent.model_validate(one) for one in found]

    async def get_session_transitions(self, session_id: SessionId, limit: int = 100) -> list[SessionTransition]:
        """Return the last transitions, oldest first."""
        found = await self._query("fntx.sessions.transitions", {"session_id": as_id(session_id), "limit": limit})
        return [SessionTransition.model_validate(one) for one in found]

    async def get_session_trades(self, session_id: SessionId, limit: int = 100) -> list[TradeRecord]:
        """Return the last trades, flat to flat, oldest first; open ones have no outcome yet."""
        found = await self._query("fntx.sessions.trades", {"session_id": as_id(session_id), "limit": limit})
        return [TradeRecord.model_validate(one) for one in found]

    async def get_outcome(self, command_id: SessionId) -> Outcome:
        """Return what became of a command, pending and refused included; raises NotFound when it never happened."""
        found = await self._query("fntx.sessions.outcome", {"command_id": as_id(command_id, "command_id")})
        outcome = Outcome.from_dict(found, repeated=True)
        self._sessions.learn_outcome(outcome)
        return outcome

    async def list_templates(self) -> list[SessionTemplate]:
        """Return the templates by name."""
        return [SessionTemplate.model_validate(one) for one in await self._query("fntx.templates.list", {})]

    async def _created(self, verb: str, arguments: dict[str, Any], asking: Asking) -> TradingSession:
        outcome = await self._command(verb, arguments, asking)
        return await self.get_session(outcome.session_id)

    async def _command(self, verb: str, arguments: dict[str, Any], asking: Asking) -> Outcome:
        outcome = await self._outcome(verb, arguments, asking)
        self._sessions.learn_outcome(outcome)
        return outcome.raise_for_refusal()

    def _learn(self, seen: dict[str, Any]) -> SessionStatus:
        status = SessionStatus(seen["status"])
        self._sessions.learn(UUID(seen["session_id"]), status, seen["version"], seen["epoch"])
        return status

    async def _status(self, session_id: UUID) -> SessionStatus:
        found = await self._query("fntx.sessions.metrics", {"session_id": session_id})
        return self._learn(found["session"])

    async def _closed(self, stopped: Outcome, began: float, deadline_s: float) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            status = await self._status(stopped.session_id)
            if status is SessionStatus.CLOSED:
                return
            if status is not SessionStatus.CLOSING:
                raise PreconditionFailed(
                    str(stopped.session_id), "stop_session", "the session goes on closing", f"it is {status}",
                    "See `fntx events ID`, then stop it again.",
                )  # fmt: skip
            if clock() - began >= deadline_s:
                raise OutcomeUnknown(str(stopped.command_id), "stop_session", deadline_s)
            await asyncio.sleep(_CLOSED_PAUSE_S)
