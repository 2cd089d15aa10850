"""A trade date over all sessions, as SQL: whose day it was, what it brought, which trades ended, what was changed."""

from sqlalchemy import text

# A session plays another time than the wall's: its days are those it played.
_PLAYED = """(s.config -> 'feed' ->> 'kind' <> 'published'
    AND EXISTS (SELECT FROM session_agents h WHERE h.session_id = s.session_id AND h.hosted))"""
_SHOWN = "(:backtests OR s.session_type <> 'backtest')"
_SIGNED = "CASE f.side WHEN 'buy' THEN f.quantity ELSE -f.quantity END"
_CASH = """(CASE f.side WHEN 'sell' THEN 1 ELSE -1 END) * f.quantity * f.price
      * (CASE f."right" WHEN 'stock' THEN 1 ELSE 100 END)"""
# Trades of the ledger that were flat again on the day. One that the day's own fills leave open was perhaps opened
# before: only of those are the older fills asked for. Fills of other clocks lie in other weeks: a day is never far off.
_TRADES = f"""fresh AS (
  SELECT f.session_id, f.trade_id, f.symbol, sum({_SIGNED}) AS held, sum({_CASH}) AS cash, sum(f.fee) AS fees,
    min(f.timestamp) AS opened_at, max(f.timestamp) AS closed_at,
    (array_agg(f.reason ORDER BY f.timestamp DESC, f.fill_id DESC) FILTER (WHERE NOT f.opening))[1] AS reason
  FROM fills f WHERE f.trade_date = :day
    AND f.timestamp >= CAST(:since AS timestamptz) - interval '2 days'
    AND f.timestamp < CAST(:until AS timestamptz) + interval '2 days'
  GROUP BY 1, 2, 3
), unfinished AS (
  SELECT session_id, trade_id FROM fresh GROUP BY 1, 2 HAVING bool_or(held <> 0)
), legs AS (
  SELECT * FROM fresh
  UNION ALL SELECT f.session_id, f.trade_id, f.symbol, sum({_SIGNED}), sum({_CASH}), sum(f.fee), min(f.timestamp),
    NULL, NULL
  FROM unfinished u JOIN fills f USING (session_id, trade_id) WHERE f.trade_date < :day GROUP BY 1, 2, 3
), by_leg AS (
  SELECT session_id, trade_id, sum(held) AS held, sum(cash) AS cash, sum(fees) AS fees, min(opened_at) AS opened_at,
    max(closed_at) AS closed_at, max(reason) AS reason
  FROM legs GROUP BY session_id, trade_id, symbol
), trades AS (
  SELECT session_id, trade_id, NULL AS agent, min(opened_at) AS opened_at, max(closed_at) AS closed_at,
    sum(cash) AS gross, sum(fees) AS fees, sum(cash) - sum(fees) AS net, coalesce(max(reason), '') AS reason
  FROM by_leg GROUP BY session_id, trade_id HAVING bool_and(held = 0)
  UNION ALL SELECT r.session_id, r.report_id, r.agent, coalesce(r.opened_at, r.timestamp), r.closed_at, r.gross_pnl,
    r.fees, r.gross_pnl - r.fees, 'told'
  FROM sessions s JOIN agent_reports r ON r.session_id = s.session_id AND r.kind = 'trade'
  WHERE s.started_at < :until AND (s.ended_at IS NULL OR s.ended_at >= :since)
    AND EXISTS (SELECT FROM session_agents a WHERE a.session_id = s.session_id AND NOT a.hosted)
    AND r.closed_at >= :since AND r.closed_at < :until
)"""
# What agents elsewhere told counts beside what our ledger has; where they left a result out, the sum is not known.
_OF_DAY = f"""{_TRADES}, ended AS (
  SELECT session_id, count(*) AS trades, count(*) FILTER (WHERE net > 0) AS won,
    count(*) FILTER (WHERE net < 0) AS lost, count(agent) AS told,
    sum(net) FILTER (WHERE agent IS NOT NULL) AS told_net,
    sum(fees) FILTER (WHERE agent IS NOT NULL) AS told_fees,
    count(*) FILTER (WHERE agent IS NOT NULL AND net IS NULL) AS unsaid
  FROM trades GROUP BY session_id
), of_day AS (
  SELECT s.session_id, s.status, s.session_type, s.template_name, s.account_id, s.started_at, s.ended_at,
    s.requires_action, d.realized, d.unrealized, d.contracts, d.updated_at, coalesce(e.trades, 0) AS trades,
    coalesce(e.won, 0) AS won, coalesce(e.lost, 0) AS lost,
    CASE WHEN d.session_id IS NULL AND e.told_fees IS NULL THEN NULL ELSE coalesce(d.fees, 0) + coalesce(e.told_fees, 0)
      END AS fees,
    CASE WHEN e.unsaid > 0 OR (d.session_id IS NULL AND coalesce(e.told, 0) = 0) THEN NULL
      ELSE coalesce(d.realized + d.unrealized - d.fees, 0) + coalesce(e.told_net, 0) END AS net
  FROM sessions s
  LEFT JOIN session_days d ON d.session_id = s.session_id AND d.trade_date = :day
  LEFT JOIN ended e ON e.session_id = s.session_id
  WHERE {_SHOWN} AND (d.session_id IS NOT NULL OR e.session_id IS NOT NULL
    OR (s.started_at < :until AND (s.ended_at IS NULL OR s.ended_at >= :since) AND NOT {_PLAYED}))
)"""
SESSIONS = text(f"""
WITH {_OF_DAY}
SELECT * FROM of_day ORDER BY net ASC NULLS LAST, session_id LIMIT :limit OFFSET :offset
""")
# All, by account and by template in one go; which of them a row is of, `what` says.
SUMS = text(f"""
WITH {_OF_DAY}, sums AS (
  SELECT CASE WHEN grouping(account_id) = 0 THEN 'account' WHEN grouping(template_name) = 0 THEN 'template' ELSE 'all'
      END AS what, coalesce(account_id, template_name, '') AS name, account_id, count(*) AS sessions,
    count(*) - count(net) AS unknown, sum(net) AS net, sum(realized) AS realized, sum(unrealized) AS unrealized,
    sum(fees) AS fees, coalesce(sum(trades), 0)::bigint AS trades, coalesce(sum(won), 0)::bigint AS won,
    coalesce(sum(lost), 0)::bigint AS lost, coalesce(sum(contracts), 0)::bigint AS contracts
  FROM of_day GROUP BY GROUPING SETS ((), (account_id), (template_name))
)
SELECT x.*, a.equity_at_roll, a.carried FROM sums x
LEFT JOIN account_days a ON a.account_id = x.account_id AND a.trade_date = :day
ORDER BY x.net ASC NULLS LAST, x.name
""")
TRADES = text(f"""
WITH {_TRADES}
SELECT t.*, s.template_name, s.account_id FROM trades t JOIN sessions s USING (session_id) WHERE {_SHOWN}
ORDER BY t.net ASC NULLS LAST, t.session_id, t.trade_id LIMIT :limit
""")
EXITS = text(f"""
WITH {_TRADES}
SELECT t.reason, count(*) AS trades, count(*) FILTER (WHERE t.net > 0) AS won,
  count(*) FILTER (WHERE t.net < 0) AS lost, count(*) - count(t.net) AS unknown, sum(t.net) AS net, sum(t.fees) AS fees
FROM trades t JOIN sessions s USING (session_id) WHERE {_SHOWN} GROUP BY t.reason ORDER BY sum(t.net) ASC NULLS LAST, 1
""")
# Reasons that differ in their figures alone are one.
STOPS = text(f"""
SELECT t.to_status, t.actor, regexp_replace(t.reason, '[0-9]+([.,:][0-9]+)*', '#', 'g') AS why, count(*) AS times,
  count(DISTINCT t.session_id) AS sessions, min(t.timestamp) AS first, max(t.timestamp) AS last,
  (array_agg(t.session_id ORDER BY t.timestamp DESC))[1:5] AS some,
  (array_agg(t.reason ORDER BY t.timestamp DESC))[1] AS reason
FROM transitions t JOIN sessions s USING (session_id)
WHERE t.timestamp >= :since AND t.timestamp < :until AND t.to_status IN ('closing', 'paused', 'suspended', 'error')
  AND t.from_status IS DISTINCT FROM t.to_status AND {_SHOWN}
GROUP BY 1, 2, 3
ORDER BY array_position(ARRAY['error', 'suspended', 'closing', 'paused'], t.to_status), times DESC, 2, 3
LIMIT :limit
""")
# Halts, latches and templates; what was changed of single sessions is told by their events.
CHANGES = text("""
SELECT * FROM (
  SELECT h.created_at AS at, h.actor AS who, 'halt placed' AS what,
    h.scope || coalesce(' ' || h.scope_name, '') AS whose, h.reason AS why
  FROM halts h WHERE h.created_at >= :since AND h.created_at < :until
  UNION ALL SELECT h.released_at, h.released_by, 'halt released', h.scope || coalesce(' ' || h.scope_name, ''),
    coalesce(h.release_reason, '') FROM halts h WHERE h.released_at >= :since AND h.released_at < :until
  UNION ALL SELECT d.latched_at, d.latched_by, 'loss limit fired', 'account ' || d.account_id,
    coalesce(d.latch_reason, '') FROM account_days d WHERE d.trade_date = :day AND d.latched_at IS NOT NULL
  UNION ALL SELECT v.timestamp, v.actor, 'template ' || v.action, v.template_name || ' version ' || v.version, v.reason
    FROM (SELECT v.*, t.template_name FROM template_versions v JOIN templates t USING (template_id)) v
    WHERE v.timestamp >= :since AND v.timestamp < :until AND v.action <> 'shipped'
) c ORDER BY at DESC, what, whose LIMIT :limit
""")
ALERTS = text("""
SELECT name, subject, severity, description, since, cleared_at FROM alerts
WHERE since < :until AND (cleared_at IS NULL OR cleared_at >= :since)
ORDER BY cleared_at IS NOT NULL, since DESC, name, subject LIMIT :limit
""")
# The newest trade dates that have results, one step of an index each.
DATES = text("""
WITH RECURSIVE dates AS (
  (SELECT max(trade_date) AS day, 1 AS n FROM session_days)
  UNION ALL SELECT (SELECT max(trade_date) FROM session_days WHERE trade_date < dates.day), n + 1 FROM dates
  WHERE dates.day IS NOT NULL AND n < :limit
)
SELECT day FROM dates WHERE day IS NOT NULL ORDER BY day DESC
""")
