"""One hosted session in this process: its market, clock, book and its agents' memory, loaded once and kept warm."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import structlog
from sqlalchemy import text

from fntx_sessions.agents.base import State
from fntx_sessions.agents.measures import Recent, load_history
from fntx_sessions.agents.registry import step_order
from fntx_sessions.automation.rules.compile import as_text
from fntx_sessions.automation.rules.standing import Standing
from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.orders import account_day, next_sequence
from fntx_sessions.lifecycle.people import People, needs_approval
from fntx_sessions.lifecycle.people_rows import load_people
from fntx_sessions.lifecycle.reconcile import reconcile
from fntx_sessions.schemas import (
    Hold,
    RiskParameters,
    SessionConfig,
    SessionStatus,
    SessionType,
    StrategyParameters,
)
from fntx_sessions.state.live import LiveCut, LiveState
from fntx_sessions.state.parts import GUARD, agent_part
from fntx_sessions.trading.book import BookView
from fntx_sessions.trading.broker import Broker
from fntx_sessions.trading.brokers import get_broker
from fntx_sessions.trading.calendars import Calendar, get_calendar
from fntx_sessions.trading.clock import SessionClock
from fntx_sessions.trading.feeds import Feed, MarketSource, session_clock, session_feed
from fntx_sessions.trading.ledger import AccountView
from fntx_sessions.trading.market_history import recorded
from fntx_sessions.trading.market_store import latest_market
from fntx_sessions.trading.orders import ZERO
from fntx_sessions.trading.rules import TradingRules

log = structlog.get_logger(__name__)
# The manager's own guard of open positions: two of the built-in agents, with a memory of their own.
GUARDS = (f"{GUARD}RiskManagerAgent", f"{GUARD}TacticalExecutorAgent")

_OTHERS = text("""
SELECT coalesce(sum(realized + unrealized - fees), 0) AS pnl, coalesce(sum(open_risk), 0) AS open_risk,
  coalesce(sum(contracts), 0) AS contracts, coalesce(sum(margin), 0) AS margin
FROM session_days WHERE account_id = :account_id AND trade_date = :trade_date AND session_id <> :session_id
""")
# Weeks before the clock are not looked at.
_LATER_FILL = text("""
SELECT max(timestamp) FROM fills WHERE session_id = :session_id
  AND timestamp > coalesce(CAST(:clock_at AS timestamptz), '-infinity')
""")


@dataclass(slots=True)
class Slot:
    """One agent of a session: its memory and the counters of its AgentState. cpu_ms: of its last step.

    kept: the memory as JSON, as it was before a step that is under way.
    """

    name: str
    state: State = field(default_factory=dict)
    actions: int = 0
    decisions: int = 0
    errors: int = 0
    milliseconds: float = 0.0
    cpu_ms: float = 0.0
    quarantined: bool = False
    kept: bytes = b"{}"

    def keep(self, state: State, kept: bytes) -> None:
        """Take over what a step made of the memory, and the same as JSON."""
        self.state, self.kept = state, kept

    def go_back(self) -> None:
        """Let the memory be that of before a step that failed, whatever that did to it."""
        self.state = orjson.loads(self.kept)


@dataclass(slots=True)
class Runtime:
    """A session as it is stepped. revision: of the live state it was loaded from or last reported.

    unsure: a call of the broker did not come to its end, so that the book has to be loaded anew. guards_only: nobody
    is there to step its agents, whatever its status. asked: something waits for a person, or comes from one.
    overran: the agent that took too long, and was interrupted from outside.
    traded_elsewhere: the money view is what agents of another service report; ours, which knows the book here alone, is
    not put over it.
    """

    session_id: UUID
    epoch: int
    version: int
    status: SessionStatus
    session_type: SessionType
    config: SessionConfig
    risk: RiskParameters
    enabled_strategies: list[str]
    strategy_parameters: dict[str, StrategyParameters]
    account_id: str
    calendar: Calendar
    feed: Feed
    clock: SessionClock
    broker: Broker
    book: BookView
    account: AccountView
    slots: dict[str, Slot]
    guards: dict[str, Slot]
    sequence: int
    revision: int
    rules: TradingRules
    peak: Decimal = ZERO
    drawdown: Decimal = ZERO
    recent: Recent = field(default_factory=Recent)
    standing: Standing = field(default_factory=Standing)
    rules_text: str = "{}"
    holds: frozenset[Hold] = frozenset()
    flatten: bool = False
    quiesced: bool = True
    failures: dict[str, int] = field(default_factory=dict)
    overran: str = ""
    last_sample_at: datetime | None = None
    unsampled: dict[str, int] = field(default_factory=dict)
    unsure: bool = False
    traded_elsewhere: bool = False
    guards_only: bool = False
    asked: bool = False
    people: People = field(default_factory=People)

    @property
    def guarded(self) -> bool:
        """Tell whether only the manager's guard steps: what is open is protected, nothing is opened."""
        return self.guards_only or self.status in (SessionStatus.SUSPENDED, SessionStatus.ERROR) or not self.slots

    @property
    def stepped(self) -> dict[str, Slot]:
        """Return what steps in this status, in order."""
        return self.guards if self.guarded else self.slots


