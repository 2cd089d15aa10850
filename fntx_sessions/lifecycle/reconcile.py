"""After a host is lost: openings of older epochs are cancelled, and every order's fate is asked of the broker."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.lifecycle.orders import settle
from fntx_sessions.trading.broker import Broker
from fntx_sessions.trading.orders import Status

_OPEN = text("""
SELECT client_order_id, epoch, opening FROM order_intents
WHERE session_id = :session_id AND state IN ('intended', 'working') ORDER BY epoch, seq
""")
_KNOWN_FILLS = text("SELECT fill_id FROM fills WHERE session_id = :session_id")


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was found. cancelled, never_sent: orders; late_fills: fills the ledger had not seen."""

    cancelled: list[str]
    never_sent: list[str]
    late_fills: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"cancelled": self.cancelled, "never_sent": self.never_sent, "late_fills": self.late_fills}


def reconcile(engine: Engine, broker: Broker, session_id: UUID, epoch: int) -> Reconciled:
    """Bring the ledger up to the broker's truth under `epoch`; safe to run again.

    An intent the broker never saw cannot be sent any more: the broker now refuses its epoch.
    """
    cancelled = broker.cancel_openings(session_id, epoch)
    with transaction(engine) as connection:
        waiting = rows(connection.execute(_OPEN, {"session_id": session_id}))
        known = set(connection.execute(_KNOWN_FILLS, {"session_id": session_id}).scalars())
    statuses = {order["client_order_id"]: broker.order_status(order["client_order_id"]) for order in waiting}
    executions = [fill for fill in broker.executions(session_id) if fill.fill_id not in known]
    settle(engine, states_of(statuses), executions)
    never = [name for name, status in statuses.items() if status is None]
    return Reconciled(list(cancelled), never, [fill.fill_id for fill in executions])


def states_of(statuses: Mapping[str, Status | None]) -> dict[str, str]:
    """Return the states the ledger gives to orders the broker was asked about; None: it never saw them."""
    return {name: "rejected" if status is None else status for name, status in statuses.items()}
