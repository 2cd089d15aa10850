"""How agents of other services take part: they join with a token and get a ticket, say that they are ready, leave.

Who joined keeps the agent, under the name of its token, until it leaves, an administrator has it leave, or that token
is taken back (`shutting_out`): silence frees nothing, or whoever can silence an agent could be it. Of two processes
under that name the later one speaks. Hosted agents have nothing to do with this.

What of this changes who speaks for an agent, or whether it is ready, the desk's chain is owed a row of, noted in the
very transaction: a sweep writes it, as nobody's joining shall wait for the end of that chain.
"""

import hashlib
import secrets
from typing import Any
from uuid import UUID

import orjson
import structlog
from psycopg2 import Binary
from pydantic import Field
from sqlalchemy import Connection, text

from fntx_sessions.automation.pending import finish_session
from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.database.hosting import NOBODY_SPEAKS, TRADED_ELSEWHERE
from fntx_sessions.exceptions import FntxError, InvalidArgument, NotFound, NotJoined, SessionClosed, Superseded
from fntx_sessions.lifecycle import owed
from fntx_sessions.lifecycle.desk_audit import Deed, asked_hash
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import Model, SessionStatus
from fntx_sessions.security.actor import Actor, system_actor
from fntx_sessions.security.agent_names import must_be_own
from fntx_sessions.security.roles import REPORT, authorize
from fntx_sessions.security.sealed_box import sealing_key_of
from fntx_sessions.state import agent_doors
from fntx_sessions.state.forks import inherited_part
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.loading import load
from fntx_sessions.state.parts import MARKET, TRADING, agent_part
from fntx_sessions.state.tiers.base import Ref

log = structlog.get_logger(__name__)
_TICKET_BYTES = 24
JOIN, READY, LEAVE = "join_session", "agent_ready", "leave_session"

_FIND = text("""
SELECT s.status, s.version, s.epoch, s.roster, g.agent IS NOT NULL AS invited, coalesce(g.hosted, false) AS hosted
FROM sessions s LEFT JOIN session_agents g ON g.session_id = s.session_id AND g.agent = :agent
WHERE s.session_id = :session_id
""")
# Locked, so that of two who join, or of one who joins and one who leaves, each sees what the other did.
_WHOSE = text("""
SELECT CASE WHEN ticket_hash IS NOT NULL THEN joined_by END FROM session_agents
WHERE session_id = :session_id AND agent = :agent FOR UPDATE
""")
_HELD = text("""
SELECT ticket_hash IS NOT NULL AS held, ticket_hash = :ticket_hash AS own FROM session_agents
WHERE session_id = :session_id AND agent = :agent FOR UPDATE
""")
# Who joined before may have left records that nobody has taken in yet: that it joined stays until they are.
_JOIN = text("""
WITH before AS (
  SELECT joined_at, ticket_hash, ticket_hash IS NULL OR (joined_by, token_id, token_key_id)
    IS DISTINCT FROM (CAST(:actor AS text), CAST(:token_id AS text), CAST(:token_key_id AS text)) AS another
  FROM session_agents WHERE session_id = :session_id AND agent = :agent FOR UPDATE
), joined AS (
  UPDATE session_agents SET joined_at = now(), joined_by = :actor, ticket_hash = :ticket_hash,
    sealing_key = :sealing_key, token_id = :token_id, token_key_id = :token_key_id,
    token_issued_at = to_timestamp(CAST(:token_issued_at AS float8))
  WHERE session_id = :session_id AND agent = :agent
), told AS (
INSERT INTO events (event_id, session_id, event_type, event_category, severity, source_agent, description)
SELECT gen_random_uuid(), :session_id, 'agent_joined', 'agents', 'info', :agent, :agent || ' joined as ' || :actor ||
  CASE WHEN ticket_hash IS NULL THEN '' ELSE '; who spoke for it before is superseded' END
FROM before WHERE ticket_hash IS DISTINCT FROM :ticket_hash
)
SELECT another FROM before
""")
# A start that waits for this agent is looked at by the next pending sweep, or sooner.
_READY = text("""
WITH ready AS (
  UPDATE session_agents SET ready_at = now() WHERE session_id = :session_id AND agent = :agent AND ready_at IS NULL
  RETURNING 1
), awaited AS (
  UPDATE session_work SET pending_due_at = now() WHERE session_id = :session_id AND pending_due_at IS NOT NULL
)
SELECT count(*) > 0 FROM ready
""")
_AWAITED = text("""
SELECT s.pending ->> 'trigger' = 'start_session' AND NOT EXISTS (SELECT FROM session_agents g
  WHERE g.session_id = s.session_id AND g.required AND g.ready_at IS NULL) FROM sessions s
WHERE s.session_id = :session_id
""")
_LEAVE = text(f"""
WITH left_now AS (
  UPDATE session_agents SET {NOBODY_SPEAKS}
  WHERE session_id = :session_id AND agent = :agent
    AND (ready_at IS NOT NULL OR ticket_hash IS NOT NULL)
  RETURNING session_id
), told AS (
INSERT INTO events (event_id, session_id, event_type, event_category, severity, source_agent, description)
SELECT gen_random_uuid(), session_id, 'agent_left', 'agents', 'warning', :agent, :agent || ' left, told by ' || :actor
FROM left_now
)
SELECT count(*) > 0 FROM left_now
""")
_FACTS = text(f"""
SELECT s.session_id, s.status, s.version, s.epoch, s.roster, s.session_type, s.config, s.risk_parameters,
  s.enabled_strategies, s.strategy_parameters, w.last_saved_at, NOT {TRADED_ELSEWHERE} AS traded_here,
  EXISTS (SELECT FROM session_agents g WHERE g.session_id = s.session_id AND g.hosted
    AND g.agent = 'EnvironmentWatcherAgent') AS watched_here
FROM sessions s JOIN session_work w USING (session_id) WHERE s.session_id = :session_id
""")
_SAID = ("status", "version", "epoch")
_SETTINGS = ("roster", "session_type", "config", "risk_parameters", "enabled_strategies", "strategy_parameters")


