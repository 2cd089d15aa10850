"""The vocabulary: statuses, types and models that cross a boundary.

Times are timezone-aware UTC. Money is Decimal dollars, a JSON number on the wire. Models are frozen and refuse
unknown fields, but for `TradingSession`, which a manager keeps fresh and its holder may edit before start.
"""

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fntx_sessions.session_config import (
    STRATEGIES,
    Condition,
    FeedConfig,
    RiskParameters,
    SessionConfig,
    StrategyParameters,
)
from fntx_sessions.values import Finite, Fraction, Model, Money, Time

__all__ = [
    "STRATEGIES",
    "AgentState",
    "Condition",
    "FeedConfig",
    "Finite",
    "Fraction",
    "Hold",
    "MarketState",
    "Model",
    "Money",
    "Order",
    "Position",
    "RecoveryCandidate",
    "RecoveryStep",
    "RiskParameters",
    "SessionCheckpoint",
    "SessionConfig",
    "SessionEvent",
    "SessionMetrics",
    "SessionRecoveryPlan",
    "SessionStatus",
    "SessionTemplate",
    "SessionTransition",
    "SessionType",
    "Severity",
    "StrategyParameters",
    "Time",
    "TradingSession",
    "TradingState",
    "Trigger",
]


class SessionStatus(StrEnum):
    """Where a session stands. SUSPENDED: a system fault stopped it; PAUSED: a person or a market rule did."""

    INITIALIZING = "initializing"
    ACTIVE = "active"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    CLOSING = "closing"
    CLOSED = "closed"
    ERROR = "error"


class SessionType(StrEnum):
    """What kind of run a session is; it decides the roster and the clock."""

    REGULAR = "regular"
    EXTENDED_HOURS = "extended_hours"
    PAPER_TRADING = "paper_trading"
    BACKTEST = "backtest"
    MANUAL_OVERRIDE = "manual_override"


class Trigger(StrEnum):
    """What may change a session; the names of the lifecycle commands."""

    CREATE = "create_session"
    START = "start_session"
    PAUSE = "pause_session"
    RESUME = "resume_session"
    SUSPEND = "health_check_failed"
    RECOVER = "recover_session"
    STOP = "stop_session"
    FINALIZE = "finalization_complete"
    FAIL = "exception"
    UPDATE = "update_session"
    CHECKPOINT = "create_checkpoint"
    PIN = "pin_session"
    PRUNE = "prune_checkpoints"
    ACCEPT = "accept_differences"
    SHRED = "shred_session"


class Hold(StrEnum):
    """Why a session is not running. Whoever resumes by itself removes only its own."""

    PERSON = "person"
    RULE = "rule"
    HALT = "halt"
    RECOVERY = "recovery"


