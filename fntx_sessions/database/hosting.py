"""Who steps hosted sessions, as SQL: the hosts that read the queue of agents, and whether one of them lives."""

AGENT_HOSTS = "SELECT h.* FROM hosts h WHERE 'agents' = ANY(string_to_array(h.queues, ','))"
NO_AGENT_HOST = f"NOT EXISTS ({AGENT_HOSTS} AND h.lease_until > now())"
# When the last of them ended, or was last heard of; NULL: there never was one, or it is long forgotten.
NO_AGENT_HOST_SINCE = f"(SELECT max(g.lease_until) FROM ({AGENT_HOSTS}) AS g)"
# The agent that carries a session's orders out, hosted or not.
EXECUTOR = "TacticalExecutorAgent"
# Agents of another service trade for the session whose row is `s`, at a broker of theirs: none of ours executes.
TRADED_ELSEWHERE = f"""(EXISTS (SELECT FROM session_agents a WHERE a.session_id = s.session_id AND NOT a.hosted)
  AND NOT EXISTS (SELECT FROM session_agents a WHERE a.session_id = s.session_id AND a.hosted
    AND a.agent = '{EXECUTOR}'))"""
# What a row of `session_agents` says while nobody has a ticket for it; who is there may be ready all the same.
NO_TICKET = """ticket_hash = NULL, sealing_key = NULL, joined_by = NULL, token_id = NULL, token_key_id = NULL,
  token_issued_at = NULL"""
# As one says where an agent of another service has left.
NOBODY_SPEAKS = f"ready_at = NULL, {NO_TICKET}"
# The living hosts that run guards where no agents worker lives, as one text; NULL: there is none.
GUARD_HOSTS = """(SELECT string_agg(g.host_id, ', ' ORDER BY g.host_id) FROM hosts g
  WHERE 'sweeps' = ANY(string_to_array(g.queues, ',')) AND g.lease_until > now())"""
# Contracts and shares a session holds, by its ledger; `s` is its row.
POSITIONS = """(SELECT count(*) FROM (
  SELECT FROM fills f WHERE f.session_id = s.session_id GROUP BY f.trade_id, f.symbol
  HAVING sum(CASE f.side WHEN 'buy' THEN f.quantity ELSE -f.quantity END) <> 0) AS held)"""
# For a session that should be stepped while nobody can: since when, and how much it holds.
UNATTENDED = f"""(SELECT jsonb_build_object('since', {NO_AGENT_HOST_SINCE}, 'positions', {POSITIONS})
  FROM session_work u WHERE u.session_id = s.session_id AND u.next_step_at IS NOT NULL AND u.status <> 'closed'
    AND {NO_AGENT_HOST})"""
