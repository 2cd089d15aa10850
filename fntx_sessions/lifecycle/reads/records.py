"""What a trade is, as it is read: all its legs, flat to flat."""

from fntx_sessions.schemas import Model, Money, Time


class TradeFill(Model):
    """One leg of a trade as it was filled; price in dollars a share, fee and slippage in dollars."""

    fill_id: str
    client_order_id: str
    timestamp: Time
    symbol: str
    side: str
    quantity: int
    price: Money
    fee: Money
    slippage: Money
    opening: bool
    reason: str


class TradeRecord(Model):
    """One trade, flat to flat, dollars. outcome and closed_at None: still open, and gross is what was cashed so far."""

    trade_id: str
    strategy: str
    opened_at: Time
    closed_at: Time | None
    packages: int
    credit: Money
    gross_pnl: Money
    fees: Money
    net_pnl: Money
    slippage: Money
    outcome: str | None
    exit_reason: str | None
    fills: list[TradeFill]
