"""The statements of the machine, built once, and what a status means for the sweeps' work row."""

from typing import Any

from sqlalchemy import text

from fntx_sessions.database.feeds import FEED_KNOWN
from fntx_sessions.database.hosting import NO_AGENT_HOST, POSITIONS
from fntx_sessions.database.prepared import Prepared
from fntx_sessions.lifecycle.change import Change, Row
from fntx_sessions.lifecycle.halting import SHARED, STANDING
from fntx_sessions.lifecycle.people_sql import LAST_ONES, OPEN_ONES, WRITE_ASKED
from fntx_sessions.schemas import SessionStatus, Trigger
from fntx_sessions.settings import get_settings

# What a decision is made of: one row of facts, about the command `c` and the session that it is about.
_FACTS = f"""
SELECT clock_timestamp() AS now, c.state AS command_state, c.args_hash AS command_args_hash,
  c.trigger AS command_trigger, c.outcome AS command_outcome, c.session_id AS command_session_id,
  c.arguments AS command_arguments, s.*, k.data_key_id, k.ring_key_id, k.wrapped, k.shredded_at,
  w.relay_due_at IS NULL AS relay_free, w.clock_at, w.host_id, w.hosted, w.last_saved_at, w.recovery_attempts,
  w.hosted AND {NO_AGENT_HOST} AS unattended,
  w.host_id IS NOT NULL AND (h.host_id IS NULL OR h.lease_until < now()) AS host_lost,
  (SELECT coalesce(jsonb_agg(i.client_order_id ORDER BY i.seq), '[]') FROM order_intents i
    WHERE i.session_id = s.session_id AND i.state IN ('intended', 'working')) AS in_flight,
  (SELECT coalesce(jsonb_agg(g.agent ORDER BY g.agent), '[]') FROM session_agents g
    WHERE g.session_id = s.session_id AND g.required AND g.ready_at IS NULL) AS agents_missing,
  (SELECT coalesce(jsonb_object_agg(to_char(d.trade_date, 'YYYY-MM-DD'), d.latched_at), '{{}}') FROM account_days d
    WHERE d.account_id = s.account_id AND d.latched_at IS NOT NULL) AS latched_dates,
  CASE WHEN s.exclusive_account AND s.started_at IS NULL THEN (SELECT x.session_id FROM sessions x
    WHERE x.account_id = s.account_id AND x.exclusive_account AND x.started_at IS NOT NULL AND x.status <> 'closed')
  END AS account_holder,
  CASE WHEN :begins THEN {STANDING} END AS halts, CASE WHEN :begins THEN {FEED_KNOWN} END AS feed_known,
  CASE WHEN c.trigger IN ('recover_session', 'health_check_failed') THEN {POSITIONS} END AS positions,
  {OPEN_ONES} AS asked,
  CASE WHEN s.version <> CAST(:expected_version AS bigint) THEN (SELECT a.actor FROM audit a
    WHERE a.session_id = s.session_id AND a.version_after = s.version AND a.outcome IN ('done', 'pending')
    ORDER BY a.seq LIMIT 1)
  END AS version_actor
""".strip()
_AROUND = """
LEFT JOIN sessions s ON s.session_id = :session_id
LEFT JOIN session_work w ON w.session_id = s.session_id
LEFT JOIN hosts h ON h.host_id = w.host_id
LEFT JOIN session_keys k ON k.session_id = s.session_id
""".strip()
# Several statements, one round trip; the last one's rows are returned. The command row comes first, so that two
# deliveries of one command queue up on it and not, crosswise, on it and the session row. NO KEY UPDATE excludes other
# commands and the order gate's FOR SHARE all the same, but not the foreign keys of saves, fills and checkpoints: their
# writers hold the work row already, and waiting for the session row would close a circle. The halts' lock comes before
# the row's: whoever waits for a row holds its share already, so that a halt never waits for one who waits for another.
LOCK = text(f"""
BEGIN ISOLATION LEVEL READ COMMITTED;
INSERT INTO commands (command_id, session_id, trigger, actor, args_hash)
VALUES (:command_id, :session_id, :trigger, :actor, :args_hash)
ON CONFLICT (command_id) DO NOTHING;
{SHARED} WHERE :begins;
SELECT 1 FROM sessions WHERE session_id = :session_id FOR NO KEY UPDATE;
{_FACTS}
FROM commands c
{_AROUND}
WHERE c.command_id = :command_id
""")
# The same facts, for whoever only wants to know what would be decided: nothing is locked, nothing noted.
LOOK = text(f"""
{_FACTS}, {POSITIONS} AS held
FROM (SELECT 'running' AS state, CAST(NULL AS bytea) AS args_hash, CAST(:trigger AS text) AS trigger,
  CAST(NULL AS bytea) AS outcome, CAST(:session_id AS uuid) AS session_id, CAST(NULL AS bytea) AS arguments) c
{_AROUND}
""")

