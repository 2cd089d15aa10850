"""The SELECT of the board: which sessions pass, how many in each status, and a page of them with all that is kept.

What is ranked is little of each row; all else is read of the page's rows alone.
"""

from typing import Literal, get_args

from sqlalchemy import TextClause, text

from fntx_sessions.database.hosting import UNATTENDED
from fntx_sessions.lifecycle.halting import STANDING
from fntx_sessions.security.scope import IN_SCOPE

Sort = Literal[
    "attention", "status", "since", "created", "type", "template", "account", "pnl", "drawdown", "limit", "save"
]
# How urgent a row is, the most urgent first; up to NEEDS somebody has to see to it.
NEEDS = 2
_RANK = """CASE WHEN s.status = 'closed' THEN 8
  WHEN s.status = 'error' OR s.requires_action IS NOT NULL OR h.grade = 'failed' THEN 0
  WHEN s.status = 'suspended' OR p.session_id IS NOT NULL THEN 1
  WHEN h.grade = 'degraded' THEN 2
  WHEN s.status = 'closing' THEN 3 WHEN s.status = 'paused' THEN 4 WHEN s.status = 'active' THEN 5 ELSE 6 END"""
_STATUS = (
    "array_position(ARRAY['error', 'suspended', 'closing', 'paused', 'active', 'initializing', 'closed'], s.status)"
)
# What the last step left of the account's loss and the open contracts, each as a share of its limit.
_SHARE = """greatest(CASE WHEN CAST(w.measures ->> 'latched' AS boolean) THEN 1.0
    ELSE greatest(0, -CAST(w.measures ->> 'daily_pnl' AS numeric))
      / nullif(CAST(w.measures ->> 'loss_limit' AS numeric), 0)
  END, CAST(w.measures ->> 'position_count' AS numeric)
    / nullif(CAST(s.risk_parameters ->> 'position_limit' AS numeric), 0))"""
# The day of a simulated clock is its own; all others' is today's.
_PNL = """(SELECT y.realized + y.unrealized - y.fees FROM session_days y WHERE y.session_id = s.session_id
  AND y.trade_date = CASE WHEN w.hosted AND s.config #>> '{feed,kind}' <> 'published'
    THEN (w.clock_at AT TIME ZONE 'America/New_York')::date ELSE CAST(:today AS date) END)"""
# Expression, and whether the greatest comes first where nobody says otherwise.
_KEYS: dict[Sort, tuple[str, bool]] = {
    "attention": (_RANK, False),
    "status": (_STATUS, False),
    "since": ("s.status_since", True),
    "created": ("s.created_at", True),
    "type": ("s.session_type", False),
    "template": ("s.template_name", False),
    "account": ("s.account_id", False),
    "pnl": (_PNL, False),
    "drawdown": ("CAST(w.measures ->> 'drawdown' AS numeric)", False),
    "limit": (_SHARE, True),
    "save": ("w.last_saved_at", False),
}
# A filter that was not given holds for every row.
_PASSES = f"""(CAST(:session_type AS text) IS NULL OR s.session_type = :session_type)
  AND (CAST(:template_name AS text) IS NULL OR s.template_name = :template_name)
  AND (CAST(:account_id AS text) IS NULL OR s.account_id = :account_id)
  AND (CAST(:ids AS uuid[]) IS NULL OR s.session_id = ANY(CAST(:ids AS uuid[])))
  AND {IN_SCOPE}
  AND (CAST(:search AS text) IS NULL OR strpos(lower(concat_ws(' ', s.session_id, s.template_name, s.account_id,
    s.session_type, s.status_actor, s.status_reason, s.requires_action, array_to_string(s.tags, ' '))), :search) > 0)
  AND (:include_children OR s.session_type <> 'backtest' OR NOT EXISTS (
    SELECT 1 FROM backtest_units u WHERE u.session_id = s.session_id))"""
# Of closed sessions there may be any number: unless they are asked for, so many are counted and no more.
CLOSED_COUNTED = 10_000

