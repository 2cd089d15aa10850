"""How samples are counted, as SQL that whoever counts them shares: rules, health, metrics, backtests, rehearsals."""

# Equity starts at nothing lost: the first peak is zero, or the first sample where that is higher.
PEAK = "greatest(0, max(net_pnl) OVER (PARTITION BY session_id ORDER BY timestamp))"
# The window of the error rate ends with the sample that is looked at and leaves out what is five minutes old exactly.
FIVE_MINUTES = "RANGE BETWEEN interval '299.999999 seconds' PRECEDING AND CURRENT ROW"
# A session's curve to this moment. The last step left where it stood then, bars that nobody sampled included, so that
# only samples after it are read: none, as a rule, and all of them where no step ever left anything.
CURVE = f"""SELECT greatest(b.peak, max(c.net_pnl)) AS peak,
    least(b.drawdown, min(c.net_pnl - greatest(b.peak, c.so_far))) AS drawdown,
    greatest(b.memory_mb, max(c.memory_mb)) AS memory_mb
  FROM (
    SELECT coalesce((measures ->> 'peak')::numeric, 0) AS peak, (measures ->> 'memory_mb')::float8 AS memory_mb,
      CASE WHEN measures ? 'peak' THEN coalesce((measures ->> 'drawdown')::numeric, 0) ELSE 0 END AS drawdown,
      CASE WHEN measures ? 'peak' THEN (measures ->> 'at')::timestamptz ELSE '-infinity' END AS since
    FROM (SELECT coalesce((SELECT measures FROM session_work WHERE session_id = :session_id), '{{}}') AS measures) w
  ) b LEFT JOIN LATERAL (
    SELECT net_pnl, {PEAK} AS so_far, (steps ->> 'memory_mb')::float8 AS memory_mb
    FROM samples WHERE session_id = :session_id AND timestamp > b.since
  ) c ON true GROUP BY b.peak, b.drawdown, b.memory_mb"""
# What was tried in the five minutes that end with the last sample.
RECENT = """SELECT timestamp, coalesce((steps ->> 'attempted')::bigint, 0) AS attempted,
    coalesce((steps ->> 'failed')::bigint, 0) AS failed
  FROM samples WHERE session_id = :session_id AND timestamp > (
    SELECT max(timestamp) FROM samples WHERE session_id = :session_id) - interval '5 minutes'"""
