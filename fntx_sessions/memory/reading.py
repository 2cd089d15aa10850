"""Slices out of Postgres: by words, ranked, or by whose they are, newest first. Never more than was asked for."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, statements
from fntx_sessions.exceptions import IntegrityError, InvalidArgument, Shredded
from fntx_sessions.memory.arguments import Filters, ListArguments, SearchArguments
from fntx_sessions.memory.slices import StoredMemory
from fntx_sessions.memory.store import MEMORY, SOON
from fntx_sessions.state.payloads import DESK, Payloads

# Of a word that is in everything, so many newest slices are ranked.
_RANKED = 5000
_QUERY = "websearch_to_tsquery('english', :query)"
# Not receipts of what another system took, nor context that waits for it.
_HOLDS = """m.taken_at IS NULL AND m.recipients IS NULL AND (m.expires_at IS NULL OR m.expires_at > now())
    AND (CAST(:agent AS text) IS NULL OR m.agent = :agent)
    AND (CAST(:memory_type AS text) IS NULL OR m.memory_type = :memory_type)
    AND (CAST(:session_id AS uuid) IS NULL OR m.session_id = CAST(:session_id AS uuid))
    AND (CAST(:importance AS integer) IS NULL OR m.importance >= :importance)
    AND (CAST(:tag AS text) IS NULL OR CAST(:tag AS text) = ANY(m.tags))
    AND (CAST(:since AS timestamptz) IS NULL OR m.created_at >= :since)
    AND (CAST(:until AS timestamptz) IS NULL OR m.created_at < :until)"""
_COLUMNS = """f.memory_id, f.agent, f.session_id, f.memory_type, f.importance, f.content, f.tags, f.created_at,
  f.expires_at, f.rank, k.data_key_id, k.ring_key_id, k.wrapped, k.shredded_at"""
_KEYS = f"""LEFT JOIN session_keys k ON k.session_id = coalesce(f.session_id, '{DESK}')
WHERE k.shredded_at IS NULL"""
# What the query says that an index could find: nothing, or T, where it has only words that must not be there.
_FINDABLE = text(f"SELECT querytree({_QUERY})")
# How well it answers, and a little how much it matters.
_SEARCH = text(f"""{SOON}
WITH f AS (
  SELECT n.*, ts_rank_cd(n.words, {_QUERY}, 1) * (1 + 0.1 * n.importance) AS rank FROM (
    SELECT m.* FROM memories m WHERE m.words @@ {_QUERY} AND {_HOLDS}
    ORDER BY m.created_at DESC LIMIT {_RANKED}
  ) n ORDER BY rank DESC, n.created_at DESC, n.memory_id LIMIT :limit
)
SELECT {_COLUMNS} FROM f {_KEYS} ORDER BY f.rank DESC, f.created_at DESC, f.memory_id
""")
_LIST = text(f"""{SOON}
WITH f AS (
  SELECT m.*, CAST(NULL AS float8) AS rank FROM memories m WHERE {_HOLDS}
  ORDER BY m.created_at DESC, m.memory_id LIMIT :limit
)
SELECT {_COLUMNS} FROM f {_KEYS} ORDER BY f.created_at DESC, f.memory_id
""")
_FIX = 'Give words that are to be found, as in: vix "stop loss" -paper.'


def search(engine: Engine, asked: SearchArguments) -> list[StoredMemory]:
    """Return the slices that hold the words, the best first; raises InvalidArgument for what can find nothing."""
    bound = _bound(asked) | {"query": asked.query}
    with statements(engine) as connection:
        findable = connection.execute(_FINDABLE, {"query": asked.query}).scalar_one()
        if findable in ("", "T"):
            problem = "says only what must not be there" if "-" in asked.query else "has no word one could search for"
            raise InvalidArgument("query", problem, _FIX)
        found = rows(connection.execute(_SEARCH, bound))
    return opened(engine, found)


def listed(engine: Engine, asked: ListArguments) -> list[StoredMemory]:
    """Return slices, newest first."""
    with statements(engine) as connection:
        found = rows(connection.execute(_LIST, _bound(asked)))
    return opened(engine, found)


def _bound(asked: Filters) -> dict[str, Any]:
    found = {name: getattr(asked, name) for name in asked.__class__.model_fields if name != "query"}
    plain = {
        "memory_type": asked.memory_type and asked.memory_type.value,
        "importance": asked.importance and int(asked.importance),
    }
    return found | plain


def opened(engine: Engine, found: Iterable[dict[str, Any]]) -> list[StoredMemory]:
    """Return rows of slices, with the columns of their session's key, as slices."""
    payloads = Payloads(engine)
    return [_memory(payloads, row) for row in found]


def _memory(payloads: Payloads, row: dict[str, Any]) -> StoredMemory:
    key = {name: row.pop(name) for name in ("data_key_id", "ring_key_id", "wrapped", "shredded_at")}
    owner = row["session_id"] or DESK
    payloads.learn({"session_id": owner, **key})
    content = _content(payloads, owner, row["memory_id"], row["content"])
    return StoredMemory.model_validate(row | {"content": content})


def _content(payloads: Payloads, owner: UUID, memory_id: UUID, sealed: bytes) -> Any:
    """Return what was sealed; what does not open is said so in its place."""
    try:
        return payloads.open(owner, MEMORY, memory_id, sealed)
    except (IntegrityError, Shredded) as error:
        return {"unreadable": str(error)}
