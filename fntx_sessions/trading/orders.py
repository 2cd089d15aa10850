"""The vocabulary of trading: contracts, legs, order requests, intents and fills; plain frozen values."""

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal
from uuid import UUID

Right = Literal["put", "call", "stock"]
Side = Literal["buy", "sell"]
Kind = Literal["limit", "stop"]
Status = Literal["working", "filled", "cancelled", "expired"]

CENT = Decimal("0.01")
ZERO = Decimal(0)
SHARES_PER_CONTRACT = 100


@dataclass(frozen=True)
class Contract:
    """What is traded: a SPY option of one strike and expiry, or (right `stock`, neither strike nor expiry) SPY."""

    right: Right
    strike: Decimal | None = None
    expiry: date | None = None

    @cached_property
    def symbol(self) -> str:
        """Return the OCC symbol without padding, for example ``SPY180205P00270000``; ``SPY`` for the stock."""
        if self.strike is None or self.expiry is None:
            return "SPY"
        return f"SPY{self.expiry:%y%m%d}{self.right[0].upper()}{int(self.strike * 1000):08d}"

    @property
    def is_option(self) -> bool:
        """Tell an option from the stock."""
        return self.right != "stock"

    @property
    def multiplier(self) -> int:
        """Return shares per unit: 100 for an option, 1 for the stock."""
        return SHARES_PER_CONTRACT if self.is_option else 1

    def intrinsic(self, spot: Decimal) -> Decimal:
        """Return what exercise is worth per share at `spot`, never negative; the stock's is its price."""
        if self.strike is None:
            return spot
        gain = self.strike - spot if self.right == "put" else spot - self.strike
        return max(gain, ZERO)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that `contract_from_json` reads."""
        return {
            "right": self.right,
            "strike": None if self.strike is None else str(self.strike),
            "expiry": None if self.expiry is None else self.expiry.isoformat(),
        }


STOCK = Contract("stock")


def contract_from_json(data: dict[str, Any]) -> Contract:
    """Return the contract of `Contract.to_json`."""
    strike, expiry = data["strike"], data["expiry"]
    return Contract(
        data["right"],
        None if strike is None else Decimal(str(strike)),
        None if expiry is None else date.fromisoformat(str(expiry)),
    )


@dataclass(frozen=True, slots=True)
class Leg:
    """One contract of an order. reference: its mid at the decision, per share; None where there was no quote."""

    contract: Contract
    side: Side
    quantity: int
    reference: Decimal | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that `leg_from_json` reads."""
        reference = None if self.reference is None else str(self.reference)
        return {**self.contract.to_json(), "side": self.side, "quantity": self.quantity, "reference": reference}


def leg_from_json(data: dict[str, Any]) -> Leg:
    """Return the leg of `Leg.to_json`."""
    reference = data["reference"]
    return Leg(
        contract_from_json(data), data["side"], data["quantity"], None if reference is None else Decimal(reference)
    )


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """What an agent wants done; the legs fill together or not at all.

    kind `limit`: fills when the package can be had at `limit` or better; `stop`: fills on the next bar, at the market
    or, with a limit, where that allows it (docs/trading.md). limit: dollars per share of one package, the least credit
    (side sell) or the most debit (side buy); None: a market order, which only a stop may be. risk: dollars lost if its
    stop is reached, for openings. reason: why, in the words of the exit rules.
    """

    trade_id: str
    strategy: str
    side: Side
    legs: tuple[Leg, ...]
    opening: bool
    kind: Kind = "limit"
    limit: Decimal | None = None
    reason: str = ""
    risk: Decimal = ZERO

    @property
    def packages(self) -> int:
        """Return how many times the package is traded (the smallest leg's quantity)."""
        return min(leg.quantity for leg in self.legs)

    @property
    def contracts(self) -> int:
        """Return option contracts over all legs."""
        return sum(leg.quantity for leg in self.legs if leg.contract.is_option)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that `request_from_json` reads; the order intent's payload."""
        return {
            "trade_id": self.trade_id,
            "strategy": self.strategy,
            "side": self.side,
            "legs": [leg.to_json() for leg in self.legs],
            "opening": self.opening,
            "kind": self.kind,
            "limit": None if self.limit is None else str(self.limit),
            "reason": self.reason,
            "risk": str(self.risk),
        }


def request_from_json(data: dict[str, Any]) -> OrderRequest:
    """Return the request of `OrderRequest.to_json`."""
    limit = data["limit"]
    return OrderRequest(
        trade_id=data["trade_id"],
        strategy=data["strategy"],
        side=data["side"],
        legs=tuple(leg_from_json(leg) for leg in data["legs"]),
        opening=data["opening"],
        kind=data["kind"],
        limit=None if limit is None else Decimal(limit),
        reason=data["reason"],
        risk=Decimal(data["risk"]),
    )


@dataclass(frozen=True, slots=True)
class OrderIntent:
    """A request that the order gate has committed: now it has a name, an owner and an epoch."""

    client_order_id: str
    session_id: UUID
    epoch: int
    account_id: str
    trade_date: date
    created_at: datetime
    request: OrderRequest


@dataclass(frozen=True, slots=True)
class Fill:
    """One leg traded. price per share; fee and slippage in dollars for the whole fill, slippage adverse positive."""

    fill_id: str
    session_id: UUID
    account_id: str
    epoch: int
    client_order_id: str
    trade_id: str
    trade_date: date
    contract: Contract
    side: Side
    quantity: int
    price: Decimal
    fee: Decimal
    slippage: Decimal
    opening: bool
    reason: str
    timestamp: datetime

    @property
    def signed(self) -> int:
        """Return the quantity, negative for a sale."""
        return self.quantity if self.side == "buy" else -self.quantity

    @property
    def cash(self) -> Decimal:
        """Return dollars received (negative: paid), before the fee."""
        return -self.signed * self.contract.multiplier * self.price


@dataclass(frozen=True, slots=True)
class Working:
    """An order as the broker holds it."""

    intent: OrderIntent
    status: Status = "working"


@dataclass(frozen=True, slots=True)
class Placed:
    """What came of placing. repeated: the broker knew this client order id already and did nothing new."""

    client_order_id: str
    status: Status
    fills: tuple[Fill, ...] = field(default=())
    repeated: bool = False