# The event that a command is about, in the place of what waits for people.
_ONE_EVENT = """(SELECT jsonb_agg(jsonb_build_object('kind', 'event', 'event_id', e.event_id, 'timestamp', e.timestamp,
    'event_type', e.event_type, 'description', e.description, 'acknowledged_at', e.acknowledged_at,
    'acknowledged_by', e.acknowledged_by, 'action_taken', e.action_taken))
    FROM events e WHERE e.session_id = s.session_id AND e.event_id = CAST(:event_id AS uuid))"""

LOOK_ASKED = text(LOOK.text.replace(OPEN_ONES, LAST_ONES))
LOOK_EVENT = text(LOOK.text.replace(OPEN_ONES, _ONE_EVENT))

_AUDIT = """
  INSERT INTO audit (session_id, seq, timestamp, actor, roles, action, outcome, reason, command_id, args_hash,
    version_before, version_after, host, target, task, token_id, confirmed_by, key_id, previous, hash)
  SELECT session_id, seq, timestamp, actor, roles, action, outcome, reason, command_id, decode(args_hash, 'hex'),
    version_before, version_after, host, target, task, token_id, confirmed_by, key_id, decode(previous, 'hex'),
    decode(hash, 'hex')
  FROM jsonb_to_recordset(CAST(:audit AS jsonb)) AS r(session_id uuid, seq bigint, timestamp timestamptz, actor text,
    roles text, action text, outcome text, reason text, command_id uuid, args_hash text, version_before bigint,
    version_after bigint, host text, target text, task text, token_id text, confirmed_by text, key_id text,
    previous text, hash text)
""".strip()

# A write is one statement. Documents, and the tables of `_SELDOM`, cost whoever names them, changed or not: most
# commands send it without.
_SESSION = """
WITH s AS (
  UPDATE sessions SET status = :status, version = :version, epoch = :epoch, holds = CAST(:holds AS text[]),
    pending = CAST(:pending AS jsonb), started_at = :started_at, ended_at = :ended_at, status_since = :status_since,
    status_actor = :status_actor, status_reason = :status_reason, requires_action = :requires_action,
    quiesced_at = :quiesced_at, audit_seq = :audit_seq, audit_head = :audit_head, pinned = :pinned"""
_DOCUMENTS = """,
    config = CAST(:config AS jsonb), risk_parameters = CAST(:risk_parameters AS jsonb),
    enabled_strategies = CAST(:enabled_strategies AS jsonb), strategy_parameters = CAST(:strategy_parameters AS jsonb),
    recovery_data = CAST(:recovery_data AS jsonb), tags = CAST(:tags AS text[])"""
