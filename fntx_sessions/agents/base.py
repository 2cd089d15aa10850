"""What an agent is given for a step and what it may do: read the context, answer with its new state, use the desk."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from pydantic import SecretStr

from fntx_sessions.lifecycle.people import Approval, HandOrder, People, Warrant, needs_approval
from fntx_sessions.memory.slices import MemorySlice
from fntx_sessions.schemas import (
    RiskParameters,
    SessionConfig,
    SessionStatus,
    SessionType,
    Severity,
    StrategyParameters,
)
from fntx_sessions.trading.book import BookView
from fntx_sessions.trading.calendars import Calendar
from fntx_sessions.trading.exits import Exit, past_flat_by
from fntx_sessions.trading.ledger import AccountView, Money, money_of
from fntx_sessions.trading.market import Board, MarketTick
from fntx_sessions.trading.orders import ZERO, OrderRequest, Placed
from fntx_sessions.trading.rules import TradingRules

State = dict[str, Any]


class Desk(Protocol):
    """The only way for an agent to act. It keeps the context's book in step with what the broker answers."""

    def place(self, request: OrderRequest, warrant: Warrant | None = None) -> Placed:
        """Commit the intent at the order gate, then send it; raises OrderRefused (nothing sent) or StaleEpoch.

        warrant: on whose word; used up with it.
        """

    def cancel(self, client_order_id: str) -> None:
        """Cancel a working order; one that is no longer working is left as it is."""

    def request_approval(self, request: OrderRequest, reference: Decimal | None, reasons: dict[str, Any]) -> str | None:
        """Ask a person for an opening, once while it is open; return why nobody can be asked, None where it was done.

        reference: mid of one package, dollars a share. reasons: what the person reads.
        """

    def settle(self, what: Approval | HandOrder, state: str, result: str) -> None:
        """Say what became of an approval or of an order by hand; somebody who was quicker stands."""

    def emit(
        self,
        event_type: str,
        category: str,
        severity: Severity,
        description: str,
        data: dict[str, Any] | None = None,
        *,
        requires_action: bool = False,
    ) -> None:
        """Tell the session's events something; text is kept without what no database takes, 2000 characters of it.

        Raises InvalidArgument for more than `hosted_events_max` or `hosted_events_max_bytes` in one step, TypeError
        for data that no JSON can hold.
        """

    def remember(self, memory: MemorySlice) -> None:
        """Remember something beyond this session, for this agent; kept with the end of the step.

        Raises InvalidArgument for what is too large, or another session's.
        """

    def latch_loss(self, reason: str) -> None:
        """Latch the account's loss limit for the trade date: no opening until a risk manager clears it."""

    def request_pause(self, reason: str) -> None:
        """Ask for the session to be paused by a rule."""

    def request_suspend(self, reason: str, *, stale: bool = False) -> None:
        """Ask for the session to be suspended: a fault makes trading unsafe.

        stale: that of a published market, which heals once the market is right again.
        """

    def request_stop(self, reason: str) -> None:
        """Ask for the session to be stopped."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """An opening somebody wants: the planner, or the person who gave the warrant. why: for whoever has to agree."""

    request: OrderRequest
    warrant: Warrant | None = None
    why: str = ""


@dataclass(slots=True)
class Outputs:
    """What the agents of this step have said so far, in roster order."""

    market: dict[str, Any] | None = None
    plan: list[Proposal] = field(default_factory=list)
    approved: list[Proposal] = field(default_factory=list)
    refused: list[tuple[Proposal, str]] = field(default_factory=list)
    exits: list[Exit] = field(default_factory=list)
    loss_fired: bool = False
    placed: list[Placed] = field(default_factory=list)
    sample: dict[str, Any] | None = None


@dataclass(slots=True)
class StepContext:
    """One step of one session. Everything that judges time reads `now`; nothing here knows the future.

    board: quotes at `now`; None, with `tick`, where no market data has ever come. flatten: the session is to end
    flat (CLOSING, by the stop's policy). people: what waits for a person, or comes from one. peak and drawdown: the
    equity curve's, from the samples of earlier steps, so that they are continuous across a recovery. agent: whose turn
    it is. credentials: what the session's agents may know, by name, as it is set now; to be read in each step, and kept
    nowhere.
    """

    session_id: UUID
    epoch: int
    status: SessionStatus
    session_type: SessionType
    config: SessionConfig
    risk: RiskParameters
    enabled_strategies: list[str]
    strategy_parameters: dict[str, StrategyParameters]
    account: AccountView
    now: datetime
    tick: MarketTick | None
    board: Board | None
    book: BookView
    desk: Desk
    calendar: Calendar
    rules: TradingRules
    flatten: bool = False
    people: People = field(default_factory=People)
    peak: Decimal = ZERO
    drawdown: Decimal = ZERO
    agent: str = ""
    outputs: Outputs = field(default_factory=Outputs)
    credentials: Mapping[str, SecretStr] = field(default_factory=dict)
    _money: tuple[int, Money] | None = None

    @property
    def configuration(self) -> Mapping[str, Any]:
        """Return what the agent whose turn it is alone is told: its `agent_configurations` in the session's config."""
        return self.config.agent_configurations.get(self.agent, {})

    @property
    def local_time(self) -> time:
        """Return the exchange's time of day."""
        return self.now.astimezone(self.calendar.zone).time()

    @property
    def may_open(self) -> bool:
        """Tell whether the session's status and the account's latch leave room for openings."""
        return self.status is SessionStatus.ACTIVE and self.account.latched is None and not self.outputs.loss_fired

    @property
    def approving(self) -> bool:
        """Tell whether a person has to agree to each opening."""
        asked = {"require_confirmation": self.config.require_confirmation}
        return needs_approval(asked, self.session_type)

    @property
    def may_enter(self) -> bool:
        """Tell whether openings are in order right now: status and latch, open markets, and not past flat-by."""
        if self.board is None or not self.may_open:
            return False
        tick = self.board.tick
        return tick.market_open and tick.option_open and not past_flat_by(self.board)

    def money(self) -> Money:
        """Return the money view, computed anew only after the book changed; needs a board."""
        if self._money is None or self._money[0] != self.book.version:
            assert self.board is not None  # noqa: S101 - callers look first
            found = money_of(self.book, self.board, self.risk, self.account, self.rules)
            self._money = (self.book.version, found)
        return self._money[1]


class Agent(Protocol):
    """One hosted agent. It keeps nothing on itself: all memory is in the state it returns, plain JSON."""

    name: str

    def step(self, state: State, context: StepContext) -> State:
        """Do one step and return the new internal state."""


def first_time(state: State, key: str, context: StepContext) -> bool:
    """Tell, once per trade date and key, that something is to be said; remembers it in `state`."""
    today = context.book.trade_date.isoformat()
    said: dict[str, str] = state.setdefault("said", {})
    if said.get(key) == today:
        return False
    state["said"] = {name: day for name, day in said.items() if day == today} | {key: today}
    return True
