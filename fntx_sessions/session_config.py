"""What a session may be told: its config, its risk parameters, its strategies. Units as named or described."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from fntx_sessions.values import Finite, Model


class SessionType(StrEnum):
    """What kind of run a session is; it decides the roster and the clock."""

    REGULAR = "regular"
    EXTENDED_HOURS = "extended_hours"
    PAPER_TRADING = "paper_trading"
    BACKTEST = "backtest"
    MANUAL_OVERRIDE = "manual_override"


class Condition(Model):
    """One rule condition in the spec's form: ``{"condition": "vix_below", "value": 30}``.

    condition: any name, so that what is stored can be read where a plug-in is missing; which names there are, and what
    their values may be, is checked where a config comes in (`automation.rules.checking`). The value of all_of, any_of
    and none_of is a list of such conditions.
    """

    condition: str = Field(min_length=1, max_length=100)
    value: Any = True
    for_s: float | None = Field(default=None, ge=0)
    clear_value: Any = None
    cooldown_s: float | None = Field(default=None, ge=0)
    max_age_s: float | None = Field(default=None, gt=0)


DEFAULT_FEED = "spy"
# A name is part of Redis keys and fields; the dot is for the names of guards.
AgentName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")]


class FeedConfig(Model):
    """Where a session's market comes from.

    kind: ``published`` (another service sends MarketState to the feed called `name`), ``recorded`` (what was published
    to that feed on `trade_date`, played again), ``replayed`` (CSV days through the seeded intraday path), ``synthetic``
    (seeded day). `days` are replayed rows [date, open, high, low, close, volume, vix] preceded by `previous`. All but
    published feeds drive a simulated clock: each step advances it by `step_s` seconds; `step_interval_s` of the config
    says how often a step is due on the wall (Backtest ignores it and runs through).
    """

    kind: Literal["published", "recorded", "replayed", "synthetic"] = "synthetic"
    name: str = Field(default=DEFAULT_FEED, pattern=r"^[a-z0-9][a-z0-9_-]{0,49}$")
    seed: int = Field(default=0, ge=0, lt=2**63)
    day: dict[str, Any] | None = None
    previous: dict[str, Any] | None = None
    trade_date: str | None = None
    beta: Literal[0, 4, 8] = 4
    step_s: int = Field(default=300, ge=1, le=3600)


class SessionConfig(Model):
    """`session.config`: how a session behaves. Minutes and seconds as named; unknown keys are refused."""

    close_positions_on_stop: bool = True
    allow_overnight_positions: bool = False
    max_position_hold_time: float | None = Field(default=None, gt=0, le=43_200, description="minutes")
    on_breach: Literal["pause", "stop"] = Field(
        default="pause", description="what a limit does that is broken by agents of other services"
    )
    require_confirmation: bool = False
    approval_expires_s: float = Field(default=300.0, ge=1, le=86_400)
    approval_drift_max: float = Field(
        default=0.2, gt=0, le=10, description="how far price or risk may move from an approved order's, share of it"
    )
    approval_drift_min_usd: Finite = Field(
        default=0.05, ge=0, le=100, description="dollars a share that the price may move whatever share of it they are"
    )
    use_limit_orders_only: bool = True
    auto_start_conditions: list[Condition] = Field(default_factory=list, max_length=50)
    auto_stop_conditions: list[Condition] = Field(default_factory=list, max_length=50)
    auto_pause_conditions: list[Condition] = Field(default_factory=list, max_length=50)
    auto_resume_conditions: list[Condition] = Field(default_factory=list, max_length=50)
    auto_resume_after_recovery: bool = False
    save_interval_s: float = Field(default=5.0, ge=0.5, le=3600)
    checkpoint_interval_s: float = Field(default=900.0, ge=1, le=86_400)
    wait_ready_s: float = Field(default=30.0, ge=0, le=3600)
    stop_deadline_s: float = Field(default=900.0, gt=0, le=86_400)
    leave_positions_with: str | None = Field(default=None, max_length=200)
    agents: list[str] | None = Field(default=None, min_length=1, max_length=20)
    agent_configurations: dict[str, dict[str, Any]] = Field(
        default_factory=dict, max_length=20, description="by agent: what it alone is told"
    )
    calendar: str = Field(default="XNYS", max_length=20)
    account: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$")
    broker: str | None = Field(default=None, max_length=50)
    step_interval_s: float = Field(default=1.0, ge=0.05, le=3600)
    feed: FeedConfig = FeedConfig()
    tags: list[str] = Field(default_factory=list, max_length=20)


class RiskParameters(Model):
    """`session.risk_parameters`; meanings in docs/trading.md.

    max_daily_risk: fraction of equity at the roll. position_limit: contracts open at once. stop_loss_multiplier:
    exit when cost to close >= multiplier x credit (> 1). take_profit_multiplier: share of the credit kept (0-1).
    """

    max_daily_risk: float = Field(default=0.02, gt=0, le=0.25)
    position_limit: int = Field(default=3, ge=1, le=10_000)
    stop_loss_multiplier: float = Field(default=3.0, gt=1, le=20)
    take_profit_multiplier: float = Field(default=0.5, gt=0, lt=1)


class StrategyParameters(Model):
    """`strategy_parameters[name]`: what the planner sells and when."""

    delta: float = Field(default=0.15, gt=0, lt=0.5)
    contracts: int = Field(default=1, ge=1, le=1000)
    width: Finite | None = Field(default=None, gt=0, le=100, description="dollars between the legs of a spread")
    entry_time: str = Field(default="10:00:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d:[0-5]\d$")
    min_bid: Finite = Field(default=0.10, ge=0, le=1000)
    max_entries_per_day: int = Field(default=1, ge=1, le=100)


STRATEGIES = ("sell_put", "sell_call", "sell_strangle", "sell_put_spread", "sell_call_spread")