class AgentArguments(Model):
    """An agent of another service, and the session whose roster names it."""

    session_id: UUID
    agent: str = Field(min_length=1, max_length=100)


class JoinArguments(AgentArguments):
    """ready: whether the agent can begin to trade at once; else it says so later.

    ticket: random text of the agent's own, so that a joining that is sent twice, or done twice, is one joining.
    sealing_key: X25519 public key, base64; without one it is told no credentials.
    """

    ready: bool = True
    ticket: str | None = Field(default=None, min_length=32, max_length=200)
    sealing_key: str | None = Field(default=None, max_length=100)


def join(desk: Desk, actor: Actor, arguments: JoinArguments) -> dict[str, Any]:
    """Let an agent of another service in; return its ticket, the session as it stands, and how to report.

    An older ticket of the same agent is no good from now on. Raises Forbidden (another's, too), NotFound (no such
    session, or not on its roster), InvalidArgument (hosted by the desk), SessionClosed, Unavailable, and NotJoined or
    Superseded where it was let go, or joined elsewhere, before this was done.
    """
    found = invited(desk, actor, arguments)
    if found["hosted"]:
        fix = "The desk steps it itself; take another name, and name that one in config.agents."
        raise InvalidArgument("agent", f"{arguments.agent} is hosted by the desk", fix)
    if found["status"] == SessionStatus.CLOSED:
        raise SessionClosed(arguments.session_id)
    ticket = arguments.ticket or secrets.token_hex(_TICKET_BYTES)
    opened = _enter(desk, actor, arguments, ticket, found["epoch"])
    if arguments.ready:
        _go_on(desk, arguments)
    facts = _facts(desk, arguments.session_id)
    return {
        "state": "done",
        "session_id": arguments.session_id,
        "agent": arguments.agent,
        "ticket": ticket,
        **{name: facts[name] for name in _SAID},
        "revision": opened.revision,
        **{name: facts[name] for name in _SETTINGS},
        "configuration": facts["config"].get("agent_configurations", {}).get(arguments.agent, {}),
        "internal_state": _memory(desk, arguments, opened, facts),
        "position": opened.position,
        "missed": opened.missed,
        "heartbeat_s": desk.settings.agent_quiet_s / 3,
        "limits": agent_doors.limits(desk.settings),
        "keys": agent_doors.keys(arguments.session_id),
        "report_script": agent_doors.AGENT_REPORT.text,
    }


