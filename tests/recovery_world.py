"""What tests of recovery share: sessions with something to lose, and the ways in which copies of it go bad."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import orjson
from hosting import Hosting, T

from fntx_sessions.lifecycle.reads.history import get_events
from fntx_sessions.lifecycle.recovery.plan import create_recovery_plan
from fntx_sessions.schemas import SessionCheckpoint, SessionRecoveryPlan
from fntx_sessions.state.checkpoints import create_checkpoint
from fntx_sessions.state.live import LiveCut, LiveState
from fntx_sessions.state.parts import agent_part, is_memory
from fntx_sessions.state.redis_client import key

EVALUATOR = agent_part("EvaluatorAgent")


def live_of(hosting: Hosting, session_id: UUID) -> LiveCut:
    return LiveState(hosting.desk.redis, hosting.desk.settings).read([session_id])[0]


def memory(hosting: Hosting, session_id: UUID) -> dict[str, bytes]:
    cut = live_of(hosting, session_id)
    return {} if cut is None else {name: data for name, data in cut.parts.items() if is_memory(name)}


def steps_in(hosting: Hosting, session_id: UUID) -> int:
    return orjson.loads(live_of(hosting, session_id).parts[EVALUATOR])["internal_state"]["steps"]


def checkpoint(hosting: Hosting, session_id: UUID) -> SessionCheckpoint:
    return create_checkpoint(*hosting.desk.parts(), session_id, "manual")


def plan(hosting: Hosting, session_id: UUID, **more: Any) -> SessionRecoveryPlan:
    return create_recovery_plan(*hosting.desk.parts(), session_id, **more)


def layered(hosting: Hosting, *, suspend: bool = True) -> tuple[UUID, SessionCheckpoint]:
    """A session with a position: checkpointed at step 1, saved some steps later, then suspended."""
    session_id = hosting.started()
    hosting.step()
    made = checkpoint(hosting, session_id)
    hosting.holding(session_id)
    hosting.save(session_id)
    if suspend:
        hosting.do(T.SUSPEND, session_id)
    return session_id, made


def events(hosting: Hosting, session_id: UUID, event_type: str) -> list[Any]:
    found = get_events(hosting.desk.engine, session_id, 1000)
    return [one for one in found if one.event_type == event_type]


def run_of(hosting: Hosting, command_id: UUID) -> dict[str, Any]:
    return hosting.rows("SELECT * FROM recovery_runs WHERE run_id = :id", id=command_id)[0]


def lose_redis(hosting: Hosting, session_id: UUID, *, hot: bool = False) -> None:
    """Take a session's live state out of Redis, and its hot copies with hot=True."""
    names = ("live", "hot", "checkpoints") if hot else ("live",)
    hosting.desk.redis.delete(*(key(session_id, name) for name in names))


def _set(hosting: Hosting, table: str, what: str, **bound: Any) -> None:
    column = "checkpoint_id" if table == "checkpoints" else "session_id"
    hosting.run(f"UPDATE {table} SET {what} WHERE {column} = :id", **bound)


def flipped(hosting: Hosting, table: str, row_id: UUID) -> None:
    byte = "set_byte(manifest, 60, 255 - get_byte(manifest, 60))"
    _set(hosting, table, f"manifest = {byte}", id=row_id)


def truncated(hosting: Hosting, table: str, row_id: UUID) -> None:
    _set(hosting, table, "manifest = substring(manifest FROM 1 FOR length(manifest) - 7)", id=row_id)


def emptied(hosting: Hosting, table: str, row_id: UUID) -> None:
    _set(hosting, table, "manifest = ''", id=row_id)


def future(hosting: Hosting, table: str, row_id: UUID) -> None:
    _set(hosting, table, "manifest = set_byte(manifest, 2, 250)", id=row_id)


def replayed(hosting: Hosting, table: str, row_id: UUID) -> None:
    """Its own bytes, said to be newer than they are: what replaying an old row in place of a new one looks like."""
    _set(hosting, table, "revision = revision + 5", id=row_id)


def swapped(hosting: Hosting, table: str, row_id: UUID) -> None:
    """Another session's bytes, whole as they are."""
    other = hosting.started()
    hosting.step()
    hosting.save(other)
    source = "SELECT manifest, checksum FROM saves WHERE session_id = :other"
    _set(hosting, table, f"(manifest, checksum) = ({source})", id=row_id, other=other)


DAMAGES: tuple[Callable[[Hosting, str, UUID], None], ...] = (flipped, truncated, emptied, future, replayed, swapped)
