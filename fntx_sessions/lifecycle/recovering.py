"""recover_session: raise the epoch, put the agents' memory back, ask the broker, end in PAUSED.

Each attempt has an epoch of its own, raised and committed before its first step: an attempt that was overtaken, or a
host that wakes up, writes nothing. Orders, positions and money never come from a snapshot.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from redis import Redis
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import (
    IntegrityError,
    InvalidArgument,
    NotFound,
    PreconditionFailed,
    Rejected,
    StaleEpoch,
)
from fntx_sessions.lifecycle import commands, machine
from fntx_sessions.lifecycle.change import Ask, Outcome
from fntx_sessions.lifecycle.reconcile import reconcile
from fntx_sessions.settings import Settings
from fntx_sessions.state.checkpoints import load_checkpoint
from fntx_sessions.state.live import LiveCut, LiveState
from fntx_sessions.state.loading import load_save
from fntx_sessions.state.parts import is_memory
from fntx_sessions.state.snapshot import Snapshot
from fntx_sessions.state.tiers.postgres import PostgresTier
from fntx_sessions.testing import failpoint
from fntx_sessions.trading.brokers import get_broker

_BROKER = text("SELECT broker FROM sessions WHERE session_id = :session_id")
_NOW = text("SELECT clock_timestamp()")


@dataclass(frozen=True, slots=True)
class Restored:
    """Where the agents' memory came from. lost_s: seconds of it that are gone, None when nobody can tell."""

    source: str
    revision: int
    lost_s: float | None


def recover(engine: Engine, redis: Redis, settings: Settings, ask: Ask) -> Outcome:
    """Recover a session and return the outcome, PAUSED. Asked again while an attempt is pending, a new attempt begins.

    A failed step leaves the command pending for the next attempt and raises what went wrong.
    """
    begun = machine.run(engine, ask, commands.begin_recovery, finishing=True)
    if begun.state != "pending" or begun.epoch is None:
        return begun
    failpoint("recovery.begun")
    try:
        measured = _measured(engine, redis, settings, ask, begun.epoch)
    except StaleEpoch:
        return begun  # a newer attempt has taken over; it answers this command
    except (Rejected, IntegrityError) as error:
        return machine.run(engine, ask, commands.refuse(_for_good(ask, error)), finishing=True)
    failpoint("recovery.restored")
    return machine.run(engine, ask, commands.finish_recovery(measured), finishing=True)


def _for_good(ask: Ask, error: Rejected | IntegrityError) -> Rejected:
    """Return the refusal for what no further attempt would mend."""
    if isinstance(error, Rejected):
        return error
    fix = "Name another checkpoint: see `fntx checkpoints ID`."
    return PreconditionFailed(str(ask.session_id), ask.trigger.value, "what is restored verifies", str(error), fix)


def _measured(engine: Engine, redis: Redis, settings: Settings, ask: Ask, epoch: int) -> dict[str, Any]:
    asked = ask.arguments.get("checkpoint_id")
    restored = _restore(engine, redis, settings, ask.session_id, epoch, UUID(asked) if asked else None)
    with transaction(engine) as connection:
        name = connection.execute(_BROKER, {"session_id": ask.session_id}).scalar_one()
    found = reconcile(engine, get_broker(name, engine), ask.session_id, epoch)
    return {
        "epoch": epoch,
        "source": restored.source,
        "revision": restored.revision,
        "state_lost_s": restored.lost_s,
        "reconciled": found.to_dict(),
    }


def _restore(
    engine: Engine, redis: Redis, settings: Settings, session_id: UUID, epoch: int, checkpoint_id: UUID | None
) -> Restored:
    live = LiveState(redis, settings)
    cut = live.read([session_id])[0]
    live.raise_fence(session_id, epoch)
    if checkpoint_id is not None:
        snapshot = load_checkpoint(engine, settings, checkpoint_id)
        if snapshot.session_id != session_id:
            raise InvalidArgument(
                "checkpoint_id", f"{checkpoint_id} is of another session", "See `fntx checkpoints ID`."
            )
        return _put_back(engine, live, session_id, epoch, f"checkpoint {checkpoint_id}", snapshot)
    if cut is not None and _whole(cut, PostgresTier(engine).mark(session_id)):
        return Restored("live", cut.revision, 0.0)
    try:
        found = load_save(engine, redis, settings, session_id)
    except NotFound:
        return Restored("none: never saved, agents begin anew", 0, None)
    return _put_back(engine, live, session_id, epoch, f"latest save, from {found.tier}", found.snapshot)


def _whole(cut: LiveCut, saved: tuple[int, int] | None) -> bool:
    """Tell whether Redis still holds the agents' memory: one that lost it, or part of it, is behind the last save."""
    return any(map(is_memory, cut.parts)) and (cut.epoch, cut.revision) >= (saved or (0, 0))


def _put_back(
    engine: Engine, live: LiveState, session_id: UUID, epoch: int, source: str, snapshot: Snapshot
) -> Restored:
    # Nothing put back is no revision: it must not look like memory that was there and went.
    revision = live.restore(session_id, epoch, snapshot.parts) if any(map(is_memory, snapshot.parts)) else 0
    with transaction(engine) as connection:
        now: datetime = connection.execute(_NOW).scalar_one()
    return Restored(source, revision, round((now - snapshot.created_at).total_seconds(), 3))
