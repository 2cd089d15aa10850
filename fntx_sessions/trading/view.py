"""The TradingState of a moment, built from book, board and account; never from anything a snapshot holds."""

from decimal import Decimal

from fntx_sessions.schemas import Order, Position, RiskParameters, TradingState
from fntx_sessions.trading.book import BookView, Trade
from fntx_sessions.trading.ledger import AccountView, Money, margin_source
from fntx_sessions.trading.orders import ZERO, Contract, Working


def trading_state(
    book: BookView, money: Money, risk: RiskParameters, account: AccountView, *, trading_enabled: bool
) -> TradingState:
    """Return the money view for readers; positions carry the marks `money` was computed with."""
    equity = account.equity_at_roll
    left = risk.position_limit - money.contracts - account.other_contracts
    return TradingState(
        open_positions=[
            _position(book, trade, contract, quantity)
            for trade in book.open_trades
            for contract, quantity in trade.legs.items()
        ],
        pending_orders=[order for working in book.working.values() for order in _orders(working)],
        trades_today=sum(1 for trade in book.trades.values() if _opened_today(book, trade)),
        daily_pnl=money.daily_pnl,
        daily_return=float(money.daily_pnl / equity) if equity else 0.0,
        current_exposure=money.exposure,
        margin_used=money.margin,
        margin_source=margin_source(account),
        buying_power=max(equity + money.account_pnl - money.margin, ZERO),
        max_daily_loss_remaining=money.remaining,
        position_limit_remaining=max(left, 0),
        trading_enabled=trading_enabled and account.latched is None,
    )


def _opened_today(book: BookView, trade: Trade) -> bool:
    return trade.first is not None and trade.first.trade_date == book.trade_date


def _position(book: BookView, trade: Trade, contract: Contract, quantity: int) -> Position:
    average = _average_price(trade, contract, quantity)
    mark = book.marks.get(contract.symbol)
    gain = None if mark is None else (mark - average) * quantity * contract.multiplier
    return Position(
        symbol=contract.symbol,
        right=contract.right,
        strike=contract.strike,
        expiry=None if contract.expiry is None else contract.expiry.isoformat(),
        quantity=quantity,
        average_price=average,
        mark=mark,
        unrealized_pnl=gain,
        opened_at=trade.opened_at,
        trade_id=trade.trade_id,
    )


def _average_price(trade: Trade, contract: Contract, quantity: int) -> Decimal:
    taken = [fill for fill in trade.fills if fill.contract == contract and fill.signed * quantity > 0]
    return sum((fill.price * fill.quantity for fill in taken), ZERO) / sum(fill.quantity for fill in taken)


def _orders(working: Working) -> list[Order]:
    intent = working.intent
    return [
        Order(
            client_order_id=intent.client_order_id,
            symbol=leg.contract.symbol,
            side=leg.side,
            quantity=leg.quantity,
            limit_price=intent.request.limit,
            opening=intent.request.opening,
            reason=intent.request.reason,
            status=working.status,
            created_at=intent.created_at,
        )
        for leg in intent.request.legs
    ]
