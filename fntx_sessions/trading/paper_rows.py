"""Rows of the paper broker's tables to values of the port, and back."""

from datetime import date
from decimal import Decimal
from typing import Any

from fntx_sessions.trading.broker import Holding
from fntx_sessions.trading.orders import Contract, Fill, OrderIntent, Status, Working, request_from_json


def order_row(intent: OrderIntent, status: Status) -> dict[str, Any]:
    """Return the parameters that insert the order."""
    return {
        "client_order_id": intent.client_order_id,
        "session_id": intent.session_id,
        "account_id": intent.account_id,
        "epoch": intent.epoch,
        "trade_date": intent.trade_date,
        "opening": intent.request.opening,
        "status": status,
        "request": intent.request.to_json(),
        "created_at": intent.created_at,
    }


def fill_row(fill: Fill) -> dict[str, Any]:
    """Return the fill as a JSON row: the columns of the paper broker's fills and of the ledger's, and its cash."""
    contract = fill.contract
    return {
        "fill_id": fill.fill_id,
        "session_id": str(fill.session_id),
        "account_id": fill.account_id,
        "epoch": fill.epoch,
        "client_order_id": fill.client_order_id,
        "trade_id": fill.trade_id,
        "trade_date": fill.trade_date.isoformat(),
        "symbol": contract.symbol,
        "right": contract.right,
        "strike": None if contract.strike is None else str(contract.strike),
        "expiry": None if contract.expiry is None else contract.expiry.isoformat(),
        "side": fill.side,
        "quantity": fill.quantity,
        "price": str(fill.price),
        "fee": str(fill.fee),
        "slippage": str(fill.slippage),
        "opening": fill.opening,
        "reason": fill.reason,
        "timestamp": fill.timestamp.isoformat(),
        "cash": str(fill.cash),
    }


def order_from_row(row: Any) -> Working:
    """Return the order of a paper_orders row."""
    intent = OrderIntent(
        row["client_order_id"],
        row["session_id"],
        row["epoch"],
        row["account_id"],
        row["trade_date"],
        row["created_at"],
        request_from_json(row["request"]),
    )
    return Working(intent, row["status"])


def _contract(row: Any) -> Contract:
    strike, expiry = row["strike"], row["expiry"]
    # The broker's rows hold a date, the ledger's its ISO text.
    day = date.fromisoformat(expiry) if isinstance(expiry, str) else expiry
    return Contract(row["right"], None if strike is None else _plain(strike), day)


def _plain(value: Decimal) -> Decimal:
    # numeric(12,4) gives 270.0000; equal, but it would print differently from what was stored
    whole = value.to_integral_value()
    return whole if whole == value else value.normalize()


def fill_from_row(row: Any) -> Fill:
    """Return the fill of a paper_fills row, or of the ledger's."""
    return Fill(
        fill_id=row["fill_id"],
        session_id=row["session_id"],
        account_id=row["account_id"],
        epoch=row["epoch"],
        client_order_id=row["client_order_id"],
        trade_id=row["trade_id"],
        trade_date=row["trade_date"],
        contract=_contract(row),
        side=row["side"],
        quantity=row["quantity"],
        price=row["price"],
        fee=row["fee"],
        slippage=row["slippage"],
        opening=row["opening"],
        reason=row["reason"],
        timestamp=row["timestamp"],
    )


def holding_from_row(row: Any) -> Holding:
    """Return the holding of a paper_positions row."""
    return Holding(
        row["session_id"],
        row["account_id"],
        row["trade_id"],
        _contract(row),
        row["quantity"],
        row["average_price"],
        row["opened_at"],
    )
