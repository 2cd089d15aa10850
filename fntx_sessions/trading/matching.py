"""How paper orders fill: sells at the bid, buys at the ask, stops a nickel worse; pure functions of order and board."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from fntx_sessions.trading.market import Board
from fntx_sessions.trading.orders import CENT, STOCK, ZERO, Contract, Fill, Leg, OrderIntent, Side
from fntx_sessions.trading.rules import TradingRules

Priced = list[tuple[Leg, Decimal]]


def package_price(legs: Iterable[Leg], board: Board, side: Side) -> Decimal | None:
    """Return what one package costs (side buy) or brings (side sell) per share at the touch; None without a quote.

    Bought legs pay the ask, sold legs get the bid.
    """
    total = ZERO
    for leg in legs:
        quote = board.quote(leg.contract)
        price = quote.ask if leg.side == "buy" else quote.bid
        if price is None:
            return None
        total += price if leg.side == side else -price
    return total


def fill_on_arrival(intent: OrderIntent, board: Board, now: datetime) -> list[Fill] | None:
    """Return the fills of an order that has just arrived, None when it must rest; stops always wait for a next bar."""
    return None if intent.request.kind == "stop" else _fill_limit(intent, board, now)


def fill_resting(intent: OrderIntent, board: Board, now: datetime) -> list[Fill] | None:
    """Return the fills of a resting order at this bar, None when it goes on resting.

    A limit fills only when the touch is at the limit or better. A stop fills on any bar after its own, at the ask
    plus `stop_slippage` (sold legs: the bid less it, never below zero); one with a limit when the touch is within it,
    and then slips no further than to it.
    """
    if intent.request.kind == "stop":
        return _fill_stop(intent, board, now) if now > intent.created_at else None
    return _fill_limit(intent, board, now)


def _fill_limit(intent: OrderIntent, board: Board, now: datetime) -> list[Fill] | None:
    request = intent.request
    price = package_price(request.legs, board, request.side)
    if price is None or request.limit is None:
        return None
    good = price <= request.limit if request.side == "buy" else price >= request.limit
    return _fills(intent, _touch(request.legs, board, ZERO), board.rules, now) if good else None


def _fill_stop(intent: OrderIntent, board: Board, now: datetime) -> list[Fill] | None:
    request = intent.request
    price = package_price(request.legs, board, request.side)
    if price is None:
        return None
    slippage = board.rules.stop_slippage
    if request.limit is not None:
        room = request.limit - price if request.side == "buy" else price - request.limit
        if room < ZERO:
            return None
        slippage = min(slippage, (room / len(request.legs)).quantize(CENT, rounding="ROUND_FLOOR"))
    return _fills(intent, _touch(request.legs, board, slippage), board.rules, now)


def _touch(legs: Iterable[Leg], board: Board, slippage: Decimal) -> Priced:
    priced: Priced = []
    for leg in legs:
        quote = board.quote(leg.contract)
        assert quote.ask is not None  # noqa: S101 - package_price has seen both sides
        assert quote.bid is not None  # noqa: S101
        priced.append((leg, quote.ask + slippage if leg.side == "buy" else max(quote.bid - slippage, ZERO)))
    return priced


def _fills(intent: OrderIntent, priced: Priced, rules: TradingRules, now: datetime) -> list[Fill]:
    return [_fill(intent, index, leg, price, rules, now) for index, (leg, price) in enumerate(priced)]


def _fill(intent: OrderIntent, index: int, leg: Leg, price: Decimal, rules: TradingRules, now: datetime) -> Fill:
    fee = rules.fee_per_contract * leg.quantity if leg.contract.is_option else ZERO
    adverse = ZERO if leg.reference is None else price - leg.reference
    direction = 1 if leg.side == "buy" else -1
    return Fill(
        fill_id=f"{intent.client_order_id}:{index}",
        session_id=intent.session_id,
        account_id=intent.account_id,
        epoch=intent.epoch,
        client_order_id=intent.client_order_id,
        trade_id=intent.request.trade_id,
        trade_date=intent.trade_date,
        contract=leg.contract,
        side=leg.side,
        quantity=leg.quantity,
        price=price,
        fee=fee,
        slippage=adverse * direction * leg.quantity * leg.contract.multiplier,
        opening=intent.request.opening,
        reason=intent.request.reason,
        timestamp=now,
    )


def expire(held: Fill, quantity: int, spot: Decimal, now: datetime) -> list[Fill]:
    """Return what expiry does to `quantity` (signed) of the option in `held`: gone at zero, in the money for shares.

    Short puts and long calls in the money buy 100 shares a contract at the strike, short calls and long puts sell
    them. No fees. The ids depend on the position alone, so that expiring twice changes nothing the second time.
    """
    contract = held.contract
    assert contract.strike is not None  # noqa: S101 - options have a strike
    assigned = contract.intrinsic(spot) > ZERO
    reason = "assignment" if assigned else "expiry"
    fills = [_settle(held, contract, -quantity, ZERO, reason, now)]
    if assigned:
        shares = quantity * contract.multiplier * (1 if contract.right == "call" else -1)
        fills.append(_settle(held, STOCK, shares, contract.strike, reason, now))
    return fills


def _settle(held: Fill, contract: Contract, signed: int, price: Decimal, reason: str, now: datetime) -> Fill:
    order_id = f"{held.session_id}/{reason}/{held.trade_id}/{held.contract.symbol}"
    return Fill(
        fill_id=f"{order_id}:{contract.symbol}",
        session_id=held.session_id,
        account_id=held.account_id,
        epoch=held.epoch,
        client_order_id=order_id,
        trade_id=held.trade_id,
        trade_date=held.contract.expiry or held.trade_date,
        contract=contract,
        side="buy" if signed > 0 else "sell",
        quantity=abs(signed),
        price=price,
        fee=ZERO,
        slippage=ZERO,
        opening=False,
        reason=reason,
        timestamp=now,
    )
