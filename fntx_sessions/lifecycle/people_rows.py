"""What of a session waits for a person, or comes from one, read for a step."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.lifecycle.people import Approval, HandOrder, People
from fntx_sessions.lifecycle.people_sql import OPEN_APPROVALS, OPEN_ORDERS, RESTING, SPENT
from fntx_sessions.state.payloads import APPROVAL, HAND_ORDER, Payloads
from fntx_sessions.trading.orders import OrderRequest, leg_from_json


def load_people(engine: Engine, session_id: UUID, *, approving: bool, again_s: float) -> People:
    """Return a session's open approvals and orders by hand; raises Unavailable and IntegrityError.

    approving: its openings wait for people, so that those who said no count too. again_s: how long nobody asks for
    a trade whose approval went stale.
    """
    payloads, bound = Payloads(engine), {"session_id": session_id}
    with transaction(engine) as connection:
        approvals = rows(connection.execute(OPEN_APPROVALS, bound))
        orders = rows(connection.execute(OPEN_ORDERS, bound))
        spent = set(connection.execute(SPENT, bound).scalars()) if approving else set()
        resting = set(connection.execute(RESTING, bound | {"again_s": again_s}).scalars()) if approving else set()
    return People(
        {row["trade_id"]: _approval(payloads, session_id, row) for row in approvals},
        [_order(payloads, session_id, row) for row in orders],
        spent,
        resting,
    )


def _approval(payloads: Payloads, session_id: UUID, row: dict[str, Any]) -> Approval:
    asked = payloads.open(session_id, APPROVAL, row["approval_id"], row["request"])
    return Approval(row["approval_id"], row["trade_id"], row["state"], request_of(asked), row["drift_max"])


def _order(payloads: Payloads, session_id: UUID, row: dict[str, Any]) -> HandOrder:
    order = payloads.open(session_id, HAND_ORDER, row["order_id"], row["request"])
    return HandOrder(**{name: row[name] for name in HandOrder.__slots__ if name != "order"}, order=order)


def request_of(asked: dict[str, Any]) -> OrderRequest:
    """Return the order of an approval, as it is kept."""
    return OrderRequest(
        trade_id=asked["trade_id"],
        strategy=asked["strategy"],
        side=asked["side"],
        legs=tuple(leg_from_json(leg) for leg in asked["legs"]),
        opening=True,
        limit=Decimal(str(asked["limit"])),
        reason="entry",
        risk=Decimal(str(asked["risk"])),
    )
