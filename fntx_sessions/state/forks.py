"""A session's memory as another one's first checkpoint: sealed anew under the other's key, money left behind."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import redis
from sqlalchemy import Connection, Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import IntegrityError, InvalidArgument, NotFound
from fntx_sessions.settings import Settings
from fntx_sessions.state import checkpoint_rows as rows
from fntx_sessions.state.current import pack_current
from fntx_sessions.state.event_rows import StateEvent, add_events
from fntx_sessions.state.identity import Identity
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.loading import load
from fntx_sessions.state.parts import is_memory
from fntx_sessions.state.snapshot import Packed, Packer, Snapshot
from fntx_sessions.state.tiers.base import Ref

FORK = "fork"

_MEMORY = text("""
SELECT c.checkpoint_id FROM sessions s JOIN checkpoints c USING (session_id)
WHERE s.session_id = :session_id AND s.started_at IS NULL AND s.parent_session_id IS NOT NULL
  AND c.checkpoint_type = 'fork' ORDER BY c.timestamp DESC LIMIT 1
""")


@dataclass(frozen=True, slots=True)
class Heritage:
    """What a fork begins with, ready to be stored. note: of which state of its parent."""

    parent: UUID
    packed: Packed
    facts: dict[str, Any]
    opens: Callable[[Packed], object]

    def store(self, connection: Connection) -> None:
        """Store it in the transaction that makes the session, and read it back; raises IntegrityError."""
        sent = {(self.packed.session_id, digest) for digest in self.packed.parts}
        rows.insert_checkpoint(connection, self.packed, self.facts, sent)
        if not rows.stored_whole(connection, self.packed, self.opens):
            raise IntegrityError(str(self.packed.label), "what Postgres holds is not what was sent")
        fork = str(self.packed.session_id)
        told = f"session {fork} was forked by {self.facts['created_by']}: {self.facts['note']}"
        add_events(connection, [StateEvent(self.parent, "session_forked", fork, told, data={"session_id": fork})])


def inherit(
    engine: Engine,
    client: redis.Redis,
    settings: Settings,
    parent: UUID,
    checkpoint_id: UUID | None,
    fork: UUID,
    under: Identity,
    actor: str,
) -> Heritage:
    """Return what a fork of `parent` begins with: a checkpoint's memory, or that of this moment (None).

    Agents' memory alone: orders, positions, P&L and the market are not of the past. Raises NotFound, IntegrityError,
    Shredded, PreconditionFailed (the parent has no state) and Unavailable.
    """

    def as_fork(snapshot: Snapshot) -> Snapshot:
        parts = {name: data for name, data in snapshot.parts.items() if is_memory(name)}
        return Snapshot(fork, 0, 1, datetime.now(UTC), parts, under.hash, uuid4())

    packer = Packer.of(settings, engine)
    if checkpoint_id is None:
        packed, said = pack_current(engine, client, settings, parent, rows.stand(engine, parent).saved, as_fork)
        note = f"memory of session {parent}" + (f"; {said}" if said else "")
    else:
        packed, note = (
            packer.pack(as_fork(_of(engine, client, settings, Ref(parent, checkpoint_id)))),
            f"checkpoint {checkpoint_id}",
        )
    facts = {
        "checkpoint_type": FORK,
        "identity": under.hash,
        "made_under": under.facts,
        "note": note,
        "created_by": actor,
        "verified": True,
    }
    return Heritage(parent, packed, facts, packer.unpack)


def recall(engine: Engine, client: redis.Redis, settings: Settings, session_id: UUID) -> bool:
    """Put a fork's memory into the live state before its first start; False: it is no fork, or has started.

    Done under epoch 0, which the start raises: nobody is stepped before it, and what agents of other services reported
    by then, who were given it as they joined, stays. Raises IntegrityError, Shredded and Unavailable.
    """
    found = _inherited(engine, session_id)
    if found is None:
        return False
    live = LiveState(client, settings)
    if live.raise_fence(session_id, 0) == 0:
        cut = live.read([session_id])[0]
        newer = {name: data for name, data in cut.parts.items() if is_memory(name)} if cut else {}
        live.restore(session_id, 0, {**load(engine, client, settings, Ref(session_id, found)).snapshot.parts, **newer})
    return True


def inherited_part(
    engine: Engine, client: redis.Redis, settings: Settings, session_id: UUID, part: str
) -> bytes | None:
    """Return one agent's memory that a fork begins with; None: it has none, or the session is no fork or has started.

    Raises IntegrityError, Shredded and Unavailable.
    """
    found = _inherited(engine, session_id)
    return (
        load(engine, client, settings, Ref(session_id, found), only={part}).snapshot.parts.get(part) if found else None
    )


def _inherited(engine: Engine, session_id: UUID) -> UUID | None:
    with transaction(engine) as connection:
        found: UUID | None = connection.execute(_MEMORY, {"session_id": session_id}).scalar_one_or_none()
    return found


def _of(engine: Engine, client: redis.Redis, settings: Settings, ref: Ref) -> Snapshot:
    try:
        return load(engine, client, settings, ref).snapshot
    except NotFound:
        # The id may be good, and another session's: that is a slip in the asking.
        if ref.checkpoint_id is not None:
            rows.read_stored(engine, ref.checkpoint_id)
        what = f"{ref.checkpoint_id} is of another session"
        raise InvalidArgument("checkpoint_id", what, "See `fntx checkpoints ID`.") from None
