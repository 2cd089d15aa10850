"""A session's orders and positions in memory, kept in step with the broker by every answer it gives.

Everything is derived from fills and working orders; nothing of it is ever restored from a snapshot. A host loads it
once a slice (`Broker.load_book`) and applies what `place`, `match` and `cancel` return.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from fntx_sessions.trading.market import Board, MarketTick
from fntx_sessions.trading.orders import ZERO, Contract, Fill, Placed, Working

STRESS_REASONS = frozenset({"stop", "loss_limit"})
# The reason of a fill nobody traded: it says what a position is that no fill explains.
RECONCILIATION = "reconciliation"
Marks = dict[str, Decimal]


@dataclass
class Trade:
    """All legs of one trade, flat to flat. cash: dollars received less paid before fees; quantities are signed."""

    trade_id: str
    opened_at: datetime
    legs: dict[Contract, int] = field(default_factory=dict)
    cash: Decimal = ZERO
    fees: Decimal = ZERO
    slippage: Decimal = ZERO
    credit: Decimal = ZERO
    packages: int = 0
    closed_at: datetime | None = None
    first: Fill | None = None
    fills: list[Fill] = field(default_factory=list)

    @property
    def open(self) -> bool:
        """Tell whether anything of it is still held."""
        return bool(self.legs)

    @property
    def strategy(self) -> str:
        """Return the strategy that opened it, from the trade id (day/strategy/number)."""
        parts = self.trade_id.split("/")
        return parts[1] if len(parts) > 1 else self.trade_id

    @property
    def options(self) -> dict[Contract, int]:
        """Return the option legs still held."""
        return {contract: quantity for contract, quantity in self.legs.items() if contract.is_option}

    def apply(self, fill: Fill) -> None:
        """Add one fill; `credit` becomes what one of each leg was opened for, dollars per share."""
        held = self.legs.get(fill.contract, 0) + fill.signed
        if held:
            self.legs[fill.contract] = held
        else:
            self.legs.pop(fill.contract, None)
        self.cash += fill.cash
        self.fees += fill.fee
        self.slippage += fill.slippage
        self.fills.append(fill)
        self.closed_at = None if self.legs else fill.timestamp
        if fill.opening:
            self._note_opening(fill)

    def value(self, marks: Marks) -> Decimal:
        """Return what the held legs are worth at `marks` (negative: what closing them costs)."""
        return sum(
            (quantity * contract.multiplier * marks[contract.symbol] for contract, quantity in self.legs.items()), ZERO
        )

    def _note_opening(self, fill: Fill) -> None:
        self.first = self.first or fill
        opening = [one for one in self.fills if one.opening]
        contracts = {one.contract for one in opening}
        # A leg may come in several fills: it is as many as they are together.
        self.packages = min(sum(one.quantity for one in opening if one.contract == contract) for contract in contracts)
        self.credit = sum((_opened_at(contract, opening) for contract in contracts), ZERO)


class BookView:
    """Open trades, today's trades and working orders of one session.

    cash_before: net dollars (after fees) of the trades that are not in this view, closed on earlier days.
    value_at_roll: what was held at the roll of `trade_date` was worth then, at the previous close's marks.
    version: raised by every change, for whoever caches something computed from it.
    """

    def __init__(
        self,
        trade_date: date,
        fills: Iterable[Fill] = (),
        working: Iterable[Working] = (),
        *,
        cash_before: Decimal = ZERO,
        value_at_roll: Decimal = ZERO,
    ) -> None:
        self.trade_date = trade_date
        self.cash_before = cash_before
        self.value_at_roll = value_at_roll
        self.trades: dict[str, Trade] = {}
        self.working: dict[str, Working] = {order.intent.client_order_id: order for order in working}
        self.marks: Marks = {}
        self.last_asks: Marks = {}
        self.last_bids: Marks = {}
        self.version = 0
        self._seen: set[str] = set()
        self.apply(fills)

    @property
    def fills(self) -> list[Fill]:
        """Return every fill in this view, oldest first."""
        return sorted((fill for trade in self.trades.values() for fill in trade.fills), key=_moment)

    @property
    def open_trades(self) -> list[Trade]:
        """Return the trades with something held, oldest first."""
        return [trade for trade in self.trades.values() if trade.legs]

    @property
    def flat(self) -> bool:
        """Tell whether nothing is held."""
        return not any(trade.legs for trade in self.trades.values())

    @property
    def quiet(self) -> bool:
        """Tell whether nothing is working at the broker."""
        return not self.working

    @property
    def contracts(self) -> int:
        """Return option contracts held, long and short, over all legs."""
        return sum(abs(quantity) for trade in self.open_trades for quantity in trade.options.values())

    @property
    def stressed(self) -> bool:
        """Tell whether a stop or the loss limit has fired on this trade date: spreads are doubled from then on."""
        return any(order.intent.request.kind == "stop" for order in self.working.values()) or any(
            fill.reason in STRESS_REASONS and fill.trade_date == self.trade_date
            for trade in self.trades.values()
            for fill in trade.fills
        )

    def entries(self, strategy: str) -> int:
        """Return how often `strategy` was entered, or is being entered, on this trade date."""
        prefix = f"{self.trade_date.isoformat()}/{strategy}/"
        ids = {trade_id for trade_id in self.trades if trade_id.startswith(prefix)}
        ids |= {
            order.intent.request.trade_id
            for order in self.working.values()
            if order.intent.request.opening and order.intent.request.trade_id.startswith(prefix)
        }
        return len(ids)

    def working_for(self, trade_id: str, *, opening: bool) -> list[Working]:
        """Return the working orders of one trade."""
        return [
            order
            for order in self.working.values()
            if order.intent.request.trade_id == trade_id and order.intent.request.opening is opening
        ]

    def needs_match(self, tick: MarketTick) -> bool:
        """Tell whether asking the broker to match at this bar could change anything."""
        return bool(self.working) or self.expiring(tick)

    def expiring(self, tick: MarketTick) -> bool:
        """Tell whether an option is held whose last moment has come."""
        return any(has_expired(contract, tick) for trade in self.trades.values() for contract in trade.legs)

    def placed(self, order: Working, outcome: Placed) -> None:
        """Take in what came of placing `order`."""
        if outcome.status == "working":
            self.working[outcome.client_order_id] = order
            self.version += 1
        self.apply(outcome.fills)

    def gone(self, client_order_id: str) -> None:
        """Forget an order that is cancelled or expired."""
        if self.working.pop(client_order_id, None) is not None:
            self.version += 1

    def apply(self, fills: Iterable[Fill]) -> None:
        """Take in fills, each once; their orders work no longer."""
        for fill in fills:
            if fill.fill_id in self._seen:
                continue
            self._seen.add(fill.fill_id)
            trade = self.trades.get(fill.trade_id)
            if trade is None:
                trade = self.trades[fill.trade_id] = Trade(fill.trade_id, fill.timestamp)
            trade.apply(fill)
            self.working.pop(fill.client_order_id, None)
            self.version += 1

    def matched(self, fills: Iterable[Fill], tick: MarketTick) -> None:
        """Take in what matching at `tick` came to; day orders end with the option session."""
        self.apply(fills)
        if tick.option_close is not None and tick.now >= tick.option_close and self.working:
            self.working.clear()
            self.version += 1

    def roll(self, trade_date: date) -> None:
        """Begin a trade date: what is held carries its last mark over, trades closed before leave the view."""
        self.value_at_roll = sum((trade.value(self.marks) for trade in self.open_trades), ZERO)
        for trade_id, trade in list(self.trades.items()):
            if not trade.legs:
                self.cash_before += trade.cash - trade.fees
                del self.trades[trade_id]
        self.trade_date = trade_date
        self.version += 1

    def mark(self, board: Board) -> Marks:
        """Mark everything held: longs at the bid, shorts at the ask, by docs/trading.md where there is no quote."""
        for trade in self.trades.values():
            for contract, quantity in trade.legs.items():
                self.marks[contract.symbol] = self._mark(contract, quantity, board)
        return self.marks

    def _mark(self, contract: Contract, quantity: int, board: Board) -> Decimal:
        quote, symbol = board.quote(contract), contract.symbol
        if quote.ask is not None and quote.bid is not None:
            self.last_asks[symbol], self.last_bids[symbol] = quote.ask, quote.bid
            return quote.ask if quantity < 0 else quote.bid
        last = (self.last_asks if quantity < 0 else self.last_bids).get(symbol)
        model = board.model(contract)
        known = [price for price in (last, model) if price is not None]
        if not known:
            return self.marks.get(symbol) or _opening_price(self, contract)
        if last is not None and (contract.is_option and board.tick.age_s <= board.rules.quote_stale_mark_s):
            return last
        return max(known) if quantity < 0 else min(known)


def has_expired(contract: Contract, tick: MarketTick) -> bool:
    """Tell whether the option's last trading moment is over at `tick`."""
    if contract.expiry is None:
        return False
    over = tick.option_close is not None and tick.now >= tick.option_close
    return contract.expiry < tick.trade_date or (contract.expiry == tick.trade_date and over)


def _moment(fill: Fill) -> tuple[datetime, str]:
    return fill.timestamp, fill.fill_id


def _opened_at(contract: Contract, opening: list[Fill]) -> Decimal:
    """Return the average price a leg was opened at, positive for one sold: legs need not be equally many."""
    taken = [one for one in opening if one.contract == contract]
    cash = sum((one.cash for one in taken), ZERO)
    return cash / (sum(one.quantity for one in taken) * contract.multiplier)


def _opening_price(book: BookView, contract: Contract) -> Decimal:
    for trade in book.trades.values():
        for fill in trade.fills:
            if fill.contract == contract:
                return fill.price
    return ZERO
