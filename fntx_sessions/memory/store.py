"""Slices in Postgres: content sealed with its session's key, or the desk's; words beside it, to search by.

Words are plain, as all columns are that one queries by: docs/security.md says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Engine, TextClause, text

from fntx_sessions.database.engine import statements, transaction
from fntx_sessions.exceptions import CommandConflict, InvalidArgument, NotFound
from fntx_sessions.memory.slices import MemorySlice
from fntx_sessions.settings import Settings
from fntx_sessions.state.payloads import DESK, Payloads

MEMORY = "memory"  # what a slice's content is sealed as
STORE = "fntx.memory.store"
_FORGOTTEN_AT_ONCE = 1000
# What waits for another system is not searched here. Tags, agent and type weigh most, then what is said, then under
# which keys it is said. epoch: stored only while the session is at it.
_INSERT = text("""
INSERT INTO memories (memory_id, agent, session_id, memory_type, importance, content, words, tags, created_at,
  expires_at, waits, recipients)
SELECT x.memory_id, x.agent, x.session_id, x.memory_type, x.importance, decode(x.content, 'hex'),
  CASE WHEN x.waits THEN '' ELSE
    setweight(to_tsvector('english', x.agent || ' ' || x.memory_type || ' ' || array_to_string(x.tags, ' ')), 'A')
    || setweight(jsonb_to_tsvector('english', x.words, '["string", "numeric", "boolean"]'), 'B')
    || setweight(jsonb_to_tsvector('english', x.words, '["key"]'), 'D') END,
  x.tags, coalesce(x.created_at, clock_timestamp()),
  coalesce(x.expires_at, coalesce(x.created_at, clock_timestamp()) + x.keep_s * interval '1 second'),
  x.waits, x.recipients
FROM jsonb_to_recordset(CAST(:slices AS jsonb)) AS x(memory_id uuid, agent text, session_id uuid, memory_type text,
  importance integer, content text, words jsonb, tags text[], created_at timestamptz, expires_at timestamptz,
  epoch bigint, keep_s float8, waits boolean, recipients text[])
WHERE (x.session_id IS NULL OR EXISTS (SELECT FROM sessions s WHERE s.session_id = x.session_id))
  AND (x.epoch IS NULL
    OR EXISTS (SELECT FROM session_work w WHERE w.session_id = x.session_id AND w.epoch = x.epoch))
ON CONFLICT (memory_id) DO NOTHING
RETURNING memory_id
""")
# For whoever holds up a worker meanwhile: of a table that is locked it is told soon, not after `db_lock_timeout_ms`.
SOON = "SET LOCAL lock_timeout = '300ms';"
_INSERT_SOON = text(f"{SOON} {_INSERT.text}")
_STORED = text(f"""
{SOON} SELECT agent, content, recipients, taken_at FROM memories WHERE memory_id = :memory_id
""")
_FORGET = text("""
DELETE FROM memories WHERE memory_id IN (
  SELECT memory_id FROM memories WHERE expires_at <= now() ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED)
""")


@dataclass(frozen=True, slots=True)
class Kept:
    """A slice to be stored, for whom, and for how long where it does not say so itself.

    created_at None: now. epoch: stored only while its session is at it; None: ever. waits: until another memory system
    has taken it; recipients: it is context for these, shared by `agent`, and waits too.
    """

    memory_id: UUID
    agent: str
    memory: MemorySlice
    keep_s: float
    created_at: datetime | None = None
    epoch: int | None = None
    waits: bool = False
    recipients: Sequence[str] | None = None


def store(engine: Engine, settings: Settings, agent: str, memory: MemorySlice, memory_id: UUID) -> UUID:
    """Store one slice under its id; stored again, nothing is there twice.

    Raises InvalidArgument (too large), NotFound (no such session), Shredded, CommandConflict (the id is another
    slice's), Unavailable, and Busy where the table is locked.
    """
    kept = Kept(memory_id, agent, memory, settings.memory_keep_s)
    checked(memory.content, settings)
    [row] = rows_of(engine, [kept])
    with statements(engine) as connection:
        put(connection, kept, row)
    return memory_id


def put(connection: Connection, kept: Kept, row: dict[str, Any]) -> bool:
    """Insert one slice, as `rows_of` made it, on the caller's connection; tell whether it is new. Raises as `store`."""
    if insert(connection, [row], _INSERT_SOON):
        return True
    known = connection.execute(_STORED, {"memory_id": kept.memory_id}).one_or_none()
    if known is None:
        raise NotFound("session", str(kept.memory.session_id), "See `fntx ls`; or leave session_id out.")
    same = known.taken_at is not None or bytes(known.content).hex() == row["content"]
    if not same or (known.agent, known.recipients) != (kept.agent, kept.recipients):
        raise CommandConflict(str(kept.memory_id), STORE)
    return False


def keep(engine: Engine, kept: Sequence[Kept]) -> None:
    """Store slices in one statement; those that are there, or whose session is not, are passed over. Raises as store.

    Their sessions' keys should be at hand: see `DataKeys.ensure`.
    """
    if kept:
        found = rows_of(engine, kept)
        with statements(engine) as connection:
            insert(connection, found)


def insert(connection: Connection, rows: Sequence[dict[str, Any]], statement: TextClause = _INSERT) -> set[UUID]:
    """Insert what `rows_of` made, on the caller's connection; return the ids that are new."""
    bound = {"slices": orjson.dumps(rows).decode()}
    return set(connection.execute(statement, bound).scalars())


def rows_of(engine: Engine, kept: Sequence[Kept]) -> list[dict[str, Any]]:
    """Return slices as `insert` takes them, content sealed; raises Shredded and Unavailable."""
    payloads = Payloads(engine)
    return [_row(payloads, one) for one in kept]


def checked(content: Any, settings: Settings, field: str = "content") -> None:
    """Refuse what is larger than `memory_content_max_bytes`; raises InvalidArgument."""
    size, most = len(orjson.dumps(content)), settings.memory_content_max_bytes
    if size > most:
        fix = "Keep what matters, and a reference to the rest."
        raise InvalidArgument(field, f"takes {size} bytes, {most} are allowed", fix)


def forget_expired(engine: Engine) -> int:
    """Delete slices whose time is over, in batches; return how many. Raises Unavailable."""
    gone = 0
    while True:
        with transaction(engine) as connection:
            found: int = connection.execute(_FORGET, {"limit": _FORGOTTEN_AT_ONCE}).rowcount
        gone += found
        if found < _FORGOTTEN_AT_ONCE:
            return gone


def _row(payloads: Payloads, one: Kept) -> dict[str, Any]:
    memory = one.memory
    return {
        "memory_id": one.memory_id,
        "agent": one.agent,
        "session_id": memory.session_id,
        "memory_type": memory.memory_type.value,
        "importance": int(memory.importance),
        "content": payloads.seal(memory.session_id or DESK, MEMORY, one.memory_id, memory.content).hex(),
        "words": memory.content,
        "tags": memory.tags,
        "created_at": one.created_at,
        "expires_at": memory.expires_at,
        "epoch": one.epoch,
        "keep_s": one.keep_s,
        "waits": one.waits,
        "recipients": one.recipients,
    }
