"""fntx.sessions.checkpoint and its like: commands and questions about the state that a session has kept."""

from typing import Any
from uuid import UUID

from fntx_sessions.lifecycle import execute
from fntx_sessions.lifecycle.arguments import (
    CheckpointArguments,
    CheckpointQuery,
    ForkArguments,
    PinArguments,
    PruneArguments,
)
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.reads import checkpoints as kept
from fntx_sessions.schemas import SessionCheckpoint, Trigger
from fntx_sessions.security.actor import Actor
from tasks.about import of_session
from tasks.base import command, query
from tasks.desk import desk


@command("fntx.sessions.checkpoint")
def checkpoint(actor: Actor, command_id: UUID, arguments: CheckpointArguments) -> Outcome:
    """Keep the state of this moment."""
    return execute.command(desk(), Trigger.CHECKPOINT, actor, arguments, command_id)


@command("fntx.sessions.pin")
def pin(actor: Actor, command_id: UUID, arguments: PinArguments) -> Outcome:
    """Pin or unpin a session or one of its checkpoints."""
    return execute.command(desk(), Trigger.PIN, actor, arguments, command_id)


@command("fntx.sessions.prune", about=of_session(Trigger.PRUNE))
def prune(actor: Actor, command_id: UUID, arguments: PruneArguments) -> Outcome:
    """Delete old checkpoints in every tier."""
    return execute.command(desk(), Trigger.PRUNE, actor, arguments, command_id)


@command("fntx.sessions.fork", about=of_session(Trigger.CREATE))
def fork(actor: Actor, command_id: UUID, arguments: ForkArguments) -> Outcome:
    """Make a new session with another one's settings and memory."""
    return execute.fork(desk(), actor, arguments, command_id)


@query("fntx.sessions.get_checkpoint")
def get_checkpoint(arguments: CheckpointQuery) -> SessionCheckpoint:
    """Return one checkpoint, with its states read and verified unless they are not asked for."""
    at = desk()
    return kept.get_checkpoint(*at.parts(), arguments)


@query("fntx.sessions.verify")
def verify(arguments: CheckpointQuery) -> dict[str, Any]:
    """Read one checkpoint whole, wherever it lies, and note whether it is sound."""
    at = desk()
    return kept.verify(*at.parts(), arguments)
