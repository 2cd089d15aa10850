"""What fills and marks come to: trades, the day's result, what may still be lost, exposure and margin. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from fntx_sessions.schemas import RiskParameters
from fntx_sessions.trading.book import BookView, Marks, Trade
from fntx_sessions.trading.market import Board
from fntx_sessions.trading.orders import CENT, ZERO, Contract, Fill, Leg
from fntx_sessions.trading.rules import TradingRules

Outcome = Literal["win", "loss", "scratch"]
MarginSource = Literal["broker", "Reg-T estimate"]
_MARGIN_BASE = Decimal("0.20")
_MARGIN_FLOOR = Decimal("0.10")


@dataclass(frozen=True, slots=True)
class TradeResult:
    """One trade, flat to flat, dollars. gross: before fees, slippage inside; outcome None while it is open."""

    trade: Trade
    gross: Decimal
    fees: Decimal
    net: Decimal
    slippage: Decimal
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class AccountView:
    """What of the session's account counts against its limits, other sessions on it included.

    equity_at_roll: dollars. other_*: the account's other sessions today: result, loss to their stops, contracts
    and margin. latched: why the loss limit has fired for this trade date, None if it has not. carried: what of the
    limit the account it was forked from had used; no money of this account, never above 0.
    """

    account_id: str
    equity_at_roll: Decimal
    cash: Decimal
    other_pnl: Decimal = ZERO
    other_open_risk: Decimal = ZERO
    other_contracts: int = 0
    other_margin: Decimal = ZERO
    broker_margin: Decimal | None = None
    latched: str | None = None
    carried: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Money:
    """The money view of one moment, dollars. net_pnl: since the session began; daily_pnl: since the roll; after fees.

    limit and remaining are the account's, and so is counted: its P&L with the loss it was forked with. open_risk is
    what this session loses if all its stops are reached; unrealized is that of open trades since they were opened,
    before fees.
    """

    daily_pnl: Decimal
    net_pnl: Decimal
    unrealized: Decimal
    limit: Decimal
    account_pnl: Decimal
    remaining: Decimal
    open_risk: Decimal
    exposure: Decimal
    margin: Decimal
    contracts: int
    counted: Decimal

    @property
    def fired(self) -> bool:
        """Tell whether the day's loss has reached the account's limit."""
        return self.counted <= -self.limit


def trades_of(fills: Iterable[Fill]) -> list[TradeResult]:
    """Return the trades of all fills of a session, oldest first, open ones with outcome None.

    Fills may come in any order, and more than once: a fill counts once, by its id.
    """
    trades: dict[str, Trade] = {}
    once = {fill.fill_id: fill for fill in fills}
    for fill in sorted(once.values(), key=lambda one: (one.timestamp, one.fill_id)):
        trades.setdefault(fill.trade_id, Trade(fill.trade_id, fill.timestamp)).apply(fill)
    return [result_of(trade) for trade in trades.values()]


def result_of(trade: Trade) -> TradeResult:
    """Return a trade's result; for one that is open, gross is only what was cashed so far."""
    net = trade.cash - trade.fees
    outcome: Outcome = "win" if net > 0 else "loss" if net < 0 else "scratch"
    return TradeResult(trade, trade.cash, trade.fees, net, trade.slippage, None if trade.open else outcome)


def daily_pnl(book: BookView, marks: Marks) -> Decimal:
    """Return realised plus unrealised since the roll, after fees.

    Computed as the cash of today's fills less their fees, plus what is held now, less what was held at the roll.
    """
    flow = sum(
        (
            fill.cash - fill.fee
            for trade in book.trades.values()
            for fill in trade.fills
            if fill.trade_date == book.trade_date
        ),
        ZERO,
    )
    return flow + held_value(book, marks) - book.value_at_roll


def net_pnl(book: BookView, marks: Marks) -> Decimal:
    """Return the session's result since it began: all cash less all fees, plus what is held at its marks."""
    return (
        book.cash_before
        + sum((trade.cash - trade.fees for trade in book.trades.values()), ZERO)
        + held_value(book, marks)
    )


