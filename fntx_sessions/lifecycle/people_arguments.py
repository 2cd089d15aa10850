"""What approvals and orders by hand take, validated at the edge. Field names are the JSON keys of the tasks."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, field_validator, model_validator

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.arguments import CommandArguments, Reason
from fntx_sessions.schemas import Finite, Model, Money
from fntx_sessions.trading.orders import CENT

Side = Literal["buy", "sell"]
ApprovalState = Literal[
    "waiting", "approved", "rejected", "expired", "stale", "executed", "refused", "withdrawn"
]  # fmt: skip
ApprovalAnswer = Literal["executed", "refused", "stale", "expired"]
OrderAnswer = Literal["working", "filled", "cancelled", "expired", "refused", "done"]
TradeId = Annotated[str, Field(min_length=1, max_length=200)]
Agent = Annotated[str, Field(min_length=1, max_length=100)]
# Dollars a share of one package.
Limit = Annotated[Money, Field(gt=0, le=10_000)]


class PackageLeg(Model):
    """One option of a package. expiry None: the trade date."""

    side: Side
    right: Literal["put", "call"]
    strike: Money = Field(gt=0, le=100_000)
    expiry: date | None = None

    @field_validator("strike")
    @classmethod
    def _is_whole(cls, value: Decimal) -> Decimal:
        if value != int(value):
            raise InvalidArgument("legs.strike", f"{value} is no whole dollar", "Strikes are $1 apart.")
        return value


def whole_cents(value: Decimal, field: str = "limit") -> Decimal:
    """Return a price; raises InvalidArgument for a fraction of a cent."""
    if value != value.quantize(CENT):
        raise InvalidArgument(field, f"{value} is no whole cent", "Give dollars a share, in cents: 0.45.")
    return value.quantize(CENT)


class PlaceArguments(CommandArguments):
    """fntx.orders.place: an opening (legs), or what closes a trade whole (trade_id).

    limit: dollars a share of one package, the least credit of an opening, the most a closing may cost (for shares held:
    the least they bring). quantity: packages of an opening.
    """

    legs: list[PackageLeg] | None = Field(default=None, min_length=1, max_length=4)
    quantity: int = Field(default=1, ge=1, le=1000)
    trade_id: TradeId | None = None
    limit: Limit

    @field_validator("limit")
    @classmethod
    def _in_cents(cls, value: Decimal) -> Decimal:
        return whole_cents(value)

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if (self.legs is None) == (self.trade_id is None):
            fix = "Give legs to open a trade, or the trade_id of an open one to close it: `fntx trades ID`."
            raise InvalidArgument("legs", "and trade_id: one of the two is taken", fix)
        if self.trade_id is not None and self.quantity != 1:
            raise InvalidArgument("quantity", "is not taken: a trade is closed whole", "Leave it out.")
        if self.legs is not None:
            _check_package(self.legs)
        return self

    @property
    def opening(self) -> bool:
        """Tell whether it may add risk."""
        return self.legs is not None


def _check_package(legs: list[PackageLeg]) -> None:
    known = {(leg.right, leg.strike, leg.expiry) for leg in legs}
    if len(known) != len(legs):
        raise InvalidArgument("legs", "name a contract twice", "Name each once; quantity says how many packages.")
    if not any(leg.side == "sell" for leg in legs):
        fix = "Sell at least one leg: stops and limits of this desk are those of premium sold."
        raise InvalidArgument("legs.0.side", "is buy, and so are all others", fix)


class ChangeArguments(Model):
    """fntx.orders.change: another limit for an order that works or waits; it is cancelled, and then placed anew."""

    order_id: UUID
    limit: Limit
    session_id: UUID | None = None
    reason: str = Reason

    @field_validator("limit")
    @classmethod
    def _in_cents(cls, value: Decimal) -> Decimal:
        return whole_cents(value)


class CancelArguments(Model):
    """fntx.orders.cancel: which order by hand."""

    order_id: UUID
    session_id: UUID | None = None
    reason: str = Reason


class OrderArguments(CommandArguments):
    """What the machine is asked: a person's order, whole. changes: the order that it replaces or cancels."""

    action: Literal["place", "change", "cancel"]
    opening: bool
    order: dict[str, Any]
    changes: UUID | None = None


class OrderAnswerArguments(CommandArguments):
    """fntx.orders.answer: what became of an order that an executor of another service was asked for."""

    order_id: UUID
    agent: Agent
    state: OrderAnswer
    client_order_id: str | None = Field(default=None, max_length=200)
    result: str = Field(default="", max_length=2000)


class RequestArguments(CommandArguments):
    """fntx.approvals.request: an opening of an executor of another service that a person has to agree to.

    risk: dollars lost if its stop is reached. reference: mid of one package, dollars a share. reasons: whatever the
    person is to read. quantity: packages.
    """

    agent: Agent
    trade_id: TradeId
    strategy: str = Field(min_length=1, max_length=100)
    side: Side = "sell"
    legs: list[PackageLeg] = Field(min_length=1, max_length=8)
    quantity: int = Field(default=1, ge=1, le=10_000)
    limit: Limit
    risk: Money = Field(ge=0, le=10**9)
    reference: Money | None = Field(default=None, ge=-10_000, le=10_000)
    expires_s: Finite | None = Field(default=None, ge=1, le=86_400)
    reasons: dict[str, Any] = Field(default_factory=dict, max_length=50)


class ApprovalAnswerArguments(CommandArguments):
    """fntx.approvals.answer: what an executor of another service did with an approval."""

    approval_id: UUID
    agent: Agent
    state: ApprovalAnswer
    result: str = Field(default="", max_length=2000)


class DecisionArguments(Model):
    """fntx.approvals.approve and reject: which one, and why."""

    approval_id: UUID
    session_id: UUID | None = None
    reason: str = Reason


class DecideArguments(CommandArguments):
    """What the machine is asked: let an agent's order through, or not."""

    approval_id: UUID
    approve: bool


class AskArguments(CommandArguments):
    """What the machine is asked: an approval, as it is kept. epoch: of who asks."""

    approval: dict[str, Any]
    epoch: int | None = None


class AnswerArguments(CommandArguments):
    """What the machine is asked: an approval or an order by hand is over, or works. kind says which."""

    kind: Literal["approval", "order"]
    id: UUID
    state: str
    result: str = ""
    client_order_id: str | None = None


class ApprovalsQuery(Model):
    """fntx.approvals.list: of one session or of all; states None: those that wait or may be carried out."""

    session_id: UUID | None = None
    states: list[ApprovalState] | None = Field(default=None, max_length=10)
    limit: int = Field(default=100, ge=1, le=1000)


class OrdersQuery(Model):
    """fntx.orders.list: of one session or of all; open_only: those that wait or work."""

    session_id: UUID | None = None
    open_only: bool = False
    limit: int = Field(default=100, ge=1, le=1000)
