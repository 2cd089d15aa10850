"""What an opening may lose, judged at every credit it may bring: the stop follows the credit, and so does the risk.

A limit alone says too little: it is the least credit, and an order with a low one fills at what the market pays.
"""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from fntx_sessions.schemas import RiskParameters
from fntx_sessions.trading.ledger import entry_risk, spread_width
from fntx_sessions.trading.market import Board
from fntx_sessions.trading.matching import package_price
from fntx_sessions.trading.orders import SHARES_PER_CONTRACT, ZERO, Contract, Fill, Leg, OrderRequest
from fntx_sessions.trading.rules import TradingRules

_Held = dict[Contract, list[Fill]]


def at_worst(request: OrderRequest, board: Board, risk: RiskParameters, rules: TradingRules) -> OrderRequest:
    """Return an opening with the risk that counts: the most it may lose to its stop, at its limit or at the touch now.

    What it says of its own risk is a floor. Anything but premium sold is returned as it is.
    """
    if not request.opening or request.side != "sell":
        return request
    touch = package_price(request.legs, board, "sell")
    brings = [one for one in (request.limit, touch) if one is not None]
    if not brings:
        return request
    brings.append(min(max(_worst_credit(request.legs, risk, rules), min(brings)), max(brings)))
    found = max(entry_risk(risk, rules, request.legs, credit) for credit in brings)
    return replace(request, risk=max(found, request.risk))


def _worst_credit(legs: tuple[Leg, ...], risk: RiskParameters, rules: TradingRules) -> Decimal:
    """Return the credit at which a spread's stop reaches its width, beyond which it loses less again; else 0."""
    width = spread_width({leg.contract: leg.quantity * (1 if leg.side == "buy" else -1) for leg in legs})
    if width is None:
        return ZERO
    return max(width - rules.stop_slippage * len(legs), ZERO) / Decimal(str(risk.stop_loss_multiplier))


def excess_premium(request: OrderRequest) -> Decimal:
    """Return the dollars that an opening brings at its limit beyond the mids it was proposed at, never below 0."""
    if request.limit is None or any(leg.reference is None for leg in request.legs):
        return ZERO
    mid = sum(((leg.reference or ZERO) * (1 if leg.side == request.side else -1) for leg in request.legs), ZERO)
    return max(request.limit - mid, ZERO) * SHARES_PER_CONTRACT * request.packages


def filled_risks(fills: Iterable[Fill], risk: RiskParameters, rules: TradingRules) -> dict[str, Decimal]:
    """Return what each opening order loses to its stop from the credit that it filled at, by client order id."""
    orders: dict[str, _Held] = {}
    for fill in fills:
        if fill.opening and fill.contract.is_option:
            orders.setdefault(fill.client_order_id, {}).setdefault(fill.contract, []).append(fill)
    return {name: _filled_risk(held, risk, rules) for name, held in orders.items()}


def _filled_risk(held: _Held, risk: RiskParameters, rules: TradingRules) -> Decimal:
    legs = tuple(Leg(one, fills[0].side, sum(fill.quantity for fill in fills)) for one, fills in held.items())
    cash = sum((fill.cash for fills in held.values() for fill in fills), ZERO)
    return entry_risk(risk, rules, legs, cash / (SHARES_PER_CONTRACT * min(leg.quantity for leg in legs)))