class Severity(StrEnum):
    """How much an event matters."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


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
    """The market at one moment. vix_level None: no quote. market_regime: low_volatility, normal, high_volatility."""

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
    """One open leg. quantity < 0: short. mark: the price it is valued at (shorts at the ask); None: no quote."""

    symbol: str
    right: Literal["put", "call", "stock"]
    strike: Money | None = None
    expiry: str | None = None
    quantity: int
    average_price: Money
    mark: Money | None = None
    unrealized_pnl: Money = Decimal(0)
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
    """The money view, always from the broker and the ledger, never from a snapshot."""

    open_positions: list[Position] = []
    pending_orders: list[Order] = []
    trades_today: int = 0
    daily_pnl: Money = Decimal(0)
    daily_return: float = 0.0
    current_exposure: Money = Decimal(0)
    margin_used: Money = Decimal(0)
    buying_power: Money = Decimal(0)
    max_daily_loss_remaining: Money = Decimal(0)
    position_limit_remaining: int = 0
    trading_enabled: bool = False


class SessionCheckpoint(Model):
    """A stored snapshot; the states are None unless asked for (lazy loading)."""

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
    identity: str = ""
    note: str | None = None
    created_by: str = "system"
    pinned: bool = False


class SessionEvent(Model):
    """Something that happened. requires_action: a person has to do something; action_taken says what was done."""

    event_id: UUID
    session_id: UUID
    timestamp: Time
    event_type: str
    event_category: str
    severity: Severity = Severity.INFO
    source_agent: str | None = None
    description: str
    data: dict[str, Any] = {}
    requires_action: bool = False
    action_taken: str | None = None
    impact_assessment: str | None = None


class SessionMetrics(Model):
    """Measures of a run, defined in docs/trading.md.

    max_drawdown: dollars, <= 0. decision_latency_ms: median quote -> intent, None before the first decision.
    error_rate: fraction over 5 min, None below 20 attempts. win_rate: None without trades. broker: where it
    traded; `paper` is never live money.
    """

    session_id: UUID
    start_time: Time | None = None
    end_time: Time | None = None
    active_duration: float = 0.0
    pause_duration: float = 0.0
    total_trades: int = 0
    winning_trades: int = 0
    losing_trades: int = 0
    scratch_trades: int = 0
    win_rate: float | None = None
    gross_pnl: Money = Decimal(0)
    fees: Money = Decimal(0)
    net_pnl: Money = Decimal(0)
    max_drawdown: Money = Decimal(0)
    decision_latency_ms: float | None = None
    decision_latency_p99_ms: float | None = None
    execution_slippage: Money = Decimal(0)
    error_rate: float | None = None
    peak_memory_mb: float = 0.0
    total_api_calls: int = 0
    checkpoint_count: int = 0
    broker: str = "paper"
    notice: str = ""


class SessionTransition(Model):
    """One change of status: who, what, why, and what held before and after."""

    transition_id: UUID
    session_id: UUID
    timestamp: Time
    from_status: SessionStatus | None
    to_status: SessionStatus
    trigger: Trigger
    actor: str
    reason: str = ""
    version: int
    epoch: int
    command_id: UUID | None = None
    pre_conditions_met: dict[str, bool] = {}
    post_conditions_met: dict[str, bool] = {}
    state_preserved: bool = True
    data_migrated: bool = False
    warnings: list[str] = []
    errors: list[str] = []


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


class TradingSession(BaseModel):
    """A session as its holder sees it; `config` and `risk_parameters` may be edited before start."""

    model_config = ConfigDict(extra="forbid", validate_assignment=False)

    session_id: UUID
    session_type: SessionType
    status: SessionStatus
    created_at: Time
    started_at: Time | None = None
    ended_at: Time | None = None
    config: dict[str, Any]
    risk_parameters: dict[str, Any]
    enabled_strategies: list[str]
    strategy_parameters: dict[str, Any] = {}
    agent_states: dict[str, AgentState] = {}
    market_state: MarketState | None = None
    trading_state: TradingState | None = None
    state_source: StateSource | None = None
    events: list[SessionEvent] = []
    checkpoints: list[SessionCheckpoint] = []
    metrics: SessionMetrics | None = None
    last_checkpoint_id: UUID | None = None
    recovery_data: dict[str, Any] = {}
    parent_session_id: UUID | None = None
    child_session_ids: list[UUID] = []
    version: int
    epoch: int
    template_name: str | None = None
    account_id: str
    broker: str = "paper"
    roster: list[str] = []
    holds: list[Hold] = []
    pending: dict[str, Any] | None = None
    status_since: Time
    status_reason: str = ""
    status_actor: str = ""
    requires_action: str | None = None
    quiesced_at: Time | None = None
    pinned: bool = False
    archive: ArchiveNote | None = None
    sealed_weeks: SealedWeeks | None = None


class RecoveryStep(Model):
    """One step of a recovery plan."""

    name: str
    description: str
    status: Literal["pending", "running", "done", "failed"] = "pending"


class RecoveryCandidate(Model):
    """One state a session's memory could be put back from. rank 1 is tried first; `reason` says why it stands there.

    source: live, redis, postgres, backup, checkpoint or cold. verified: read whole and proven just now; False with no
    `problem`: its turn to be read has not come. created_at and expected_data_loss_s None: only its bytes can tell.
    """

    rank: int = Field(ge=1)
    source: str
    name: str
    tier: str
    checkpoint_id: UUID | None = None
    epoch: int
    revision: int
    created_at: Time | None = None
    verified: bool = False
    expected_data_loss_s: float | None = None
    identity_differences: list[str] = []
    reason: str
    problem: str | None = None


class SessionRecoveryPlan(Model):
    """What could be restored, from where, and what it would cost; making one changes nothing.

    recovery_type: the source of the best candidate, or `none`. named_checkpoint_id: the one that was asked for, beside
    which nothing is tried. version, epoch: the session's when the plan was made. hosts_not_seen: hosts whose local
    backups, should they have any, cannot be read from here. recovery_confidence: the sum of what `confidence_reasons`
    lists, 0 without a usable candidate.
    """

    plan_id: UUID
    session_id: UUID
    created_at: Time
    recovery_type: str
    checkpoint_id: UUID | None
    fallback_checkpoint_ids: list[UUID] = []
    named_checkpoint_id: UUID | None = None
    candidates: list[RecoveryCandidate] = []
    hosts_not_seen: list[str] = []
    steps: list[RecoveryStep] = []
    estimated_duration: float = 0.0
    data_integrity_checks: list[str] = []
    rollback_points: list[str] = []
    data_loss_risk: str = ""
    expected_data_loss_s: float | None = None
    state_consistency_risk: str = ""
    recovery_confidence: Fraction = 0.0
    confidence_reasons: list[str] = []
    status: SessionStatus | None = None
    version: int | None = None
    epoch: int | None = None


class SessionTemplate(Model):
    """A named starting point for sessions."""

    template_id: UUID
    template_name: str
    description: str = ""
    session_type: SessionType
    default_config: dict[str, Any] = {}
    default_risk_parameters: dict[str, Any] = {}
    required_agents: list[str] = []
    optional_agents: list[str] = []
    agent_configurations: dict[str, Any] = {}
    enabled_strategies: list[str] = []
    strategy_parameters: dict[str, Any] = {}
    auto_start_conditions: list[Condition] = []
    auto_stop_conditions: list[Condition] = []
    created_at: Time
    last_used: Time | None = None
    usage_count: int = 0
    version: int = 1

    @model_validator(mode="after")
    def _agents_are_listed_once(self) -> Self:
        names = [*self.required_agents, *self.optional_agents]
        if len(names) != len(set(names)):
            msg = "required_agents and optional_agents name an agent twice"
            raise ValueError(msg)
        return self
