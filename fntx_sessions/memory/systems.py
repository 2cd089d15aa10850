"""Which memory system serves this desk: the shipped one, or one that another package brings by entry point."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any, Protocol
from uuid import UUID

import redis
from pydantic import ValidationError
from pydantic_core import to_jsonable_python
from sqlalchemy import Engine

from fntx_sessions.exceptions import FntxError, NotFound, StackError, Unavailable
from fntx_sessions.memory import context, reading, store
from fntx_sessions.memory.arguments import ContextArguments, ListArguments, SearchArguments
from fntx_sessions.memory.calling import FIX, caller, what
from fntx_sessions.memory.context import Told
from fntx_sessions.memory.port import MCPManager
from fntx_sessions.memory.slices import MemorySlice, SharedContext, StoredMemory
from fntx_sessions.settings import Settings

GROUP = "fntx_sessions.memory"
OWN = "postgres"


class Memory(Protocol):
    """A memory system as the desk asks it. Every method raises Unavailable when it is out of reach."""

    def search(self, asked: SearchArguments) -> list[StoredMemory]:
        """Return the slices that answer, the best first; raises InvalidArgument."""

    def listed(self, asked: ListArguments) -> list[StoredMemory]:
        """Return slices, newest first."""

    def context(self, asked: ContextArguments) -> list[SharedContext]:
        """Return what an agent was told, oldest first; raises NotFound where it is not kept here."""


@dataclass(frozen=True, slots=True)
class OwnMemory:
    """The shipped one: slices in Postgres, context in Redis."""

    engine: Engine
    redis: redis.Redis
    settings: Settings

    def store(self, agent: str, memory: MemorySlice, memory_id: UUID) -> UUID:
        """Store a slice; raises as `store.store`."""
        return store.store(self.engine, self.settings, agent, memory, memory_id)

    def share(self, told: Told) -> None:
        """Write into the recipients' streams."""
        context.share(self.redis, self.settings, [told])

    def search(self, asked: SearchArguments) -> list[StoredMemory]:
        """Search Postgres."""
        return reading.search(self.engine, asked)

    def listed(self, asked: ListArguments) -> list[StoredMemory]:
        """List from Postgres."""
        return reading.listed(self.engine, asked)

    def context(self, asked: ContextArguments) -> list[SharedContext]:
        """Read an agent's stream; a session named: what is about that one alone."""
        found = context.read(self.redis, asked.agent, asked.after, asked.limit)
        mine = str(asked.session_id)
        return [one for one in found if asked.session_id is None or one.context.get("session_id") == mine]


@dataclass(frozen=True, slots=True)
class OtherMemory:
    """One of another package, called with a timeout; whatever it raises is that it is out of reach, and why."""

    name: str
    manager: MCPManager
    timeout_s: float
    # A question is asked by a worker that serves commands too.
    question_s: float = 1.0

    def search(self, asked: SearchArguments) -> list[StoredMemory]:
        """Search; filters that the port has not are looked at here."""
        found = self._called(
            lambda: self.manager.search_memories(
                asked.query,
                agent=asked.agent,
                memory_type=asked.memory_type,
                session_id=asked.session_id,
                limit=asked.limit,
            )
        )
        return self._passing(found, asked)

    def listed(self, asked: ListArguments) -> list[StoredMemory]:
        """List an agent's slices; raises NotFound without an agent, as the port lists by agent."""
        agent = asked.agent
        if agent is None:
            raise NotFound("agent", "none", f"{what(self.name)} lists by agent: name one.")
        found = self._called(
            lambda: self.manager.get_agent_memories(
                agent, memory_type=asked.memory_type, importance=asked.importance, since=asked.since, limit=asked.limit
            )
        )
        return self._passing(found, asked)

    def context(self, asked: ContextArguments) -> list[SharedContext]:
        """Refuse: the port shares context and does not read it."""
        raise NotFound("context", asked.agent, f"{what(self.name)} keeps it: ask there.")

    def _called(self, make: Any) -> Any:
        with_errors = translated(self.name, make)
        return caller.call(self.name, with_errors, self.question_s)

    def _passing(self, found: Sequence[Any], asked: SearchArguments | ListArguments) -> list[StoredMemory]:
        try:
            read = [StoredMemory.model_validate(to_jsonable_python(one)) for one in found or ()]
        except (ValidationError, ValueError, TypeError) as error:
            raise Unavailable(what(self.name), f"answered what is no slice: {_line(error)}", FIX) from None
        return [one for one in read if _passes(one, asked)][: asked.limit]


def translated(name: str, make: Any) -> Any:
    """Return a maker of coroutines that raise our errors as they are, all others as Unavailable."""

    async def act() -> Any:
        try:
            return await make()
        except (FntxError, TimeoutError):
            raise
        except Exception as error:
            raise Unavailable(what(name), _line(error), FIX) from error

    return act


def memory_of(engine: Engine, client: redis.Redis, settings: Settings) -> Memory:
    """Return this desk's memory system; raises StackError where none of that name can be had."""
    if settings.memory == OWN:
        return OwnMemory(engine, client, settings)
    question_s = min(settings.memory_question_s, settings.memory_timeout_s)
    return OtherMemory(settings.memory, load(settings.memory), settings.memory_timeout_s, question_s)


@lru_cache(maxsize=4)
def load(name: str) -> MCPManager:
    """Return the memory system of another package, made once a process; raises StackError."""
    fix = f"Install the package that brings it (entry point group {GROUP}), or set FNTX_MEMORY={OWN}."
    found = list(entry_points(group=GROUP, name=name))
    if not found:
        raise StackError(f"FNTX_MEMORY names {name!r}, and no memory system of that name is installed", fix)
    try:
        made = found[0].load()()
    except Exception as error:
        raise StackError(f"{what(name)} cannot be loaded: {_line(error)}", fix) from error
    if not isinstance(made, MCPManager):
        raise StackError(f"{what(name)} has not the methods of MCPManager", fix)
    return made


def _passes(one: StoredMemory, asked: SearchArguments | ListArguments) -> bool:
    """Tell whether a slice passes the filters, whoever was asked for it."""
    return (
        asked.agent in (None, one.agent)
        and asked.memory_type in (None, one.memory_type)
        and asked.session_id in (None, one.session_id)
        and (asked.importance is None or one.importance >= asked.importance)
        and (asked.tag is None or asked.tag in one.tags)
        and (asked.since is None or one.created_at >= asked.since)
        and (asked.until is None or one.created_at < asked.until)
    )


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(": ")
