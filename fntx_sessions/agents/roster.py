"""Which agents a session has and how they do, and which hosted agents there are."""

from typing import Any
from uuid import UUID

from pydantic import Field
from sqlalchemy import text

from fntx_sessions.agents.registry import known_agents, whence
from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.exceptions import NotFound, Unavailable
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import Model, Time
from fntx_sessions.state.agent_doors import Seen, look

_ROSTER = text("""
SELECT g.agent IS NOT NULL AS found, g.agent, g.hosted, g.required, g.ready_at, g.joined_by,
  CASE WHEN g.ticket_hash IS NOT NULL THEN g.joined_at END AS joined_at
FROM sessions s LEFT JOIN session_agents g USING (session_id)
WHERE s.session_id = :session_id ORDER BY array_position(ARRAY(SELECT jsonb_array_elements_text(s.roster)), g.agent)
""")


class RosterArguments(Model):
    """session_id: whose agents; None: the hosted agents that any session may name."""

    session_id: UUID | None = None


class RosterEntry(Model):
    """One agent. None: unknown, or it has none; of a session's alone: required, ready_at and what follows.

    package: where a hosted agent comes from. joined_at, joined_by: since when, and under which name of a token, another
    service speaks for it. beat_s: since its last heartbeat. acknowledged: the last inbox entry it acknowledged; behind:
    events after that, unread_s: for how long the first of them has waited. refused: its reports, by reason;
    refused_s: since the last of them. unseen: Redis could not be asked.
    """

    agent: str
    hosted: bool
    package: str = ""
    required: bool | None = None
    ready_at: Time | None = None
    joined_at: Time | None = None
    joined_by: str | None = None
    beat_s: float | None = None
    acknowledged: str | None = None
    behind: int | None = None
    unread_s: float | None = None
    refused: dict[str, int] = Field(default_factory=dict)
    refused_s: float | None = None
    unseen: bool = False


def list_agents(desk: Desk, arguments: RosterArguments) -> list[RosterEntry]:
    """Return a session's roster in its order, or the hosted agents there are; raises NotFound and Unavailable."""
    if arguments.session_id is None:
        return [RosterEntry(agent=name, hosted=True, package=whence(name)) for name in known_agents()]
    with transaction(desk.engine) as connection:
        found = rows(connection.execute(_ROSTER, {"session_id": arguments.session_id}))
    if not found:
        raise NotFound("session", str(arguments.session_id), "See `fntx ls`.")
    listed = [row for row in found if row.pop("found")]
    seen = _seen(desk, arguments.session_id, [row["agent"] for row in listed])
    return [RosterEntry(**row, **_said(row, seen)) for row in listed]


def _seen(desk: Desk, session_id: UUID, agents: list[str]) -> dict[str, Seen] | None:
    try:
        return look(desk.redis, [(session_id, agents)])[0]
    except Unavailable:
        return None


def _said(row: dict[str, Any], seen: dict[str, Seen] | None) -> dict[str, Any]:
    if seen is None:
        return {"unseen": True}
    one = seen[row["agent"]]
    if row["hosted"]:
        return {"beat_s": one.beat_s}
    read = {"acknowledged": one.position or None, "behind": one.behind, "unread_s": one.waiting_s}
    return {"beat_s": one.beat_s, **read, "refused": one.refused, "refused_s": one.refused_s}
