"""The statements about approvals and orders by hand, built once."""

from sqlalchemy import text

_KEPT = 500  # how many of a session a decision about one of them looks back over

# What the config of a session made before there was this key goes without.
DRIFT_MIN = "coalesce(CAST(s.config ->> 'approval_drift_min_usd' AS double precision), 0.05)"

_APPROVAL = """jsonb_build_object('kind', 'approval', 'approval_id', p.approval_id, 'epoch', p.epoch, 'agent', p.agent,
    'trade_id', p.trade_id, 'state', p.state, 'expires_at', p.expires_at, 'decided_by', p.decided_by,
    'decided_at', p.decided_at, 'closed_at', p.closed_at, 'result', p.result)"""
_ORDER = """jsonb_build_object('kind', 'order', 'order_id', p.order_id, 'action', p.action, 'state', p.state,
    'changes', p.changes, 'opening', p.opening, 'actor', p.actor, 'expires_at', p.expires_at, 'result', p.result,
    'client_order_id', p.client_order_id)"""
# Of the session whose row is `s`, as one list: what is open, which every command sees; or its last ones, whatever
# became of them, for a command that is about one of them.
OPEN_ONES = f"""(SELECT jsonb_agg(o.one) FROM (
    SELECT {_APPROVAL} AS one FROM approvals p
    WHERE p.session_id = s.session_id AND p.state IN ('waiting', 'approved')
    UNION ALL SELECT {_ORDER} FROM manual_orders p
    WHERE p.session_id = s.session_id AND p.state IN ('waiting', 'working')) o)"""
LAST_ONES = f"""(SELECT jsonb_agg(o.one) FROM (
    (SELECT {_APPROVAL} AS one FROM approvals p
    WHERE p.session_id = s.session_id ORDER BY p.created_at DESC LIMIT {_KEPT})
    UNION ALL (SELECT {_ORDER} FROM manual_orders p
    WHERE p.session_id = s.session_id ORDER BY p.created_at DESC LIMIT {_KEPT})) o)"""

WRITE_ASKED = """;
INSERT INTO approvals (approval_id, session_id, epoch, agent, trade_id, request, limit_price, reference, risk,
  drift_max, created_at, expires_at)
SELECT approval_id, :session_id, epoch, agent, trade_id, decode(request, 'hex'), limit_price, reference, risk,
  drift_max, created_at, expires_at
FROM jsonb_to_recordset(CAST(:new_approvals AS jsonb)) AS r(approval_id uuid, epoch bigint, agent text, trade_id text,
  request text, limit_price numeric, reference numeric, risk numeric, drift_max double precision,
  created_at timestamptz, expires_at timestamptz);
UPDATE approvals p SET state = r.state, decided_at = coalesce(r.decided_at, p.decided_at),
  decided_by = coalesce(r.decided_by, p.decided_by), reason = coalesce(r.reason, p.reason),
  command_id = coalesce(r.command_id, p.command_id), result = coalesce(r.result, p.result),
  closed_at = CASE WHEN r.state IN ('waiting', 'approved') THEN NULL ELSE clock_timestamp() END
FROM jsonb_to_recordset(CAST(:settled_approvals AS jsonb)) AS r(approval_id uuid, state text, decided_at timestamptz,
  decided_by text, reason text, command_id uuid, result text)
WHERE p.approval_id = r.approval_id AND p.state IN ('waiting', 'approved');
INSERT INTO manual_orders (order_id, session_id, action, state, opening, request, changes, actor, reason, created_at,
  expires_at, closed_at, result)
SELECT order_id, :session_id, action, state, opening, decode(request, 'hex'), changes, actor, reason, created_at,
  expires_at, CASE WHEN state IN ('waiting', 'working') THEN NULL ELSE clock_timestamp() END, result
FROM jsonb_to_recordset(CAST(:new_orders AS jsonb)) AS r(order_id uuid, action text, state text, opening boolean,
  request text, changes uuid, actor text, reason text, created_at timestamptz, expires_at timestamptz, result text);
UPDATE manual_orders p SET state = r.state, result = coalesce(r.result, p.result),
  client_order_id = coalesce(p.client_order_id, r.client_order_id),
  closed_at = CASE WHEN r.state IN ('waiting', 'working') THEN NULL ELSE clock_timestamp() END
FROM jsonb_to_recordset(CAST(:settled_orders AS jsonb)) AS r(order_id uuid, state text, result text,
  client_order_id text)
WHERE p.order_id = r.order_id AND p.state IN ('waiting', 'working')"""

# In the order gate's own transaction, under its lock of the session: the intent and the use of the word it goes by
# commit together, so that neither is ever there without the other.
USE_APPROVAL = text("""
UPDATE approvals SET state = 'executed', closed_at = clock_timestamp(), result = :client_order_id
WHERE approval_id = :id AND session_id = :session_id AND epoch = :epoch AND trade_id = :trade_id
  AND limit_price = :limit AND state = 'approved' AND expires_at > clock_timestamp()
""")
# A change is placed once the order it replaces trades no more, and never if that one filled.
USE_ORDER = text("""
UPDATE manual_orders p SET state = 'working', client_order_id = :client_order_id
WHERE p.order_id = :id AND p.session_id = :session_id AND p.state = 'waiting' AND p.opening = :opening
  AND p.expires_at > clock_timestamp() AND NOT EXISTS (
    SELECT FROM manual_orders b JOIN order_intents i ON i.client_order_id = b.client_order_id
    WHERE b.order_id = p.changes AND i.state IN ('intended', 'working', 'filled'))
""")

# Whether anything of the session whose row is `s` waits for a person, or comes from one.
PEOPLE = """(EXISTS (SELECT FROM approvals p WHERE p.session_id = s.session_id AND p.state IN ('waiting', 'approved'))
    OR EXISTS (SELECT FROM manual_orders p WHERE p.session_id = s.session_id AND p.state IN ('waiting', 'working')))"""
# What an agent of another service asked for it carries out itself.
OPEN_APPROVALS = text("""
SELECT p.approval_id, p.trade_id, p.state, p.request, p.drift_max FROM approvals p
JOIN session_agents a ON a.session_id = p.session_id AND a.agent = p.agent AND a.hosted
WHERE p.session_id = :session_id AND p.state IN ('waiting', 'approved') ORDER BY p.created_at
""")
SPENT = text("""
SELECT DISTINCT trade_id FROM approvals WHERE session_id = :session_id AND state IN ('rejected', 'refused', 'executed')
""")
RESTING = text("""
SELECT DISTINCT trade_id FROM approvals
WHERE session_id = :session_id AND state = 'stale' AND closed_at > clock_timestamp() - make_interval(secs => :again_s)
""")
OPEN_ORDERS = text("""
SELECT p.order_id, p.action, p.state, p.actor, p.opening, p.request, p.client_order_id, p.changes,
  i.state AS intent_state, b.client_order_id AS replaced, bi.state AS replaced_state
FROM manual_orders p LEFT JOIN order_intents i ON i.client_order_id = p.client_order_id
LEFT JOIN manual_orders b ON b.order_id = p.changes
LEFT JOIN order_intents bi ON bi.client_order_id = b.client_order_id
WHERE p.session_id = :session_id AND p.state IN ('waiting', 'working') ORDER BY p.created_at
""")
DUE = text("""
SELECT session_id, approval_id AS id, 'approval' AS kind FROM approvals
WHERE state IN ('waiting', 'approved') AND expires_at <= now()
UNION ALL
SELECT session_id, order_id, 'order' FROM manual_orders WHERE state = 'waiting' AND expires_at <= now()
LIMIT :limit
""")
