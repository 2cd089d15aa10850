"""What a manager does with a memory system it was given: it remembers there what its own commands changed.

Each transition is stored, and the session's agents are told, as the spec has it; in the background, so that a command
neither waits for it nor fails with it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import structlog

from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.memory.context import DESK_SENDER
from fntx_sessions.memory.port import MCPManager
from fntx_sessions.memory.work import Moved, slice_of
from fntx_sessions.schemas import SessionStatus, SessionTransition

# A session's roster, and its last transitions, oldest first.
Read = Callable[[UUID], Awaitable[tuple[Sequence[str], Sequence[SessionTransition]]]]
# Of so many sessions it is known how far they were told; the rest begin anew with their next command.
KNOWN = 1000
_log = structlog.get_logger(__name__)


class Telling:
    """One manager's memory system. What could not be told is told with the session's next command, in its order."""

    def __init__(self, memory: MCPManager, read: Read, timeout_s: float) -> None:
        """Take the system, how to read a session, and how long one call of the system may take."""
        self._memory, self._read, self._timeout_s = memory, read, timeout_s
        # Of each session, the longest unused first: told up to this version, and whether anything was read of it yet.
        self._told: dict[UUID, int] = {}
        self._begun: set[UUID] = set()
        # Who tells now.
        self._tasks: dict[UUID, asyncio.Task[None]] = {}

    def note(self, outcome: Outcome) -> None:
        """Note what a command came to; what it changed is told soon, from a task of this loop."""
        if outcome.state != "done" or outcome.version is None:
            return
        session_id = outcome.session_id
        self._told[session_id] = self._told.pop(session_id, outcome.version - 1)
        self._forget_some()
        before = self._tasks.get(session_id)
        self._tasks[session_id] = asyncio.create_task(self._after(before, outcome))

    def _forget_some(self) -> None:
        idle = [one for one in self._told if one not in self._tasks] if len(self._told) > KNOWN else []
        for one in idle[: len(self._told) - KNOWN]:
            self._forget(one)

    def _forget(self, session_id: UUID) -> None:
        self._told.pop(session_id, None)
        self._begun.discard(session_id)

    async def close(self) -> None:
        """Wait for what is under way, for as long as one call may take; then give it up."""
        tasks, self._tasks = list(self._tasks.values()), {}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _after(self, before: asyncio.Task[None] | None, outcome: Outcome) -> None:
        session_id = outcome.session_id
        if before is not None:
            await asyncio.wait([before])
        try:
            await self._tell(session_id, outcome.command_id)
        except Exception as error:  # noqa: BLE001 - the command is done, whatever the memory system says
            problem = f"{type(error).__name__}: {error}".rstrip(": ")
            _log.warning("memory_not_told", session_id=str(session_id), problem=problem)
        finally:
            if self._tasks.get(session_id) is asyncio.current_task():
                del self._tasks[session_id]

    async def _tell(self, session_id: UUID, command_id: UUID) -> None:
        roster, transitions = await self._read(session_id)
        if session_id not in self._begun:
            # A command may have moved a session more than once: from its first move on.
            first = [one.version - 1 for one in transitions if one.command_id == command_id]
            self._told[session_id] = min([self._told[session_id], *first])
            self._begun.add(session_id)
        for one in transitions:
            if one.version > self._told[session_id]:
                await self._tell_one(Moved(one, slice_of(one), list(roster)))
                self._told[session_id] = one.version
        last = self._tasks.get(session_id) is asyncio.current_task()
        if last and transitions and transitions[-1].to_status is SessionStatus.CLOSED:
            self._forget(session_id)

    async def _tell_one(self, moved: Moved) -> None:
        told = moved.told
        async with asyncio.timeout(self._timeout_s):
            await self._memory.store_memory(DESK_SENDER, moved.memory)
            await self._memory.share_context(DESK_SENDER, list(told.recipients), dict(told.context))