def ready(desk: Desk, actor: Actor, arguments: AgentArguments) -> dict[str, Any]:
    """Note that an agent is ready, once however often it says so; return the session's status, version and epoch.

    A start that waited for nobody else goes on at once. Raises Forbidden (another's, too), and NotFound when there is
    no such session or its roster does not name the agent.
    """
    invited(desk, actor, arguments)
    with transaction(desk.engine) as connection:
        keep_whose(connection, actor, arguments)
        if connection.execute(_READY, _bound(arguments)).scalar_one():
            _owe(connection, actor, READY, arguments)
    _go_on(desk, arguments)
    return _standing(desk, arguments)


def leave(desk: Desk, actor: Actor, arguments: AgentArguments) -> dict[str, Any]:
    """Let an agent go: it is not ready any more, and its ticket is no good; what it told last is taken in all the same.

    Raises Forbidden (another's, too), NotFound, InvalidArgument (hosted by the desk) and Unavailable.
    """
    if invited(desk, actor, arguments)["hosted"]:
        raise InvalidArgument("agent", f"{arguments.agent} is hosted by the desk", "Only agents that joined leave.")
    with transaction(desk.engine) as connection:
        keep_whose(connection, actor, arguments)
        # First: when it is noted that nobody speaks for it, nothing more can come.
        agent_doors.close_door(desk.redis, arguments.session_id, arguments.agent)
        if connection.execute(_LEAVE, {**_bound(arguments), "actor": actor.name}).scalar_one():
            _owe(connection, actor, LEAVE, arguments)
    return _standing(desk, arguments)


def invited(desk: Desk, actor: Actor, arguments: AgentArguments) -> dict[str, Any]:
    """Return what is known of a session and of an agent of its roster; raises Forbidden, NotFound and Unavailable."""
    authorize(actor, REPORT, arguments.session_id)
    with transaction(desk.engine) as connection:
        found = rows(connection.execute(_FIND, _bound(arguments)))
    if not found:
        raise NotFound("session", str(arguments.session_id), "See `fntx ls`.")
    if not found[0]["invited"]:
        where = f"the roster of session {arguments.session_id}"
        roster = ", ".join(found[0]["roster"])
        raise NotFound("agent", arguments.agent, f"It is not in {where}, which names {roster}.")
    return found[0]


def keep_whose(connection: Connection, actor: Actor, arguments: AgentArguments) -> None:
    """Hold whose agent it is until the transaction ends; raises Forbidden where it is another's."""
    whose = connection.execute(_WHOSE, _bound(arguments)).scalar_one_or_none()
    must_be_own(actor, REPORT, arguments.agent, whose)


def _enter(desk: Desk, actor: Actor, arguments: JoinArguments, ticket: str, epoch: int) -> agent_doors.Opened:
    given = arguments.sealing_key
    bound = _bound(arguments) | _of_token(actor) | {"ticket_hash": hashlib.sha256(ticket.encode()).digest()}
    bound["sealing_key"] = None if given is None else Binary(sealing_key_of(given))
    with transaction(desk.engine) as connection:
        keep_whose(connection, actor, arguments)
        # None of one who joins anew, with the token that spoke before: nothing is another's, and some do so all day.
        another = connection.execute(_JOIN, bound).scalar_one()
        if another:
            _owe(connection, actor, JOIN, arguments)
    # A session that Redis forgot, or never knew, is live from now on, under the epoch that stands.
    LiveState(desk.redis, desk.settings).raise_fence(arguments.session_id, epoch)
    with transaction(desk.engine) as connection:
        # Whoever lets it go does so before this, and no door is opened, or after it, and shuts the door.
        _keep_held(connection, arguments, bound)
        opened = _open_door(desk, connection, arguments, ticket)
        # Of another one's joining, that row says it.
        if arguments.ready and connection.execute(_READY, _bound(arguments)).scalar_one() and not another:
            _owe(connection, actor, READY, arguments)
    return opened


