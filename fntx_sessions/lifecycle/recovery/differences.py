"""What agents remember, what the ledger and what the broker say, compared: where they part, a person has to look.

Memory that is merely older than the ledger is no difference: it has to be what the ledger was at some moment, not
before the memory's own. Clocks are compared only for that, and generously.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, statements
from fntx_sessions.lifecycle.recovery.memory import Leg, Memory
from fntx_sessions.trading.book import RECONCILIATION
from fntx_sessions.trading.broker import Broker

Difference = dict[str, Any]
# A fill this much older than a memory has to be in it: workers' clocks and Postgres's may be apart by less.
GRACE = timedelta(seconds=60)

_FILLS = text("""
SELECT fill_id, client_order_id, trade_id, symbol, recorded_at, reason,
  CASE side WHEN 'buy' THEN quantity ELSE -quantity END AS quantity
FROM fills WHERE session_id = :session_id ORDER BY recorded_at, timestamp, fill_id
""")
_ORDERS = text("SELECT client_order_id, state FROM order_intents WHERE session_id = :session_id ORDER BY epoch, seq")


@dataclass(frozen=True, slots=True)
class Ledger:
    """A session's fills, oldest first by when they were written down, and the state of every order it ever intended."""

    fills: list[dict[str, Any]]
    orders: dict[str, str]

    @property
    def fill_ids(self) -> set[str]:
        """Return the ids of its fills."""
        return {fill["fill_id"] for fill in self.fills}

    def positions(self) -> dict[Leg, int]:
        """Return what is held by (trade, symbol), without what is flat."""
        held: dict[Leg, int] = {}
        for fill in self.fills:
            leg = (fill["trade_id"], fill["symbol"])
            held[leg] = held.get(leg, 0) + fill["quantity"]
        return {leg: quantity for leg, quantity in held.items() if quantity}


def read_ledger(engine: Engine, session_id: UUID) -> Ledger:
    """Return what the ledger holds of a session."""
    bound = {"session_id": session_id}
    with statements(engine) as connection:
        fills = rows(connection.execute(_FILLS, bound))
        orders = {row.client_order_id: row.state for row in connection.execute(_ORDERS, bound)}
    return Ledger(fills, orders)


def compare(ledger: Ledger, memory: Memory, broker: Broker, session_id: UUID, executed: set[str]) -> list[Difference]:
    """Return every difference, once the ledger was brought up to the broker; none: they agree.

    executed: the ids of all fills the broker has of the session.
    """
    found = [*_positions(ledger, broker, session_id), *_fills(ledger, executed), *_working(ledger, broker, session_id)]
    return [*found, *_remembered(ledger, memory), *_remembered_orders(ledger, memory, broker), *_notes(ledger, memory)]


def lost_orders(ledger: Ledger, statuses: Mapping[str, str | None]) -> list[Difference]:
    """Return the orders that the ledger saw working and the broker does not know; told before they are settled."""
    return [
        difference("order", name, "the broker does not know it", ledger="working")
        for name, status in statuses.items()
        if status is None and ledger.orders.get(name) == "working"
    ]


def difference(
    kind: str, what: str, why: str, *, symbol: str = "", remembered: Any = None, ledger: Any = None, broker: Any = None
) -> Difference:
    """Return one difference as it is stored, told and accepted."""
    return {
        "kind": kind,
        "what": what,
        "symbol": symbol,
        "remembered": remembered,
        "ledger": ledger,
        "broker": broker,
        "why": why,
    }


def _positions(ledger: Ledger, broker: Broker, session_id: UUID) -> Iterator[Difference]:
    ours = ledger.positions()
    theirs: dict[Leg, int] = {}
    for one in broker.positions(session_id):
        leg = (one.trade_id, one.contract.symbol)
        theirs[leg] = theirs.get(leg, 0) + one.quantity
    for leg in sorted(ours.keys() | theirs.keys()):
        mine, held = ours.get(leg, 0), theirs.get(leg, 0)
        if mine != held:
            yield difference("position", leg[0], "broker and ledger disagree", symbol=leg[1], ledger=mine, broker=held)


def _fills(ledger: Ledger, executed: set[str]) -> Iterator[Difference]:
    for fill in ledger.fills:
        if fill["fill_id"] not in executed and fill["reason"] != RECONCILIATION:
            why = "the broker has no such fill"
            yield difference("fill", fill["fill_id"], why, symbol=fill["symbol"], ledger=fill["quantity"])


def _working(ledger: Ledger, broker: Broker, session_id: UUID) -> Iterator[Difference]:
    for order in broker.open_orders(session_id):
        name = order.intent.client_order_id
        state = ledger.orders.get(name)
        if state not in ("intended", "working"):
            why = "nobody here knows it" if state is None else "the ledger has it ended"
            yield difference("order", name, why, ledger=state, broker="working")


def _remembered(ledger: Ledger, memory: Memory) -> Iterator[Difference]:
    """Yield remembered legs that the ledger never was at, not since a moment safely before the memory's own."""
    if not memory.known:
        return
    since = memory.at - GRACE if memory.at else None
    held = ledger.positions()
    for leg in sorted(memory.positions.keys() | {(fill["trade_id"], fill["symbol"]) for fill in ledger.fills}):
        remembered = memory.positions.get(leg, 0)
        if remembered not in _quantities(ledger, leg, since):
            why = "no fill explains what the agents remember"
            now = held.get(leg, 0)
            yield difference("position", leg[0], why, symbol=leg[1], remembered=remembered, ledger=now)


def _quantities(ledger: Ledger, leg: Leg, since: datetime | None) -> set[int]:
    """Return what the ledger has held of a leg at any moment from `since` on; None: ever."""
    quantity, found = 0, {0} if since is None else set[int]()
    for fill in ledger.fills:
        if (fill["trade_id"], fill["symbol"]) != leg:
            continue
        if since is not None and fill["recorded_at"] > since:
            found.add(quantity)
        quantity += fill["quantity"]
        if since is None:
            found.add(quantity)
    return found | {quantity}


def _remembered_orders(ledger: Ledger, memory: Memory, broker: Broker) -> Iterator[Difference]:
    for name in sorted(memory.orders - ledger.orders.keys()):
        why = "agents remember an order that was never intended"
        yield difference("order", name, why, remembered="working", broker=broker.order_status(name))


def _notes(ledger: Ledger, memory: Memory) -> Iterator[Difference]:
    traded = {fill["symbol"] for fill in ledger.fills}
    trades = {fill["trade_id"] for fill in ledger.fills}
    for symbol in sorted(memory.symbols.keys() - traded):
        why = f"{memory.symbols[symbol]} keeps quotes of it as held; it was never traded"
        yield difference("position", "", why, symbol=symbol, remembered="held", ledger=0)
    for trade in sorted(memory.trades.keys() - trades):
        yield difference("position", trade, f"{memory.trades[trade]} is closing it; it was never opened", ledger=0)
