"""What each strategy sells: legs of a same-day expiry chosen by delta from the quotes of the moment."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.parsing import parse
from fntx_sessions.schemas import STRATEGIES, StrategyParameters
from fntx_sessions.trading.market import Board
from fntx_sessions.trading.matching import package_price
from fntx_sessions.trading.orders import Contract, Leg, Right

DEFAULT_WIDTH = 5
_SHORTS: dict[str, tuple[Right, ...]] = {
    "sell_put": ("put",),
    "sell_call": ("call",),
    "sell_strangle": ("put", "call"),
    "sell_put_spread": ("put",),
    "sell_call_spread": ("call",),
}
_SPREADS = frozenset({"sell_put_spread", "sell_call_spread"})


@dataclass(frozen=True, slots=True)
class Structure:
    """Legs and what they bring: credit, dollars a share of one package, at the bid."""

    legs: tuple[Leg, ...]
    credit: Decimal


def check_strategies(enabled: list[str], parameters: dict[str, Any]) -> dict[str, StrategyParameters]:
    """Return the parameters of every enabled strategy, defaults filled in; raises InvalidArgument naming the field."""
    known = ", ".join(STRATEGIES)
    for name in [*enabled, *parameters]:
        if name not in STRATEGIES:
            field = "enabled_strategies" if name in enabled else "strategy_parameters"
            raise InvalidArgument(field, f"{name!r} is not a strategy", f"Known are {known}.")
    return {name: _parameters(name, parameters.get(name, {})) for name in dict.fromkeys([*enabled, *parameters])}


def _parameters(name: str, given: Any) -> StrategyParameters:
    field = f"strategy_parameters.{name}"
    found = parse(StrategyParameters, given, field)
    if found.width is not None and found.width != int(found.width):
        raise InvalidArgument(f"{field}.width", f"{found.width} is no whole number", "Strikes are $1 apart.")
    return found


def build(name: str, parameters: StrategyParameters, board: Board, expiry: date) -> Structure | str:
    """Return what `name` would sell now, or why it sells nothing: no volatility, no bid, or a bid below min_bid."""
    legs: list[Leg] = []
    for right in _SHORTS[name]:
        strike = board.strike(right, parameters.delta)
        if strike is None:
            return "no volatility to choose a strike from"
        legs += _side_legs(name, right, strike, parameters, board, expiry)
    return _priced(tuple(legs), parameters, board)


def _side_legs(
    name: str, right: Right, strike: Decimal, parameters: StrategyParameters, board: Board, expiry: date
) -> list[Leg]:
    short = Contract(right, strike, expiry)
    legs = [Leg(short, "sell", parameters.contracts, board.quote(short).mid)]
    if name in _SPREADS:
        width = int(parameters.width or DEFAULT_WIDTH) * (-1 if right == "put" else 1)
        wing = Contract(right, strike + width, expiry)
        legs.append(Leg(wing, "buy", parameters.contracts, board.quote(wing).mid))
    return legs


def _priced(legs: tuple[Leg, ...], parameters: StrategyParameters, board: Board) -> Structure | str:
    credit = package_price(legs, board, "sell")
    if credit is None:
        return "no quote"
    least = Decimal(str(parameters.min_bid))
    bids = [board.quote(leg.contract).bid for leg in legs if leg.side == "sell"]
    lowest = min([credit, *(bid for bid in bids if bid is not None)])
    if lowest < least or credit <= 0:
        return f"bid {lowest} is below {least}"
    return Structure(legs, credit)
