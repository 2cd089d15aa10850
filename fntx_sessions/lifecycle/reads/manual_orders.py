"""Orders by hand as people read them: who asked for what, and what became of it."""

from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.exceptions import IntegrityError, Shredded
from fntx_sessions.lifecycle.people_arguments import OrdersQuery
from fntx_sessions.schemas import Model, Time
from fntx_sessions.state.payloads import HAND_ORDER, Payloads

_LIST = text("""
SELECT order_id, session_id, action, state, opening, request, client_order_id, changes, actor, reason, created_at,
  expires_at, closed_at, result FROM manual_orders
WHERE (CAST(:session_id AS uuid) IS NULL OR session_id = CAST(:session_id AS uuid))
  AND (NOT :open_only OR state IN ('waiting', 'working'))
ORDER BY created_at DESC LIMIT :limit
""")


class HandOrderRecord(Model):
    """An order by hand.

    order: legs, quantity (packages) and limit of an opening, trade_id and limit of what closes a trade; dollars a
    share of one package. changes: which one it replaces or cancels. client_order_id: the order that came of it.
    """

    order_id: UUID
    session_id: UUID
    action: str
    state: str
    opening: bool
    order: dict[str, Any]
    client_order_id: str | None
    changes: UUID | None
    actor: str
    reason: str
    created_at: Time
    expires_at: Time
    closed_at: Time | None
    result: str | None


def list_orders(engine: Engine, asked: OrdersQuery) -> list[HandOrderRecord]:
    """Return orders by hand, newest first."""
    with transaction(engine) as connection:
        found = rows(connection.execute(_LIST, asked.model_dump()))
    payloads = Payloads(engine)
    return [HandOrderRecord(order=_opened(payloads, row, row.pop("request")), **row) for row in found]


def _opened(payloads: Payloads, row: dict[str, Any], sealed: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = payloads.open(row["session_id"], HAND_ORDER, row["order_id"], sealed)
    except (IntegrityError, Shredded) as error:
        return {"unreadable": str(error)}
    return found
