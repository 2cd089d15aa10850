"""What the intake asks Postgres: whose doors were open, what was told before under the same ids, and the writing of it.

A row is changed once at most: an open trade is closed. Written again with the same contents, nothing changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from fntx_sessions.agents.told import DecisionTold, Told, TradeTold
from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.database.hosting import NO_TICKET
from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.state.payloads import EVENT, REPORT, Payloads, report_name, sealable

# An agent's own name of one thing it told: session, agent, kind, id.
Key = tuple[UUID, str, str, str]

# A simulated clock is stored at the end of a slice, and agents see it before: it may have gone on, within its day.
# Before the first slice it stands on the day that is played, or on the trading day that follows.
_DOORS = text("""
SELECT g.session_id, w.status = 'closed' AS closed, bool_and(g.ticket_hash IS NULL) AS shut,
  CASE WHEN w.hosted AND s.config -> 'feed' ->> 'kind' <> 'published' THEN coalesce(w.clock_at + interval '1 day',
    coalesce((s.config #>> '{feed,day,date}')::timestamptz, (s.config #>> '{feed,trade_date}')::timestamptz,
      s.started_at) + interval '7 days') END AS simulated_until
FROM session_agents g JOIN session_work w USING (session_id) JOIN sessions s USING (session_id)
WHERE g.joined_at IS NOT NULL GROUP BY g.session_id, w.status, w.hosted, w.clock_at, s.config, s.started_at
""")
# Not of one that joined again since it was looked at. Who left may have said since that it is ready: it stays so.
_FORGET = text(f"""
UPDATE session_agents g SET joined_at = NULL, {NO_TICKET}
FROM session_work w WHERE w.session_id = g.session_id AND g.session_id = ANY(:ids)
  AND (g.ticket_hash IS NULL OR w.status = 'closed') AND g.joined_at IS NOT NULL
""")
_KNOWN = text("""
SELECT r.session_id, r.agent, r.kind, r.report_id, r.data
FROM jsonb_to_recordset(CAST(:keys AS jsonb)) AS k(session_id uuid, agent text, kind text, report_id text)
JOIN agent_reports r USING (session_id, agent, kind, report_id)
""")
# In the order of the key, so that two intakes at once wait for each other, never crosswise.
_WRITE = text("""
INSERT INTO agent_reports AS r (session_id, agent, kind, report_id, epoch, timestamp, latency_ms, opened_at, closed_at,
  gross_pnl, fees, slippage, data)
SELECT x.session_id, x.agent, x.kind, x.report_id, x.epoch, x.timestamp, x.latency_ms, x.opened_at, x.closed_at,
  x.gross_pnl, x.fees, x.slippage, decode(x.data, 'hex')
FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS x(session_id uuid, agent text, kind text, report_id text,
  epoch bigint, timestamp timestamptz, latency_ms float8, opened_at timestamptz, closed_at timestamptz,
  gross_pnl numeric, fees numeric, slippage numeric, data text)
ORDER BY x.session_id, x.agent, x.kind, x.report_id
ON CONFLICT (session_id, agent, kind, report_id) DO UPDATE SET epoch = excluded.epoch,
  timestamp = excluded.timestamp, closed_at = excluded.closed_at, gross_pnl = excluded.gross_pnl,
  fees = excluded.fees, slippage = excluded.slippage, data = excluded.data
WHERE r.kind = 'trade' AND r.closed_at IS NULL AND excluded.closed_at IS NOT NULL
""")
# Its id and its time are those of the entry of the stream: taken in twice, it is told once.
_TELL = text("""
INSERT INTO events (event_id, session_id, timestamp, event_type, event_category, severity, source_agent, description,
  data)
SELECT x.event_id, x.session_id, x.timestamp, 'record_refused', 'agents', 'warning', x.agent, x.description,
  decode(x.data, 'hex')
FROM jsonb_to_recordset(CAST(:events AS jsonb)) AS x(event_id uuid, session_id uuid, timestamp timestamptz, agent text,
  description text, data text)
ON CONFLICT DO NOTHING
""")


@dataclass(frozen=True, slots=True)
class Door:
    """A session for which agents of other services spoke, or may have left records behind.

    shut: none of them has a ticket. simulated_until: how far the clock that agents of the desk step may have come;
    None: its clock is the wall's.
    """

    session_id: UUID
    closed: bool
    shut: bool
    simulated_until: datetime | None


@dataclass(frozen=True, slots=True)
class Taken:
    """One thing to be kept. body: the JSON that was told."""

    key: Key
    epoch: int
    told: Told
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """One thing that was not kept, and why; `facts` is what the event says of it beside."""

    event_id: UUID
    session_id: UUID
    timestamp: datetime
    agent: str
    why: str
    facts: Mapping[str, Any]


def read_doors(engine: Engine) -> list[Door]:
    """Return every session whose stream of records may hold any."""
    with transaction(engine) as connection:
        return [Door(**row) for row in rows(connection.execute(_DOORS))]


def forget_doors(engine: Engine, session_ids: Sequence[UUID]) -> None:
    """Look at these no more: who joined has left, or the session is closed, and all it told is taken in."""
    with transaction(engine) as connection:
        connection.execute(_FORGET, {"ids": list(session_ids)})


def read_known(connection: Connection, payloads: Payloads, keys: Sequence[Key]) -> dict[Key, Mapping[str, Any]]:
    """Return what was told before under these names, nothing of what does not open any more; raises Shredded."""
    named = [dict(zip(("session_id", "agent", "kind", "report_id"), key, strict=True)) for key in keys]
    found = rows(connection.execute(_KNOWN, {"keys": sealable(named).decode()}))
    return {(row["session_id"], row["agent"], row["kind"], row["report_id"]): _opened(payloads, row) for row in found}


def _opened(payloads: Payloads, row: dict[str, Any]) -> Mapping[str, Any]:
    name = report_name(row["agent"], row["kind"], row["report_id"])
    try:
        found: dict[str, Any] = payloads.open(row["session_id"], REPORT, name, row["data"])
    except IntegrityError:
        return {}
    return found


def write(connection: Connection, payloads: Payloads, taken: Sequence[Taken], refused: Sequence[Refused]) -> None:
    """Store in the caller's transaction; raises Shredded for a session whose key was destroyed meanwhile."""
    if taken:
        connection.execute(_WRITE, {"rows": sealable([_row(payloads, one) for one in taken]).decode()})
    if refused:
        connection.execute(_TELL, {"events": sealable([_event(payloads, one) for one in refused]).decode()})


def _row(payloads: Payloads, one: Taken) -> dict[str, Any]:
    session_id, agent, kind, report_id = one.key
    named = {"session_id": session_id, "agent": agent, "kind": kind, "report_id": report_id, "epoch": one.epoch}
    data = payloads.seal(session_id, REPORT, report_name(agent, kind, report_id), one.body)
    return named | {"timestamp": one.told.timestamp, "data": data} | _measures(one.told)


def _measures(told: Told) -> dict[str, Any]:
    if isinstance(told, TradeTold):
        money = {name: getattr(told, name) for name in ("gross_pnl", "fees", "slippage")}
        return {"opened_at": told.opened_at, "closed_at": told.closed_at, **money}
    return {"latency_ms": told.latency_ms} if isinstance(told, DecisionTold) else {}


def _event(payloads: Payloads, one: Refused) -> dict[str, Any]:
    return {
        "event_id": one.event_id,
        "session_id": one.session_id,
        "timestamp": one.timestamp,
        "agent": one.agent,
        "description": one.why,
        "data": payloads.seal(one.session_id, EVENT, one.event_id, dict(one.facts)),
    }