def held_value(book: BookView, marks: Marks) -> Decimal:
    """Return what everything held is worth at the marks; negative for short premium."""
    return sum((trade.value(marks) for trade in book.trades.values() if trade.legs), ZERO)


def loss_limit(risk: RiskParameters, equity_at_roll: Decimal) -> Decimal:
    """Return max_daily_risk x equity at the roll: where trading stops, not the most that can be lost."""
    return limit_of(risk.max_daily_risk, equity_at_roll)


def limit_of(max_daily_risk: float, equity_at_roll: Decimal) -> Decimal:
    """Return the same for a fraction that stands alone."""
    return (Decimal(str(max_daily_risk)) * equity_at_roll).quantize(CENT)


def stop_cost(risk: RiskParameters, credit: Decimal) -> Decimal:
    """Return the cost to close, dollars a share, at which the stop fires: stop_loss_multiplier x credit."""
    return Decimal(str(risk.stop_loss_multiplier)) * credit


def profit_cost(risk: RiskParameters, credit: Decimal) -> Decimal:
    """Return the most to pay, dollars a share, for keeping take_profit_multiplier of the credit; whole cents, down."""
    return ((1 - Decimal(str(risk.take_profit_multiplier))) * credit).quantize(CENT, rounding="ROUND_FLOOR")


