"""A session's state of this moment, packed: one cut of what is live, or the latest save where that cannot be kept."""

from collections.abc import Callable
from uuid import UUID

import redis
from sqlalchemy import Engine

from fntx_sessions.exceptions import InvalidArgument, NotFound, PreconditionFailed
from fntx_sessions.settings import Settings
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.loading import load_save
from fntx_sessions.state.saves import snapshot_of
from fntx_sessions.state.snapshot import Packed, Packer, Snapshot
from fntx_sessions.state.tiers.memory import get_memory


def pack_current(
    engine: Engine,
    client: redis.Redis,
    settings: Settings,
    session_id: UUID,
    saved: tuple[int, int],
    dress: Callable[[Snapshot], Snapshot],
) -> tuple[Packed, str]:
    """Pack a session's state of this moment as what `dress` makes of it; return it with what was wrong, if anything.

    One cut of the live state, all of it valid and not behind `saved`, the mark of the save of record; else the latest
    save, and why. Raises PreconditionFailed when there is neither.
    """
    packer = Packer.of(settings, engine)
    snapshot, said = _live(client, settings, session_id, saved)
    if snapshot is not None:
        dressed = dress(snapshot)
        try:
            return packer.pack(dressed, _known(dressed.session_id)), ""
        except InvalidArgument as error:
            said = f"live state was invalid ({error})"
    snapshot, tier = _last_save(engine, client, settings, session_id)
    return packer.pack(dress(snapshot)), f"{said}: made of the save of {snapshot.created_at.isoformat()} from {tier}"


def _known(session_id: UUID) -> dict[bytes, bytes]:
    """Return the sealed large parts this process has of a session."""
    memory = get_memory()
    held = [memory.get(one.ref) for one in reversed(memory.held(session_id))]
    return {digest: data for packed in held if packed for digest, data in packed.parts.items()}


def _live(
    client: redis.Redis, settings: Settings, session_id: UUID, saved: tuple[int, int]
) -> tuple[Snapshot | None, str]:
    cut = LiveState(client, settings).read([session_id])[0]
    if cut is None or not cut.parts:
        return None, "live state was gone"
    if (cut.epoch, cut.revision) < saved:
        return None, "live state was behind the last save"
    return snapshot_of(cut), ""


def _last_save(engine: Engine, client: redis.Redis, settings: Settings, session_id: UUID) -> tuple[Snapshot, str]:
    try:
        found = load_save(engine, client, settings, session_id)
    except NotFound:
        detail = "neither Redis nor a save holds any state of it"
        raise PreconditionFailed(str(session_id), "checkpoint", "has_state", detail, "Start it first.") from None
    return found.snapshot, found.tier
