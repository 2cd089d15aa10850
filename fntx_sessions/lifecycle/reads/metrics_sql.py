"""The one SELECT that the measures of a run are made of: over the ledger, samples, transitions, and what was told."""

from sqlalchemy import text

from fntx_sessions.database.hosting import TRADED_ELSEWHERE
from fntx_sessions.database.measuring import CURVE, RECENT

# A trade is flat to flat: closed when every leg of it is back at nothing. `entered`: what is held, at what it was
# opened for; `later`: the fees of what filled after the last mark. `valued`: what is held at the marks of the last
# step, and what that did not hold at what it was opened for.
_LEDGER = """legs AS (
  SELECT trade_id, symbol, max(CASE "right" WHEN 'stock' THEN 0 ELSE coalesce(strike, 0) END) AS strike,
    sum(fee) AS fees, sum(slippage) AS slippage, sum(CASE side WHEN 'buy' THEN quantity ELSE -quantity END) AS held,
    sum((CASE side WHEN 'sell' THEN 1 ELSE -1 END) * quantity * price * units) AS cash, max(units) AS units,
    coalesce(sum(fee) FILTER (WHERE timestamp > (SELECT at FROM mark)), 0) AS later,
    sum(quantity * price) FILTER (WHERE side = 'buy') / sum(quantity) FILTER (WHERE side = 'buy') AS bought_at,
    sum(quantity * price) FILTER (WHERE side = 'sell') / sum(quantity) FILTER (WHERE side = 'sell') AS sold_at
  FROM (SELECT *, CASE "right" WHEN 'stock' THEN 1 ELSE 100 END AS units FROM fills WHERE session_id = :session_id) f
  GROUP BY trade_id, symbol
), valued AS (
  SELECT legs.*, CASE WHEN held > 0 THEN bought_at ELSE sold_at END AS opened_at,
    CASE WHEN m.held_then * held > 0 THEN sign(held::numeric) * least(abs(held), abs(m.held_then)) ELSE 0 END AS marked,
    m.mark
  FROM legs LEFT JOIN LATERAL (
    SELECT (known.leg ->> 0)::bigint AS held_then, (known.leg ->> 1)::numeric AS mark
    FROM (SELECT (SELECT marks FROM mark) -> trade_id -> symbol) AS known(leg)
  ) m ON true
), trades AS (
  SELECT trade_id, bool_and(held = 0) AS closed, sum(cash) AS cash, sum(fees) AS fees, sum(slippage) AS slippage,
    sum(later) AS later, sum(greatest(-held, 0) * strike * units) AS short_strikes,
    sum(CASE WHEN held = 0 THEN 0 ELSE round(held * units * opened_at, 4) END) AS entered,
    sum(CASE WHEN held = 0 THEN 0 ELSE marked * units * coalesce(mark, 0)
      + CASE WHEN held = marked THEN 0 ELSE round((held - marked) * units * opened_at, 4) END END) AS valued
  FROM valued GROUP BY trade_id
), money AS (
  SELECT count(*) FILTER (WHERE closed) AS total, count(*) FILTER (WHERE NOT closed) AS open,
    count(*) FILTER (WHERE closed AND cash > fees) AS won, count(*) FILTER (WHERE closed AND cash < fees) AS lost,
    coalesce(sum(cash), 0) AS cash, coalesce(sum(fees), 0) AS fees, coalesce(sum(slippage), 0) AS slippage,
    coalesce(sum(later), 0) AS later, coalesce(sum(short_strikes), 0) AS exposure, coalesce(sum(entered), 0) AS entered,
    coalesce(sum(valued), 0) AS valued
  FROM trades
)"""
# What is held was valued last by a step, or, where no step left anything, by a sample.
_MARK = """mark AS (
  SELECT at, net_pnl AS marked, marks FROM (
    SELECT (measures ->> 'at')::timestamptz AS at, (measures ->> 'net_pnl')::numeric AS net_pnl,
      CASE jsonb_typeof(measures -> 'marks') WHEN 'object' THEN measures -> 'marks' END AS marks FROM step
    WHERE measures ->> 'net_pnl' IS NOT NULL
    UNION ALL (SELECT timestamp, net_pnl, NULL FROM samples WHERE session_id = :session_id
      ORDER BY timestamp DESC LIMIT 1)
  ) known ORDER BY at DESC, marks IS NULL LIMIT 1
)"""
# What agents of other services told; one that is open may be without its result.
_TOLD = """told AS (
  SELECT count(*) FILTER (WHERE kind = 'trade') AS told_trades,
    count(*) FILTER (WHERE kind = 'trade' AND closed_at IS NOT NULL) AS told_total,
    count(*) FILTER (WHERE kind = 'trade' AND closed_at IS NOT NULL AND gross_pnl > coalesce(fees, 0)) AS told_won,
    count(*) FILTER (WHERE kind = 'trade' AND closed_at IS NOT NULL AND gross_pnl < coalesce(fees, 0)) AS told_lost,
    sum(gross_pnl) FILTER (WHERE kind = 'trade') AS told_gross,
    coalesce(sum(fees) FILTER (WHERE kind = 'trade'), 0) AS told_fees,
    coalesce(sum(slippage) FILTER (WHERE kind = 'trade'), 0) AS told_slippage,
    coalesce(bool_or(gross_pnl IS NULL) FILTER (WHERE kind = 'trade'), false) AS told_unsaid,
    count(*) FILTER (WHERE kind = 'error') AS told_errors
  FROM agent_reports WHERE session_id = :session_id
)"""
_SPANS = """spans AS (
  SELECT to_status, extract(epoch FROM coalesce(lead(timestamp) OVER (ORDER BY version, timestamp), clock_timestamp())
    - timestamp)::float8 AS seconds
  FROM transitions WHERE session_id = :session_id
), spent AS (
  SELECT coalesce(sum(seconds) FILTER (WHERE to_status = 'active'), 0) AS active,
    coalesce(sum(seconds) FILTER (WHERE to_status = 'paused'), 0) AS paused FROM spans
)"""
_DECISIONS = """decisions AS (
  SELECT count(*) FILTER (WHERE ours) AS calls, percentile_disc(0.5) WITHIN GROUP (ORDER BY latency) AS p50,
    percentile_disc(0.99) WITHIN GROUP (ORDER BY latency) AS p99
  FROM (
    SELECT true AS ours, decision_latency_ms AS latency FROM order_intents WHERE session_id = :session_id
    UNION ALL SELECT false, latency_ms FROM agent_reports WHERE session_id = :session_id AND kind = 'decision'
  ) made
)"""
METRICS = text(f"""
WITH step AS (
  SELECT measures FROM session_work WHERE session_id = :session_id
), {_MARK}, {_LEDGER}, {_TOLD}, {_SPANS}, {_DECISIONS}, recent AS (
  SELECT coalesce(sum(attempted), 0)::bigint AS attempted, coalesce(sum(failed), 0)::bigint AS failed FROM ({RECENT}) r
)
SELECT s.session_id, s.session_type, s.status, s.version, s.epoch, s.started_at, s.ended_at, s.broker,
  s.started_at IS NOT NULL AND {TRADED_ELSEWHERE} AS elsewhere,
  EXISTS (SELECT FROM session_agents a WHERE a.session_id = s.session_id AND NOT a.hosted) AS remote,
  money.*, told.*, spent.*, recent.*, decisions.*,
  curve.drawdown, curve.peak, curve.memory_mb, (SELECT at FROM mark) AS marked_at, (SELECT marked FROM mark) AS marked,
  (SELECT marks IS NOT NULL FROM mark) AS by_trade,
  (SELECT measures FROM step) AS measures,
  (SELECT count(*) FROM checkpoints c WHERE c.session_id = s.session_id) AS checkpoint_count,
  (SELECT a.contents -> 'metrics' FROM archives a WHERE a.session_id = s.session_id AND a.rows_dropped_at IS NOT NULL)
    AS archived,
  (SELECT k.shredded_at FROM session_keys k WHERE k.session_id = s.session_id) AS shredded_at
FROM sessions s, money, told, spent, recent, decisions, ({CURVE}) AS curve WHERE s.session_id = :session_id
""")
