"""Agents that joined with what is refused by now, a revoked token or one of a retired key, speak no more.

A token that is over by its time ends nothing: positions are open, and whose it was is still who it was.
"""

from collections.abc import Mapping
from typing import Any

import structlog
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.database.hosting import NOBODY_SPEAKS
from fntx_sessions.exceptions import FntxError, InvalidArgument
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.security.still_good import keys_taken
from fntx_sessions.state import agent_doors

log = structlog.get_logger(__name__)
_AT_A_TIME = 100
_NAMED = 5

# As `revocations.Known.about` says it of who asks. Who joined before tokens were noted had theirs by then.
_REVOKED = """FROM revoked_tokens r WHERE r.token_id = g.token_id
  OR r.subject = g.joined_by AND r.issued_until >= coalesce(g.token_issued_at, g.joined_at)"""
# Not of a row that somebody changes just now: who joins again has another token.
_SHUT_OUT = text(f"""
WITH out AS MATERIALIZED (
  SELECT g.session_id, g.agent, g.joined_by,
    (SELECT 'revoked by ' || r.revoked_by {_REVOKED} ORDER BY r.revoked_at LIMIT 1) AS revoked
  FROM session_agents g
  WHERE g.joined_at IS NOT NULL AND g.ticket_hash IS NOT NULL
    AND (EXISTS (SELECT {_REVOKED}) OR g.token_key_id <> ALL(CAST(:keys AS text[])))
  ORDER BY g.session_id, g.agent LIMIT :limit FOR UPDATE OF g SKIP LOCKED
), emptied AS (
  UPDATE session_agents g SET {NOBODY_SPEAKS} FROM out WHERE g.session_id = out.session_id AND g.agent = out.agent
)
INSERT INTO events (event_id, session_id, event_type, event_category, severity, source_agent, requires_action,
  description)
SELECT gen_random_uuid(), session_id, 'agent_shut_out', 'agents', 'error', agent, true, agent ||
  ' was shut out: the token it joined with, of ''' || joined_by || ''', was ' ||
  coalesce(revoked, 'signed with a key that was retired') || '. Nothing it sends counts any more, and what it ' ||
  'holds is looked after by its own service alone, until that joins with a fresh token (`fntx token issue ' ||
  joined_by || ' --role agent`). `fntx agents ls ' || session_id || '` shows who speaks.'
FROM out RETURNING session_id, source_agent AS agent
""")
# Of a closed session nobody speaks, though its tickets may not be forgotten yet.
_SPEAK = text("""
SELECT g.session_id, g.agent, count(*) OVER () AS agents
FROM session_agents g JOIN session_work w USING (session_id)
WHERE g.ticket_hash IS NOT NULL AND g.token_key_id = :key AND w.status <> 'closed'
ORDER BY g.session_id, g.agent LIMIT :limit
""")


def shut_out(desk: Desk) -> int:
    """Void the ticket of every agent whose token is refused by now; return of how many. Raises Busy and Unavailable.

    It is not ready any more, what it told last is taken in all the same, and an event says what to run.
    """
    bound = {"keys": keys_taken(desk.settings), "limit": _AT_A_TIME}
    found, done = _AT_A_TIME, 0
    while found == _AT_A_TIME:
        found = _shut_some(desk, bound)
        done += found
    if done:
        log.warning("agents_shut_out", agents=done)
    return done


def shut_out_at_once(desk: Desk) -> None:
    """The same as far as it can be done now: what cannot is left to the next intake, and nothing is raised for it."""
    try:
        shut_out(desk)
    except FntxError as error:
        log.warning("agents_shut_out_later", problem=str(error))


def must_speak_for_none(engine: Engine, key: str) -> None:
    """Raise InvalidArgument, with some of them, where agents of other services speak by a token that `key` signed.

    Raises Busy and Unavailable, too.
    """
    with transaction(engine) as connection:
        found = connection.execute(_SPEAK, {"key": key, "limit": _NAMED}).all()
    if found:
        count = found[0].agents
        more = f" and {count - len(found)} more" if count > len(found) else ""
        named = ", ".join(f"{row.agent} of session {row.session_id}" for row in found) + more
        speak = "agent of another service still speaks" if count == 1 else "agents of other services still speak"
        fix = "Have them join again with a fresh token (`fntx agents ls ID` shows who speaks), or --now ends them."
        raise InvalidArgument("key", f"{count} {speak} by a token of {key}: {named}", fix)


def _shut_some(desk: Desk, bound: Mapping[str, Any]) -> int:
    with transaction(desk.engine) as connection:
        out = [(row.session_id, row.agent) for row in connection.execute(_SHUT_OUT, bound)]
        # Before it is noted that nobody speaks for them, as nothing more can come then.
        agent_doors.close_doors(desk.redis, out)
    return len(out)
