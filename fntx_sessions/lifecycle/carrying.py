"""What a fork's account begins its days with: what its parent's has used of the loss limit, and a latch that fired.

Otherwise a fork would be the way round a limit that only the roll of the trade date resets.
"""

from uuid import UUID

from sqlalchemy import Connection, text

from fntx_sessions.lifecycle.orders import EQUITY_AT_ROLL
from fntx_sessions.schemas import Severity
from fntx_sessions.state.event_rows import StateEvent, add_events

# Every trade date of the parent's account on which it has lost or its limit fired; the day of a simulated session may
# be any of them. What is lost counts as a share of the equity at the roll, since two accounts need not be of one size.
# An account that was there and has that day already keeps it: its own loss is counted there.
_CARRY = text(f"""
WITH parent AS (
  SELECT d.*, d.carried + coalesce((SELECT sum(x.realized + x.unrealized - x.fees) FROM session_days x
    WHERE x.account_id = d.account_id AND x.trade_date = d.trade_date), 0) AS pnl
  FROM sessions s JOIN account_days d USING (account_id) WHERE s.session_id = :parent
), fork AS (
  SELECT a.account_id, a.equity FROM sessions s JOIN accounts a USING (account_id) WHERE s.session_id = :fork
), beginning AS (
  SELECT a.account_id, p.trade_date, p.pnl, p.latched_at, p.latched_by,
    'forked from ' || p.account_id || ', where it fired: ' || coalesce(p.latch_reason, '') AS latch_reason,
    p.equity_at_roll AS parents_equity, p.account_id AS parents_account,
    {EQUITY_AT_ROLL.format(day="p.trade_date")} AS equity_at_roll
  FROM parent p CROSS JOIN fork a WHERE p.pnl < 0 OR p.latched_at IS NOT NULL
), made AS (
  INSERT INTO account_days (account_id, trade_date, equity_at_roll, carried, latched_at, latched_by, latch_reason)
  SELECT account_id, trade_date, equity_at_roll,
    CASE WHEN parents_equity > 0 THEN least(pnl, 0) * equity_at_roll / parents_equity ELSE least(pnl, 0) END,
    latched_at, latched_by, CASE WHEN latched_at IS NOT NULL THEN latch_reason END
  FROM beginning
  ON CONFLICT (account_id, trade_date) DO NOTHING
  RETURNING trade_date, carried, latched_at IS NOT NULL AS latched
)
SELECT m.trade_date, m.carried, m.latched, b.parents_account FROM made m JOIN beginning b USING (trade_date)
ORDER BY m.trade_date DESC LIMIT 1
""")


def carry_loss(connection: Connection, parent: UUID, fork: UUID) -> None:
    """Begin the days of a new fork's account with its parent's loss and latch, and say so on the fork.

    Within the transaction that makes the fork. On its parent's account there is nothing to carry: both count there.
    """
    found = connection.execute(_CARRY, {"parent": parent, "fork": fork}).one_or_none()
    if found is None:
        return
    latched = "; the limit has fired: a risk manager clears it" if found.latched else ""
    used = f"${-found.carried:.2f} of its loss limit used by {found.parents_account}"
    told = f"begins {found.trade_date} with {used}{latched}"
    add_events(connection, [StateEvent(fork, "loss_carried", str(parent), told, Severity.WARNING)])
