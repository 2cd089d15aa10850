"""One session with all that belongs to it, and lists of sessions."""

from uuid import UUID

from redis import Redis
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.database.hosting import UNATTENDED
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.arguments import ListArguments
from fntx_sessions.lifecycle.elsewhere import Elsewhere, read_elsewhere
from fntx_sessions.lifecycle.obstacles import obstacle
from fntx_sessions.lifecycle.reads.history import opened
from fntx_sessions.lifecycle.reads.ledger import trading_state
from fntx_sessions.lifecycle.reads.metrics import get_metrics
from fntx_sessions.lifecycle.reads.rows import COLUMNS, Row, one, to_session
from fntx_sessions.lifecycle.reads.state import read_state
from fntx_sessions.schemas import AgentState, MarketState, SessionMetrics, SessionStatus, TradingSession
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.scope import IN_SCOPE
from fntx_sessions.security.scope import bound as bound_scope
from fntx_sessions.settings import Settings
from fntx_sessions.state.parts import AGENT_PREFIX, MARKET, TRADING
from fntx_sessions.state.payloads import Payloads

EVENTS_SHOWN, CHECKPOINTS_SHOWN = 20, 10

_GET = text(f"""
SELECT {COLUMNS},
  (SELECT coalesce(jsonb_agg(to_jsonb(e) ORDER BY e.timestamp, e.event_id), '[]') FROM (
    SELECT event_id, session_id, timestamp, event_type, event_category, severity, source_agent, description,
      encode(data, 'hex') AS data, requires_action, action_taken, impact_assessment, acknowledged_at, acknowledged_by
    FROM events WHERE session_id = s.session_id ORDER BY timestamp DESC, event_id DESC LIMIT :events) e) AS events,
  (SELECT coalesce(jsonb_agg(to_jsonb(c) ORDER BY c.timestamp DESC, c.checkpoint_id DESC), '[]') FROM (
    SELECT checkpoint_id, session_id, timestamp, checkpoint_type, is_recovery_point,
      encode(checksum, 'hex') AS checksum, verified, epoch, revision, size_bytes, identity, note, tier,
      created_by, pinned
    FROM checkpoints WHERE session_id = s.session_id ORDER BY timestamp DESC, checkpoint_id DESC LIMIT :checkpoints
  ) c) AS checkpoints,
  (SELECT coalesce(jsonb_agg(k.session_id ORDER BY k.created_at), '[]') FROM sessions k
    WHERE k.parent_session_id = s.session_id) AS child_session_ids,
  (SELECT jsonb_build_object('object', a.object, 'archived_at', a.archived_at, 'verified_at', a.verified_at,
    'rows_dropped_at', a.rows_dropped_at) FROM archives a WHERE a.session_id = s.session_id) AS archive,
  (SELECT jsonb_build_object('first_week', min(g.week), 'last_week', max(g.week), 'rows', sum(g.rows))
    FROM archive_segments g WHERE g.session_id = s.session_id AND g.verified_at IS NOT NULL
    HAVING count(*) > 0) AS sealed_weeks,
  (SELECT k.shredded_at FROM session_keys k WHERE k.session_id = s.session_id) AS shredded_at,
  w.last_saved_at, clock_timestamp() AS desk_now, {UNATTENDED} AS unattended
FROM sessions s LEFT JOIN session_work w USING (session_id) WHERE s.session_id = :session_id
""")  # fmt: skip

# A filter that was not given holds for every row. Newest and oldest are two statements, so that each can use its index.
_FILTERED = f"""
SELECT {COLUMNS}, {UNATTENDED} AS unattended FROM sessions s
WHERE (CAST(:status AS text[]) IS NULL OR s.status = ANY(CAST(:status AS text[])))
  AND (CAST(:session_type AS text) IS NULL OR s.session_type = :session_type)
  AND (CAST(:template_name AS text) IS NULL OR s.template_name = :template_name)
  AND (CAST(:account_id AS text) IS NULL OR s.account_id = :account_id)
  AND (CAST(:id_prefix AS text) IS NULL OR s.session_id
    BETWEEN CAST(rpad(:id_prefix, 32, '0') AS uuid) AND CAST(rpad(:id_prefix, 32, 'f') AS uuid))
  AND (CAST(:tag AS text) IS NULL OR s.tags @> ARRAY[CAST(:tag AS text)])
  AND (CAST(:parent_session_id AS uuid) IS NULL OR s.parent_session_id = CAST(:parent_session_id AS uuid))
  AND {IN_SCOPE}
  AND (:include_children OR NOT EXISTS (SELECT 1 FROM backtest_units u WHERE u.session_id = s.session_id))
"""
_LIST = {
    "newest": text(_FILTERED + "ORDER BY s.created_at DESC, s.session_id LIMIT :limit"),
    "oldest": text(_FILTERED + "ORDER BY s.created_at, s.session_id LIMIT :limit"),
}


