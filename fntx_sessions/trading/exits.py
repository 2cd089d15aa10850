"""When a trade has to be closed and how the closing order looks. The same rules serve agents, guards and halts.

Order: loss limit, stop, profit, hold time, flat-by; then a stop of the session, and what must not be carried into
expiry. Rules of the clock need no quotes; rules of price need both sides of every leg.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal

from fntx_sessions.schemas import RiskParameters, SessionConfig
from fntx_sessions.trading.book import BookView, Trade
from fntx_sessions.trading.ledger import profit_cost, stop_cost
from fntx_sessions.trading.market import Board
from fntx_sessions.trading.matching import package_price
from fntx_sessions.trading.orders import CENT, Leg, OrderRequest

Reason = Literal["loss_limit", "stop", "profit", "hold_time", "flat_by", "session_stop", "expiry_guard", "assigned"]
AT_STOP = frozenset({"loss_limit", "stop"})
LADDER = ("mid", "ask", "cap")


@dataclass(frozen=True, slots=True)
class Exit:
    """A trade that has to be closed. cost: to close one package now, dollars a share, None without a quote."""

    trade_id: str
    reason: Reason
    cost: Decimal | None


@dataclass(frozen=True, slots=True)
class ExitContext:
    """What exit rules look at beside the trade. flatten: the session is to end flat. loss_fired: the limit has."""

    now: datetime
    risk: RiskParameters
    config: SessionConfig
    board: Board
    loss_fired: bool = False
    flatten: bool = False


def closing_legs(trade: Trade, board: Board) -> tuple[Leg, ...]:
    """Return the legs that close what the trade still holds."""
    return tuple(
        Leg(contract, "buy" if quantity < 0 else "sell", abs(quantity), board.quote(contract).mid)
        for contract, quantity in trade.legs.items()
    )


def decide_exit(trade: Trade, context: ExitContext) -> Exit | None:
    """Return the first exit rule that says the trade must go, None when it may stay."""
    options = trade.options
    if not options:
        return Exit(trade.trade_id, "assigned", None) if _closes_shares(context) else None
    cost = package_price(closing_legs(trade, context.board), context.board, "buy")
    reason = _reason(trade, cost, context)
    return None if reason is None else Exit(trade.trade_id, reason, cost)


def _reason(trade: Trade, cost: Decimal | None, context: ExitContext) -> Reason | None:
    """Return the first reason of the order that trading.md sets."""
    risk, ends_today = context.risk, past_flat_by(context.board)
    overdue = ends_today or _carried(trade, context.board)
    rules: tuple[tuple[Reason, bool], ...] = (
        ("loss_limit", context.loss_fired),
        ("stop", cost is not None and cost >= stop_cost(risk, trade.credit)),
        ("profit", cost is not None and cost <= profit_cost(risk, trade.credit)),
        ("hold_time", _held_too_long(trade, context)),
        ("flat_by", overdue and not context.config.allow_overnight_positions),
        ("session_stop", context.flatten),
        ("expiry_guard", ends_today and _dangerous_at_expiry(trade, context)),
    )
    return next((reason for reason, holds in rules if holds), None)


def past_flat_by(board: Board) -> bool:
    """Tell whether today's flat-by, `flat_by_minutes` before the stock close, is reached."""
    left = board.tick.minutes_to_close
    return left is None or left <= board.rules.flat_by_minutes


def _carried(trade: Trade, board: Board) -> bool:
    """Tell whether it was opened on an earlier trade date: nobody stepped at that day's flat-by."""
    return trade.first is not None and trade.first.trade_date < board.tick.trade_date


def _held_too_long(trade: Trade, context: ExitContext) -> bool:
    limit = context.config.max_position_hold_time
    return limit is not None and context.now - trade.opened_at >= timedelta(minutes=limit)


def _closes_shares(context: ExitContext) -> bool:
    return context.loss_fired or context.flatten or not context.config.allow_overnight_positions


def _dangerous_at_expiry(trade: Trade, context: ExitContext) -> bool:
    """Tell whether an option expiring today is in the money or within `expiry_buffer_fraction` of its strike."""
    spot = Decimal(str(context.board.tick.spot))
    buffer = context.board.rules.expiry_buffer_fraction
    return any(
        contract.strike is not None
        and contract.expiry == context.board.tick.trade_date
        and (contract.intrinsic(spot) > 0 or abs(spot - contract.strike) <= buffer * contract.strike)
        for contract in trade.options
    )


def exit_request(
    trade: Trade, found: Exit, board: Board, risk: RiskParameters, rung: int = 0, *, limits_only: bool = True
) -> OrderRequest | None:
    """Return the order that carries out an exit, None while no ask (or bid for shares held) is there to trade at.

    Loss limit and stop: a stop order, filled on the next bar within `_stop_limit`; unless `limits_only`, at whatever
    the market is then. Profit: a limit at the profit price. Hold time, flat-by, expiry: a
    limit at the ask. A stop of the session climbs `LADDER` with each `rung`: mid, ask, ask + flatten_cap. From the
    third rung on every exit may pay up to the cap, and the executor asks for a person.
    """
    legs = closing_legs(trade, board)
    if found.reason in AT_STOP and trade.options:
        worst = _stop_limit(legs, board) if limits_only else None
        if limits_only and worst is None:
            return None
        return _request(trade, legs, found.reason, kind="stop", limit=worst)
    if found.reason == "profit":
        return _request(trade, legs, found.reason, limit=profit_cost(risk, trade.credit))
    limit = _ladder_price(legs, board, rung if found.reason == "session_stop" else rung + 1)
    return None if limit is None else _request(trade, legs, found.reason, limit=limit)


def _stop_limit(legs: tuple[Leg, ...], board: Board) -> Decimal | None:
    """Return the worst price a stop may take: half a spread and flatten_cap beyond the touch, None without a quote.

    Spreads double once a stop has fired, the stop's own fill included: less would have it miss the very next bar.
    """
    mid, touch, cap = (_ladder_price(legs, board, rung) for rung in range(len(LADDER)))
    return None if mid is None or touch is None or cap is None else cap + touch - mid


def _ladder_price(legs: tuple[Leg, ...], board: Board, rung: int) -> Decimal | None:
    side = _side(legs)
    touch = package_price(legs, board, side)
    if touch is None:
        return None
    step = LADDER[min(rung, len(LADDER) - 1)]
    if step == "mid":
        mids = [board.quote(leg.contract).mid or touch for leg in legs]
        signs = [1 if leg.side == side else -1 for leg in legs]
        return sum((mid * sign for mid, sign in zip(mids, signs, strict=True)), CENT * 0).quantize(CENT)
    if step == "ask":
        return touch
    return touch + board.rules.flatten_cap if side == "buy" else touch - board.rules.flatten_cap


def _side(legs: tuple[Leg, ...]) -> Literal["buy", "sell"]:
    only_sells = all(leg.side == "sell" for leg in legs)
    return "sell" if only_sells else "buy"


def _request(
    trade: Trade, legs: tuple[Leg, ...], reason: str, *, limit: Decimal | None, kind: Literal["limit", "stop"] = "limit"
) -> OrderRequest:
    return OrderRequest(
        trade.trade_id, trade.strategy, _side(legs), legs, opening=False, kind=kind, limit=limit, reason=reason
    )


def decide_exits(book: BookView, context: ExitContext) -> list[Exit]:
    """Return the exits due now, in the book's order."""
    found = (decide_exit(trade, context) for trade in book.open_trades)
    return [one for one in found if one is not None]
