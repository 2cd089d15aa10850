"""What every subject of the lifecycle manager shares: commands, questions, and the sessions that were handed out."""

from typing import Any
from uuid import UUID, uuid4

from fntx_sessions.caller.fresh import FreshSessions
from fntx_sessions.caller.ids import as_id
from fntx_sessions.caller.manager import Asking, Manager, SessionId
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.schemas import SessionStatus, TradingSession
from fntx_sessions.settings import Settings


class Sessions(Manager):
    """A manager that hands out sessions and keeps them fresh."""

    def __init__(self, settings: Settings | None = None, token: str | None = None) -> None:
        super().__init__(settings, token)
        self._sessions = FreshSessions()

    async def get_session(self, session_id: SessionId) -> TradingSession:
        """Return a session whole, fresh; the same object for as long as somebody holds it."""
        return self._sessions.take_in(TradingSession.model_validate(await self._about("get", session_id)))

    async def _about(self, verb: str, session_id: SessionId, **arguments: Any) -> Any:
        """Ask ``fntx.sessions.<verb>`` about a session."""
        return await self._query(f"fntx.sessions.{verb}", {"session_id": await self._id(session_id), **arguments})

    async def _on(self, verb: str, session_id: SessionId, asking: Asking, **arguments: Any) -> Outcome:
        """Do ``fntx.sessions.<verb>`` on a session."""
        named = {"session_id": await self._id(session_id), **arguments}
        return await self._command(f"fntx.sessions.{verb}", named, asking)

    async def _command(self, task: str, arguments: dict[str, Any], asking: Asking) -> Outcome:
        outcome = await self._outcome(task, arguments, asking)
        self._sessions.learn_outcome(outcome)
        return outcome.raise_for_refusal()

    async def _desk(self, task: str, arguments: dict[str, Any], asking: Asking) -> Any:
        """Do a command that is not one session's, and return its result."""
        given, version = asking.get("command_id"), asking.get("expected_version")
        arguments = arguments if version is None else {**arguments, "expected_version": version}
        command_id = uuid4() if given is None else as_id(given, "command_id")
        return await self._asked().ask(task, arguments, command_id=command_id, deadline_s=asking.get("deadline_s"))

    def _learn(self, seen: dict[str, Any]) -> SessionStatus:
        status = SessionStatus(seen["status"])
        self._sessions.learn(UUID(seen["session_id"]), status, seen["version"], seen["epoch"])
        return status
