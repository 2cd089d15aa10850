"""The rows of bulk runs: a run, one item a session; claimed for one advancer at a time, item by item on record."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from fntx_sessions.database.engine import rows
from fntx_sessions.database.hosting import POSITIONS
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.scope import IN_SCOPE
from fntx_sessions.security.scope import bound as bound_scope

Row = dict[str, Any]

# The days of backtests trade nobody's money: only who names their type, tag or id means them.
_MATCH = text(f"""
SELECT s.session_id, s.status, s.session_type, s.template_name, s.account_id,
  CASE WHEN :positions THEN {POSITIONS} END AS positions
FROM sessions s
WHERE {IN_SCOPE} AND (CAST(:session_ids AS uuid[]) IS NULL OR s.session_id = ANY(CAST(:session_ids AS uuid[])))
  AND (CAST(:status AS text[]) IS NULL OR s.status = ANY(CAST(:status AS text[])))
  AND (CAST(:status AS text[]) IS NOT NULL OR CAST(:session_ids AS uuid[]) IS NOT NULL OR s.status <> 'closed')
  AND (CAST(:session_type AS text) IS NULL OR s.session_type = :session_type)
  AND (CAST(:template_name AS text) IS NULL OR s.template_name = :template_name)
  AND (CAST(:account_id AS text) IS NULL OR s.account_id = :account_id)
  AND (CAST(:tag AS text) IS NULL OR s.tags @> ARRAY[CAST(:tag AS text)])
  AND (CAST(:session_ids AS uuid[]) IS NOT NULL OR CAST(:tag AS text) IS NOT NULL
    OR coalesce(CAST(:session_type AS text) = 'backtest', false)
    OR NOT EXISTS (SELECT 1 FROM backtest_units u WHERE u.session_id = s.session_id))
ORDER BY s.created_at, s.session_id LIMIT :limit
""")
_TEMPLATES = text("SELECT template_name FROM templates ORDER BY template_name")
_TEMPLATE_USED = text("SELECT 1 FROM sessions WHERE template_name = :name LIMIT 1")
_KNOWN = text(f"SELECT s.session_id FROM sessions s WHERE s.session_id = ANY(CAST(:ids AS uuid[])) AND {IN_SCOPE}")

_REGISTER = text("""
INSERT INTO bulk_runs (bulk_id, action, selector, arguments, reason, actor, roles, token_id, token_sessions,
  confirmed_by, confirmed_roles, halt_id, wave_size, wave_pause_s, next_wave_at)
VALUES (:bulk_id, :action, CAST(:selector AS jsonb), :arguments, :reason, :actor, CAST(:roles AS text[]), :token_id,
  CAST(:token_sessions AS text[]), :confirmed_by, CAST(:confirmed_roles AS text[]), :halt_id,
  :wave_size, :wave_pause_s, now())
ON CONFLICT (bulk_id) DO NOTHING
""")
_ITEMS = text("""
INSERT INTO bulk_items (bulk_id, session_id, wave, command_id, status_before)
SELECT :bulk_id, session_id, (n - 1) / :wave_size, command_id, status
FROM unnest(CAST(:ids AS uuid[]), CAST(:commands AS uuid[]), CAST(:statuses AS text[]))
  WITH ORDINALITY AS i(session_id, command_id, status, n)
""")
_COUNTS = """
  (SELECT coalesce(jsonb_object_agg(state, n), '{}') FROM (SELECT i.state, count(*) AS n FROM bulk_items i
    WHERE i.bulk_id = r.bulk_id GROUP BY i.state) c) AS counts,
  (SELECT coalesce(max(i.wave) + 1, 0) FROM bulk_items i WHERE i.bulk_id = r.bulk_id) AS waves
"""
_RUN = text(f"SELECT r.*, {_COUNTS} FROM bulk_runs r WHERE r.bulk_id = :bulk_id")
_RUNS = text(f"SELECT r.*, {_COUNTS} FROM bulk_runs r ORDER BY r.created_at DESC, r.bulk_id LIMIT :limit")
# What was pending when it was asked may have ended since: its command knows. Of those that were out of its asker's
# scope, which have no status, nothing is told.
_RUN_ITEMS = text("""
SELECT i.session_id, i.wave, i.command_id, i.status_before, i.status_after, i.problem, i.finished_at,
  CASE WHEN i.state = 'pending' THEN coalesce(c.state, i.state) ELSE i.state END AS state, i.state AS asked_state,
  s.session_type, s.template_name, s.account_id