def get_session(engine: Engine, redis: Redis, settings: Settings, session_id: UUID) -> TradingSession:
    """Return a session whole: its row, states, money, last events (oldest first), checkpoints (newest first), metrics.

    Agents and market are what Redis holds live; where it holds nothing, or is out of reach, what was saved last;
    `state_source` says which, and how old it is. Of a shredded one (`shredded_at`) there is the row alone, no figures.
    Raises NotFound, Busy and Unavailable (Postgres).
    """
    row = one(engine, _GET, session_id, events=EVENTS_SHOWN, checkpoints=CHECKPOINTS_SHOWN)
    saved_at, now = row.pop("last_saved_at"), row.pop("desk_now")
    row["events"] = _events(Payloads(engine), row["events"])
    if row["shredded_at"] is not None:
        return to_session(row)
    parts, source = read_state(engine, redis, settings, session_id, saved_at, now)
    checkpoints, agents = row["checkpoints"], _agents(parts)
    elsewhere = read_elsewhere(engine, redis, settings, [session_id]).get(session_id)
    theirs = elsewhere.part if elsewhere else None
    trading = trading_state(engine, session_id, row["status"], theirs or parts.get(TRADING), theirs=theirs is not None)
    return to_session(
        row,
        waiting_for=_waiting_for(engine, row, len(trading.pending_orders), elsewhere),
        held_elsewhere=elsewhere.told() if elsewhere else None,
        agent_states=agents,
        market_state=MarketState.model_validate_json(parts[MARKET]) if MARKET in parts else None,
        state_source=source,
        trading_state=trading,
        metrics=_with_memory(get_metrics(engine, session_id), agents),
        last_checkpoint_id=checkpoints[0]["checkpoint_id"] if checkpoints else None,
    )


def _waiting_for(engine: Engine, row: Row, in_flight: int, elsewhere: Elsewhere | None) -> str | None:
    """Return what a stop waits for now, at the broker or at its agents; None where nothing is in its way."""
    if row["status"] != SessionStatus.CLOSING or row["started_at"] is None:
        return None
    return obstacle(engine, row["session_id"], row["broker"], row["pending"], in_flight, elsewhere)


def _events(payloads: Payloads, events: list[Row]) -> list[Row]:
    read = [event | {"data": bytes.fromhex(event["data"]) if event["data"] else None} for event in events]
    return [opened(payloads, event | {"session_id": UUID(event["session_id"])}) for event in read]


def list_sessions(engine: Engine, arguments: ListArguments, actor: Actor | None = None) -> list[TradingSession]:
    """Return the sessions that pass every filter, without states, events and checkpoints.

    actor: those in their token's scope alone; None: in anybody's.

    The days of backtests are left out, unless `include_children`, or a parent, is asked for. Raises InvalidArgument
    for an unknown status.
    """
    bound = arguments.model_dump(mode="json", exclude={"order"}) | bound_scope(actor)
    bound["include_children"] = arguments.include_children or arguments.parent_session_id is not None
    _check_statuses(arguments.status)
    with transaction(engine) as connection:
        found = rows(connection.execute(_LIST[arguments.order], bound))
    return [to_session(row) for row in found]


def with_elsewhere(
    engine: Engine, redis: Redis, settings: Settings, listed: list[TradingSession]
) -> list[TradingSession]:
    """Return listed sessions with what their agents report to hold elsewhere; what only a save knows is left out."""
    running = [its.session_id for its in listed if its.started_at and its.status != SessionStatus.CLOSED]
    found = read_elsewhere(engine, redis, settings, running, saved=False)
    for session in listed:
        held = found.get(session.session_id)
        session.held_elsewhere = held.told() if held and not held.flat else None
    return listed


def _check_statuses(names: list[str] | None) -> None:
    unknown = sorted(set(names or ()) - set(SessionStatus))
    if unknown:
        raise InvalidArgument("status", f"unknown status {unknown[0]!r}", f"Known: {', '.join(SessionStatus)}.")


def _with_memory(metrics: SessionMetrics, agents: dict[str, AgentState]) -> SessionMetrics:
    """Count what the agents use now as well: samples come less often, and of agents elsewhere there are none."""
    used = max((agent.memory_usage_mb for agent in agents.values()), default=0.0)
    known = max(metrics.peak_memory_mb or 0.0, used)
    return metrics.model_copy(update={"peak_memory_mb": known or metrics.peak_memory_mb})


def _agents(parts: dict[str, bytes]) -> dict[str, AgentState]:
    return {
        name.removeprefix(AGENT_PREFIX): AgentState.model_validate_json(data)
        for name, data in parts.items()
        if name.startswith(AGENT_PREFIX)
    }