_BESIDE = f"""
  WHERE session_id = :session_id
), w AS (
  UPDATE session_work SET status = :status, epoch = :epoch,
    next_save_at = CASE WHEN :work_live THEN clock_timestamp() END,
    save_interval_s = :work_save_interval_s, checkpoint_interval_s = :work_checkpoint_interval_s,
    step_interval_s = :work_step_interval_s,
    next_checkpoint_at = CASE WHEN NOT :work_kept THEN NULL WHEN :work_moved THEN clock_timestamp()
      ELSE next_checkpoint_at END,
    checkpoint_type = CASE WHEN :work_moved THEN 'transition' ELSE checkpoint_type END,
    next_step_at = CASE WHEN NOT :work_recovering AND (:work_guarded OR (:work_stepped AND hosted))
      THEN clock_timestamp() END,
    step_claimed_until = CASE WHEN :work_new_epoch OR :work_closed THEN NULL ELSE step_claimed_until END,
    host_id = CASE WHEN :work_new_epoch OR NOT :work_stepped THEN NULL ELSE host_id END,
    step_claimed_by = CASE WHEN :work_closed THEN NULL
      WHEN :work_new_epoch AND step_claimed_by IS NOT NULL THEN 'interrupted' ELSE step_claimed_by END,
    agent_failures = CASE WHEN :work_begins_anew THEN '{{}}' ELSE agent_failures END,
    recovery_attempts = coalesce(CAST(:work_recovery_attempts AS integer), recovery_attempts),
    next_recovery_at = CASE WHEN :work_moved OR CAST(:work_next_recovery_at AS timestamptz) IS NOT NULL
      THEN CAST(:work_next_recovery_at AS timestamptz) ELSE next_recovery_at END,
    pending_due_at = CASE WHEN :work_pending THEN clock_timestamp() + make_interval(secs => :work_pending_in_s) END,
    pending_claimed_until = NULL,
    memory_due_at = CASE WHEN :work_moved THEN greatest(memory_due_at, clock_timestamp()) ELSE memory_due_at END,
    next_rule_at = CASE WHEN :work_ruled THEN clock_timestamp() END,
    next_health_at = CASE WHEN :work_watched
      THEN coalesce(next_health_at, clock_timestamp() + make_interval(secs => :work_health_interval_s)) END,
    archive_due_at = CASE WHEN :work_closed THEN clock_timestamp() + make_interval(secs => :work_archive_after_s)
      ELSE archive_due_at END,
    relay_due_at = CASE WHEN CAST(:outbox AS jsonb) = '[]' THEN relay_due_at ELSE clock_timestamp() END,
    relay_claimed_until = CASE WHEN :relay_claimed THEN clock_timestamp() + make_interval(secs => 10)
      ELSE relay_claimed_until END
  WHERE session_id = :session_id
), t AS (
  INSERT INTO transitions (transition_id, session_id, timestamp, from_status, to_status, trigger, actor, reason,
    version, epoch, command_id, pre_conditions_met, post_conditions_met, warnings, errors)
  SELECT transition_id, :session_id, clock_timestamp(), from_status, to_status, trigger, actor, reason, version,
    epoch, command_id, pre_conditions_met, post_conditions_met, warnings, errors
  FROM jsonb_to_recordset(CAST(:transitions AS jsonb)) AS r(transition_id uuid, from_status text, to_status text,
    trigger text, actor text, reason text, version bigint, epoch bigint, command_id uuid, pre_conditions_met jsonb,
    post_conditions_met jsonb, warnings jsonb, errors jsonb)
), a AS (
{_AUDIT}
), o AS (
  INSERT INTO outbox (session_id, version, position, kind, payload, trace)
  SELECT :session_id, :version, position, kind, payload, trace
  FROM jsonb_to_recordset(CAST(:outbox AS jsonb)) AS r(position integer, kind text, payload jsonb, trace text)
), e AS (
  INSERT INTO events (event_id, session_id, timestamp, event_type, event_category, severity, source_agent, description,
    data, requires_action, impact_assessment)
  SELECT event_id, :session_id, timestamp, event_type, event_category, severity, source_agent, description,
    decode(data, 'hex'), coalesce(requires_action, false), impact_assessment
  FROM jsonb_to_recordset(CAST(:events AS jsonb)) AS r(event_id uuid, timestamp timestamptz, event_type text,
    event_category text, severity text, source_agent text, description text, data text, requires_action boolean,
    impact_assessment text)"""
