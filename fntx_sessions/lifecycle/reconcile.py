"""After a host is lost: openings of older epochs are cancelled, and every order's fate is asked of the broker."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.lifecycle.orders import settle
from fntx_sessions.trading.broker import Broker

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
    states: dict[str, str] = {}
    for order in waiting:
        status = broker.order_status(order["client_order_id"])
        states[order["client_order_id"]] = "rejected" if status is None else status
    executions = [fill for fill in broker.executions(session_id) if fill.fill_id not in known]
    settle(engine, states, executions)
    never = [name for name, state in states.items() if state == "rejected"]
    return Reconciled(list(cancelled), never, [fill.fill_id for fill in executions])
