"""What the desk's gauges are read with: one question for the desk, and one more where sessions are labels."""

from sqlalchemy import text

_SECONDS = "CAST(extract(epoch FROM {}) AS float8)"
_BY = "(SELECT coalesce(jsonb_agg(jsonb_build_array({keys}, n)), '[]') FROM ({counted}) c) AS {name}"


def _counted(name: str, keys: str, source: str) -> str:
    """Return a column that holds how many rows of `source` there are for each value of `keys`."""
    names = ", ".join(key.rsplit(" AS ", 1)[-1] for key in keys.split("; "))
    columns = ", ".join(keys.split("; "))
    return _BY.format(keys=names, counted=f"SELECT {columns}, count(*) AS n FROM {source} GROUP BY {names}", name=name)


# Of long ago, so that what is over stays out of the figures: a host that is gone for good, a tier nobody asks any more.
# A host is a worker's node and its start: one whose node lives again was started again, and is lost no more.
_HOSTS = """(SELECT queues, CASE WHEN lease_until < now() THEN 'lost' ELSE 'live' END AS state FROM hosts h
  WHERE NOT "left" AND (lease_until >= now() OR lease_until > now() - interval '1 hour' AND NOT EXISTS (
    SELECT FROM hosts again WHERE again.lease_until >= now() AND NOT again."left"
      AND split_part(again.host_id, ':', 1) = split_part(h.host_id, ':', 1)))) h"""
_AGENTS = """(SELECT CASE WHEN a.hosted THEN 'hosted' ELSE 'remote' END AS kind,
    CASE WHEN a.ready_at IS NOT NULL THEN 'ready' ELSE 'awaited' END AS state
  FROM session_agents a JOIN session_work w USING (session_id) WHERE w.status <> 'closed') a"""
# What processes of a machine without workers found, or of a container that is no more, is soon old.
_TIERS = """tier_states t WHERE seen_at > now() - CASE WHEN EXISTS (
    SELECT FROM hosts h WHERE h.node = t.host AND h.lease_until >= now() AND NOT h."left")
  THEN interval '1 day' ELSE interval '30 minutes' END"""
_HEALTH = "session_health h JOIN session_work w USING (session_id) WHERE w.status <> 'closed'"

DESK = text(f"""
SELECT {_counted("sessions", "status; session_type", "sessions")},
  {_counted("hosts", "queues; state", _HOSTS)},
  {_counted("agents", "kind; state", _AGENTS)},
  {_counted("health", "grade", _HEALTH)},
  {_counted("halts", "scope", "halts WHERE released_at IS NULL")},
  (SELECT coalesce(jsonb_agg(jsonb_build_array(host, tier, CAST(up AS int))), '[]') FROM {_TIERS}) AS tiers,
  (SELECT count(*) FROM outbox) AS outbox,
  (SELECT coalesce(max({_SECONDS.format("now() - relay_due_at")}), 0) FROM session_work
    WHERE relay_due_at IS NOT NULL) AS outbox_oldest_s,
  (SELECT count(*) FROM session_work WHERE pending_due_at IS NOT NULL) AS pending,
  (SELECT count(*) FROM approvals WHERE state = 'waiting') AS approvals,
  (SELECT count(*) FROM events WHERE requires_action AND acknowledged_at IS NULL) AS events
""")

# Of a session: its newest day, as `fntx show` has it, and how old its save is.
SESSIONS = text(f"""
SELECT CAST(s.session_id AS text) AS session_id, s.status, s.session_type,
  CAST(d.realized - d.fees + d.unrealized AS float8) AS pnl,
  {_SECONDS.format("now() - v.saved_at")} AS saved_s
FROM sessions s LEFT JOIN saves v USING (session_id)
LEFT JOIN LATERAL (SELECT * FROM session_days d WHERE d.session_id = s.session_id ORDER BY trade_date DESC LIMIT 1) d
  ON true
WHERE s.status <> 'closed' ORDER BY s.session_id
""")
