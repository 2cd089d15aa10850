"""The life of a session that is there: start, pause, resume, suspend, stop, update."""

import asyncio
from dataclasses import replace
from typing import Any, Unpack
from uuid import UUID

from fntx_sessions.caller.manager import Asking, SessionId
from fntx_sessions.exceptions import OutcomeUnknown, PreconditionFailed, VersionConflict
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.managing.base import Sessions
from fntx_sessions.schemas import Hold, SessionStatus

_CLOSED_PAUSE_S = 0.25


class Running(Sessions):
    """Commands on one session."""

    async def start_session(self, session_id: SessionId, reason: str = "", **asking: Unpack[Asking]) -> Outcome:
        """Begin trading; returns when the session is ACTIVE.

        What the holder of the session edited since it was created (`config`, `risk_parameters`, strategies) takes
        effect with the start. Raises InvalidArgument naming an edit that is not possible, VersionConflict when what
        was edited has been changed elsewhere meanwhile, and PreconditionFailed when agents were not ready in time.
        """
        known_id = await self._id(session_id)
        edits = self._sessions.edits(known_id)
        if edits and self._sessions.behind(known_id):
            await self.get_session(known_id)
            edits = self._sessions.edits(known_id)
        try:
            outcome = await self._on("start", known_id, asking, reason=reason, **edits)
        except VersionConflict:
            self._sessions.drop_edits(known_id)
            raise
        if edits:
            self._sessions.drop_edits(known_id)
            await self.get_session(known_id)
        return outcome

    async def pause_session(self, session_id: SessionId, reason: str = "", **asking: Unpack[Asking]) -> Outcome:
        """Halt trading: reduce-only from now on. ``outcome.extra["in_flight"]`` lists the orders not yet settled."""
        return await self._on("pause", session_id, asking, reason=reason)

    async def resume_session(
        self, session_id: SessionId, reason: str = "", *, hold: Hold | None = None, **asking: Unpack[Asking]
    ) -> Outcome:
        """Trade again. hold: lift only this hold, as a rule does; None lifts what a person may lift."""
        return await self._on("resume", session_id, asking, reason=reason, hold=hold)

    async def suspend_session(self, session_id: SessionId, reason: str = "", **asking: Unpack[Asking]) -> Outcome:
        """Stop a session for a system fault; it leaves only by recovery or a stop."""
        return await self._on("suspend", session_id, asking, reason=reason)

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
        """Begin to close; returns at CLOSING, or with `wait_closed` when the session is CLOSED, with that status.

        close_positions None takes the session's own `close_positions_on_stop`. With `wait_closed` the deadline counts
        for both; raises OutcomeUnknown when it passes while the session is still closing, which it goes on to do.
        """
        arguments = {
            "reason": reason,
            "close_positions": close_positions,
            "leave_positions_with": leave_positions_with,
            "stop_deadline_s": stop_deadline_s,
        }
        began = asyncio.get_running_loop().time()
        outcome = await self._on("stop", session_id, asking, **arguments)
        if wait_closed:
            deadline_s = asking.get("deadline_s") or self._settings.command_deadline_s
            return await self._closed(outcome, began, deadline_s)
        return outcome

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
            "config": config,
            "risk_parameters": risk_parameters,
            "enabled_strategies": enabled_strategies,
            "strategy_parameters": strategy_parameters,
            "reason": reason,
        }
        outcome = await self._on("update", session_id, asking, **arguments)
        if self._sessions.behind(outcome.session_id):
            await self.get_session(outcome.session_id)
        return outcome

    async def update_risk_parameters(
        self, session_id: SessionId, risk_parameters: dict[str, Any], reason: str = "", **asking: Unpack[Asking]
    ) -> Outcome:
        """Change the risk parameters that are named, now."""
        return await self.update_session(session_id, risk_parameters=risk_parameters, reason=reason, **asking)

    async def _stands(self, session_id: UUID) -> tuple[SessionStatus, dict[str, Any]]:
        found = await self._query("fntx.sessions.metrics", {"session_id": session_id})
        return self._learn(found["session"]), found["session"]

    async def _closed(self, stopped: Outcome, began: float, deadline_s: float) -> Outcome:
        """Wait until it is closed; return the stop's outcome with where the session then stands."""
        clock = asyncio.get_running_loop().time
        while True:
            status, stands = await self._stands(stopped.session_id)
            if status is SessionStatus.CLOSED:
                return replace(stopped, status=status, version=stands["version"], epoch=stands["epoch"])
            if status is not SessionStatus.CLOSING:
                raise PreconditionFailed(
                    str(stopped.session_id), "stop_session", "the session goes on closing", f"it is {status}",
                    "See `fntx events ID`, then stop it again.",
                )  # fmt: skip
            if clock() - began >= deadline_s:
                raise OutcomeUnknown(str(stopped.command_id), "stop_session", deadline_s)
            await asyncio.sleep(_CLOSED_PAUSE_S)
