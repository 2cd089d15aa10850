"""The paper broker's statements, built once. Each order is one statement, each set of fills another."""

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB, UUID

_FENCE = """
INSERT INTO paper_fences AS f (session_id, epoch) VALUES (:session_id, :epoch)
ON CONFLICT (session_id) DO UPDATE SET epoch = excluded.epoch WHERE f.epoch <= excluded.epoch
RETURNING epoch
"""

# One row when the epoch is the newest, none when it is old; the row stays locked until the transaction ends.
FENCE = text(_FENCE).bindparams(bindparam("session_id", type_=UUID(as_uuid=True)))

CURRENT_EPOCH = text("SELECT epoch FROM paper_fences WHERE session_id = :session_id").bindparams(
    bindparam("session_id", type_=UUID(as_uuid=True))
)

# Fence and order in one go. `fenced` tells an old epoch from an order that is there already.
INSERT_ORDER = text(
    f"""
WITH fence AS ({_FENCE}), placed AS (
  INSERT INTO paper_orders
    (client_order_id, session_id, account_id, epoch, trade_date, opening, status, request, created_at)
  SELECT :client_order_id, :session_id, :account_id, :epoch, :trade_date, :opening, :status, :request, :created_at
  FROM fence
  ON CONFLICT (client_order_id) DO NOTHING
  RETURNING client_order_id
)
SELECT EXISTS (SELECT 1 FROM fence) AS fenced, EXISTS (SELECT 1 FROM placed) AS placed
"""
).bindparams(bindparam("session_id", type_=UUID(as_uuid=True)), bindparam("request", type_=JSONB))

# Fills, the positions they make and the cash they move. A fill that is there already moves nothing.
INSERT_FILLS = text(
    """
WITH rows AS (
  SELECT * FROM jsonb_to_recordset(:fills) AS r(
    fill_id text, session_id uuid, account_id text, epoch bigint, client_order_id text, trade_id text, trade_date date,
    symbol text, "right" text, strike numeric, expiry date, side text, quantity integer, price numeric, fee numeric,
    slippage numeric, opening boolean, reason text, "timestamp" timestamptz, cash numeric)
), added AS (
  INSERT INTO paper_fills (fill_id, session_id, account_id, epoch, client_order_id, trade_id, trade_date, symbol,
    "right", strike, expiry, side, quantity, price, fee, slippage, opening, reason, "timestamp")
  SELECT fill_id, session_id, account_id, epoch, client_order_id, trade_id, trade_date, symbol, "right", strike,
    expiry, side, quantity, price, fee, slippage, opening, reason, "timestamp" FROM rows
  ON CONFLICT (fill_id) DO NOTHING
  RETURNING fill_id
), fresh AS (
  SELECT rows.*, CASE side WHEN 'buy' THEN quantity ELSE -quantity END AS signed FROM rows JOIN added USING (fill_id)
), held AS (
  INSERT INTO paper_positions AS p (session_id, trade_id, symbol, account_id, "right", strike, expiry, quantity,
    average_price, opened_at)
  SELECT session_id, trade_id, symbol, min(account_id), min("right"), min(strike), min(expiry), sum(signed),
    sum(price * quantity) / sum(quantity), min("timestamp")
  FROM fresh GROUP BY session_id, trade_id, symbol
  ON CONFLICT (session_id, trade_id, symbol) DO UPDATE SET
    quantity = p.quantity + excluded.quantity,
    average_price = CASE
      WHEN p.quantity = 0 OR sign(p.quantity + excluded.quantity) = -sign(p.quantity) THEN excluded.average_price
      WHEN sign(p.quantity) = sign(excluded.quantity) THEN
        (p.average_price * abs(p.quantity) + excluded.average_price * abs(excluded.quantity))
        / (abs(p.quantity) + abs(excluded.quantity))
      ELSE p.average_price END,
    opened_at = CASE WHEN p.quantity = 0 THEN excluded.opened_at ELSE p.opened_at END
), orders AS (
  UPDATE paper_orders o SET status = 'filled'
  WHERE o.client_order_id IN (SELECT client_order_id FROM fresh) AND o.status = 'working'
)
UPDATE paper_accounts a SET cash = a.cash + moved.total
FROM (SELECT account_id, sum(cash - fee) AS total FROM fresh GROUP BY account_id) AS moved
WHERE a.account_id = moved.account_id
"""
).bindparams(bindparam("fills", type_=JSONB))

OPEN_ACCOUNT = text(
    "INSERT INTO paper_accounts (account_id, opening_cash, cash) VALUES (:account_id, :cash, :cash) "
    "ON CONFLICT (account_id) DO NOTHING"
)
ACCOUNT = text("SELECT account_id, cash, opening_cash FROM paper_accounts WHERE account_id = :account_id")

ORDER_STATUS = text("SELECT status FROM paper_orders WHERE client_order_id = :client_order_id")
ORDER_FILLS = text("SELECT * FROM paper_fills WHERE client_order_id = :client_order_id ORDER BY fill_id")

CANCEL = text(
    "UPDATE paper_orders SET status = 'cancelled' "
    "WHERE client_order_id = :client_order_id AND session_id = :session_id AND status = 'working'"
).bindparams(bindparam("session_id", type_=UUID(as_uuid=True)))

CANCEL_OPENINGS = text(
    "UPDATE paper_orders SET status = 'cancelled' WHERE session_id = :session_id AND status = 'working' "
    "AND opening AND epoch < :below RETURNING client_order_id"
).bindparams(bindparam("session_id", type_=UUID(as_uuid=True)))

