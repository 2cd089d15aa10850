"""What keeps a stop from being finished, as the broker sees it, and as agents elsewhere say."""

from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from fntx_sessions.lifecycle.elsewhere import NOTED, Elsewhere
from fntx_sessions.trading.brokers import get_broker


def obstacle(
    engine: Engine,
    session_id: UUID,
    broker: str,
    pending: dict[str, Any] | None,
    in_flight: int,
    elsewhere: Elsewhere | None,
) -> str | None:
    """Return what keeps the books from matching the stop's policy, None when they match.

    in_flight: open orders. elsewhere: what remote agents hold, which counts until a risk manager has accepted it.
    """
    if in_flight:
        return f"{in_flight} orders are in flight"
    if not (pending or {}).get("close_positions", True):
        return None
    held = get_broker(broker, engine).positions(session_id)
    if held:
        listed = ", ".join(f"{holding.quantity} {holding.contract.symbol}" for holding in held)
        return f"open positions: {listed}"
    if elsewhere is None or elsewhere.flat or accepted(pending):
        return None
    return elsewhere.obstacle(session_id)


def accepted(pending: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return who accepted that a stop ends with positions open elsewhere, and why; None: nobody did."""
    found: dict[str, Any] | None = ((pending or {}).get(NOTED) or {}).get("accepted")
    return found
