"""Which sessions this host steps next: claimed in batches, given back with what the step left behind."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.agents.memories import keep_in, sealed
from fntx_sessions.automation.rules import rows as rule_rows
from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.database.hosting import NO_AGENT_HOST, POSITIONS, TRADED_ELSEWHERE
from fntx_sessions.lifecycle.people_sql import PEOPLE
from fntx_sessions.lifecycle.records import to_json
from fntx_sessions.memory.store import Kept
from fntx_sessions.state.payloads import Payloads
from fntx_sessions.trading.clock import WALL

# Beside the failures of agents: how many steps took longer than any may, or their process down.
HUNG = "hung"
_TAKEN = """w.session_id, w.epoch, w.saved_epoch, w.saved_revision, w.clock_at, w.agent_failures, w.step_interval_s,
  w.next_step_at, due.interrupted, due.before"""
# Who waits longest first: what a slow batch leaves is what it would have come to last.
_FACTS = f"""SELECT c.*, s.status, s.version, s.session_type, s.config, s.risk_parameters, s.enabled_strategies,
  s.strategy_parameters, s.account_id, s.broker, s.pending, s.quiesced_at, s.started_at, s.holds,
  (SELECT jsonb_agg(g.agent) FROM session_agents g WHERE g.session_id = s.session_id AND g.hosted) AS hosted_agents,
  {TRADED_ELSEWHERE} AS traded_elsewhere, {PEOPLE} AS people,
  clock_timestamp() AS desk_now
