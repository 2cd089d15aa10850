"""The commands on checkpoints: made, pinned and pruned on request, audited, and done once however often they are asked.

Killed between its two transactions, a command is pending: asked again with its id, it goes on where it was.
"""

from uuid import UUID

from redis import Redis
from sqlalchemy import Engine

from fntx_sessions.exceptions import IntegrityError, NotFound, PreconditionFailed, Rejected
from fntx_sessions.lifecycle import commands, machine
from fntx_sessions.lifecycle.change import Ask, Outcome
from fntx_sessions.lifecycle.decisions import keeping
from fntx_sessions.settings import Settings
from fntx_sessions.state import checkpoint_rows, pruning
from fntx_sessions.state.checkpoints import create_checkpoint
from fntx_sessions.testing import failpoint


def checkpoint(engine: Engine, redis: Redis, settings: Settings, ask: Ask) -> Outcome:
    """Keep a session's state by hand and return the outcome, which names the checkpoint: stored and read back.

    Raises Busy and Unavailable: then the command is pending or was never there, and may be asked again.
    """
    begun = machine.run(engine, ask, keeping.begin_checkpoint, finishing=True)
    if begun.state != "pending":
        return begun
    failpoint("checkpoint_command.begun")
    try:
        made = create_checkpoint(
            engine,
            redis,
            settings,
            ask.session_id,
            ask.arguments.get("checkpoint_type", "manual"),
            note=ask.arguments.get("note"),
            created_by=ask.actor.name,
            checkpoint_id=keeping.checkpoint_id_of(ask.command_id),
        )
    except (Rejected, IntegrityError) as error:
        return machine.run(engine, ask, commands.refuse(_for_good(ask, error)), finishing=True)
    failpoint("checkpoint_command.made")
    return machine.run(engine, ask, keeping.finish_checkpoint(made), finishing=True)


def pin(engine: Engine, _redis: Redis, _settings: Settings, ask: Ask) -> Outcome:
    """Pin or unpin a session, or one of its checkpoints, and return the outcome."""
    named = ask.arguments.get("checkpoint_id")
    if named and checkpoint_rows.find_row(engine, ask.session_id, UUID(named)) is None:
        error = NotFound("checkpoint", named, "List them with `fntx checkpoints ID`.")
        return machine.run(engine, ask, commands.refuse(error))
    return machine.run(engine, ask, keeping.pin)


def prune(engine: Engine, redis: Redis, settings: Settings, ask: Ask) -> Outcome:
    """Delete checkpoints in every tier and return the outcome, which lists them; see `state/pruning.py` for what stays.

    Raises Busy and Unavailable: then what is not deleted yet is deleted when it is asked again.
    """
    chosen = pruning.choose(engine, ask.session_id, ask.arguments.get("keep", 0), ask.arguments.get("older_than_s"))
    begun = machine.run(engine, ask, keeping.begin_prune(chosen), finishing=True)
    if begun.state != "pending":
        return begun
    failpoint("prune.begun")
    promised = list(map(UUID, begun.extra["checkpoint_ids"]))
    marked = pruning.mark(engine, ask.session_id, promised)
    for one in marked:
        pruning.destroy(engine, redis, settings, one)
    kept = pruning.left(engine, ask.session_id, promised)
    gone = [one for one in promised if one not in kept]
    freed = sum(one.size_bytes for one in marked)
    return machine.run(engine, ask, keeping.finish_prune(gone, freed, kept), finishing=True)


def _for_good(ask: Ask, error: Rejected | IntegrityError) -> Rejected:
    """Return the refusal for what asking again would not mend."""
    if isinstance(error, Rejected):
        return error
    condition, fix = "what was stored is what was sent", "See `fntx doctor`, then ask with a new command id."
    return PreconditionFailed(str(ask.session_id), ask.trigger.value, condition, str(error), fix)