_SELDOM = """
), l AS (
  UPDATE account_days d SET latched_at = NULL, latched_by = :asked_by, latch_reason = :asked_why
  FROM sessions x WHERE :clear_latch AND x.session_id = :session_id AND d.account_id = x.account_id
    AND d.latched_at IS NOT NULL
), k AS (
  UPDATE checkpoints SET pinned = :pin_to WHERE checkpoint_id = CAST(:pin_id AS uuid) AND session_id = :session_id
), p AS (
  UPDATE commands SET state = 'refused', outcome = CAST(:overtaken_outcome AS bytea), finished_at = clock_timestamp()
  WHERE command_id = CAST(:overtaken_id AS uuid) AND state = 'pending'"""
_COMMAND = """
)
UPDATE commands SET state = :command_state, arguments = CAST(:arguments AS bytea),
  outcome = CAST(:outcome AS bytea),
  finished_at = CASE WHEN :command_state = 'pending' THEN NULL ELSE clock_timestamp() END
WHERE command_id = :command_id
"""

# All that a change may write.
WRITE = text(_SESSION + _DOCUMENTS + _BESIDE + _SELDOM + _COMMAND)
WRITE_ALL_COMMIT = text(WRITE.text + "; COMMIT")
# What most do: neither documents nor latches, pins and commands that waited.
WRITE_COMMIT = text(_SESSION + _BESIDE + _COMMAND + "; COMMIT")

# A session that never had a key gets the mark of one that is gone, so that nobody makes it one. What is left of it is
# due for erasing; no archive of it is made any more.
WRITE_SHRED_COMMIT = text(
    WRITE.text
    + """;
INSERT INTO session_keys AS k (session_id, data_key_id, shredded_at, erase_due_at)
VALUES (:session_id, '', clock_timestamp(), clock_timestamp())
ON CONFLICT (session_id) DO UPDATE SET wrapped = NULL, ring_key_id = NULL, cold_at = NULL, cold_due_at = NULL,
  shredded_at = clock_timestamp(), erase_due_at = clock_timestamp();
UPDATE session_work SET archive_due_at = NULL, archive_claimed_until = NULL WHERE session_id = :session_id;
COMMIT"""
)

# Fills that nobody traded: what makes the ledger hold what the broker holds.
WRITE_BOOK_COMMIT = text(
    WRITE.text
    + """;
INSERT INTO fills (fill_id, session_id, account_id, epoch, client_order_id, trade_id, trade_date, symbol, "right",
  strike, expiry, side, quantity, price, fee, slippage, opening, reason, timestamp)
SELECT * FROM jsonb_to_recordset(CAST(:booked AS jsonb)) AS r(fill_id text, session_id uuid, account_id text,
  epoch bigint, client_order_id text, trade_id text, trade_date date, symbol text, "right" text, strike numeric,
  expiry text, side text, quantity integer, price numeric, fee numeric, slippage numeric, opening boolean,
  reason text, timestamp timestamptz)
ON CONFLICT (fill_id, timestamp) DO NOTHING;
COMMIT"""
)

# What waits for people, or comes from them.
WRITE_ASKED_COMMIT = text(WRITE.text + WRITE_ASKED + "; COMMIT")

# An event of a week that is archived already makes that week due again.
WRITE_ACKNOWLEDGE_COMMIT = text(
    WRITE.text
    + """;
UPDATE events SET acknowledged_at = clock_timestamp(), acknowledged_by = :asked_by,
  action_taken = coalesce(CAST(:seen_action_taken AS text), action_taken)
WHERE session_id = :session_id AND timestamp = CAST(:seen_timestamp AS timestamptz) AND event_id = :seen_event_id
  AND acknowledged_at IS NULL;
UPDATE archive_segments SET verified_at = NULL WHERE session_id = :session_id AND relation = 'events'
  AND week = CAST(date_trunc('week', CAST(:seen_timestamp AS timestamptz) AT TIME ZONE 'UTC') AS date);
COMMIT"""
)