FROM claimed c JOIN sessions s USING (session_id) WHERE s.epoch = c.epoch ORDER BY c.next_step_at"""
# A session is stepped by the host that has it, or by whoever comes first where nobody has it. Hosts read their ticks
# from one queue, which may pass a host over for long: what waits in vain is taken by another, under the same epoch. A
# session whose host is lost is not: it goes through recovery, under a new one.
# interrupted: the step before this one never ended, so that the broker may know orders and fills that the ledger does
# not.
_DUE = """w.next_step_at <= now() AND w.status <> 'closed'
    AND (w.step_claimed_until IS NULL OR w.step_claimed_until < now())
    AND (w.host_id IS NULL OR w.host_id = :host_id OR (w.next_step_at < now() - make_interval(secs => :patience_s)
      AND EXISTS (SELECT 1 FROM hosts h WHERE h.host_id = w.host_id AND h.lease_until > now())))"""
# Whose step hung, or took its process down, or had its claim lapse: never again together with others, who would wait
# behind it. What merely was in one batch with such a step is marked interrupted, without any failure of its own.
_SUSPECT = f"(w.agent_failures ? '{HUNG}' OR coalesce(w.step_claimed_by <> 'interrupted', false))"
_ONE_HANGS = f"""EXISTS (SELECT FROM session_work o WHERE o.host_id = :host_id AND o.step_claimed_until > now()
    AND o.agent_failures ? '{HUNG}')"""
_TAKE = f"""), claimed AS (
  UPDATE session_work w SET host_id = :host_id, step_claimed_by = :claimant,
    step_claimed_until = now() + make_interval(secs => :claim_s)
  FROM due WHERE w.session_id = due.session_id
  RETURNING {_TAKEN}
), told AS (
  INSERT INTO events (event_id, session_id, timestamp, event_type, event_category, severity, source_agent, description,
    requires_action)
  SELECT gen_random_uuid(), session_id, clock_timestamp(), 'host_changed', 'lifecycle', 'warning', '',
    'host ' || before || ' did not step it for ' || :patience_s || ' s or more; ' || :host_id
      || ' goes on with it under epoch ' || epoch || CASE WHEN interrupted IS NULL THEN ''
      ELSE ', after settling with the broker what its last step left in flight' END, false
  FROM claimed WHERE before <> :host_id
)
{_FACTS}
"""
_CLAIM = text(f"""
WITH due AS (
  SELECT session_id, step_claimed_by AS interrupted, host_id AS before FROM session_work w
  WHERE {_DUE} AND NOT {_SUSPECT} ORDER BY next_step_at LIMIT :limit FOR UPDATE SKIP LOCKED
{_TAKE}""")
# One process of a host at a time, so that however many hang, its other processes step the rest. Locked by a statement
# before, so that the claim sees what whoever had the lock has claimed.
_LOCK_SUSPECTS = text(f"""
SELECT pg_try_advisory_xact_lock(hashtextextended('suspects/' || CAST(:host_id AS text), 0)) FROM session_work w
WHERE {_DUE} AND {_SUSPECT} LIMIT 1
""")
# Last the one whose step did not come to its end: those whose last one did are as good as any.
_CLAIM_SUSPECT = text(f"""
WITH due AS (
  SELECT session_id, step_claimed_by AS interrupted, host_id AS before FROM session_work w
  WHERE {_DUE} AND {_SUSPECT} AND NOT {_ONE_HANGS}
  ORDER BY w.step_claimed_by IS NOT NULL, next_step_at LIMIT 1 FOR UPDATE SKIP LOCKED
{_TAKE}""")
# While no agents worker lives: what holds positions, has orders in flight, or may, as its last step never ended. A
# backtest risks nothing, and its day would be another one without its agents.
_CLAIM_GUARDED = text(f"""
WITH due AS (
  SELECT w.session_id, w.step_claimed_by AS interrupted, w.host_id AS before
  FROM session_work w JOIN sessions s USING (session_id)
  WHERE {NO_AGENT_HOST} AND {_DUE} AND s.session_type <> 'backtest'
    AND (w.step_claimed_by IS NOT NULL OR {POSITIONS} > 0 OR EXISTS (
      SELECT FROM order_intents i WHERE i.session_id = s.session_id AND i.state IN ('intended', 'working')))
  ORDER BY w.next_step_at LIMIT :limit FOR UPDATE OF w SKIP LOCKED
{_TAKE}""")
_LET_GO = text("""
UPDATE session_work SET host_id = NULL
WHERE session_id = ANY(:ids) AND host_id = :host_id AND step_claimed_until IS NULL
""")
# By name, due or not: what nobody has or steps, and what is this host's.
_CLAIM_THESE = text(f"""
WITH due AS (
  SELECT session_id, step_claimed_by AS interrupted, host_id AS before FROM session_work
  WHERE session_id = ANY(:ids) AND status <> 'closed' AND (host_id IS NULL OR host_id = :host_id)
    AND (step_claimed_until IS NULL OR step_claimed_until < now())
  FOR UPDATE SKIP LOCKED
), claimed AS (
  UPDATE session_work w SET host_id = :host_id, step_claimed_by = :claimant,
    step_claimed_until = now() + make_interval(secs => :claim_s)
  FROM due WHERE w.session_id = due.session_id
  RETURNING {_TAKEN}
)
{_FACTS}
""")
# What a step leaves behind is written only while its epoch and its claim still stand. A step that was unscheduled while
# it ran stays so: the session may have closed.
# Rows are locked in order, as saves and rules do, so that two batches never wait for each other crosswise.
_DONE = """
WITH r AS (
  SELECT * FROM jsonb_to_recordset(CAST(:steps AS jsonb)) AS x(session_id uuid, epoch bigint, clock_at timestamptz,
    again text, unreported boolean, agent_failures jsonb, day jsonb, samples jsonb, events jsonb, measures jsonb,
    rules jsonb)
), locked AS (
  SELECT w.session_id FROM session_work w JOIN r USING (session_id) ORDER BY w.session_id FOR NO KEY UPDATE OF w
), mine AS (
  UPDATE session_work w SET clock_at = coalesce(r.clock_at, w.clock_at), agent_failures = r.agent_failures,
    step_claimed_until = NULL, step_claimed_by = CASE WHEN r.unreported THEN 'interrupted' END,
    measures = CASE WHEN jsonb_typeof(r.measures) = 'object'
      THEN r.measures || jsonb_build_object('stored_at', clock_timestamp()) ELSE w.measures END,
    next_step_at = CASE WHEN w.next_step_at IS NULL OR r.again = 'never' THEN NULL
      WHEN r.again = 'now' THEN now() WHEN r.again = 'later' THEN now() + make_interval(secs => 10)
      ELSE greatest(now(), w.next_step_at + make_interval(secs => w.step_interval_s)) END
  FROM r JOIN locked USING (session_id)
  WHERE w.session_id = r.session_id AND w.epoch = r.epoch AND w.step_claimed_by = :claimant
    AND w.status <> 'closed'
  RETURNING w.session_id
), kept AS (SELECT r.* FROM r JOIN mine USING (session_id)),
d AS (
  INSERT INTO session_days AS sd (session_id, trade_date, account_id, realized, fees, unrealized, open_risk,
    contracts, margin)
  SELECT x.session_id, x.trade_date, x.account_id, x.realized, x.fees, x.unrealized, x.open_risk, x.contracts, x.margin
  FROM kept, jsonb_to_record(kept.day) AS x(session_id uuid, trade_date date, account_id text, realized numeric,
    fees numeric, unrealized numeric, open_risk numeric, contracts integer, margin numeric)
  WHERE kept.day IS NOT NULL AND kept.day <> 'null'
  ON CONFLICT (session_id, trade_date) DO UPDATE SET realized = excluded.realized, fees = excluded.fees,
    unrealized = excluded.unrealized, open_risk = excluded.open_risk, contracts = excluded.contracts,
    margin = excluded.margin, updated_at = now()
), s AS (
  INSERT INTO samples (session_id, timestamp, epoch, net_pnl, exposure, spot, steps)
  SELECT kept.session_id, x.timestamp, kept.epoch, x.net_pnl, x.exposure, x.spot, coalesce(x.steps, '{}')
  FROM kept, jsonb_to_recordset(kept.samples) AS x(timestamp timestamptz, net_pnl numeric, exposure numeric,
    spot double precision, steps jsonb)
  ON CONFLICT (session_id, timestamp) DO NOTHING
)"""
_EVENTS = """
INSERT INTO events (event_id, session_id, timestamp, event_type, event_category, severity, source_agent, description,
  data, requires_action)
SELECT x.event_id, kept.session_id, x.timestamp, x.event_type, x.event_category, x.severity, x.source_agent,
  x.description, decode(x.data, 'hex'), coalesce(x.requires_action, false)
FROM kept, jsonb_to_recordset(kept.events) AS x(event_id uuid, timestamp timestamptz, event_type text,
  event_category text, severity text, source_agent text, description text, data text, requires_action boolean)
"""
_FINISH = text(_DONE + _EVENTS)
# Where rules were judged at the bars of a simulated day.
_FINISH_JUDGED = text(f"""{_DONE}, rule_kept AS (
  SELECT kept.session_id, k.* FROM kept, jsonb_to_record(kept.rules) AS k({rule_rows.COLUMNS})
  WHERE jsonb_typeof(kept.rules) = 'object'
), {rule_rows.WRITE}{_EVENTS}""")
_NEXT = text(f"""
SELECT extract(epoch FROM min(next_step_at) - clock_timestamp())::float8 FROM session_work w
WHERE next_step_at <= now() + make_interval(secs => :within_s) AND status <> 'closed'
  AND (host_id IS NULL OR host_id = :host_id) AND (step_claimed_until IS NULL OR step_claimed_until < now())
  AND NOT ({_SUSPECT} AND {_ONE_HANGS})
""")
_CLAIMANTS = text("""
SELECT DISTINCT step_claimed_by FROM session_work
WHERE host_id = :host_id AND step_claimed_by IS NOT NULL AND step_claimed_by <> 'interrupted'
""")
_RELEASE = text("""
UPDATE session_work SET step_claimed_until = NULL, step_claimed_by = 'interrupted'
WHERE session_id = ANY(:ids) AND step_claimed_by = :claimant
""")
# What was claimed and never begun: due as it was, and as sound or as interrupted.
_HAND_BACK = text("""
UPDATE session_work SET step_claimed_until = NULL,
  step_claimed_by = CASE WHEN session_id = ANY(:interrupted) THEN 'interrupted' END
WHERE session_id = ANY(:ids) AND step_claimed_by = :claimant
""")
# An agent whose step took its process down is charged; the session's other agents go on.
_FREE = text(f"""
UPDATE session_work SET step_claimed_until = NULL, step_claimed_by = 'interrupted',
  agent_failures = CASE WHEN session_id = CAST(:session_id AS uuid) THEN agent_failures || jsonb_build_object(
    CAST(:agent AS text), coalesce((agent_failures ->> :agent)::int, 0) + 1,
    '{HUNG}', coalesce((agent_failures ->> '{HUNG}')::int, 0) + 1) ELSE agent_failures END
WHERE host_id = :host_id AND step_claimed_by = :claimant
""")


PATIENCE_S = 5.0  # how long a session may be overdue before another living host takes it


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one session's step leaves behind.

    again: ``interval``, ``now``, ``never``, or ``later``: in 10 s, should the command that follows not come about.
    unreported: Redis does not know of it, so that nobody may go on from what a process kept in memory. measures None:
    those before stand; rules: what judging them at its bars left, None where there is nothing new. memories: what its
    agents want remembered.
    """

    session_id: UUID
    epoch: int
    again: str
    clock_at: datetime | None
    agent_failures: dict[str, int]
    day: dict[str, Any] | None
    samples: Sequence[dict[str, Any]]
    events: Sequence[dict[str, Any]]
    unreported: bool = False
    measures: dict[str, Any] | None = None
    rules: dict[str, Any] | None = None
    memories: Sequence[Kept] = ()


def claimant() -> str:
    """Return the name under which this process claims steps."""
    return str(os.getpid())


def claim_steps(engine: Engine, host_id: str, limit: int, claim_s: float) -> list[dict[str, Any]]:
    """Claim up to `limit` due sessions for this process and return what their steps need; committed before any work.

    None of those whose steps have hung: see `claim_suspect`.
    """
    bound = {"host_id": host_id, "claimant": claimant(), "limit": limit, "claim_s": claim_s, "patience_s": PATIENCE_S}
    with transaction(engine) as connection:
        return _on_the_wall(rows(connection.execute(_CLAIM, bound)))


def claim_suspect(engine: Engine, host_id: str, claim_s: float) -> list[dict[str, Any]]:
    """Claim one due session whose steps have hung, as `claim_steps` does; none while this host steps another."""
    bound = {"host_id": host_id, "claimant": claimant(), "claim_s": claim_s, "patience_s": PATIENCE_S}
    with transaction(engine) as connection:
        if not connection.execute(_LOCK_SUSPECTS, bound).scalar():
            return []
        return _on_the_wall(rows(connection.execute(_CLAIM_SUSPECT, bound)))


def claim_guarded(engine: Engine, host_id: str, limit: int, claim_s: float) -> list[dict[str, Any]]:
    """Claim up to `limit` due sessions with something open, while no agents worker lives, for their guards alone."""
    bound = {"host_id": host_id, "claimant": claimant(), "limit": limit, "claim_s": claim_s, "patience_s": PATIENCE_S}
    with transaction(engine) as connection:
        return _for_guards(rows(connection.execute(_CLAIM_GUARDED, bound)))


def let_go(engine: Engine, host_id: str, session_ids: Sequence[UUID]) -> None:
    """Leave sessions between their steps to whoever comes first, under the same epoch."""
    with transaction(engine) as connection:
        connection.execute(_LET_GO, {"ids": list(session_ids), "host_id": host_id})


def claim_these(engine: Engine, host_id: str, ids: Sequence[UUID], claim_s: float) -> list[dict[str, Any]]:
    """Claim those of the named sessions that no other host has, due or not, for their guards alone."""
    bound = {"host_id": host_id, "claimant": claimant(), "ids": list(ids), "claim_s": claim_s}
    with transaction(engine) as connection:
        return _for_guards(rows(connection.execute(_CLAIM_THESE, bound)))


def _for_guards(claimed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"guards_only": True} for row in _on_the_wall(claimed)]


def _on_the_wall(claimed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Set this process's wall by Postgres's clock, as every claim does."""
    if claimed:
        WALL.sync(max(row["desk_now"] for row in claimed))
    return claimed


def next_step_in(engine: Engine, host_id: str, within_s: float) -> float | None:
    """Return in how many seconds this host's next step is due, None when that is further off than `within_s`."""
    with transaction(engine) as connection:
        seconds: float | None = connection.execute(_NEXT, {"host_id": host_id, "within_s": within_s}).scalar_one()
    return seconds


def finish_steps(engine: Engine, results: Sequence[StepResult]) -> None:
    """Write what steps left behind and give their sessions back; a superseded one is passed over whole."""
    payloads = Payloads(engine)
    listed = [
        {name: getattr(result, name) for name in StepResult.__slots__ if name != "memories"}
        | {"events": payloads.sealed_events(result.session_id, result.events)}
        for result in results
    ]
    memories = sealed(engine, [one for result in results for one in result.memories])
    with transaction(engine) as connection:
        finish = _FINISH_JUDGED if any(result.rules for result in results) else _FINISH
        connection.execute(finish, {"steps": to_json(listed), "claimant": claimant()})
        keep_in(connection, memories)


def release_claims(engine: Engine, session_ids: Sequence[UUID]) -> None:
    """Give back claimed sessions whose step could not be ended: due as they were, to be loaded anew."""
    if not session_ids:
        return
    with transaction(engine) as connection:
        connection.execute(_RELEASE, {"ids": list(session_ids), "claimant": claimant()})


def hand_back(engine: Engine, claimed: Sequence[dict[str, Any]]) -> None:
    """Give back claimed sessions that were not begun, for whoever comes first; they must not be stepped any more."""
    interrupted = [row["session_id"] for row in claimed if row["interrupted"]]
    bound = {"ids": [row["session_id"] for row in claimed], "interrupted": interrupted, "claimant": claimant()}
    with transaction(engine) as connection:
        connection.execute(_HAND_BACK, bound)


def claimants(engine: Engine, host_id: str) -> list[str]:
    """Return the processes of a host that hold claims."""
    with transaction(engine) as connection:
        return list(connection.execute(_CLAIMANTS, {"host_id": host_id}).scalars())


def free_claims(engine: Engine, host_id: str, dead: str, session_id: str | None, agent: str) -> None:
    """Free the claims of a dead process, charging `agent` of the session it was stepping, if that is known."""
    bound = {"host_id": host_id, "claimant": dead, "session_id": session_id, "agent": agent}
    with transaction(engine) as connection:
        connection.execute(_FREE, bound)
