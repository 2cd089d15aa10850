"""What the ledger is short of the broker: read while neither moves, so that it stays right whatever is traded next."""

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, statements
from fntx_sessions.exceptions import Busy
from fntx_sessions.lifecycle.orders import settle
from fntx_sessions.trading.broker import Broker, Holding
from fntx_sessions.trading.orders import Contract, Fill
from fntx_sessions.trading.paper_rows import fill_from_row

_FILLS = text("SELECT * FROM fills WHERE session_id = :session_id ORDER BY timestamp, fill_id")
_LOOKS = 3

Leg = tuple[str, Contract]


@dataclass(frozen=True, slots=True)
class Gap:
    """What has to be added to the ledger for one leg. quantity < 0: sold. price: dollars a share.

    opening: it adds to what was opened; else it takes off what the broker does not hold.
    """

    trade_id: str
    contract: Contract
    quantity: int
    price: Decimal
    opening: bool


def gaps(engine: Engine, broker: Broker, session_id: UUID) -> list[Gap]:
    """Return what sets the ledger's positions apart from the broker's, fills that came late written down first.

    Priced at the broker's own average of that position; what the broker does not know at all any more at the average it
    was traded at: what somebody else got for it is not known here. Raises Busy while the book does not hold still.
    """
    for _ in range(_LOOKS):
        held, executed, booked = _look(engine, broker, session_id)
        known = {fill.fill_id for fill in booked}
        late = [fill for fill in executed if fill.fill_id not in known]
        if late:
            settle(engine, {}, late)
        elif held == broker.positions(session_id):
            return _gaps(held, booked)
    raise Busy(f"the book of session {session_id}", 0)


def _look(engine: Engine, broker: Broker, session_id: UUID) -> tuple[list[Holding], list[Fill], list[Fill]]:
    held, executed = broker.positions(session_id), broker.executions(session_id)
    with statements(engine) as connection:
        found = rows(connection.execute(_FILLS, {"session_id": session_id}))
    return held, executed, [fill_from_row(row) for row in found]


def _gaps(held: list[Holding], booked: list[Fill]) -> list[Gap]:
    theirs = {(one.trade_id, one.contract): one for one in held}
    ours: dict[Leg, list[Fill]] = {}
    for fill in booked:
        ours.setdefault((fill.trade_id, fill.contract), []).append(fill)
    legs = sorted(theirs.keys() | ours.keys(), key=lambda leg: (leg[0], leg[1].symbol))
    found = (_gap(leg, theirs.get(leg), ours.get(leg, [])) for leg in legs)
    return [one for one in found if one.quantity]


def _gap(leg: Leg, held: Holding | None, fills: list[Fill]) -> Gap:
    missing = (held.quantity if held else 0) - sum(fill.signed for fill in fills)
    opened = sum(fill.signed for fill in fills if fill.opening)
    traded = sum(fill.quantity for fill in fills)
    paid = sum((fill.price * fill.quantity for fill in fills), Decimal(0)) / traded if traded else Decimal(0)
    return Gap(*leg, missing, held.average_price if held else paid, missing * opened >= 0)
