"""Orders by hand: what a person has a session's executor trade, within the session's limits."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Unpack

from fntx_sessions.caller.ids import as_id
from fntx_sessions.caller.manager import Asking, SessionId
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.reads.manual_orders import HandOrderRecord
from fntx_sessions.managing.base import Sessions

Price = Decimal | float | str


class Ordering(Sessions):
    """Questions and commands about orders by hand. Prices are dollars a share of one package."""

    async def place_order(
        self,
        session_id: SessionId,
        *,
        limit: Price,
        legs: Sequence[dict[str, Any]] | None = None,
        quantity: int = 1,
        trade_id: str | None = None,
        reason: str = "",
        **asking: Unpack[Asking],
    ) -> Outcome:
        """Open a trade (legs), or close one whole (trade_id); ``outcome.extra["order_id"]`` names the order.

        legs: ``{"side": "sell", "right": "put", "strike": 270, "expiry": None}`` each, expiry None the trade date.
        limit: the least credit of an opening, the most a closing may cost. quantity: packages of an opening. Taken:
        the executor takes it up at its next step, within the risk manager's limits.
        """
        arguments = {
            "limit": limit,
            "legs": None if legs is None else list(legs),
            "quantity": quantity,
            "trade_id": trade_id,
            "reason": reason,
        }
        named = {"session_id": await self._id(session_id), **arguments}
        return await self._command("fntx.orders.place", named, asking)

    async def change_order(
        self, order_id: SessionId, *, limit: Price, reason: str = "", **asking: Unpack[Asking]
    ) -> Outcome:
        """Give an order that waits or works another limit: it is cancelled, and placed anew under another id."""
        arguments = {"order_id": as_id(order_id, "order_id"), "limit": limit, "reason": reason}
        return await self._command("fntx.orders.change", arguments, asking)

    async def cancel_order(self, order_id: SessionId, reason: str = "", **asking: Unpack[Asking]) -> Outcome:
        """Cancel an order that waits or works."""
        arguments = {"order_id": as_id(order_id, "order_id"), "reason": reason}
        return await self._command("fntx.orders.cancel", arguments, asking)

    async def list_orders(
        self, session_id: SessionId | None = None, *, open_only: bool = False, limit: int = 100
    ) -> list[HandOrderRecord]:
        """Return orders by hand, of one session or of all. open_only: those that wait or work."""
        arguments = {
            "session_id": None if session_id is None else await self._id(session_id),
            "open_only": open_only,
            "limit": limit,
        }
        return [HandOrderRecord.model_validate(one) for one in await self._query("fntx.orders.list", arguments)]
