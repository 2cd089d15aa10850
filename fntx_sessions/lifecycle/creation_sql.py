"""The statements of a creation, built once."""

from sqlalchemy import text

from fntx_sessions.security.scope import IN_SCOPE

# account_theirs: whether sessions in a token's scope trade on it; nobody looks where it has none.
CLAIM = text(f"""
BEGIN ISOLATION LEVEL READ COMMITTED;
INSERT INTO commands (command_id, session_id, trigger, actor, args_hash)
VALUES (:command_id, :session_id, :trigger, :actor, :args_hash)
ON CONFLICT (command_id) DO NOTHING;
SELECT clock_timestamp() AS now, c.state, c.args_hash, c.trigger, c.outcome,
  EXISTS (SELECT 1 FROM sessions s WHERE s.session_id = :session_id) AS taken,
  CAST(:parent AS uuid) IS NULL
    OR EXISTS (SELECT 1 FROM sessions s WHERE s.session_id = CAST(:parent AS uuid) AND {IN_SCOPE}) AS parent_known,
  (SELECT a.kind FROM accounts a WHERE a.account_id = :account_id) AS account_kind,
  CASE WHEN CAST(:scope_sessions AS uuid[]) IS NOT NULL
    THEN EXISTS (SELECT 1 FROM sessions s WHERE s.account_id = :account_id AND {IN_SCOPE}) END AS account_theirs
FROM commands c WHERE c.command_id = :command_id
""")

INSERT = text("""
WITH account AS (
  INSERT INTO accounts (account_id, kind, exclusive, equity) VALUES (:account_id, :broker, true, :equity)
  ON CONFLICT (account_id) DO NOTHING
)
INSERT INTO sessions (session_id, session_type, status, version, account_id, exclusive_account, broker, template_name,
  template_version, config, risk_parameters, enabled_strategies, strategy_parameters, roster, created_at, status_since,
  status_actor, status_reason, parent_session_id, audit_seq, audit_head, tags)
SELECT :session_id, :session_type, 'initializing', 1, :account_id,
  coalesce((SELECT a.exclusive FROM accounts a WHERE a.account_id = :account_id), true), :broker, :template_name,
  :template_version, CAST(:config AS jsonb), CAST(:risk_parameters AS jsonb), CAST(:enabled_strategies AS jsonb),
  CAST(:strategy_parameters AS jsonb), CAST(:roster AS jsonb), :now, :now, :actor, :reason,
  CAST(:parent AS uuid), 1, :audit_head, CAST(:tags AS text[]);
INSERT INTO session_work (session_id, status, session_type, save_interval_s, checkpoint_interval_s, step_interval_s,
  hosted, relay_due_at, memory_due_at, next_rule_at)
VALUES (:session_id, 'initializing', :session_type, :save_interval_s, :checkpoint_interval_s, :step_interval_s,
  :hosted, clock_timestamp(), clock_timestamp(), CASE WHEN :ruled THEN clock_timestamp() END);
INSERT INTO session_agents (session_id, agent, required, hosted, ready_at)
SELECT :session_id, agent, required, hosted, CASE WHEN hosted THEN clock_timestamp() END
FROM jsonb_to_recordset(CAST(:agents AS jsonb)) AS r(agent text, required boolean, hosted boolean);
INSERT INTO transitions (transition_id, session_id, timestamp, to_status, trigger, actor, reason, version, epoch,
  command_id, warnings, pre_conditions_met)
VALUES (:transition_id, :session_id, :now, 'initializing', :trigger, :actor, :reason, 1, 0, :command_id,
  CAST(:warnings AS jsonb), '{"settings_valid": true, "account_known_or_new": true}');
INSERT INTO audit (session_id, seq, timestamp, actor, roles, action, outcome, reason, command_id, args_hash,
  version_after, host, task, token_id, confirmed_by, key_id, hash)
VALUES (:session_id, 1, :now, :actor, :roles, :trigger, 'done', :reason, :command_id, :args_hash, 1, :host, :task,
  :token_id, :confirmed_by, :key_id, :audit_head);
INSERT INTO events (event_id, session_id, timestamp, event_type, event_category, severity, description)
SELECT gen_random_uuid(), :session_id, :now, event_type, event_category, severity, description
FROM jsonb_to_recordset(CAST(:events AS jsonb)) AS r(event_type text, event_category text, severity text,
  description text);
INSERT INTO outbox (session_id, version, position, kind, payload, trace)
VALUES (:session_id, 1, 0, 'event', CAST(:event AS jsonb), :trace);
UPDATE templates SET usage_count = usage_count + 1, last_used = now() WHERE template_name = :template_used;
UPDATE commands SET state = 'done', arguments = CAST(:arguments AS bytea), outcome = CAST(:outcome AS bytea),
  finished_at = clock_timestamp()
WHERE command_id = :command_id
""")
INSERT_COMMIT = text(INSERT.text + "; COMMIT")

REFUSE = text("""
UPDATE commands SET state = 'refused', arguments = CAST(:arguments AS bytea), outcome = CAST(:outcome AS bytea),
  finished_at = clock_timestamp()
WHERE command_id = :command_id; COMMIT
""")