# A recovery that is refused held the steps of its session back until now, a start that waited its start rules.
REFUSE = text(f"""
WITH s AS (
  UPDATE sessions SET audit_seq = :audit_seq, audit_head = :audit_head,
    pending = CASE WHEN pending ->> 'command_id' = CAST(:command_id AS text) THEN NULL ELSE pending END,
    recovery_data = CASE WHEN pending ->> 'command_id' = CAST(:command_id AS text) AND recovery_data ? 'last'
      THEN recovery_data -> 'last' || jsonb_build_object('failed_at', clock_timestamp()) || (
        SELECT coalesce(jsonb_object_agg(key, value), '{{}}') FROM jsonb_each(recovery_data) WHERE key IN
          ('differences', 'accepted', 'at_broker', 'requires_action', 'put_back'))
      ELSE recovery_data END
  WHERE session_id = :session_id
), w AS (
  UPDATE session_work w SET next_step_at = clock_timestamp() FROM sessions s
  WHERE w.session_id = :session_id AND s.session_id = w.session_id AND s.pending ->> 'trigger' = 'recover_session'
    AND s.pending ->> 'command_id' = CAST(:command_id AS text)
    AND (w.hosted OR w.status IN ('suspended', 'closing', 'error'))
), u AS (
  UPDATE session_work w SET next_rule_at = clock_timestamp() FROM sessions s
  WHERE w.session_id = :session_id AND s.session_id = w.session_id AND s.status = 'initializing'
    AND s.pending ->> 'command_id' = CAST(:command_id AS text) AND s.config -> 'auto_start_conditions' <> '[]'
), a AS (
{_AUDIT}
)
UPDATE commands SET state = 'refused', arguments = CAST(:arguments AS bytea), outcome = CAST(:outcome AS bytea),
  finished_at = clock_timestamp()
WHERE command_id = :command_id;
COMMIT
""")

_TYPES = {
    "boolean": "begins clear_latch pin_to pinned relay_claimed work_closed work_guarded work_kept work_live work_moved "
    "work_begins_anew work_new_epoch work_pending work_recovering work_ruled work_stepped work_watched",
    "uuid": "command_id event_id overtaken_id pin_id session_id",
    "bigint": "audit_seq epoch expected_version version",
    "integer": "work_recovery_attempts",
    "float8": "work_archive_after_s work_checkpoint_interval_s work_health_interval_s work_pending_in_s "
    "work_save_interval_s work_step_interval_s",
    "timestamptz": "ended_at quiesced_at started_at status_since work_next_recovery_at",
    "bytea": "args_hash arguments audit_head outcome overtaken_outcome",
    "jsonb": "audit booked config enabled_strategies events outbox pending recovery_data risk_parameters "
    "strategy_parameters transitions",
    "text[]": "holds tags",
    "text": "actor asked_by asked_why command_state requires_action status status_actor status_reason trigger",
}
_TYPE_OF = {name: kind for kind, names in _TYPES.items() for name in names.split()}
# What every command sends; rare ones are planned each time.
SEND_LOCK = Prepared("fntx_lock", LOCK, _TYPE_OF)
SEND_LOCK_ASKED = Prepared("fntx_lock_asked", text(LOCK.text.replace(OPEN_ONES, LAST_ONES)), _TYPE_OF)
SEND_LOCK_EVENT = Prepared("fntx_lock_event", text(LOCK.text.replace(OPEN_ONES, _ONE_EVENT)), _TYPE_OF)
SEND_WRITE_COMMIT = Prepared("fntx_write_commit", WRITE_COMMIT, _TYPE_OF)
SEND_WRITE_ALL_COMMIT = Prepared("fntx_write_all_commit", WRITE_ALL_COMMIT, _TYPE_OF)