def entry_risk(risk: RiskParameters, rules: TradingRules, legs: tuple[Leg, ...], credit: Decimal) -> Decimal:
    """Return the dollars an opening loses if its stop is reached: stop less credit, slippage of the stop, all fees.

    A spread cannot cost more than its width to close.
    """
    packages = min(leg.quantity for leg in legs)
    contracts = sum(leg.quantity for leg in legs)
    cost = stop_cost(risk, credit) + rules.stop_slippage * (contracts // packages)
    width = spread_width({leg.contract: _signed(leg) for leg in legs})
    worst = cost if width is None else min(cost, width)
    return (max((worst - credit) * 100 * packages, ZERO) + 2 * rules.fee_per_contract * contracts).quantize(CENT)


def open_risk(book: BookView, marks: Marks, risk: RiskParameters, rules: TradingRules) -> Decimal:
    """Return what is still to lose from the marks until every open trade's stop is reached, closing fees included.

    Shares count with nothing: they have no stop; their result is in the day's.
    """
    return sum((_trade_risk(trade, marks, risk, rules) for trade in book.open_trades), ZERO)


def _trade_risk(trade: Trade, marks: Marks, risk: RiskParameters, rules: TradingRules) -> Decimal:
    options = trade.options
    if not options:
        return ZERO
    contracts = sum(abs(quantity) for quantity in options.values())
    # Legs are equally many, unless the broker said otherwise: then the most of them count.
    most = max(abs(quantity) for quantity in options.values())
    now = sum((marks[one.symbol] if quantity < 0 else -marks[one.symbol] for one, quantity in options.items()), ZERO)
    cost = stop_cost(risk, trade.credit) + rules.stop_slippage * len(options)
    width = spread_width(options)
    worst = cost if width is None else min(cost, width)
    return max((worst - now) * 100 * most, ZERO) + rules.fee_per_contract * contracts


def spread_width(legs: dict[Contract, int]) -> Decimal | None:
    """Return the dollars between the strikes of a vertical spread, None for any other structure."""
    pair = list(legs.items())
    if len(pair) != len(("short", "long")):
        return None
    (first, one), (second, other) = pair
    if first.right != second.right or one != -other or first.strike is None or second.strike is None:
        return None
    return abs(first.strike - second.strike)


def exposure(book: BookView) -> Decimal:
    """Return the short strike notional in dollars."""
    return sum(
        (
            -quantity * 100 * contract.strike
            for trade in book.open_trades
            for contract, quantity in trade.legs.items()
            if quantity < 0 and contract.strike is not None
        ),
        ZERO,
    )


def dollar_delta(book: BookView, board: Board) -> Decimal:
    """Return what holding this is like in dollars of SPY: delta x units x spot."""
    total = sum(
        board.delta(contract) * quantity * contract.multiplier
        for trade in book.open_trades
        for contract, quantity in trade.legs.items()
    )
    return Decimal(str(round(total * board.tick.spot, 2)))


def stress_loss(book: BookView, board: Board, move: float) -> Decimal:
    """Return the change in dollars if SPY jumped by `move` (a fraction) now, volatility unchanged; losses negative."""
    spot = board.tick.spot
    change = sum(
        (board.value_at(contract, spot * (1 + move)) - board.value_at(contract, spot)) * quantity * contract.multiplier
        for trade in book.open_trades
        for contract, quantity in trade.legs.items()
    )
    return Decimal(str(round(change, 2)))


def margin_of(money: Money, account: AccountView) -> Decimal:
    """Return the margin a session's positions take: the broker's figure, of the whole account, where it has one."""
    return money.margin if account.broker_margin is not None else money.margin - account.other_margin


def margin_source(account: AccountView) -> MarginSource:
    """Return whose figure the margin is: the broker's, or the Reg-T estimate."""
    return "Reg-T estimate" if account.broker_margin is None else "broker"


def reg_t_margin(book: BookView, marks: Marks, spot: Decimal) -> Decimal:
    """Return the margin estimate labelled Reg-T: naked shorts and spreads by rule, shares at half their price."""
    return sum((legs_margin(trade.legs, marks, spot) for trade in book.open_trades), ZERO)


def legs_margin(legs: dict[Contract, int], marks: Marks, spot: Decimal) -> Decimal:
    """Return the Reg-T estimate of one structure (signed quantities)."""
    options = {contract: quantity for contract, quantity in legs.items() if contract.is_option}
    shares = sum((abs(quantity) * spot / 2 for one, quantity in legs.items() if not one.is_option), ZERO)
    width = spread_width(options)
    if width is not None:
        return shares + width * 100 * max(options.values())
    sides = [
        (-quantity * naked_margin(one, marks[one.symbol], spot), -quantity * 100 * marks[one.symbol])
        for one, quantity in options.items()
        if quantity < 0
    ]
    if not sides:
        return shares
    # A strangle can be wrong on one side only: the greater requirement, plus the other side's premium.
    greatest = max(range(len(sides)), key=lambda index: sides[index][0])
    return shares + sides[greatest][0] + sum((sides[i][1] for i in range(len(sides)) if i != greatest), ZERO)


def naked_margin(contract: Contract, premium: Decimal, spot: Decimal) -> Decimal:
    """Return 100 x (premium + max(20 % S - out-of-the-money, 10 % x (put: strike, call: S))) for one short option."""
    assert contract.strike is not None  # noqa: S101 - asked for options only
    out = spot - contract.strike if contract.right == "put" else contract.strike - spot
    floor = contract.strike if contract.right == "put" else spot
    return 100 * (premium + max(_MARGIN_BASE * spot - max(out, ZERO), _MARGIN_FLOOR * floor))


def money_of(book: BookView, board: Board, risk: RiskParameters, account: AccountView, rules: TradingRules) -> Money:
    """Return the money view at the board's moment; marks the book."""
    marks = book.mark(board)
    limit = loss_limit(risk, account.equity_at_roll)
    day = daily_pnl(book, marks)
    counted = day + account.other_pnl + account.carried
    flat = book.flat
    spot = Decimal(str(round(board.tick.spot, 4)))
    margin = account.broker_margin
    if margin is None:
        margin = (ZERO if flat else reg_t_margin(book, marks, spot)) + account.other_margin
    return Money(
        daily_pnl=day,
        net_pnl=net_pnl(book, marks),
        unrealized=_unrealized(book, marks),
        limit=limit,
        account_pnl=day + account.other_pnl,
        remaining=max(limit + counted, ZERO),
        open_risk=ZERO if flat else open_risk(book, marks, risk, rules),
        exposure=ZERO if flat else exposure(book),
        margin=margin,
        contracts=book.contracts,
        counted=counted,
    )


def _unrealized(book: BookView, marks: Marks) -> Decimal:
    return sum((trade.cash + trade.value(marks) for trade in book.open_trades), ZERO)


def _signed(leg: Leg) -> int:
    return leg.quantity if leg.side == "buy" else -leg.quantity
