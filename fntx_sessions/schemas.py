"""The vocabulary: statuses, types and models that cross a boundary.

Times are timezone-aware UTC. Money is Decimal dollars, a JSON number on the wire. Models are frozen and refuse
unknown fields, but for `TradingSession`, which a manager keeps fresh and its holder may edit before start.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from fntx_sessions.session_config import (
    STRATEGIES,
    AgentName,
    Condition,
    FeedConfig,
    RiskParameters,
    SessionConfig,
    SessionType,
    StrategyParameters,
)
from fntx_sessions.state_schemas import (
    AgentState,
    ArchiveNote,
    MarketState,
    Order,
    Position,
    SealedWeeks,
    SessionCheckpoint,
    StateSource,
    TradingState,
)
from fntx_sessions.template_schemas import SessionTemplate, TemplateContents
from fntx_sessions.values import Finite, Fraction, Model, Money, Time

__all__ = [
    "STRATEGIES",
    "AgentName",
    "AgentState",
    "ArchiveNote",
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
    "SealedWeeks",
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
    "StateSource",
    "StrategyParameters",
    "TemplateContents",
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
    ASK = "request_approval"
    DECIDE = "decide_approval"
    ORDER = "order"
    ANSWER = "answer"
    ACKNOWLEDGE = "acknowledge_event"


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


class SessionEvent(Model):
    """Something that happened. requires_action: a person has to do something; action_taken says what was done.

    impact_assessment: what it means for the session's money or trading. acknowledged_at, acknowledged_by: who saw to
    it, or said that there is nothing to be done; None: nobody has.
    """

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
    acknowledged_at: Time | None = None
    acknowledged_by: str | None = None


class SessionMetrics(Model):
    """Measures of a run: docs/metrics.md has each one's formula and unit, and says when it is None (not known).

    Amounts are dollars. broker: where it traded; `paper` is never live money. notice: what to know before using them.
    """

    session_id: UUID | None = None
    start_time: Time | None = None
    end_time: Time | None = None
    active_duration: float = 0.0
    pause_duration: float = 0.0
    total_trades: int | None = 0
    winning_trades: int | None = 0
    losing_trades: int | None = 0
    scratch_trades: int | None = 0
    open_trades: int | None = 0
    win_rate: float | None = None
    gross_pnl: Money | None = Decimal(0)
    fees: Money | None = Decimal(0)
    net_pnl: Money | None = Decimal(0)
    max_drawdown: Money | None = Decimal(0)
    execution_slippage: Money | None = Decimal(0)
    current_exposure: Money | None = None
    dollar_delta: Money | None = None
    stress_down: Money | None = None
    stress_up: Money | None = None
    margin_used: Money | None = None
    margin_source: Literal["broker", "Reg-T estimate"] | None = None
    marked_at: Time | None = None
    decision_latency_ms: float | None = None
    decision_latency_p99_ms: float | None = None
    error_rate: float | None = None
    reported_errors: int | None = None
    peak_memory_mb: float | None = 0.0
    total_api_calls: int | None = 0
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


class Unattended(Model):
    """A session that hosts should step while none lives. since: None where there never was one; positions: open."""

    since: Time | None = None
    positions: int


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
    template_version: int | None = None
    account_id: str
    broker: str = "paper"
    roster: list[str] = []
    holds: list[Hold] = []
    pending: dict[str, Any] | None = None
    status_since: Time
    status_reason: str = ""
    status_actor: str = ""
    requires_action: str | None = None
    waiting_for: str | None = None
    held_elsewhere: str | None = None
    quiesced_at: Time | None = None
    pinned: bool = False
    archive: ArchiveNote | None = None
    shredded_at: Time | None = None
    sealed_weeks: SealedWeeks | None = None
    unattended: Unattended | None = None


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
    identity: str = ""
    identity_differences: list[str] = []
    reason: str
    problem: str | None = None


class SessionRecoveryPlan(Model):
    """What could be restored, from where, and what it would cost; making one changes nothing.

    recovery_type: the source of the best candidate, or `none`. named_checkpoint_id: the one that was asked for, beside
    which nothing is tried. version, epoch: the session's when the plan was made. hosts_not_seen: hosts whose local
    backups, should they have any, cannot be read from here. recovery_confidence: the sum of what `confidence_reasons`
    lists, 0 without a usable candidate. others: how many could be named instead of the one that was. refused: what a
    recovery would be refused with now.
    """

    plan_id: UUID
    session_id: UUID
    created_at: Time
    recovery_type: str
    checkpoint_id: UUID | None
    fallback_checkpoint_ids: list[UUID] = []
    named_checkpoint_id: UUID | None = None
    candidates: list[RecoveryCandidate] = []
    others: int = 0
    refused: str | None = None
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
