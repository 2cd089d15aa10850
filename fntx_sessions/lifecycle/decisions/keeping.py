"""create_checkpoint, pin_session and prune_checkpoints: audited commands that move no status.

What takes long, the checkpoint itself and each deletion, is done between two short transactions: the first leaves the
command pending with all it needs to go on, the second says what became of it.
"""

from typing import Any
from uuid import UUID, uuid5

from fntx_sessions.exceptions import PreconditionFailed
from fntx_sessions.lifecycle.change import Ask, Change, Decision, Row
from fntx_sessions.lifecycle.decisions.moving import S
from fntx_sessions.lifecycle.machine import illegal
from fntx_sessions.schemas import SessionCheckpoint, Trigger


def checkpoint_id_of(command_id: UUID) -> UUID:
    """Return the id of the checkpoint that a command makes: asked twice, it is the same one."""
    return uuid5(command_id, Trigger.CHECKPOINT.value)


def begin_checkpoint(row: Row, ask: Ask) -> list[Change]:
    """Promise a checkpoint of a session that has run and has not ended; taken up again, promise nothing more."""
    if S(row["status"]) is S.CLOSED:
        raise illegal(row, ask)
    if row["started_at"] is None:
        raise PreconditionFailed(
            str(ask.session_id), ask.trigger.value, "it was started", "a session that never ran has nothing to keep",
            "Start it first.",
        )  # fmt: skip
    if row["command_state"] == "pending":
        return []
    return [Change(state="pending", extra={"checkpoint_id": str(checkpoint_id_of(ask.command_id))})]


def finish_checkpoint(made: SessionCheckpoint) -> Decision:
    """Return the decision that acknowledges a checkpoint, which is stored and was read back."""
    named = {"checkpoint_id", "checkpoint_type", "timestamp", "revision", "size_bytes", "verified", "tier", "note"}
    told = made.model_dump(mode="json", include=named)

    def decide(_row: Row, ask: Ask) -> list[Change]:
        why = made.note or ask.reason or "nobody said why"
        event = {
            "event_type": "checkpoint_created",
            "event_category": "state",
            "severity": "info",
            "description": f"{made.checkpoint_type} checkpoint by {ask.actor.name}: {why}",
            "data": {"checkpoint_id": str(made.checkpoint_id), "command_id": str(ask.command_id)},
        }
        return [Change(extra=told, events=(event,))]

    return decide


def pin(_row: Row, ask: Ask) -> list[Change]:
    """Hold a session, or one checkpoint of it, against every retention and pruning; or let go of it."""
    named, pinned = ask.arguments.get("checkpoint_id"), bool(ask.arguments["pinned"])
    what = f"checkpoint {named}" if named else "session"
    event = {
        "event_type": "pinned" if pinned else "unpinned",
        "event_category": "state",
        "severity": "info",
        "description": f"{what} {'pinned' if pinned else 'unpinned'} by {ask.actor.name}",
    }
    extra = {"pinned": pinned, "checkpoint_id": named}
    if named:
        return [Change(pin_checkpoint=(UUID(named), pinned), events=(event,), extra=extra)]
    return [Change(fields={"pinned": pinned}, events=(event,), extra=extra)]


def begin_prune(found: list[UUID]) -> Decision:
    """Return the decision that promises to delete `found`, for good; done at once where there is nothing to delete."""

    def decide(row: Row, ask: Ask) -> list[Change]:
        if row["command_state"] == "pending":
            return []
        _may_prune(row, ask)
        promised = {"checkpoint_ids": list(map(str, found))}
        return [Change(state="pending" if found else "done", extra=promised if found else _pruned([], 0, []))]

    return decide


def _may_prune(row: Row, ask: Ask) -> None:
    if row["pinned"]:
        raise PreconditionFailed(
            str(ask.session_id), ask.trigger.value, "the session is not pinned",
            "it is pinned, so all its checkpoints stay", "Let go of it first: `fntx unpin ID`.",
        )  # fmt: skip
    if (row["pending"] or {}).get("trigger") == Trigger.RECOVER:
        raise PreconditionFailed(
            str(ask.session_id), ask.trigger.value, "no recovery is under way",
            "a recovery is under way and may need any of them", "Prune once it is done.",
        )  # fmt: skip


def finish_prune(gone: list[UUID], freed_bytes: int, kept: list[UUID]) -> Decision:
    """Return the decision that says which checkpoints are gone, and which stay after all."""

    def decide(_row: Row, ask: Ask) -> list[Change]:
        event = {
            "event_type": "checkpoints_pruned",
            "event_category": "state",
            "severity": "info",
            "description": f"{len(gone)} checkpoints pruned by {ask.actor.name}: {ask.reason or 'no reason given'}",
            "data": {"command_id": str(ask.command_id), "checkpoint_ids": list(map(str, gone))},
        }
        return [Change(extra=_pruned(gone, freed_bytes, kept), events=(event,))]

    return decide


def _pruned(gone: list[UUID], freed_bytes: int, kept: list[UUID]) -> dict[str, Any]:
    return {"pruned": list(map(str, gone)), "freed_bytes": freed_bytes, "kept": list(map(str, kept))}
