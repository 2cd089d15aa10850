"""The paper broker: a broker of its own over six Postgres tables, filling at model quotes as docs/trading.md says."""

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import Connection, Engine

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import NotFound, StaleEpoch
from fntx_sessions.trading import paper_sql as sql
from fntx_sessions.trading.book import BookView, Trade, has_expired
from fntx_sessions.trading.broker import BrokerAccount, Holding
from fntx_sessions.trading.market import Board
from fntx_sessions.trading.matching import expire, fill_on_arrival, fill_resting
from fntx_sessions.trading.orders import ZERO, Fill, OrderIntent, Placed, Status, Working
from fntx_sessions.trading.paper_rows import fill_from_row, fill_row, holding_from_row, order_from_row, order_row

_ANY_EPOCH = 2**62
Reached = Callable[[str], None]


def _no_failpoint(_name: str) -> None:
    """Pass: tests put something that raises or kills here."""


class PaperBroker:
    """A Broker over `engine`. reached: called with the name of each point where a crash would be interesting."""

    name = "paper"

    def __init__(self, engine: Engine, reached: Reached = _no_failpoint) -> None:
        self._engine = engine
        self._reached = reached

    def open_account(self, account_id: str, cash: Decimal) -> BrokerAccount:
        """Return the account, opened with `cash` dollars if it is new; an existing one is left as it is."""
        with transaction(self._engine) as connection:
            connection.execute(sql.OPEN_ACCOUNT, {"account_id": account_id, "cash": cash})
            return _account(connection, account_id)

    def account(self, account_id: str) -> BrokerAccount:
        """Return the account; raises NotFound."""
        with transaction(self._engine) as connection:
            return _account(connection, account_id)

    def place(self, intent: OrderIntent, board: Board, now: datetime) -> Placed:
        """Place an intent once: two statements when it fills at once, one when it rests; raises StaleEpoch."""
        fills = fill_on_arrival(intent, board, now)
        with transaction(self._engine) as connection:
            row = connection.execute(sql.INSERT_ORDER, order_row(intent, "filled" if fills else "working")).one()
            if not row.fenced:
                raise _stale(connection, intent.session_id, intent.epoch)
            if not row.placed:
                return _known(connection, intent.client_order_id)
            if fills:
                _record(connection, fills)
        self._reached("paper.placed")
        return Placed(intent.client_order_id, "filled" if fills else "working", tuple(fills or ()))

    def cancel(self, session_id: UUID, epoch: int, client_order_id: str) -> Status | None:
        """Cancel if still working and return the order's status then; None when it is unknown."""
        with transaction(self._engine) as connection:
            _fence(connection, session_id, epoch)
            connection.execute(sql.CANCEL, {"session_id": session_id, "client_order_id": client_order_id})
            return _status(connection, client_order_id)

    def cancel_openings(self, session_id: UUID, older_than_epoch: int) -> list[str]:
        """Cancel working opening orders of epochs below `older_than_epoch`, which becomes the least epoch accepted."""
        return self._cancel_openings(session_id, older_than_epoch, older_than_epoch)

    def cancel_all_openings(self, session_id: UUID, epoch: int) -> list[str]:
        """Cancel every working opening order of the session, as a pause does; return their client order ids."""
        return self._cancel_openings(session_id, epoch, _ANY_EPOCH)

    def match(self, session_id: UUID, epoch: int, board: Board, now: datetime) -> list[Fill]:
        """Fill what can be filled at this bar, let day orders and options expire; return the new fills."""
        with transaction(self._engine) as connection:
            _fence(connection, session_id, epoch)
            working = _working(connection, session_id)
            fills = [fill for order in working for fill in fill_resting(order.intent, board, now) or ()]
            _expire_orders(connection, working, {fill.client_order_id for fill in fills}, board)
            fills += [fill for trade in _held(connection, session_id) for fill in expiries(trade, board, now)]
            if fills:
                _record(connection, fills)
        self._reached("paper.matched")
        return fills

    def open_orders(self, session_id: UUID) -> list[Working]:
        """Return the working orders, oldest first."""
        with transaction(self._engine) as connection:
            return _working(connection, session_id)

    def order_status(self, client_order_id: str) -> Status | None:
        """Return the order's status, None when the broker never saw it."""
        with transaction(self._engine) as connection:
            return _status(connection, client_order_id)

    def positions(self, session_id: UUID | None = None) -> list[Holding]:
        """Return what is held by a session, or by all of them, oldest first."""
        with transaction(self._engine) as connection:
            found = connection.execute(sql.POSITIONS, {"session_id": session_id}).mappings()
            return [holding_from_row(row) for row in found]

    def executions(self, session_id: UUID, after: datetime | None = None) -> list[Fill]:
        """Return the session's fills, oldest first, those later than `after` when given."""
        with transaction(self._engine) as connection:
            found = connection.execute(sql.EXECUTIONS, {"session_id": session_id, "after": after}).mappings()
            return [fill_from_row(row) for row in found]

    def load_book(self, session_id: UUID, trade_date: date) -> BookView:
        """Return the session's book in three statements: open trades, trades of `trade_date`, working orders."""
        arguments = {"session_id": session_id, "trade_date": trade_date}
        with transaction(self._engine) as connection:
            fills = [fill_from_row(row) for row in connection.execute(sql.BOOK_FILLS, arguments).mappings()]
            rest = connection.execute(sql.BOOK_REST, arguments).one()
            working = _working(connection, session_id)
        shown = sum((fill.cash - fill.fee for fill in fills), ZERO)
        return BookView(trade_date, fills, working, cash_before=rest.total - shown, value_at_roll=rest.value)

    def roll(self, session_id: UUID, epoch: int, trade_date: date, value: Decimal) -> None:
        """Store what the session holds is worth at the roll of `trade_date`; the first answer stands."""
        with transaction(self._engine) as connection:
            _fence(connection, session_id, epoch)
            connection.execute(sql.ROLL, {"session_id": session_id, "trade_date": trade_date, "value": value})

    def _cancel_openings(self, session_id: UUID, epoch: int, below: int) -> list[str]:
        with transaction(self._engine) as connection:
            _fence(connection, session_id, epoch)
            found = connection.execute(sql.CANCEL_OPENINGS, {"session_id": session_id, "below": below})
            return sorted(found.scalars())


