"""fntx.halts.*: place a halt, release it, list them; what a halt pauses or stops is a bulk run."""

from typing import Any
from uuid import UUID

from fntx_sessions.automation import halts
from fntx_sessions.automation.halt_arguments import Halt, HaltArguments, ListArguments, ReleaseArguments
from fntx_sessions.security.actor import Actor
from tasks.about import of_halt
from tasks.base import command, query
from tasks.desk import desk
from tasks.handlers import plain

Answer = dict[str, Any]


def _done(command_id: UUID, result: Any) -> Answer:
    return {"command_id": str(command_id), "state": "done", "result": plain(result), "error": None}


@command("fntx.halts.place")
def place(actor: Actor, command_id: UUID, arguments: HaltArguments) -> Answer:
    """Halt a scope; its id is the command's. Ask again while sessions are left."""
    at = desk()
    within_s = at.settings.command_soft_time_limit_s / 2
    return _done(command_id, halts.halt(at, actor, arguments, command_id, within_s=within_s))


@command("fntx.halts.release", about=of_halt)
def release(actor: Actor, command_id: UUID, arguments: ReleaseArguments) -> Answer:
    """End a halt; nothing is resumed by it."""
    return _done(command_id, halts.release(desk(), actor, arguments, command_id))


@query("fntx.halts.list")
def listed(arguments: ListArguments) -> list[Halt]:
    """Return the halts that stand, or the newest of all."""
    return halts.listed(desk().engine, arguments)
