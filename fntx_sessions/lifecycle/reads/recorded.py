"""What was asked of a session and what came of it, the newest first and a page at a time: transitions, commands."""

from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.exceptions import IntegrityError, Shredded
from fntx_sessions.lifecycle.reads.cursors import Cursor
from fntx_sessions.lifecycle.reads.rows import Row
from fntx_sessions.state.payloads import OUTCOME, Payloads

# A version may have two of them: one that is listed at all is listed with the other.
_TRANSITIONS = text("""
SELECT * FROM (
  SELECT * FROM transitions WHERE session_id = :session_id AND version < :before
  ORDER BY version DESC FETCH FIRST :limit ROWS WITH TIES) t
ORDER BY version DESC, timestamp DESC, to_status
""")
# The audit says why; of one that was never answered it says nothing.
_COMMANDS = text("""
WITH c AS (
  SELECT command_id, session_id, trigger, actor, state, outcome, created_at, finished_at FROM commands
  WHERE session_id = :session_id AND (created_at, command_id) < (:at, :id)
  ORDER BY created_at DESC, command_id DESC LIMIT :limit
), why AS (
  SELECT DISTINCT ON (a.command_id) a.command_id, a.reason FROM audit a
  WHERE a.session_id = :session_id AND a.command_id IN (SELECT command_id FROM c)
    AND a.timestamp >= (SELECT min(created_at) FROM c) ORDER BY a.command_id, a.seq
)
SELECT c.*, why.reason FROM c LEFT JOIN why USING (command_id) ORDER BY c.created_at DESC, c.command_id DESC
""")
_NEWEST = 2**62


def list_transitions(engine: Engine, session_id: UUID, limit: int, before: int | None) -> tuple[list[Row], int | None]:
    """Return up to `limit` (one more where two share a version) of those before a version, and where older ones begin.

    None: there are no older ones. Raises Busy and Unavailable.
    """
    bound = {"session_id": session_id, "limit": limit + 1, "before": _NEWEST if before is None else before}
    with transaction(engine) as connection:
        found = rows(connection.execute(_TRANSITIONS, bound))
    if len(found) <= limit:
        return found, None
    oldest = found[limit - 1]["version"]
    return [row for row in found if row["version"] >= oldest], oldest


def list_commands(engine: Engine, session_id: UUID, limit: int, before: Cursor) -> tuple[list[Row], Cursor | None]:
    """Return up to `limit` commands before a cursor with their outcomes opened, and the cursor of the next ones.

    outcome: as the caller got it; empty where there is none yet, `unreadable` says why it does not open. Raises Busy
    and Unavailable.
    """
    bound = {"session_id": session_id, "limit": limit + 1, "at": before.at, "id": before.id}
    with transaction(engine) as connection:
        found = rows(connection.execute(_COMMANDS, bound))
    payloads, listed = Payloads(engine), found[:limit]
    opened = [row | {"outcome": _outcome(payloads, row)} for row in listed]
    more = Cursor(listed[-1]["created_at"], listed[-1]["command_id"]) if len(found) > limit else None
    return opened, more


def _outcome(payloads: Payloads, row: Row) -> dict[str, Any]:
    try:
        found: dict[str, Any] = payloads.open(row["session_id"], OUTCOME, row["command_id"], row["outcome"])
    except (IntegrityError, Shredded) as error:
        return {"unreadable": str(error)}
    return found
