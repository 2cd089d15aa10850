"""What keeps a stop from being finished, as the broker sees it."""

from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from fntx_sessions.trading.brokers import get_broker


def obstacle(
    engine: Engine, session_id: UUID, broker: str, pending: dict[str, Any] | None, in_flight: int
) -> str | None:
    """Return what keeps the book from matching the stop's policy, None when it matches. in_flight: open orders."""
    if in_flight:
        return f"{in_flight} orders are in flight"
    if not (pending or {}).get("close_positions", True):
        return None
    held = get_broker(broker, engine).positions(session_id)
    listed = ", ".join(f"{holding.quantity} {holding.contract.symbol}" for holding in held)
    return f"open positions: {listed}" if held else None
