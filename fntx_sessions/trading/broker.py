"""The Broker port: what a session needs of whoever holds its orders and positions. `paper` is the shipped one."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from fntx_sessions.trading.book import BookView
from fntx_sessions.trading.market import Board
from fntx_sessions.trading.orders import Contract, Fill, OrderIntent, Placed, Status, Working


@dataclass(frozen=True, slots=True)
class Holding:
    """One contract held for one trade. quantity < 0: short. average_price: dollars per share."""

    session_id: UUID
    account_id: str
    trade_id: str
    contract: Contract
    quantity: int
    average_price: Decimal
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class BrokerAccount:
    """An account at the broker. cash: dollars, premium received included. margin_used None: the broker keeps none."""

    account_id: str
    cash: Decimal
    opening_cash: Decimal
    margin_used: Decimal | None = None


class Broker(Protocol):
    """Every writing call carries the session's epoch and raises StaleEpoch when a newer one has been seen."""

    name: str

    def open_account(self, account_id: str, cash: Decimal) -> BrokerAccount:
        """Return the account, opened with `cash` dollars if it is new; an existing one is left as it is."""

    def account(self, account_id: str) -> BrokerAccount:
        """Return the account; raises NotFound."""

    def place(self, intent: OrderIntent, board: Board, now: datetime) -> Placed:
        """Place a committed intent, once per client order id however often it is asked; raises StaleEpoch."""

    def cancel(self, session_id: UUID, epoch: int, client_order_id: str) -> Status | None:
        """Cancel if still working and return the order's status then; None when it is unknown."""

    def cancel_openings(self, session_id: UUID, older_than_epoch: int) -> list[str]:
        """Cancel working opening orders of epochs below `older_than_epoch`, which becomes the least epoch accepted."""

    def cancel_all_openings(self, session_id: UUID, epoch: int) -> list[str]:
        """Cancel every working opening order of the session, as a pause does; return their client order ids."""

    def match(self, session_id: UUID, epoch: int, board: Board, now: datetime) -> list[Fill]:
        """Fill what can be filled at this bar, let day orders and options expire; return the new fills."""

    def open_orders(self, session_id: UUID) -> list[Working]:
        """Return the working orders."""

    def order_status(self, client_order_id: str) -> Status | None:
        """Return the order's status, None when the broker never saw it."""

    def positions(self, session_id: UUID | None = None) -> list[Holding]:
        """Return what is held by a session, or by all of them."""

    def executions(self, session_id: UUID, after: datetime | None = None) -> list[Fill]:
        """Return the session's fills, oldest first, those later than `after` when given."""

    def load_book(self, session_id: UUID, trade_date: date) -> BookView:
        """Return the session's book: open trades, trades of `trade_date`, working orders.

        It holds what `positions` says: what no fill explains of them is in it as a fill with reason `reconciliation`.
        """

    def roll(self, session_id: UUID, epoch: int, trade_date: date, value: Decimal) -> None:
        """Store what the session holds is worth at the roll of `trade_date`; the first answer stands."""


def begin_bar(broker: Broker, book: BookView, session_id: UUID, epoch: int, board: Board) -> list[Fill]:
    """Bring broker and book up to a bar before anybody decides: roll, resting fills, expiry. Free when quiet.

    Returns the new fills, which the caller records in the ledger. Raises StaleEpoch.
    """
    tick = board.tick
    if tick.trade_date > book.trade_date:
        book.roll(tick.trade_date)
        if not book.flat:
            broker.roll(session_id, epoch, book.trade_date, book.value_at_roll)
    if tick.stale or not book.needs_match(tick):
        return []
    fills = broker.match(session_id, epoch, board, tick.now)
    book.matched(fills, tick)
    return fills
