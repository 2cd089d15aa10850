"""What a step reports: the agents' parts, the market, and the money view, as the JSON other services know."""

import resource
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson

from fntx_sessions.agents.base import StepContext
from fntx_sessions.agents.runtime import Runtime, Slot
from fntx_sessions.schemas import SessionStatus
from fntx_sessions.state.parts import MARKET, TRADING, agent_part
from fntx_sessions.trading.book import BookView
from fntx_sessions.trading.ledger import Money
from fntx_sessions.trading.orders import Working


def agent_bytes(slot: Slot, now: datetime) -> bytes:
    """Return a slot as its AgentState part."""
    return orjson.dumps(
        {
            "agent_id": slot.name,
            "status": "quarantined" if slot.quarantined else "ready",
            "last_update": now,
            "internal_state": slot.state,
            "actions_taken": slot.actions,
            "decisions_made": slot.decisions,
            "errors_encountered": slot.errors,
            "memory_usage_mb": _resident_mb(),
            "processing_time_ms": round(slot.milliseconds, 3),
        },
        default=_plain,
    )


def session_parts(runtime: Runtime, context: StepContext) -> dict[str, bytes]:
    """Return the parts a step leaves beside its agents' own: the market, and the money view where it is known."""
    parts: dict[str, bytes] = {}
    if context.outputs.market is not None:
        parts[MARKET] = orjson.dumps(context.outputs.market, default=_plain)
    if context.board is not None:
        parts[TRADING] = orjson.dumps(trading_view(runtime, context.money()), default=_plain)
    return parts


def trading_view(runtime: Runtime, money: Money) -> dict[str, Any]:
    """Return the TradingState of this moment as JSON, from the broker's book."""
    book, account = runtime.book, runtime.account
    return {
        "open_positions": _positions(book),
        "pending_orders": [_order(working) for working in book.working.values()],
        "trades_today": sum(trade.opened_at.date() >= book.trade_date for trade in book.trades.values()),
        "daily_pnl": money.daily_pnl,
        "daily_return": round(float(money.daily_pnl / account.equity_at_roll), 8),
        "current_exposure": money.exposure,
        "margin_used": money.margin,
        "buying_power": account.equity_at_roll + money.account_pnl - money.margin,
        "max_daily_loss_remaining": money.remaining,
        "position_limit_remaining": max(runtime.risk.position_limit - money.contracts - account.other_contracts, 0),
        "trading_enabled": runtime.status is SessionStatus.ACTIVE and account.latched is None,
    }


def _positions(book: BookView) -> list[dict[str, Any]]:
    found = []
    for trade in book.open_trades:
        for contract, quantity in trade.legs.items():
            opened = [fill for fill in trade.fills if fill.contract == contract and fill.opening]
            count = sum(fill.quantity for fill in opened)
            average = sum((fill.price * fill.quantity for fill in opened), Decimal(0)) / count if count else Decimal(0)
            mark = book.marks.get(contract.symbol)
            gain = Decimal(0) if mark is None else (mark - average) * quantity * contract.multiplier
            found.append(
                {
                    "symbol": contract.symbol,
                    "right": contract.right,
                    "strike": contract.strike,
                    "expiry": contract.expiry.isoformat() if contract.expiry else None,
                    "quantity": quantity,
                    "average_price": average,
                    "mark": mark,
                    "unrealized_pnl": gain,
                    "opened_at": trade.opened_at,
                    "trade_id": trade.trade_id,
                }
            )
    return found


def _order(working: Working) -> dict[str, Any]:
    intent, request = working.intent, working.intent.request
    return {
        "client_order_id": intent.client_order_id,
        "symbol": " ".join(leg.contract.symbol for leg in request.legs),
        "side": request.side,
        "quantity": request.packages,
        "limit_price": request.limit,
        "opening": request.opening,
        "reason": request.reason,
        "status": "working",
        "created_at": intent.created_at,
    }


def slot_report(slot: Slot) -> tuple[str, bytes]:
    """Return the name and bytes of an agent's own part."""
    return agent_part(slot.name), agent_bytes(slot, datetime.now(UTC))


def _resident_mb() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else str(value)