def load_runtime(desk: Desk, row: dict[str, Any], *, instead: MarketSource | None = None) -> Runtime:
    """Build a claimed session's runtime from the stores; raises InvalidArgument where its feed cannot be played.

    Where the step before never ended, the ledger is first brought up to the broker: a process may have died between
    an order and its record. instead: Redis is away; nothing is asked of it, agents remember nothing, and this is where
    a published market comes from.
    """
    config = SessionConfig.model_validate(row["config"])
    calendar, rules = get_calendar(config.calendar), TradingRules.from_settings(desk.settings)
    session_type = SessionType(row["session_type"])
    source = instead or (lambda: latest_market(desk.redis, config.feed.name))
    feed, clock = _market(desk, row, config, calendar, session_type, source)
    cut = None if instead else _live_cut(desk, row)
    trade_date = calendar.trade_date(clock.now)
    broker = get_broker(row["broker"], desk.engine)
    if row["interrupted"]:
        reconcile(desk.engine, broker, row["session_id"], row["epoch"])
    account = account_view(desk, broker, row["account_id"], row["session_id"], trade_date)
    history = load_history(desk.engine, row["session_id"])
    runtime = Runtime(
        row["session_id"],
        row["epoch"],
        row["version"],
        SessionStatus(row["status"]),
        session_type,
        config,
        RiskParameters.model_validate(row["risk_parameters"]),
        row["enabled_strategies"],
        _strategies(row),
        row["account_id"],
        calendar,
        feed,
        clock,
        broker,
        broker.load_book(row["session_id"], trade_date),
        account,
        _slots(step_order(row["hosted_agents"] or []), cut),
        _slots(GUARDS, cut),
        next_sequence(desk.engine, row["session_id"], row["epoch"]),
        cut.revision if cut else 0,
        rules,
        history.peak,
        history.drawdown,
        history.recent,
        history.standing,
        as_text(row["config"]),
        failures=dict(row["agent_failures"]),
        traded_elsewhere=row["traded_elsewhere"],
    )
    refresh(runtime, row)
    return runtime


def refresh(runtime: Runtime, row: dict[str, Any]) -> None:
    """Take over what a command may have changed since the last step."""
    runtime.status = SessionStatus(row["status"])
    runtime.quiesced = row["quiesced_at"] is not None
    runtime.holds = frozenset(map(Hold, row["holds"]))
    runtime.failures = dict(row["agent_failures"])
    runtime.guards_only = row.get("guards_only", False)
    runtime.asked = row.get("people", False)
    pending = row["pending"] or {}
    runtime.flatten = runtime.status is SessionStatus.CLOSING and pending.get("close_positions", True)
    if row["version"] != runtime.version:
        runtime.version = row["version"]
        runtime.config = SessionConfig.model_validate(row["config"])
        runtime.rules_text = as_text(row["config"])
        runtime.risk = RiskParameters.model_validate(row["risk_parameters"])
        runtime.enabled_strategies, runtime.strategy_parameters = row["enabled_strategies"], _strategies(row)


def hear_people(desk: Desk, runtime: Runtime) -> None:
    """Read what waits for a person, or comes from one, where there may be any."""
    approving = needs_approval(runtime.config.model_dump(include={"require_confirmation"}), runtime.session_type)
    if approving or runtime.asked:
        runtime.people = load_people(
            desk.engine, runtime.session_id, approving=approving, again_s=desk.settings.approval_again_s
        )
    else:
        runtime.people = People()


def account_view(desk: Desk, broker: Broker, account_id: str, session_id: UUID, trade_date: date) -> AccountView:
    """Return what the account has today, opening it at the broker with its equity if it is new there."""
    day = account_day(desk.engine, account_id, trade_date)
    held = broker.open_account(account_id, day.equity_at_roll)
    with transaction(desk.engine) as connection:
        others = rows(
            connection.execute(_OTHERS, {"account_id": account_id, "trade_date": trade_date, "session_id": session_id})
        )[0]
    return AccountView(
        account_id,
        day.equity_at_roll,
        held.cash,
        others["pnl"],
        others["open_risk"],
        int(others["contracts"]),
        others["margin"],
        held.margin_used,
        (day.latch_reason or "the loss limit has fired") if day.latched else None,
        day.carried,
    )


def _live_cut(desk: Desk, row: dict[str, Any]) -> LiveCut | None:
    live = LiveState(desk.redis, desk.settings)
    live.raise_fence(row["session_id"], row["epoch"])
    return live.read([row["session_id"]])[0]


def _market(
    desk: Desk, row: dict[str, Any], config: SessionConfig, calendar: Calendar, kind: SessionType, source: MarketSource
) -> tuple[Feed, SessionClock]:
    today, rules = calendar.local_date(row["started_at"]), TradingRules.from_settings(desk.settings)
    played = recorded(desk.engine, config.feed, calendar) if config.feed.kind == "recorded" else None
    feed = session_feed(config.feed, calendar, today=today, source=source, recorded=played, rules=rules)
    return feed, session_clock(feed, calendar, config.feed, kind, _last_known(desk, row))


def _last_known(desk: Desk, row: dict[str, Any]) -> datetime | None:
    """Return where the session's clock stands: a fill may be later than the last clock that was stored."""
    bound = {"session_id": row["session_id"], "clock_at": row["clock_at"]}
    with transaction(desk.engine) as connection:
        later: datetime | None = connection.execute(_LATER_FILL, bound).scalar_one()
    return later or row["clock_at"]


def _strategies(row: dict[str, Any]) -> dict[str, StrategyParameters]:
    return {name: StrategyParameters.model_validate(value) for name, value in row["strategy_parameters"].items()}


def _slots(names: Iterable[str], cut: LiveCut | None) -> dict[str, Slot]:
    parts = cut.parts if cut else {}
    return {name: _slot(name, parts.get(agent_part(name))) for name in names}


def _slot(name: str, part: bytes | None) -> Slot:
    if part is None:
        return Slot(name)
    known = orjson.loads(part)
    state = known.get("internal_state", {})
    return Slot(
        name,
        state,
        known.get("actions_taken", 0),
        known.get("decisions_made", 0),
        known.get("errors_encountered", 0),
        known.get("processing_time_ms", 0.0),
        kept=orjson.dumps(state),
    )