def expiries(trade: Trade, board: Board, now: datetime) -> list[Fill]:
    """Return what expiry does to the options of one trade whose last moment is over at the board's tick."""
    tick, fills = board.tick, []
    for contract, quantity in trade.options.items():
        if not has_expired(contract, tick):
            continue
        held = next(fill for fill in trade.fills if fill.contract == contract)
        settled = tick.spot if contract.expiry == tick.trade_date else tick.previous_close
        fills += expire(held, quantity, Decimal(str(round(settled, 4))), now)
    return fills


def _expire_orders(connection: Connection, working: list[Working], filled: set[str], board: Board) -> None:
    if board.tick.option_close is None or board.tick.now < board.tick.option_close:
        return
    left = [order.intent.client_order_id for order in working if order.intent.client_order_id not in filled]
    if left:
        connection.execute(sql.EXPIRE, {"client_order_ids": left})


def _fence(connection: Connection, session_id: UUID, epoch: int) -> None:
    if connection.execute(sql.FENCE, {"session_id": session_id, "epoch": epoch}).first() is None:
        raise _stale(connection, session_id, epoch)


def _stale(connection: Connection, session_id: UUID, epoch: int) -> StaleEpoch:
    current = connection.execute(sql.CURRENT_EPOCH, {"session_id": session_id}).scalar()
    return StaleEpoch(str(session_id), epoch, current)


def _account(connection: Connection, account_id: str) -> BrokerAccount:
    row = connection.execute(sql.ACCOUNT, {"account_id": account_id}).first()
    if row is None:
        raise NotFound("paper account", account_id, "It is opened with the first session that names it.")
    return BrokerAccount(row.account_id, row.cash, row.opening_cash)


def _status(connection: Connection, client_order_id: str) -> Status | None:
    status: Status | None = connection.execute(sql.ORDER_STATUS, {"client_order_id": client_order_id}).scalar()
    return status


def _known(connection: Connection, client_order_id: str) -> Placed:
    fills = connection.execute(sql.ORDER_FILLS, {"client_order_id": client_order_id}).mappings()
    status = _status(connection, client_order_id)
    assert status is not None  # noqa: S101 - the order was found a statement ago
    return Placed(client_order_id, status, tuple(fill_from_row(row) for row in fills), repeated=True)


def _record(connection: Connection, fills: list[Fill]) -> None:
    connection.execute(sql.INSERT_FILLS, {"fills": [fill_row(fill) for fill in fills]})


def _working(connection: Connection, session_id: UUID) -> list[Working]:
    return [order_from_row(row) for row in connection.execute(sql.WORKING, {"session_id": session_id}).mappings()]


def _held(connection: Connection, session_id: UUID) -> list[Trade]:
    """Return the session's open trades, from every fill of theirs."""
    far = date.max
    fills = connection.execute(sql.BOOK_FILLS, {"session_id": session_id, "trade_date": far}).mappings()
    return BookView(far, (fill_from_row(row) for row in fills)).open_trades
