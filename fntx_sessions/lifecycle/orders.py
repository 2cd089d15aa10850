"""The order gate: an intent is in Postgres, under the session's own epoch and status, before it may be sent.

The session row is held FOR SHARE meanwhile, so that a pause that waits for the row sees the intent, and an intent that
comes after the pause sees the pause. Openings also hold the account's day, where the loss limit lives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import NotFound, OrderRefused, StaleEpoch
from fntx_sessions.lifecycle import halting, machine
from fntx_sessions.lifecycle.people import WARRANT, Warrant, needs_approval
from fntx_sessions.lifecycle.people_sql import USE_APPROVAL, USE_ORDER
from fntx_sessions.lifecycle.records import to_json
from fntx_sessions.lifecycle.transitions import OPENING_ALLOWED, REDUCE_ONLY
from fntx_sessions.schemas import SessionStatus
from fntx_sessions.testing import failpoint
from fntx_sessions.trading.orders import Fill, OrderIntent, OrderRequest
from fntx_sessions.trading.paper_rows import fill_row

# A day's three columns add up to its result since its own roll, so that a position held overnight counts in each day
# by what it moved there.
EQUITY_AT_ROLL = """a.equity + coalesce((SELECT sum(d.realized + d.unrealized - d.fees) FROM session_days d
  WHERE d.account_id = a.account_id AND d.trade_date < {day}), 0)"""
_ROLL = text(f"""
INSERT INTO account_days (account_id, trade_date, equity_at_roll)
SELECT a.account_id, :trade_date, {EQUITY_AT_ROLL.format(day=":trade_date")}
FROM accounts a WHERE a.account_id = :account_id
ON CONFLICT (account_id, trade_date) DO NOTHING
""")
_DAY = text("""
SELECT equity_at_roll, carried, latched_at, latch_reason FROM account_days
WHERE account_id = :account_id AND trade_date = :trade_date
""")
_DAY_LOCKED = text(_DAY.text + " FOR UPDATE")
# What the account has lost today and what its open trades could still lose up to their stops. An opening that has just
# filled counts by its intent until the end of its session's step puts it into the session's day.
_USED = text("""
SELECT coalesce(sum(realized + unrealized - fees), 0) AS pnl,
  coalesce(sum(open_risk), 0) + coalesce((
    SELECT sum(i.stop_loss_usd) FROM order_intents i
    LEFT JOIN session_days d ON d.session_id = i.session_id AND d.trade_date = i.trade_date
    WHERE i.account_id = :account_id AND i.trade_date = :trade_date AND i.opening AND (
      i.state IN ('intended', 'working') OR (i.state = 'filled' AND i.closed_at > coalesce(d.updated_at, '-infinity')))
  ), 0) AS at_risk
FROM session_days WHERE account_id = :account_id AND trade_date = :trade_date
""")
_INSERT = text("""
INSERT INTO order_intents (client_order_id, session_id, epoch, seq, account_id, trade_date, opening, stop_loss_usd,
  payload, decision_latency_ms)
VALUES (:client_order_id, :session_id, :epoch, :seq, :account_id, :trade_date, :opening, :stop_loss_usd,
  CAST(:payload AS jsonb), :decision_latency_ms)
""")
_NEXT_SEQ = text(
    "SELECT coalesce(max(seq), 0) + 1 FROM order_intents WHERE session_id = :session_id AND epoch = :epoch"
)
_SETTLE = text("""
WITH f AS (
  INSERT INTO fills (fill_id, session_id, account_id, epoch, client_order_id, trade_id, trade_date, symbol, "right",
    strike, expiry, side, quantity, price, fee, slippage, opening, reason, timestamp)
  SELECT * FROM jsonb_to_recordset(CAST(:fills AS jsonb)) AS r(fill_id text, session_id uuid, account_id text,
    epoch bigint, client_order_id text, trade_id text, trade_date date, symbol text, "right" text, strike numeric,
    expiry text, side text, quantity integer, price numeric, fee numeric, slippage numeric, opening boolean,
    reason text, timestamp timestamptz)
  ON CONFLICT (fill_id, timestamp) DO NOTHING
)
UPDATE order_intents i SET state = r.state,
  closed_at = CASE WHEN r.state IN ('intended', 'working') THEN NULL ELSE clock_timestamp() END,
  stop_loss_usd = CASE WHEN r.state = 'filled' THEN coalesce(r.risk, i.stop_loss_usd) ELSE i.stop_loss_usd END
