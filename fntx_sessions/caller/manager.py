"""What both managers are: something that is initialized, asked, and shut down, on one event loop."""

import asyncio
import os
from types import TracebackType
from typing import Any, Self, TypedDict
from uuid import UUID

from fntx_sessions.caller.caller import Caller
from fntx_sessions.caller.ids import as_id, only, prefix_question, whole_or_prefix
from fntx_sessions.exceptions import StackError
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.schemas import TradingSession
from fntx_sessions.settings import Settings, get_settings

# A whole id, or its first characters (4 or more) where they fit one session alone.
SessionId = UUID | str


class Asking(TypedDict, total=False):
    """How a command is asked.

    command_id: its idempotency key; asked again under it, the same outcome comes again. expected_version: refuse the
    command when the session has moved on. deadline_s: how long to go on asking; None: `command_deadline_s`.
    """

    command_id: UUID | str | None
    expected_version: int | None
    deadline_s: float | None


class Manager:
    """Base of the managers; `async with` initializes it and shuts it down."""

    def __init__(self, settings: Settings | None = None, token: str | None = None) -> None:
        """Take settings (None: the process's) and a token (None: FNTX_TOKEN, or this machine's administrator's)."""
        self._settings = settings or get_settings()
        self._token = token
        self._caller: Caller | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()

    async def initialize(self) -> None:
        """Connect; raises Unavailable when Redis is out of reach. Doing it twice does it once."""
        await self._asked().check()

    async def shutdown(self) -> None:
        """End every wait and close the connections; sent commands go on. May be initialized again."""
        caller, self._caller = self._caller, None
        if caller is not None:
            await caller.close()

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.shutdown()

    def _asked(self) -> Caller:
        loop = asyncio.get_running_loop()
        if self._pid != os.getpid():
            # A forked child: what there was is its parent's, see `Caller`.
            self._caller, self._pid = None, os.getpid()
        if self._caller is None:
            self._caller, self._loop = Caller(self._settings, self._token), loop
        if self._loop is not loop:
            raise StackError("this manager belongs to another event loop", "Make one manager for each loop.")
        return self._caller

    async def _id(self, session: TradingSession | SessionId) -> UUID:
        """Return a session's whole id; raises InvalidArgument, and NotFound where none begins so."""
        if isinstance(session, TradingSession):
            return session.session_id
        found = session if isinstance(session, UUID) else whole_or_prefix(str(session))
        if isinstance(found, UUID):
            return found
        return only(str(session), await self._query("fntx.sessions.list", prefix_question(found)))

    async def _outcome(self, task: str, arguments: dict[str, Any], asking: Asking) -> Outcome:
        """Do the command `task` and return its outcome, refused or not."""
        if asking.get("expected_version") is not None:
            arguments = {**arguments, "expected_version": asking["expected_version"]}
        command_id = asking.get("command_id")
        return await self._asked().command(
            task,
            arguments,
            command_id=None if command_id is None else as_id(command_id, "command_id"),
            deadline_s=asking.get("deadline_s"),
        )

    async def _query(self, task: str, arguments: dict[str, Any]) -> Any:
        return await self._asked().query(task, arguments)
