"""One statement over all that is kept of a session's past, in one order: time, kind, id."""

from sqlalchemy import TextClause, text

# What each kind is made of: where its rows are, and what of them is shown.
_KINDS = {
    "transition": (
        "transitions",
        "timestamp",
        "transition_id::text",
        """jsonb_build_object('from', from_status, 'to', to_status, 'trigger', trigger, 'actor', actor, 'reason',
          reason, 'version', version, 'epoch', epoch)""",
    ),
    "event": (
        "events",
        "timestamp",
        "event_id::text",
        """jsonb_build_object('event_type', event_type, 'event_category', event_category, 'severity', severity,
          'source_agent', source_agent, 'description', description, 'requires_action', requires_action,
          'action_taken', action_taken, 'acknowledged_at', acknowledged_at, 'acknowledged_by', acknowledged_by)""",
    ),
    "checkpoint": (
        "checkpoints",
        "timestamp",
        "checkpoint_id::text",
        """jsonb_build_object('checkpoint_type', checkpoint_type, 'epoch', epoch, 'revision', revision, 'verified',
          verified, 'size_bytes', size_bytes, 'tier', tier, 'created_by', created_by, 'note', note)""",
    ),
    "sample": (
        "samples",
        "timestamp",
        "timestamp::text",
        "jsonb_build_object('net_pnl', net_pnl, 'exposure', exposure, 'spot', spot, 'epoch', epoch, 'steps', steps)",
    ),
    "decision": (
        "told_words",
        "timestamp",
        "agent || '/' || report_id",
        "jsonb_build_object('latency_ms', latency_ms)",
    ),
    "error": ("told_words", "timestamp", "agent || '/' || report_id", "'{}'::jsonb"),
    "trade": ("trade_ends", "at", "trade_id || '/' || happened", "shown"),
}
_SEALED = {"event": "data, NULL", "decision": "data, jsonb_build_array(agent, kind, report_id)"}
_SEALED["error"] = _SEALED["decision"]
# What words are looked for in.
_WORDS = {
    "transition": "concat_ws(' ', from_status, to_status, trigger, actor, reason, transition_id)",
    "event": "concat_ws(' ', event_type, event_category, source_agent, description, action_taken, event_id)",
    "checkpoint": "concat_ws(' ', checkpoint_type, created_by, note, checkpoint_id)",
    "sample": "timestamp::text",
    "decision": "concat_ws('/', agent, report_id)",
    "error": "concat_ws('/', agent, report_id)",
    "trade": "concat_ws('/', trade_id, happened)",
}


def _branch(kind: str, beyond: str, order: str) -> str:
    relation, at, key, shown = _KINDS[kind]
    severity = "severity = ANY(CAST(:severities AS text[]))" if kind == "event" else "false"
    told = f"AND kind = '{kind}'" if relation == "told_words" else ""
    return f"""(SELECT {at} AS at, '{kind}' AS kind, ({key}) COLLATE "C" AS id, {shown} AS shown,
    {_SEALED.get(kind, "NULL::bytea, NULL::jsonb")}
  FROM {relation} WHERE session_id = :session_id AND '{kind}' = ANY(:kinds) {told}
    AND (CAST(:since AS timestamptz) IS NULL OR {at} >= :since)
    AND (CAST(:until AS timestamptz) IS NULL OR {at} < :until)
    AND (CAST(:severities AS text[]) IS NULL OR {severity})
    AND (CAST(:words AS text) IS NULL OR strpos(lower({_WORDS[kind]}), lower(:words)) > 0)
    AND (CAST(:after_at AS timestamptz) IS NULL OR ({at} {beyond}= :after_at
      AND ({at}, '{kind}' COLLATE "C", ({key}) COLLATE "C") {beyond}
        (CAST(:after_at AS timestamptz), :after_kind, :after_id)))
  ORDER BY 1 {order}, 3 {order} LIMIT :limit)"""


_TRADES = """told_words AS (
  SELECT * FROM agent_reports WHERE session_id = :session_id
), legs AS (
  SELECT trade_id, min(timestamp) AS opened_at, max(timestamp) AS ended_at, sum(fee) AS fees, min(reason) AS reason,
    sum(CASE side WHEN 'buy' THEN quantity ELSE -quantity END) AS held,
    sum((CASE side WHEN 'sell' THEN 1 ELSE -1 END) * quantity * price * (CASE "right" WHEN 'stock' THEN 1 ELSE 100 END))
      AS cash
  FROM fills WHERE session_id = :session_id AND 'trade' = ANY(:kinds) GROUP BY trade_id, symbol
), trades AS (
  SELECT trade_id, NULL AS agent, min(opened_at) AS opened_at, bool_and(held = 0) AS closed, max(ended_at) AS ended_at,
    sum(cash) AS gross_pnl, sum(fees) AS fees
  FROM legs GROUP BY trade_id
  UNION ALL SELECT report_id, agent, coalesce(opened_at, timestamp), closed_at IS NOT NULL, closed_at, gross_pnl, fees
  FROM told_words WHERE kind = 'trade'
), trade_ends AS (
  SELECT :session_id AS session_id, coalesce(agent || '/', '') || trade_id AS trade_id, opened_at AS at,
    'opened' AS happened, jsonb_build_object('trade_id', trade_id, 'agent', agent, 'happened', 'opened') AS shown
  FROM trades
  UNION ALL SELECT :session_id, coalesce(agent || '/', '') || trade_id, ended_at, 'closed',
    jsonb_build_object('trade_id', trade_id, 'agent', agent, 'happened', 'closed', 'gross_pnl', gross_pnl, 'fees', fees,
      'net_pnl', gross_pnl - fees)
  FROM trades WHERE closed
)"""


def _history(beyond: str, order: str) -> TextClause:
    return text(f"""
WITH {_TRADES}
SELECT h.at IS NOT NULL AS found, h.* FROM sessions s LEFT JOIN LATERAL (
  SELECT * FROM (
    {" UNION ALL ".join(_branch(kind, beyond, order) for kind in _KINDS)}
  ) AS every (at, kind, id, shown, sealed, named) ORDER BY at {order}, kind COLLATE "C" {order}, id {order} LIMIT :limit
) h ON true WHERE s.session_id = :session_id ORDER BY h.at {order}, h.kind COLLATE "C" {order}, h.id {order}
""")


# Oldest first, and newest first.
HISTORY, NEWEST = _history(">", ""), _history("<", "DESC")
EVERYTHING = tuple(_KINDS)
