"""What hosted agents want remembered: checked as they say it, stored with the end of their step."""

from collections.abc import Sequence
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.memory.slices import MemorySlice
from fntx_sessions.memory.store import Kept, checked, insert, rows_of
from fntx_sessions.memory.systems import OWN
from fntx_sessions.memory.waiting import make_due
from fntx_sessions.security.known_secrets import holds_any
from fntx_sessions.settings import Settings

# What one batch of steps may leave of one session: a day of a backtest is one, and memory is no log.
MOST = 100


def noted(
    settings: Settings, session_id: UUID, epoch: int, agent: str, memory: MemorySlice, known: Sequence[Kept]
) -> Kept:
    """Return a slice as it will be kept for `agent`, about its own session; raises InvalidArgument.

    known: what is to be kept already.
    """
    if len(known) >= MOST:
        raise InvalidArgument("memory", f"is one of more than {MOST} at once", "Remember what matters.")
    if memory.session_id not in (None, session_id):
        raise InvalidArgument("session_id", "is another session's", "Leave it out: an agent remembers of its own.")
    checked(memory.content, settings)
    if holds_any(memory.model_dump_json().encode()):
        raise InvalidArgument("memory", "holds a credential", "Remember what it was used for.")
    own = memory.model_copy(update={"session_id": session_id})
    waits = settings.memory != OWN
    return Kept(uuid4(), agent, own, settings.memory_keep_s, epoch=epoch, waits=waits)


def sealed(engine: Engine, kept: Sequence[Kept]) -> list[dict[str, object]]:
    """Return slices as `keep_in` takes them; raises Shredded and Unavailable."""
    return rows_of(engine, kept) if kept else []


def keep_in(connection: Connection, rows: Sequence[dict[str, object]]) -> None:
    """Store slices in the caller's transaction, those of superseded epochs not."""
    if not rows:
        return
    insert(connection, rows)
    waiting = {UUID(str(row["session_id"])) for row in rows if row["waits"]}
    if waiting:
        make_due(connection, list(waiting))