FROM jsonb_to_recordset(CAST(:states AS jsonb)) AS r(client_order_id text, state text, risk numeric)
WHERE i.client_order_id = r.client_order_id AND i.state IN ('intended', 'working')
""")
_LATCH = text("""
UPDATE account_days SET latched_at = clock_timestamp(), latched_by = :by, latch_reason = :reason
WHERE account_id = :account_id AND trade_date = :trade_date AND latched_at IS NULL
""")
_UNLATCH = text("""
UPDATE account_days SET latched_at = NULL, latched_by = :by, latch_reason = :reason
WHERE account_id = :account_id AND trade_date = :trade_date AND latched_at IS NOT NULL
""")


@dataclass(frozen=True, slots=True)
class AccountDay:
    """An account on one trade date. pnl: all its sessions', after fees. at_risk: dollars its open trades may lose.

    carried: what of the limit the account was forked from had used: never above 0, counts against the limit alone.
    """

    equity_at_roll: Decimal
    latched: bool
    latch_reason: str | None
    pnl: Decimal
    at_risk: Decimal
    carried: Decimal


def next_sequence(engine: Engine, session_id: UUID, epoch: int) -> int:
    """Return the sequence number of the epoch's next order."""
    with transaction(engine) as connection:
        return int(connection.execute(_NEXT_SEQ, {"session_id": session_id, "epoch": epoch}).scalar_one())


def account_day(engine: Engine, account_id: str, trade_date: date) -> AccountDay:
    """Return the account's day, rolled if this is its first look: equity at the roll, P&L, what is at risk, latch."""
    with transaction(engine) as connection:
        connection.execute(_ROLL, {"account_id": account_id, "trade_date": trade_date})
        return _day(connection, account_id, trade_date, lock=False)


def _day(connection: Connection, account_id: str, trade_date: date, *, lock: bool) -> AccountDay:
    bound = {"account_id": account_id, "trade_date": trade_date}
    day = connection.execute(_DAY_LOCKED if lock else _DAY, bound).one()
    used = connection.execute(_USED, bound).one()
    latched = day.latched_at is not None
    return AccountDay(day.equity_at_roll, latched, day.latch_reason, used.pnl, used.at_risk, day.carried)


def commit_intent(
    engine: Engine,
    request: OrderRequest,
    *,
    session_id: UUID,
    epoch: int,
    sequence: int,
    trade_date: date,
    now: datetime,
    latency_ms: float | None,
    warrant: Warrant | None = None,
) -> OrderIntent:
    """Commit an order's intent and return it; only then may it be sent.

    warrant: on whose word it is placed; used up with this very commit, so that it is placed once whoever is killed.

    Raises StaleEpoch when the session has a newer epoch, OrderRefused when its status allows no opening, a halt stands
    for it, its account's loss limit has fired, the loss to the order's stop would exceed what remains of the limit, it
    has no limit where `use_limit_orders_only` asks for one, the epoch's sequence number was used before, or it needs
    somebody's word and that is not there (any more).
    """
    name = f"{session_id}/{epoch}/{sequence}"
    with transaction(engine) as connection:
        row = machine.share(connection, session_id, opening=request.opening)
        if row is None:
            raise NotFound("session", str(session_id), "See `fntx ls`.")
        _check_status(row, name, epoch, request)
        _check_kind(row, name, request)
        if request.opening:
            _check_account(connection, row, name, request, trade_date)
        _use_warrant(connection, row, name, request, warrant)
        bound = {"session_id": session_id, "epoch": epoch, "seq": sequence, "account_id": row["account_id"]}
        bound |= {"client_order_id": name, "trade_date": trade_date, "decision_latency_ms": latency_ms}
        _insert(connection, bound, request)
        failpoint("order.before_commit")
    failpoint("order.committed")
    return OrderIntent(name, session_id, epoch, row["account_id"], trade_date, now, request)


def _insert(connection: Connection, bound: dict[str, Any], request: OrderRequest) -> None:
    payload = orjson.dumps(request.to_json()).decode()
    more = {"opening": request.opening, "stop_loss_usd": request.risk, "payload": payload}
    try:
        connection.execute(_INSERT, bound | more)
    except IntegrityError as error:
        name = bound["client_order_id"]
        detail = (
            f"order {bound['seq']} of epoch {bound['epoch']} was committed before; ask the broker what became of it"
        )
        raise OrderRefused(str(bound["session_id"]), name, "sequence", detail) from error


