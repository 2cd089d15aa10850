"""A session's money as the ledger has it: what is open, and what works. Never from a snapshot."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import structlog
from pydantic import ValidationError
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.schemas import Order, Position, SessionStatus, TradingState
from fntx_sessions.trading.ledger import trades_of
from fntx_sessions.trading.orders import Contract, Fill, request_from_json
from fntx_sessions.trading.paper_rows import fill_from_row

log = structlog.get_logger(__name__)

_OPEN_FILLS = text("""
SELECT f.* FROM fills f WHERE f.session_id = :session_id AND f.trade_id IN (
  SELECT trade_id FROM fills WHERE session_id = :session_id
  GROUP BY trade_id, symbol HAVING sum(CASE side WHEN 'buy' THEN quantity ELSE -quantity END) <> 0)
ORDER BY f.timestamp, f.fill_id
""")
_OPEN_ORDERS = text("""
SELECT client_order_id, payload, state, created_at FROM order_intents
WHERE session_id = :session_id AND state IN ('intended', 'working') ORDER BY created_at, client_order_id
""")


def trading_state(
    engine: Engine, session_id: UUID, status: str, reported: bytes | None, *, theirs: bool = False
) -> TradingState:
    """Return the money view: positions and orders from the ledger, marks and what follows from them as last reported.

    reported: the view its host computed from the broker at its last step, as Redis holds it live; None: the positions
    stand without marks. theirs: it is what agents of another service report of a broker of theirs; what the ledger does
    not know stands beside what it does.
    """
    with transaction(engine) as connection:
        fills = [fill_from_row(row) for row in rows(connection.execute(_OPEN_FILLS, {"session_id": session_id}))]
        orders = rows(connection.execute(_OPEN_ORDERS, {"session_id": session_id}))
    view = _reported(session_id, reported)
    marks = {position.symbol: position for position in view.open_positions}
    positions = [_with_mark(one, marks.get(one.symbol)) for one in _positions(fills)]
    positions += view.open_positions if theirs else []
    return view.model_copy(
        update={
            "open_positions": positions,
            "pending_orders": [_order(row) for row in orders],
            "trading_enabled": status == SessionStatus.ACTIVE and (reported is None or theirs or view.trading_enabled),
        }
    )


def _reported(session_id: UUID, reported: bytes | None) -> TradingState:
    try:
        return TradingState() if reported is None else TradingState.model_validate_json(reported)
    except ValidationError as error:
        log.warning("trading_part_not_read", session_id=str(session_id), problem=str(error))
        return TradingState()


def _positions(fills: list[Fill]) -> list[Position]:
    held = [(result.trade, leg) for result in trades_of(fills) for leg in result.trade.legs.items()]
    return [_position(trade.trade_id, trade.opened_at, trade.fills, *leg) for trade, leg in held]


def _position(trade_id: str, opened_at: datetime, fills: list[Fill], contract: Contract, quantity: int) -> Position:
    entries = [fill for fill in fills if fill.contract == contract and (fill.signed > 0) == (quantity > 0)]
    paid = sum((fill.price * fill.quantity for fill in entries), Decimal(0))
    return Position(
        symbol=contract.symbol,
        right=contract.right,
        strike=contract.strike,
        expiry=contract.expiry.isoformat() if contract.expiry else None,
        quantity=quantity,
        average_price=paid / sum(fill.quantity for fill in entries),
        opened_at=opened_at,
        trade_id=trade_id,
    )


def _with_mark(position: Position, reported: Position | None) -> Position:
    if reported is None or reported.mark is None:
        return position
    multiplier = 1 if position.right == "stock" else 100
    unrealized = (reported.mark - position.average_price) * position.quantity * multiplier
    return position.model_copy(update={"mark": reported.mark, "unrealized_pnl": unrealized})


def _order(row: dict[str, Any]) -> Order:
    request = request_from_json(row["payload"])
    return Order(
        client_order_id=row["client_order_id"],
        symbol="/".join(leg.contract.symbol for leg in request.legs),
        side=request.side,
        quantity=request.packages,
        limit_price=request.limit,
        opening=request.opening,
        reason=request.reason,
        status=row["state"],
        created_at=row["created_at"],
    )
