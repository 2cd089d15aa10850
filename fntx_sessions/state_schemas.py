"""The vocabulary of kept state: what agents and market look like, and where a session's state lies. See `schemas`."""

from datetime import date
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from fntx_sessions.values import Model, Money, Time


class AgentState(Model):
    """One agent's own part of the state."""

    agent_id: str
    status: str = "ready"
    last_update: Time
    internal_state: dict[str, Any] = {}
    actions_taken: int = Field(default=0, ge=0)
    decisions_made: int = Field(default=0, ge=0)
    errors_encountered: int = Field(default=0, ge=0)
    memory_usage_mb: float = Field(default=0.0, ge=0)
    processing_time_ms: float = Field(default=0.0, ge=0)


class MarketState(Model):
    """The market at one moment. vix_level None: no quote.

    market_regime: low_volatility, normal, high_volatility, a word of its publisher's, or unknown.
    """

    timestamp: Time
    spy_price: float = Field(gt=0)
    vix_level: float | None = Field(default=None, gt=0)
    market_regime: str = "normal"
    market_open: bool = False
    extended_hours: bool = False
    liquidity_status: str = "normal"
    support_levels: list[float] = []
    resistance_levels: list[float] = []
    key_levels: dict[str, float] = {}


class Position(Model):
    """One open leg. quantity < 0: short. mark: the price it is valued at (shorts at the ask); None: no quote.

    unrealized_pnl: at that mark; None: not known.
    """

    symbol: str
    right: Literal["put", "call", "stock"]
    strike: Money | None = None
    expiry: str | None = None
    quantity: int
    average_price: Money
    mark: Money | None = None
    unrealized_pnl: Money | None = None
    opened_at: Time
    trade_id: str


class Order(Model):
    """One order; prices in dollars per share. limit_price None: market order."""

    client_order_id: str
    symbol: str
    side: Literal["buy", "sell"]
    quantity: int = Field(gt=0)
    limit_price: Money | None = None
    opening: bool
    reason: str = ""
    status: Literal["intended", "working", "filled", "cancelled", "rejected", "expired"] = "intended"
    created_at: Time


class TradingState(Model):
    """The money view, from the broker and the ledger, never from a snapshot; of agents elsewhere, as they report it.

    margin_used: of the account, other sessions on it included. max_daily_loss_remaining, position_limit_remaining,
    margin_source (whose figure margin_used is): None where nobody says.
    """

    open_positions: list[Position] = []
    pending_orders: list[Order] = []
    trades_today: int = 0
    daily_pnl: Money = Decimal(0)
    daily_return: float = 0.0
    current_exposure: Money = Decimal(0)
    margin_used: Money = Decimal(0)
    margin_source: Literal["broker", "Reg-T estimate"] | None = None
    buying_power: Money = Decimal(0)
    max_daily_loss_remaining: Money | None = None
    position_limit_remaining: int | None = None
    trading_enabled: bool = False


class SessionCheckpoint(Model):
    """A stored snapshot; the states are None unless asked for (lazy loading).

    tier: where it is of record. read_from: the tier whose copy was read, None where none was.
    """

    checkpoint_id: UUID
    session_id: UUID
    timestamp: Time
    agent_states: dict[str, AgentState] | None = None
    market_state: MarketState | None = None
    trading_state: TradingState | None = None
    checkpoint_type: str
    is_recovery_point: bool = True
    compressed: bool = True
    checksum: str
    verified: bool = False
    epoch: int
    revision: int
    size_bytes: int
    tier: str = "postgres"
    read_from: str | None = None
    identity: str = ""
    note: str | None = None
    created_by: str = "system"
    pinned: bool = False


class StateSource(Model):
    """Which tier a shown state came from: `live`, memory, redis, postgres, cold; None: none could give it.

    age_s: seconds since an agent last reported (live), or since what was saved was cut. problems: what kept nearer
    tiers from answering.
    """

    tier: str | None
    epoch: int = 0
    revision: int = 0
    saved_at: Time | None = None
    age_s: float | None = None
    problems: list[str] = []


class ArchiveNote(Model):
    """Where a closed session's archive is. rows_dropped_at: since when the database holds little else of it."""

    object: str
    archived_at: Time
    verified_at: Time | None = None
    rows_dropped_at: Time | None = None


class SealedWeeks(Model):
    """Which weeks of history, named by their Mondays, are in the cold store: their events may be nowhere else."""

    first_week: date
    last_week: date
    rows: int