_ROWS = f"""
  SELECT page.place, s.session_id, s.session_type, s.status, s.version, s.epoch, s.template_name, s.account_id,
    s.broker, s.status_since, s.status_actor, s.status_reason, s.requires_action, s.holds, s.pending, s.created_at,
    s.started_at, s.tags, s.risk_parameters, s.config ->> 'calendar' AS calendar,
    s.started_at IS NOT NULL AND w.hosted AND s.config #>> '{{feed,kind}}' <> 'published' AS simulated,
    w.clock_at, w.last_saved_at, w.measures,
    coalesce(w.next_save_at < clock_timestamp() - make_interval(secs => greatest(3 * w.save_interval_s, 15)), false)
      AS save_overdue,
    coalesce(h.grade, CASE WHEN h.session_id IS NULL THEN NULL ELSE 'ok' END) AS health,
    g.agents, g.ready, g.not_ready, c.checkpoint, p.approvals, r.decision, {STANDING} AS halts,
    {UNATTENDED} AS unattended,
    jsonb_build_object('auto_start_conditions', s.config -> 'auto_start_conditions',
      'auto_stop_conditions', s.config -> 'auto_stop_conditions',
      'auto_pause_conditions', s.config -> 'auto_pause_conditions',
      'auto_resume_conditions', s.config -> 'auto_resume_conditions')::text AS rules
  FROM page JOIN sessions s USING (session_id) LEFT JOIN session_work w USING (session_id)
  LEFT JOIN session_health h USING (session_id)
  LEFT JOIN LATERAL (SELECT count(*) AS agents, count(*) FILTER (WHERE ready_at IS NOT NULL) AS ready,
    coalesce(array_agg(agent ORDER BY agent) FILTER (WHERE ready_at IS NULL), '{{}}') AS not_ready
    FROM session_agents WHERE session_id = page.session_id) g ON true
  LEFT JOIN LATERAL (SELECT jsonb_build_object('checkpoint_id', checkpoint_id, 'at', timestamp, 'verified', verified,
    'type', checkpoint_type, 'tier', tier) AS checkpoint FROM checkpoints WHERE session_id = page.session_id
    ORDER BY timestamp DESC LIMIT 1) c ON true
  LEFT JOIN LATERAL (SELECT count(*) AS approvals FROM approvals
    WHERE session_id = page.session_id AND state = 'waiting') p ON true
  LEFT JOIN LATERAL (SELECT jsonb_build_object('at', timestamp, 'status', status, 'action', action, 'outcome', outcome,
    'why', why, 'truths', truths) AS decision FROM rule_decisions WHERE session_id = page.session_id
    ORDER BY seq DESC LIMIT 1) r ON true
"""
_HALTS = """(SELECT coalesce(jsonb_agg(jsonb_build_object('halt_id', x.halt_id, 'scope', x.scope, 'scope_name',
  x.scope_name, 'reason', x.reason, 'actor', x.actor, 'created_at', x.created_at, 'flatten', x.flatten)
  ORDER BY x.created_at), '[]') FROM halts x WHERE x.released_at IS NULL)"""

_SHOWN = f"""SELECT a.*, {_HALTS} AS standing, clock_timestamp() AS now,
  (SELECT coalesce(array_agg(template_name ORDER BY template_name), '{{}}') FROM templates) AS templates, d.* FROM (
  SELECT coalesce(jsonb_object_agg(status, sessions), '{{}}') AS counts,
    coalesce(jsonb_object_agg(status, needing), '{{}}') AS needing
  FROM counted) a
LEFT JOIN ({_ROWS}) d ON true ORDER BY d.place"""


def _statement(key: str, direction: str) -> TextClause:
    return text(f"""
WITH matching AS MATERIALIZED (
  SELECT s.session_id, s.status, s.status_since, {_RANK} AS rank, {key} AS key
  FROM sessions s LEFT JOIN session_work w USING (session_id)
  LEFT JOIN session_health h ON h.session_id = s.session_id AND h.grade <> 'ok'
  LEFT JOIN (SELECT DISTINCT session_id FROM approvals WHERE state = 'waiting') p ON p.session_id = s.session_id
  WHERE (:closed OR s.status <> 'closed') AND {_PASSES}
), counted AS (
  SELECT status, count(*) AS sessions, count(*) FILTER (WHERE rank <= {NEEDS}) AS needing FROM matching GROUP BY status
  UNION ALL SELECT 'closed', count(*), 0 FROM (
    SELECT FROM sessions s WHERE NOT :closed AND s.status = 'closed' AND {_PASSES} LIMIT {CLOSED_COUNTED}) c
  HAVING NOT :closed  -- WHERE would leave a row of 0 beside the right one
), page AS (
  SELECT session_id, row_number() OVER () AS place FROM (
    SELECT session_id FROM matching
    WHERE status = ANY(CAST(:status AS text[])) AND (NOT :needs_attention OR rank <= {NEEDS})
    ORDER BY key {direction} NULLS LAST, rank, status_since DESC, session_id LIMIT :limit OFFSET :offset) ranked
)
{_SHOWN}""")


# By what is sorted, and whether the other way round.
BOARD: dict[tuple[Sort, bool], TextClause] = {
    (name, turned): _statement(key, "DESC" if greatest is not turned else "ASC")
    for name, (key, greatest) in _KEYS.items()
    for turned in (False, True)
}
SORTS: tuple[Sort, ...] = get_args(Sort)
