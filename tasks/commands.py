"""fntx.sessions.*: one lifecycle command each. Arguments in, outcome out; the engine does everything else."""

from uuid import UUID

from fntx_sessions.lifecycle import execute
from fntx_sessions.lifecycle.arguments import (
    CommandArguments,
    CreateArguments,
    CreateFromTemplateArguments,
    FailArguments,
    HoldArguments,
    RecoverArguments,
    StartArguments,
    StopArguments,
    UpdateArguments,
)
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.actor import Actor
from tasks.about import of_creation, of_session
from tasks.base import command
from tasks.desk import desk


@command("fntx.sessions.create", about=of_creation)
def create(actor: Actor, command_id: UUID, arguments: CreateArguments) -> Outcome:
    """Create a session of a type."""
    return execute.create(desk(), actor, arguments, command_id)


@command("fntx.sessions.create_from_template", about=of_creation)
def create_from_template(actor: Actor, command_id: UUID, arguments: CreateFromTemplateArguments) -> Outcome:
    """Create a session from a named template and overrides."""
    return execute.create_from_template(desk(), actor, arguments, command_id)


@command("fntx.sessions.start", about=of_session(Trigger.START))
def start(actor: Actor, command_id: UUID, arguments: StartArguments) -> Outcome:
    """Begin trading, with the edits made since creation."""
    return execute.command(desk(), Trigger.START, actor, arguments, command_id)


@command("fntx.sessions.pause")
def pause(actor: Actor, command_id: UUID, arguments: HoldArguments) -> Outcome:
    """Halt trading: reduce-only."""
    return execute.command(desk(), Trigger.PAUSE, actor, arguments, command_id)


@command("fntx.sessions.resume", about=of_session(Trigger.RESUME))
def resume(actor: Actor, command_id: UUID, arguments: HoldArguments) -> Outcome:
    """Trade again."""
    return execute.command(desk(), Trigger.RESUME, actor, arguments, command_id)


@command("fntx.sessions.suspend")
def suspend(actor: Actor, command_id: UUID, arguments: CommandArguments) -> Outcome:
    """Stop a session for a system fault."""
    return execute.command(desk(), Trigger.SUSPEND, actor, arguments, command_id)


@command("fntx.sessions.stop")
def stop(actor: Actor, command_id: UUID, arguments: StopArguments) -> Outcome:
    """Begin to close; a sweep finishes it once the book matches the policy."""
    return execute.command(desk(), Trigger.STOP, actor, arguments, command_id)


@command("fntx.sessions.recover", about=of_session(Trigger.RECOVER))
def recover(actor: Actor, command_id: UUID, arguments: RecoverArguments) -> Outcome:
    """Put a session's memory back and end in PAUSED."""
    return execute.command(desk(), Trigger.RECOVER, actor, arguments, command_id)


@command("fntx.sessions.accept", about=of_session(Trigger.ACCEPT))
def accept(actor: Actor, command_id: UUID, arguments: CommandArguments) -> Outcome:
    """Answer for the differences that a recovery found."""
    return execute.command(desk(), Trigger.ACCEPT, actor, arguments, command_id)


@command("fntx.sessions.shred", about=of_session(Trigger.SHRED))
def shred(actor: Actor, command_id: UUID, arguments: CommandArguments) -> Outcome:
    """Destroy a closed session's data key, so that nothing of it can be read again."""
    return execute.command(desk(), Trigger.SHRED, actor, arguments, command_id)


@command("fntx.sessions.fail")
def fail(actor: Actor, command_id: UUID, arguments: FailArguments) -> Outcome:
    """Put a session in ERROR."""
    return execute.command(desk(), Trigger.FAIL, actor, arguments, command_id)


@command("fntx.sessions.update", about=of_session(Trigger.UPDATE))
def update(actor: Actor, command_id: UUID, arguments: UpdateArguments) -> Outcome:
    """Change config, risk parameters or strategies."""
    return execute.command(desk(), Trigger.UPDATE, actor, arguments, command_id)