EXPIRE = text(
    "UPDATE paper_orders SET status = 'expired' WHERE client_order_id = ANY(:client_order_ids) AND status = 'working'"
)

WORKING = text(
    "SELECT * FROM paper_orders WHERE session_id = :session_id AND status = 'working' "
    "ORDER BY created_at, client_order_id"
).bindparams(bindparam("session_id", type_=UUID(as_uuid=True)))

EXECUTIONS = text(
    "SELECT * FROM paper_fills WHERE session_id = :session_id "
    'AND (CAST(:after AS timestamptz) IS NULL OR "timestamp" > :after) ORDER BY "timestamp", fill_id'
).bindparams(bindparam("session_id", type_=UUID(as_uuid=True)))

POSITIONS = text(
    "SELECT * FROM paper_positions WHERE quantity <> 0 "
    "AND (CAST(:session_id AS uuid) IS NULL OR session_id = :session_id) ORDER BY opened_at, trade_id, symbol"
).bindparams(bindparam("session_id", type_=UUID(as_uuid=True)))

# Per leg of the trades in view: what its fills do not explain of its position. Whatever made the two part, the position
# is what is held; `carried` is the fill that is missing, at the position's own price, as long as they part.
_CARRIED = """
legs AS (
  SELECT trade_id, symbol, min(account_id) AS account_id, min("right") AS "right", min(strike) AS strike,
    min(expiry) AS expiry, sum(CASE side WHEN 'buy' THEN quantity ELSE -quantity END) AS net,
    coalesce(sum(CASE side WHEN 'buy' THEN quantity ELSE -quantity END) FILTER (WHERE opening), 0) AS opened,
    sum(price * quantity) / sum(quantity) AS price, min("timestamp") AS at
  FROM paper_fills WHERE session_id = :session_id AND {seen} GROUP BY trade_id, symbol
), places AS (
  SELECT * FROM paper_positions WHERE session_id = :session_id AND {seen}
), carried AS (
  SELECT coalesce(p.trade_id, l.trade_id) AS trade_id, coalesce(p.symbol, l.symbol) AS symbol,
    coalesce(p.account_id, l.account_id) AS account_id, coalesce(p."right", l."right") AS "right",
    coalesce(p.strike, l.strike) AS strike, coalesce(p.expiry, l.expiry) AS expiry,
    coalesce(p.quantity, 0) - coalesce(l.net, 0) AS gap, coalesce(l.opened, 0) AS opened,
    coalesce(p.average_price, l.price) AS price, coalesce(p.opened_at, l.at) AS at
  FROM places p FULL JOIN legs l ON l.trade_id = p.trade_id AND l.symbol = p.symbol
  WHERE coalesce(p.quantity, 0) <> coalesce(l.net, 0)
)
"""

# What a book is made of: fills of trades still held or of this trade date, and what is carried; the rest only as a sum.
BOOK_FILLS = text(
    """
WITH seen AS (
  SELECT trade_id FROM paper_positions WHERE session_id = :session_id AND quantity <> 0
  UNION SELECT trade_id FROM paper_fills WHERE session_id = :session_id AND trade_date >= :trade_date
), """
    + _CARRIED.format(seen="trade_id IN (SELECT trade_id FROM seen)")
    + """
SELECT fill_id, session_id, account_id, epoch, client_order_id, trade_id, trade_date, symbol, "right", strike, expiry,
  side, quantity, price, fee, slippage, opening, reason, "timestamp"
FROM paper_fills WHERE session_id = :session_id AND trade_id IN (SELECT trade_id FROM seen)
UNION ALL
SELECT 'carried/' || CAST(:session_id AS text) || '/' || trade_id || '/' || symbol, CAST(:session_id AS uuid),
  account_id, 0, 'carried/' || CAST(:session_id AS text), trade_id,
  CAST(at AT TIME ZONE 'America/New_York' AS date), symbol, "right", strike, expiry,
  CASE WHEN gap > 0 THEN 'buy' ELSE 'sell' END, abs(gap), price, 0, 0, gap * opened >= 0, 'reconciliation', at
FROM carried
ORDER BY "timestamp", fill_id
"""
).bindparams(bindparam("session_id", type_=UUID(as_uuid=True)))

BOOK_REST = text(
    "WITH "
    + _CARRIED.format(seen="true")
    + """
SELECT
  coalesce((SELECT sum((CASE side WHEN 'sell' THEN 1 ELSE -1 END) * quantity * price
      * (CASE "right" WHEN 'stock' THEN 1 ELSE 100 END) - fee)
    FROM paper_fills WHERE session_id = :session_id), 0)
  - coalesce((SELECT sum(gap * price * (CASE "right" WHEN 'stock' THEN 1 ELSE 100 END)) FROM carried), 0) AS total,
  coalesce((SELECT value FROM paper_rolls WHERE session_id = :session_id AND trade_date = :trade_date), 0) AS value
"""
).bindparams(bindparam("session_id", type_=UUID(as_uuid=True)))

ROLL = text(
    "INSERT INTO paper_rolls (session_id, trade_date, value) VALUES (:session_id, :trade_date, :value) "
    "ON CONFLICT (session_id, trade_date) DO NOTHING"
).bindparams(bindparam("session_id", type_=UUID(as_uuid=True)))
