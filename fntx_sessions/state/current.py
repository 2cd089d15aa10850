"""A session's state of this moment, packed: one cut of what is live, or the latest save where that cannot be kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

import redis
from sqlalchemy import Engine

from fntx_sessions.exceptions import InvalidArgument, NotFound, PreconditionFailed
from fntx_sessions.settings import Settings
from fntx_sessions.state.changes import snapshot_of
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.loading import load_save
from fntx_sessions.state.parts import Known
from fntx_sessions.state.snapshot import Packed, Packer, Snapshot
from fntx_sessions.state.tiers.memory import get_memory


@dataclass(frozen=True, slots=True)
class Before:
    """What this process sealed of a session before: large parts by hash, and which live parts they are."""

    parts: Mapping[bytes, bytes] = field(default_factory=dict)
    known: Mapping[str, Known] = field(default_factory=dict)


_NOTHING = Before()


def sealed_before(session_id: UUID) -> Before:
    """Return what this process holds of a session, its save and its checkpoints."""
    memory = get_memory()
    oldest_first = sorted(memory.held(session_id), key=lambda held: (held.epoch, held.revision))
    found = [packed for held in oldest_first if (packed := memory.get(held.ref))]
    return Before(
        {digest: data for packed in found for digest, data in packed.parts.items()},
        {name: part for packed in found for name, part in packed.known.items()},
    )


def pack_current(
    engine: Engine,
    client: redis.Redis,
    settings: Settings,
    session_id: UUID,
    saved: tuple[int, int],
    dress: Callable[[Snapshot], Snapshot],
    before: Before = _NOTHING,
) -> tuple[Packed, str]:
    """Pack a session's state of this moment as what `dress` makes of it; return it with what was wrong, if anything.

    before: of the same session; what did not change since is neither read nor sealed again, and is not among the parts
    that `dress` sees.

    One cut of the live state, all of it valid and not behind `saved`, the mark of the save of record; else the latest
    save, and why. Raises PreconditionFailed when there is neither.
    """
    packer = Packer.of(settings, engine)
    snapshot, said = _live(client, settings, session_id, saved, before)
    if snapshot is not None:
        try:
            return packer.pack(dress(snapshot), before.parts), ""
        except InvalidArgument as error:
            said = f"live state was invalid ({error})"
    snapshot, tier = _last_save(engine, client, settings, session_id)
    return packer.pack(dress(snapshot)), f"{said}: made of the save of {snapshot.created_at.isoformat()} from {tier}"


def _live(
    client: redis.Redis, settings: Settings, session_id: UUID, saved: tuple[int, int], before: Before
) -> tuple[Snapshot | None, str]:
    cut = LiveState(client, settings).read([session_id], {session_id: before.known})[0]
    if cut is None or not (cut.parts or cut.unread):
        return None, "live state was gone"
    if (cut.epoch, cut.revision) < saved:
        return None, "live state was behind the last save"
    return snapshot_of(cut, before.known), ""


def _last_save(engine: Engine, client: redis.Redis, settings: Settings, session_id: UUID) -> tuple[Snapshot, str]:
    try:
        found = load_save(engine, client, settings, session_id)
    except NotFound:
        detail = "neither Redis nor a save holds any state of it"
        raise PreconditionFailed(str(session_id), "checkpoint", "has_state", detail, "Start it first.") from None
    return found.snapshot, found.tier