FROM bulk_items i LEFT JOIN sessions s ON s.session_id = i.session_id AND i.status_before IS NOT NULL
LEFT JOIN commands c ON c.command_id = i.command_id
WHERE i.bulk_id = :bulk_id ORDER BY i.wave, i.session_id
""")

_DUE = """
  finished_at IS NULL AND cancelled_at IS NULL AND next_wave_at <= now()
    AND (claimed_until IS NULL OR claimed_until <= now())
"""
_CLAIM = text(f"""
UPDATE bulk_runs SET claimed_until = clock_timestamp() + make_interval(secs => :lease_s)
WHERE bulk_id = :bulk_id AND {_DUE} RETURNING *
""")
# Looked up apart: a plan may ask a subquery for the next one again for each run, and claim several.
_CLAIM_NEXT = text(f"""
WITH due AS MATERIALIZED (
  SELECT bulk_id FROM bulk_runs WHERE {_DUE} ORDER BY next_wave_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE bulk_runs r SET claimed_until = clock_timestamp() + make_interval(secs => :lease_s)
FROM due WHERE r.bulk_id = due.bulk_id RETURNING r.*
""")
# The first wave with somebody whose turn has not come; once there is none, those that failed, all together once more.
_WAVE = text("""
SELECT i.session_id, i.command_id, s.status, c.trigger AS asked FROM bulk_items i
LEFT JOIN sessions s ON s.session_id = i.session_id AND i.status_before IS NOT NULL
LEFT JOIN commands c ON c.command_id = i.command_id
WHERE i.bulk_id = :bulk_id AND i.state = :state
  AND (:state = 'failed' OR i.wave = (SELECT min(w.wave) FROM bulk_items w
    WHERE w.bulk_id = :bulk_id AND w.state = 'waiting'))
ORDER BY i.session_id
""")
# Written for a claim that still holds: whoever lost it to another, or to a cancellation, learns so and stops. What was
# cancelled under way was asked all the same.
_RECORD = text("""
WITH i AS (
  UPDATE bulk_items SET state = :state, status_after = coalesce(:status_after, status_after), problem = :problem,
    finished_at = clock_timestamp()
  WHERE bulk_id = :bulk_id AND session_id = :session_id AND state IN ('waiting', 'failed', 'cancelled')
)
UPDATE bulk_runs SET claimed_until = clock_timestamp() + make_interval(secs => :lease_s)
WHERE bulk_id = :bulk_id AND claimed_until = :claimed_until AND cancelled_at IS NULL RETURNING claimed_until
""")
# next_wave_at NULL on an unfinished run: it waits for a person.
_RELEASE = text("""
UPDATE bulk_runs r SET claimed_until = NULL,
  next_wave_at = CASE WHEN :stop OR left_over = 0 THEN NULL
    ELSE clock_timestamp() + make_interval(secs => :pause_s) END,
  finished_at = CASE WHEN left_over = 0 THEN clock_timestamp() END
FROM (SELECT count(*) AS left_over FROM bulk_items WHERE bulk_id = :bulk_id AND state IN ('waiting', 'failed')) l
WHERE bulk_id = :bulk_id AND claimed_until = :claimed_until
""")
_CANCEL = text("""
WITH r AS (
  UPDATE bulk_runs SET cancelled_at = now(), cancelled_by = :actor, next_wave_at = NULL, claimed_until = NULL
  WHERE bulk_id = :bulk_id AND finished_at IS NULL AND cancelled_at IS NULL RETURNING bulk_id
), i AS (
  UPDATE bulk_items i SET state = 'cancelled' FROM r WHERE i.bulk_id = r.bulk_id AND i.state IN ('waiting', 'failed')
)
SELECT bulk_id FROM r
""")
_RESUME = text("""
UPDATE bulk_runs SET next_wave_at = now(), resumed_at = now(), resumed_by = :actor
WHERE bulk_id = :bulk_id AND finished_at IS NULL AND cancelled_at IS NULL AND next_wave_at IS NULL
""")
_FORGET = text("""
DELETE FROM bulk_runs WHERE bulk_id IN (SELECT bulk_id FROM bulk_runs
  WHERE coalesce(finished_at, cancelled_at) < now() - make_interval(secs => :keep_s) LIMIT :limit)
""")


def match(connection: Connection, filters: Row, actor: Actor, limit: int, *, positions: bool) -> list[Row]:
    """Return up to `limit` sessions in the actor's scope that pass all filters, oldest first."""
    names = ("session_ids", "status", "session_type", "template_name", "account_id", "tag")
    bound = {name: filters.get(name) for name in names}
    return rows(connection.execute(_MATCH, {**bound, **bound_scope(actor), "limit": limit, "positions": positions}))


def unknown_ids(connection: Connection, ids: list[UUID], actor: Actor) -> list[UUID]:
    """Return those that are no session's in the actor's scope."""
    known = set(connection.execute(_KNOWN, {"ids": ids, **bound_scope(actor)}).scalars())
    return [one for one in ids if one not in known]


def template_names(connection: Connection, name: str) -> list[str] | None:
    """Return the templates there are when `name` is none of them, nor any session's; else None."""
    names = list(connection.execute(_TEMPLATES).scalars())
    if name in names or connection.execute(_TEMPLATE_USED, {"name": name}).one_or_none():
        return None
    return names


def register(connection: Connection, run: Row, items: Row) -> None:
    """Store a run and its items; changes nothing where the run is there already."""
    if connection.execute(_REGISTER, run).rowcount:
        connection.execute(_ITEMS, {"bulk_id": run["bulk_id"], "wave_size": run["wave_size"], **items})


def load(connection: Connection, bulk_id: UUID) -> Row | None:
    """Return a run's row with its counts, None when there is none."""
    row = connection.execute(_RUN, {"bulk_id": bulk_id}).mappings().one_or_none()
    return None if row is None else dict(row)


def items_of(connection: Connection, bulk_id: UUID) -> list[Row]:
    """Return a run's items, wave by wave. asked_state: as recorded, where the command's own has moved on."""
    return rows(connection.execute(_RUN_ITEMS, {"bulk_id": bulk_id}))


def recent(connection: Connection, limit: int) -> list[Row]:
    """Return the newest runs with their counts."""
    return rows(connection.execute(_RUNS, {"limit": limit}))


def claim(connection: Connection, bulk_id: UUID | None, lease_s: float) -> Row | None:
    """Claim a run that is due, any one for None; None: nothing is due, or somebody else is at it."""
    statement, bound = (_CLAIM_NEXT, {}) if bulk_id is None else (_CLAIM, {"bulk_id": bulk_id})
    row = connection.execute(statement, {**bound, "lease_s": lease_s}).mappings().one_or_none()
    return None if row is None else dict(row)


def wave(connection: Connection, bulk_id: UUID) -> tuple[list[Row], bool]:
    """Return the items that are due, and whether they are those that failed before."""
    found = rows(connection.execute(_WAVE, {"bulk_id": bulk_id, "state": "waiting"}))
    if found:
        return found, False
    return rows(connection.execute(_WAVE, {"bulk_id": bulk_id, "state": "failed"})), True


def record(connection: Connection, item: Row) -> datetime | None:
    """Store what became of an item and renew the claim; None: the claim is another's now, or the run was cancelled."""
    renewed: datetime | None = connection.execute(_RECORD, item).scalar_one_or_none()
    return renewed


def release(connection: Connection, bulk_id: UUID, claimed_until: datetime, pause_s: float, *, stop: bool) -> None:
    """Give a claim back: the run is finished, or waits `pause_s` for its next wave, or, for `stop`, for a person."""
    bound = {"bulk_id": bulk_id, "claimed_until": claimed_until, "pause_s": pause_s, "stop": stop}
    connection.execute(_RELEASE, bound)


def cancel(connection: Connection, bulk_id: UUID, actor: str) -> bool:
    """End a run that is not over, note who did, and return whether it was that."""
    return connection.execute(_CANCEL, {"bulk_id": bulk_id, "actor": actor}).first() is not None


def resume(connection: Connection, bulk_id: UUID, actor: str) -> bool:
    """Let a run that waits for a person go on, note who did, and return whether it waited."""
    return bool(connection.execute(_RESUME, {"bulk_id": bulk_id, "actor": actor}).rowcount)


def forget(connection: Connection, keep_s: float, limit: int) -> int:
    """Delete up to `limit` runs that ended longer ago than `keep_s`; returns how many."""
    return connection.execute(_FORGET, {"keep_s": keep_s, "limit": limit}).rowcount
