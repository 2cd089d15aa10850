"""What waits for a person, and what a person wants done, as values: approvals, orders by hand, and who needs them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from fntx_sessions.schemas import SessionType
from fntx_sessions.trading.orders import OrderRequest

# The strategy and the reason under which a person's own order trades.
BY_HAND = "by_hand"
# The rule that the order gate names where somebody's word is missing, used up or withdrawn.
WARRANT = "approval"
Kind = Literal["approval", "order"]


@dataclass(frozen=True, slots=True)
class Warrant:
    """On whose word an order is placed: an approval that was given, or the order of a person."""

    kind: Kind
    id: UUID


@dataclass(frozen=True, slots=True)
class Approval:
    """An opening that waits for a person, or may be carried out. drift_max: share of its limit, and of its risk."""

    approval_id: UUID
    trade_id: str
    state: str
    request: OrderRequest
    drift_max: float

    @property
    def warrant(self) -> Warrant:
        """Return what the order gate takes."""
        return Warrant("approval", self.approval_id)


@dataclass(frozen=True, slots=True)
class HandOrder:
    """A person's order, not over yet. order: what to trade, as `manual_orders.HandRequest` has it.

    client_order_id, intent_state: of the order that came of it, None before. replaced, replaced_state: the same of the
    order that it changes or cancels.
    """

    order_id: UUID
    action: str
    state: str
    actor: str
    opening: bool
    order: dict[str, Any]
    client_order_id: str | None = None
    intent_state: str | None = None
    changes: UUID | None = None
    replaced: str | None = None
    replaced_state: str | None = None

    @property
    def warrant(self) -> Warrant:
        """Return what the order gate takes."""
        return Warrant("order", self.order_id)

    @property
    def replaced_works(self) -> bool:
        """Tell whether the order it changes or cancels may still trade."""
        return self.replaced_state in ("intended", "working")


@dataclass(slots=True)
class People:
    """What of a session waits for a person, or comes from one, as a step sees it.

    approvals: the open ones by trade id. orders: oldest first. spent: trade ids that a person or the gate said no to,
    or that were carried out; nobody asks for them again. resting: trade ids whose approval went stale a moment ago.
    """

    approvals: dict[str, Approval] = field(default_factory=dict)
    orders: list[HandOrder] = field(default_factory=list)
    spent: set[str] = field(default_factory=set)
    resting: set[str] = field(default_factory=set)

    @property
    def deciding(self) -> bool:
        """Tell whether somebody has something to decide on, or had a moment ago."""
        return bool(self.approvals or self.resting)


def needs_approval(config: Mapping[str, Any], session_type: str) -> bool:
    """Tell whether a session's openings wait for a person: asked for, or always in Manual Override."""
    return bool(config["require_confirmation"]) or session_type == SessionType.MANUAL_OVERRIDE


def drifted(limit: Decimal | None, price: Decimal | None) -> float | None:
    """Return how far a package's price is from the limit it was asked for at, as a share of it; below 0: it fell.

    None: nobody knows, as there is no quote, or no limit.
    """
    if limit is None or price is None or limit == 0:
        return None
    return float((price - limit) / abs(limit))


def allowance(limit: Decimal, drift_max: float, drift_min_usd: float) -> float:
    """Return the share of its limit that a price may move by: of cents, a tick or two is a large one."""
    return max(drift_max, drift_min_usd / float(abs(limit))) if limit else drift_max


def ran_away(
    limit: Decimal | None, risk: Decimal, allowed: float, price: Decimal | None, risk_now: Decimal | None
) -> str | None:
    """Return why what was agreed to is not what would be opened now; None where it is, or nobody knows.

    allowed: share of limit, and of risk, see `allowance`.
    """
    drift = drifted(limit, price)
    if drift is not None and abs(drift) > allowed:
        return f"the price went from ${limit} to ${price}, {drift:+.0%}; {allowed:.0%} is allowed"
    if risk_now is not None and risk_now > risk * (1 + Decimal(str(allowed))):
        return f"it would risk ${risk_now} to its stop, ${risk} was asked for; {allowed:.0%} more is allowed"
    return None


@dataclass(frozen=True, slots=True)
class Asked:
    """What a change writes of approvals and orders by hand: rows that are new, and what becomes of open ones.

    A new row's `request` is plain: it is sealed on its way. Settled rows hold their id, the new state, and what is to
    be set beside.
    """

    approvals: tuple[dict[str, Any], ...] = ()
    orders: tuple[dict[str, Any], ...] = ()
    settled_approvals: tuple[dict[str, Any], ...] = ()
    settled_orders: tuple[dict[str, Any], ...] = ()

    def __bool__(self) -> bool:
        """Tell whether there is anything to write."""
        return bool(self.approvals or self.orders or self.settled_approvals or self.settled_orders)


def moment(value: Any) -> datetime:
    """Return a time as Postgres writes it in JSON."""
    return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
