"""The rows of backtest runs: a run with its days, and one unit per (day, seed), handed out and collected in batches."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from fntx_sessions.database.engine import rows

_REGISTER = text("""
INSERT INTO backtests (run_id, spec, actor) VALUES (:run_id, CAST(:spec AS jsonb), :actor)
ON CONFLICT (run_id) DO NOTHING
""")
# A unit's session id is known before its session is made, so that a killed sweep finds what it had begun.
_UNITS = text("""
INSERT INTO backtest_units (run_id, trade_date, seed, session_id)
SELECT :run_id, trade_date, seed, session_id
FROM unnest(CAST(:dates AS date[]), CAST(:seeds AS bigint[]), CAST(:ids AS uuid[])) AS u(trade_date, seed, session_id)
ON CONFLICT DO NOTHING
""")
_RUN = text("SELECT run_id, spec, actor, created_at, stopped_at FROM backtests WHERE run_id = :run_id")
_RUNS = text("""
SELECT b.run_id, b.actor, b.created_at, b.stopped_at, b.spec - 'days' AS spec,
  (SELECT jsonb_object_agg(state, n) FROM (
    SELECT state, count(*) AS n FROM backtest_units u WHERE u.run_id = b.run_id GROUP BY state) c) AS counts
FROM backtests b ORDER BY b.created_at DESC LIMIT :limit
""")
_STOP = text("""
UPDATE backtests b SET stopped_at = now() WHERE b.run_id = :run_id AND b.stopped_at IS NULL AND EXISTS (
  SELECT 1 FROM backtest_units u WHERE u.run_id = b.run_id AND u.state IN ('waiting', 'running'))
""")
_RESUME = text("UPDATE backtests SET stopped_at = NULL WHERE run_id = :run_id AND stopped_at IS NOT NULL")

_IN_FLIGHT = text("""
SELECT count(*) FROM backtests b JOIN backtest_units u ON u.run_id = b.run_id AND u.state = 'running'
""")
_CLAIM = text("""
WITH due AS MATERIALIZED (
  SELECT w.run_id, w.trade_date, w.seed
  FROM backtests b JOIN backtest_units w ON w.run_id = b.run_id AND w.state = 'waiting'
  WHERE b.stopped_at IS NULL
  ORDER BY b.created_at, w.trade_date, w.seed LIMIT :limit FOR UPDATE OF w SKIP LOCKED
)
UPDATE backtest_units u SET state = 'running' FROM due
WHERE (u.run_id, u.trade_date, u.seed) = (due.run_id, due.trade_date, due.seed)
""")
# What runs but never came to trade: just claimed, or left half made by a sweep that was killed.
_UNBEGUN = text("""
SELECT u.run_id, u.trade_date, u.seed, u.session_id
FROM backtests b JOIN backtest_units u ON u.run_id = b.run_id AND u.state = 'running'
LEFT JOIN sessions s ON s.session_id = u.session_id
WHERE s.session_id IS NULL OR (s.status = 'initializing' AND s.pending IS NULL)
ORDER BY u.run_id, u.trade_date, u.seed LIMIT :limit
""")
_ENDED = text("""
SELECT u.run_id, u.trade_date, u.seed, u.session_id, s.status, s.status_reason, s.requires_action
FROM backtests b JOIN backtest_units u ON u.run_id = b.run_id AND u.state = 'running'
JOIN sessions s ON s.session_id = u.session_id
WHERE s.status IN ('closed', 'error') OR s.requires_action IS NOT NULL LIMIT :limit
""")
_RECORD = text("""
UPDATE backtest_units u SET state = r.state, result = r.result
FROM jsonb_to_recordset(CAST(:found AS jsonb)) AS r(run_id uuid, trade_date date, seed bigint, state text, result jsonb)
WHERE (u.run_id, u.trade_date, u.seed) = (r.run_id, r.trade_date, r.seed) AND u.state = 'running'
""")


def register(connection: Connection, run: dict[str, Any], units: dict[str, list[Any]]) -> bool:
    """Store a run and its units; returns False, and changes nothing, where the run is there already."""
    if not connection.execute(_REGISTER, run).rowcount:
        return False
    connection.execute(_UNITS, {"run_id": run["run_id"], **units})
    return True


def load(connection: Connection, run_id: UUID) -> dict[str, Any] | None:
    """Return a run's row, None when there is none."""
    row = connection.execute(_RUN, {"run_id": run_id}).mappings().one_or_none()
    return None if row is None else dict(row)


def recent(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Return the newest runs with how many of their units are in which state."""
    return rows(connection.execute(_RUNS, {"limit": limit}))


def stop(connection: Connection, run_id: UUID) -> bool:
    """Hand out no more units of a run; returns whether it went on until now. What runs goes on to its end."""
    return bool(connection.execute(_STOP, {"run_id": run_id}).rowcount)


def resume(connection: Connection, run_id: UUID) -> bool:
    """Hand out its units again; returns whether it was stopped."""
    return bool(connection.execute(_RESUME, {"run_id": run_id}).rowcount)


def claim(connection: Connection, in_flight: int) -> int:
    """Mark waiting units as running until `in_flight` are, oldest run first; returns how many were added."""
    free = in_flight - int(connection.execute(_IN_FLIGHT).scalar_one())
    return connection.execute(_CLAIM, {"limit": free}).rowcount if free > 0 else 0


def unbegun(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Return running units whose session is not made or not started."""
    return rows(connection.execute(_UNBEGUN, {"limit": limit}))


def ended(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """Return running units whose session closed, failed or waits for a person."""
    return rows(connection.execute(_ENDED, {"limit": limit}))


def record(connection: Connection, found: str) -> int:
    """Store states and results (JSON rows); a unit that is recorded already is left alone."""
    return connection.execute(_RECORD, {"found": found}).rowcount