def _owe(connection: Connection, actor: Actor, action: str, arguments: AgentArguments) -> None:
    hashed = asked_hash(arguments.model_dump(exclude={"ticket"}))
    target = f"agent {arguments.agent} of session {arguments.session_id}"
    owed.owe(connection, actor, Deed(action, "done", target, args_hash=hashed))


def _of_token(actor: Actor) -> dict[str, Any]:
    """Return what is noted of the token that somebody joins with; None: there is none, or it does not say."""
    told = {"token_id": actor.token_id or None, "token_key_id": actor.key_id or None}
    return told | {"actor": actor.name, "token_issued_at": actor.issued_at}


def _keep_held(connection: Connection, arguments: JoinArguments, bound: dict[str, Any]) -> None:
    """Hold the agent's row until the transaction ends; raises NotJoined or Superseded where the ticket is not there."""
    row = connection.execute(_HELD, bound).one_or_none()
    if row is None or not row.held:
        raise NotJoined(str(arguments.session_id), arguments.agent, "it was let go meanwhile")
    if not row.own:
        raise Superseded(str(arguments.session_id), arguments.agent)


def _open_door(desk: Desk, connection: Connection, arguments: JoinArguments, ticket: str) -> agent_doors.Opened:
    facts = rows(connection.execute(_FACTS, {"session_id": arguments.session_id}))[0]
    own = [part for part, ours in ((TRADING, facts["traded_here"]), (MARKET, facts["watched_here"])) if ours]
    return agent_doors.open_door(desk.redis, desk.settings, arguments.session_id, arguments.agent, ticket, own)


def _go_on(desk: Desk, arguments: AgentArguments) -> None:
    """Finish a start that waited for this agent alone."""
    bound = {"session_id": arguments.session_id}
    with transaction(desk.engine) as connection:
        awaited = connection.execute(_AWAITED, bound).scalar_one_or_none()
    if awaited:
        finish_session(desk, system_actor("agents"), arguments.session_id)


def _standing(desk: Desk, arguments: AgentArguments) -> dict[str, Any]:
    facts = _facts(desk, arguments.session_id)
    named = {"session_id": arguments.session_id, "agent": arguments.agent}
    return {"state": "done", **named, **{name: facts[name] for name in _SAID}}


def _facts(desk: Desk, session_id: UUID) -> dict[str, Any]:
    with transaction(desk.engine) as connection:
        return rows(connection.execute(_FACTS, {"session_id": session_id}))[0]


def _memory(
    desk: Desk, arguments: JoinArguments, opened: agent_doors.Opened, facts: dict[str, Any]
) -> dict[str, Any] | None:
    """Return what the agent itself reported last as its internal state: live, else as saved or inherited.

    None: nothing.
    """
    own = opened.own if opened.own_bytes else _saved(desk, arguments, facts)
    try:
        said = orjson.loads(own) if own else {}
    except orjson.JSONDecodeError:
        return None  # it may write anything there; what cannot be saved is told by health
    state = said.get("internal_state") if isinstance(said, dict) else None
    return state if isinstance(state, dict) else None


def _saved(desk: Desk, arguments: JoinArguments, facts: dict[str, Any]) -> bytes | None:
    part = agent_part(arguments.agent)
    try:
        if facts["last_saved_at"] is None:
            found = inherited_part(*desk.parts(), arguments.session_id, part)
        else:
            found = load(*desk.parts(), Ref(arguments.session_id), only={part}).snapshot.parts.get(part)
    except FntxError as error:
        log.warning("save_not_read", session_id=str(arguments.session_id), problem=str(error))
        return None
    return found if found is not None and len(found) <= agent_doors.OWN_PART_BYTES else None


def _bound(arguments: AgentArguments) -> dict[str, Any]:
    return {"session_id": arguments.session_id, "agent": arguments.agent}
