"""The rows of confirmations: held once, settled once, found again by their command's id."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from fntx_sessions.database.engine import rows

Row = dict[str, Any]

_SEEN = """c.*, now() AS now, c.state = 'waiting' AND c.expires_at <= now() AS overdue,
  CAST(extract(epoch FROM c.expires_at - now()) AS float8) AS expires_in_s"""
# What waits of one name is counted under a lock of that name: two at once must not both be the last.
_ALONE = text("SELECT pg_advisory_xact_lock(hashtextextended('fntx.confirmations.' || :asked_by, 0))")
_WAITING_OF = text("SELECT count(*) FROM confirmations WHERE state = 'waiting' AND asked_by = :asked_by")
_HOLD = text("""
INSERT INTO confirmations (command_id, task, action, session_id, arguments, args_hash, asked_by, asked_roles,
  asked_token_id, actor, reason, expires_at)
VALUES (:command_id, :task, :action, :session_id, :arguments, :args_hash, :asked_by, :asked_roles, :asked_token_id,
  :actor, :reason, least(now() + make_interval(secs => :ttl_s), to_timestamp(CAST(:token_ends_at AS float8))))
ON CONFLICT (command_id) DO NOTHING
""")
_FIND = text(f"SELECT {_SEEN} FROM confirmations c WHERE command_id = :command_id")
_LOCK = text(f"SELECT {_SEEN} FROM confirmations c WHERE command_id = :command_id FOR UPDATE")
_SETTLE = text("""
UPDATE confirmations SET state = :state, settled_by = :by, settled_roles = :roles, settled_reason = :reason,
  settled_at = now()
WHERE command_id = :command_id AND state = 'waiting'
""")
_LIST = text(f"""
SELECT {_SEEN} FROM confirmations c
WHERE (:everything OR c.command_id = CAST(:command_id AS uuid) OR c.state = 'waiting' AND c.expires_at > now())
  AND (CAST(:session_id AS uuid) IS NULL OR c.session_id = :session_id)
  AND (CAST(:command_id AS uuid) IS NULL OR c.command_id = :command_id)
ORDER BY c.asked_at DESC, c.command_id LIMIT :limit
""")
_COUNT = text("SELECT count(*) FROM confirmations WHERE state = 'waiting' AND expires_at > now()")
_DONE = text("UPDATE confirmations SET done_at = now() WHERE command_id = :command_id AND done_at IS NULL")
_OVERDUE = text(f"""
SELECT {_SEEN} FROM confirmations c WHERE state = 'waiting' AND expires_at <= now()
ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED
""")
# Whoever confirmed does it at once: it is left to the sweep where they died over it.
_CLAIM = text("""
WITH left_over AS MATERIALIZED (
  SELECT command_id FROM confirmations WHERE state = 'confirmed' AND done_at IS NULL
    AND coalesce(claimed_until, settled_at + make_interval(secs => :head_start_s)) <= now()
  ORDER BY settled_at LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE confirmations c SET claimed_until = now() + make_interval(secs => :lease_s)
FROM left_over l WHERE c.command_id = l.command_id RETURNING c.command_id
""")
_FORGET = text("""
DELETE FROM confirmations WHERE command_id IN (SELECT command_id FROM confirmations
  WHERE state <> 'waiting' AND coalesce(done_at, settled_at) < now() - make_interval(secs => :keep_s) LIMIT :limit)
""")
_SESSION = text("""
SELECT (SELECT TRUE FROM sessions WHERE session_id = :session_id) AS there,
  (SELECT shredded_at IS NULL FROM session_keys WHERE session_id = :session_id) AS has_key
""")


def waiting_of(connection: Connection, name: str) -> int:
    """Return how many of a name's wait; nobody else counts or adds to them until the transaction ends."""
    connection.execute(_ALONE, {"asked_by": name})
    found: int = connection.execute(_WAITING_OF, {"asked_by": name}).scalar_one()
    return found


def hold(connection: Connection, row: Row) -> bool:
    """Store a row; returns whether it was not there before."""
    return bool(connection.execute(_HOLD, row).rowcount)


def find(connection: Connection, command_id: UUID, *, lock: bool = False) -> Row | None:
    """Return the row of a command; None: it waits, and waited, for nobody."""
    found = connection.execute(_LOCK if lock else _FIND, {"command_id": command_id}).mappings().one_or_none()
    return None if found is None else dict(found)


def settle(connection: Connection, command_id: UUID, state: str, by: str, roles: str, reason: str) -> None:
    """Settle what waits."""
    bound = {"command_id": command_id, "state": state, "by": by, "roles": roles, "reason": reason}
    connection.execute(_SETTLE, bound)


def listed(
    connection: Connection, session_id: UUID | None, command_id: UUID | None, *, everything: bool, limit: int
) -> list[Row]:
    """Return those that wait, or all that are kept, newest first; the one of a command's id, in whatever state."""
    bound = {"session_id": session_id, "command_id": command_id, "everything": everything, "limit": limit}
    return rows(connection.execute(_LIST, bound))


def count(connection: Connection) -> int:
    """Return how many wait."""
    found: int = connection.execute(_COUNT).scalar_one()
    return found


def done(connection: Connection, command_id: UUID) -> None:
    """Note that what was confirmed is done, or was refused as it was to be done."""
    connection.execute(_DONE, {"command_id": command_id})


def overdue(connection: Connection, limit: int) -> list[Row]:
    """Lock and return those whose time is up."""
    return rows(connection.execute(_OVERDUE, {"limit": limit}))


def claim(connection: Connection, head_start_s: float, lease_s: float, limit: int) -> list[UUID]:
    """Claim what was confirmed and not done; returns the ids."""
    bound = {"head_start_s": head_start_s, "lease_s": lease_s, "limit": limit}
    return list(connection.execute(_CLAIM, bound).scalars())


def forget(connection: Connection, keep_s: float, limit: int) -> int:
    """Delete those that were over longer than `keep_s` ago; returns how many."""
    return connection.execute(_FORGET, {"keep_s": keep_s, "limit": limit}).rowcount


def session(connection: Connection, session_id: UUID) -> tuple[bool, bool]:
    """Return whether there is such a session, and whether it has its key."""
    found = connection.execute(_SESSION, {"session_id": session_id}).one()
    return bool(found.there), bool(found.has_key)
