"""fntx.memory.*: keep a slice, tell agents something, search and list what is kept."""

from typing import Any
from uuid import UUID

from fntx_sessions.memory.arguments import (
    ContextArguments,
    ListArguments,
    SearchArguments,
    ShareArguments,
    StoreArguments,
)
from fntx_sessions.memory.asking import Asked
from fntx_sessions.memory.slices import SharedContext, StoredMemory
from fntx_sessions.memory.speaking import speak
from fntx_sessions.security.actor import Actor
from tasks.base import command, query
from tasks.desk import desk
from tasks.handlers import plain

Answer = dict[str, Any]


def _memory() -> Asked:
    return Asked(*desk().parts())


def _done(command_id: UUID, result: Answer) -> Answer:
    return {"command_id": str(command_id), "state": "done", "result": plain(result), "error": None}


@command("fntx.memory.store")
def store(actor: Actor, command_id: UUID, arguments: StoreArguments) -> Answer:
    """Keep a slice for an agent; its id is the command's."""
    speak(desk().engine, actor, arguments.agent, "agent", arguments.session_id)
    memory_id = _memory().store(arguments, command_id)
    return _done(command_id, {"memory_id": str(memory_id), "agent": arguments.agent})


@command("fntx.memory.share")
def share(actor: Actor, command_id: UUID, arguments: ShareArguments) -> Answer:
    """Tell agents something."""
    arguments = arguments.about_one_session()
    speak(desk().engine, actor, arguments.sender, "sender", arguments.session_id)
    _memory().share(arguments, command_id)
    return _done(command_id, {"recipients": list(dict.fromkeys(arguments.recipients))})


@query("fntx.memory.search")
def search(arguments: SearchArguments) -> list[StoredMemory]:
    """Return the slices that answer, the best first."""
    return _memory().search(arguments)


@query("fntx.memory.list")
def listed(arguments: ListArguments) -> list[StoredMemory]:
    """Return slices, newest first."""
    return _memory().listed(arguments)


@query("fntx.memory.context")
def context(arguments: ContextArguments) -> list[SharedContext]:
    """Return what an agent was told, oldest first."""
    return _memory().context(arguments)