REPEAT = text("SELECT session_id, outcome FROM commands WHERE command_id = :command_id AND outcome IS NOT NULL")

# What is noted of a session's chain and changes nothing else of it.
CHAIN_END = text("""
SELECT audit_seq, audit_head, version, clock_timestamp() AS now FROM sessions WHERE session_id = :session_id FOR UPDATE
""")
NOTE = text(f"""
WITH s AS (
  UPDATE sessions SET audit_seq = :seq, audit_head = :hash WHERE session_id = :session_id
)
{_AUDIT}
""")

SHARE = text(f"""
{SHARED} WHERE :opening;
SELECT 1 FROM sessions WHERE session_id = :session_id FOR SHARE;
SELECT s.session_id, s.epoch, s.status, s.version, s.account_id, s.broker, s.risk_parameters, s.config,
  s.session_type, CASE WHEN :opening THEN {STANDING} END AS halts
FROM sessions s WHERE s.session_id = :session_id
""")

LIVE = frozenset({SessionStatus.ACTIVE, SessionStatus.PAUSED, SessionStatus.SUSPENDED, SessionStatus.CLOSING})
STEPPED = LIVE | {SessionStatus.ERROR}
# Whose rules and limits are evaluated; a session that is closing is past them.
RULED = STEPPED - {SessionStatus.CLOSING}
# Here the manager's own guard protects what is open, whoever the agents are; the host unschedules what is flat.
GUARDED = frozenset({SessionStatus.SUSPENDED, SessionStatus.ERROR, SessionStatus.CLOSING})


def work_for(row: Row, change: Change) -> dict[str, Any]:
    """Return what the row's new status means for saves, checkpoints, steps and pending work."""
    status = SessionStatus(row["status"])
    started = row["started_at"] is not None
    config = row["config"]
    return {
        "work_live": status in LIVE and started,
        # What failed is kept once more, with the transition; it is not saved on.
        "work_kept": status in STEPPED and started,
        "work_moved": change.to_status is not None,
        "work_stepped": status in STEPPED and started,
        "work_guarded": status in GUARDED and started,
        "work_new_epoch": change.new_epoch,
        # A person vouches for the agents; what the system recovers by itself keeps what they are charged with.
        "work_begins_anew": change.shreds or change.work.get("begins_anew", False),
        # Nobody steps, and so reports, while agents' memory is being put back.
        "work_recovering": (row["pending"] or {}).get("trigger") == Trigger.RECOVER,
        "work_closed": change.to_status is SessionStatus.CLOSED,
        "work_archive_after_s": get_settings().archive_after_s,
        "work_pending_in_s": change.work.get("pending_in_s", 0.0),
        "work_pending": status is SessionStatus.CLOSING or row["pending"] is not None,
        "work_save_interval_s": config["save_interval_s"],
        "work_checkpoint_interval_s": config["checkpoint_interval_s"],
        "work_step_interval_s": config["step_interval_s"],
        "work_ruled": _is_ruled(row, status, started=started),
        "work_watched": status in STEPPED and started,
        "work_health_interval_s": get_settings().health_interval_s,
        "work_recovery_attempts": change.work.get("recovery_attempts"),
        "work_next_recovery_at": change.work.get("next_recovery_at"),
    }


def _is_ruled(row: Row, status: SessionStatus, *, started: bool) -> bool:
    """Tell whether the rule sweep looks at a session; what steps on a simulated clock is judged at each bar instead."""
    config = row["config"]
    if status is SessionStatus.INITIALIZING:
        return bool(config["auto_start_conditions"]) and row["pending"] is None
    by_the_wall = config["feed"]["kind"] == "published" or not row["hosted"]
    return started and by_the_wall and status in RULED
