"""The one question that health asks Postgres about a batch of sessions."""

from sqlalchemy import text

from fntx_sessions.database.feeds import FEED_NAME
from fntx_sessions.database.hosting import NO_AGENT_HOST


def _age(since: str) -> str:
    return f"CAST(extract(epoch FROM now() - {since}) AS float8)"


# What hosts step at this moment is in their measures, by their processes' own notes. Only the process that has the
# session's claim now counts: one that was stopped and woke after a take-over goes on in a step that is nobody's. A new
# epoch ends every claim.
READ = text(f"""
WITH asked AS (SELECT unnest(CAST(:ids AS uuid[])) AS session_id),
stepping AS (
  SELECT w.session_id, jsonb_object_agg(x ->> 'agent', (x ->> 'for_s')::float8) AS found
  FROM asked JOIN session_work w USING (session_id) JOIN hosts h ON h.host_id = w.host_id,
    jsonb_array_elements(coalesce(h.measures -> 'stepping', '[]')) x
  WHERE NOT h."left" AND h.lease_until > now() AND (x ->> 'session_id')::uuid = w.session_id
    AND x ->> 'pid' = w.step_claimed_by AND w.step_claimed_until > now()
  GROUP BY 1
)
SELECT w.session_id, now() AS now, w.status, s.session_type, s.version, w.epoch,
  {_age("s.status_since")} AS in_status_s,
  (SELECT coalesce(jsonb_agg(jsonb_build_object('agent', g.agent, 'hosted', g.hosted, 'required', g.required,
    'ready', g.ready_at IS NOT NULL) ORDER BY g.agent), '[]') FROM session_agents g
    WHERE g.session_id = w.session_id) AS agents,
  w.agent_failures, t.found AS stepping, w.host_id,
  coalesce({_age("h.lease_until")}, 1e9) * (coalesce(h.lease_until < now(), true))::int AS lost_s,
  h.measures AS host_measures, NOT {NO_AGENT_HOST} AS attended, w.hosted, w.save_interval_s,
  CASE WHEN w.next_save_at IS NOT NULL THEN {_age("greatest(w.last_saved_at, s.started_at)")} END AS saved_s,
  w.step_interval_s,
  CASE WHEN w.next_step_at < now() AND w.status <> 'closed' THEN {_age("w.next_step_at")} END AS overdue_s,
  CASE WHEN w.step_claimed_until > now() AND w.step_claimed_by <> 'interrupted'
    THEN :claim_s - CAST(extract(epoch FROM w.step_claimed_until - now()) AS float8) END AS claimed_s,
  (SELECT i.problem FROM invalid_states i WHERE i.session_id = w.session_id AND i.epoch = w.epoch
    AND i.timestamp > coalesce(w.last_saved_at, '-infinity') ORDER BY i.timestamp DESC LIMIT 1) AS invalid,
  w.measures, {_age("r.missing_since")} AS rules_blind_s, s.config ->> 'calendar' AS calendar,
  s.config -> 'feed' ->> 'kind' AS feed_kind, {FEED_NAME} AS feed, s.requires_action, w.next_recovery_at,
  s.status = 'suspended' AND s.recovery_data ? 'healing' AS healing, s.status_reason,
  CASE WHEN s.status = 'suspended' THEN s.recovery_data -> 'healing' -> 'causes' END AS causes,
  CASE WHEN (s.recovery_data ->> 'finished_at')::timestamptz < now() - make_interval(secs => :forgiven_s)
    AND s.status <> 'suspended' THEN 0 ELSE w.recovery_attempts END AS attempts,
  c.grade AS grade_before, c.checks AS before
FROM asked JOIN session_work w USING (session_id) JOIN sessions s USING (session_id)
LEFT JOIN hosts h ON h.host_id = w.host_id
LEFT JOIN stepping t ON t.session_id = w.session_id
LEFT JOIN rule_states r ON r.session_id = w.session_id
LEFT JOIN session_health c ON c.session_id = w.session_id
""")