def _check_status(row: dict[str, Any], name: str, epoch: int, request: OrderRequest) -> None:
    if row["epoch"] != epoch:
        raise StaleEpoch(str(row["session_id"]), epoch, row["epoch"])
    status = SessionStatus(row["status"])
    if status in OPENING_ALLOWED or (status in REDUCE_ONLY and not request.opening):
        _check_halts(row, name)
        return
    rule = "reduce-only" if status in REDUCE_ONLY else "status"
    raise OrderRefused(str(row["session_id"]), name, rule, f"the session is {status.value}")


def _check_halts(row: dict[str, Any], name: str) -> None:
    if row["halts"]:
        raise OrderRefused(str(row["session_id"]), name, "halt", halting.told(row["halts"]))


def _check_kind(row: dict[str, Any], name: str, request: OrderRequest) -> None:
    """Refuse a market order where only limits may be sent; a stop that carries a limit is none."""
    if request.limit is None and row["config"]["use_limit_orders_only"]:
        detail = "it has no limit; give it one, or allow market orders with `use_limit_orders_only` false"
        raise OrderRefused(str(row["session_id"]), name, "use_limit_orders_only", detail)


def _use_warrant(
    connection: Connection, row: dict[str, Any], name: str, request: OrderRequest, warrant: Warrant | None
) -> None:
    if warrant is None:
        if request.opening and needs_approval(row["config"], row["session_type"]):
            raise OrderRefused(
                str(row["session_id"]), name, WARRANT, "an opening waits for a person here, and has none"
            )
        return
    bound = {"id": warrant.id, "session_id": row["session_id"], "client_order_id": name}
    if warrant.kind == "approval":
        more = {"epoch": row["epoch"], "trade_id": request.trade_id, "limit": request.limit}
        used = connection.execute(USE_APPROVAL, bound | more)
    else:
        used = connection.execute(USE_ORDER, bound | {"opening": request.opening})
    if not used.rowcount:
        detail = f"{warrant.kind} {warrant.id} does not stand (any more)"
        raise OrderRefused(str(row["session_id"]), name, WARRANT, detail)


def _check_account(
    connection: Connection, row: dict[str, Any], name: str, request: OrderRequest, trade_date: date
) -> None:
    account_id = row["account_id"]
    connection.execute(_ROLL, {"account_id": account_id, "trade_date": trade_date})
    day = _day(connection, account_id, trade_date, lock=True)
    if day.latched:
        raise OrderRefused(str(row["session_id"]), name, "loss limit", day.latch_reason or "it has fired today")
    limit = Decimal(str(row["risk_parameters"]["max_daily_risk"])) * day.equity_at_roll
    remaining = limit + min(day.pnl + day.carried, Decimal(0)) - day.at_risk
    if request.risk > remaining:
        detail = f"its stop may lose ${request.risk:.2f}, ${max(remaining, Decimal(0)):.2f} remains of ${limit:.2f}"
        raise OrderRefused(str(row["session_id"]), name, "loss limit", detail)


def settle(
    engine: Engine,
    states: Mapping[str, str],
    fills: Sequence[Fill] = (),
    risks: Mapping[str, Decimal] | None = None,
) -> None:
    """Record fills in the ledger and the state of their orders, in one transaction; asked twice, it acts once.

    risks: dollars to their stops of openings that filled, from what they filled at: what counts from now on.
    """
    if not states and not fills:
        return
    known = risks or {}
    listed = [{"client_order_id": name, "state": state, "risk": known.get(name)} for name, state in states.items()]
    with transaction(engine) as connection:
        connection.execute(
            _SETTLE,
            {"fills": to_json([fill_row(fill) for fill in fills]), "states": to_json(listed)},
        )


def latch(engine: Engine, account_id: str, trade_date: date, by: str, reason: str) -> bool:
    """Latch an account's loss limit for its trade date; True when it was this call that did it."""
    with transaction(engine) as connection:
        bound = {"account_id": account_id, "trade_date": trade_date, "by": by, "reason": reason}
        connection.execute(_ROLL, {"account_id": account_id, "trade_date": trade_date})
        return bool(connection.execute(_LATCH, bound).rowcount)


def unlatch(engine: Engine, account_id: str, trade_date: date, by: str, reason: str) -> bool:
    """Clear a latch; the caller has checked that a risk manager asks. True when there was one."""
    with transaction(engine) as connection:
        bound = {"account_id": account_id, "trade_date": trade_date, "by": by, "reason": reason}
        return bool(connection.execute(_UNLATCH, bound).rowcount)
