"""A day through the five built-in agents with a desk in memory: what the rules do, without a database."""

from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from uuid import UUID

from fntx_sessions.agents.base import StepContext
from fntx_sessions.agents.registry import ROSTER_ORDER, get_agent
from fntx_sessions.exceptions import OrderRefused
from fntx_sessions.lifecycle.people import Approval, People
from fntx_sessions.schemas import FeedConfig, RiskParameters, SessionConfig, SessionStatus, SessionType
from fntx_sessions.trading.book import BookView
from fntx_sessions.trading.calendars import get_calendar
from fntx_sessions.trading.days import Day
from fntx_sessions.trading.feeds import PathFeed, session_clock
from fntx_sessions.trading.ledger import AccountView, trades_of
from fntx_sessions.trading.market import Board
from fntx_sessions.trading.matching import fill_on_arrival, fill_resting
from fntx_sessions.trading.orders import OrderIntent, Placed, Working
from fntx_sessions.trading.paper import expiries
from fntx_sessions.trading.rules import DEFAULT_RULES
from fntx_sessions.trading.strategies import check_strategies

SESSION = UUID("00000000-0000-0000-0000-000000000001")
PREVIOUS = Day(date(2018, 1, 8), 2742.67, 2748.51, 2737.60, 2747.71, 22.0)  # a VIX that leaves premium to sell
DAY = Day(date(2018, 1, 9), 2751.15, 2759.14, 2747.86, 2751.29, 10.08)


class MemoryDesk:
    """A desk whose broker is a list."""

    def __init__(self, run):
        self.run = run
        self.events, self.latched, self.suspends = [], [], []
        self.refuse = None
        self.asked, self.settled, self.unasked = [], [], None
        self.sequence = 0

    def place(self, request, warrant=None):  # noqa: ARG002
        if self.refuse is not None:
            raise OrderRefused(str(SESSION), "none", "test", self.refuse)
        self.sequence += 1
        run = self.run
        intent = OrderIntent(f"o{self.sequence}", SESSION, 1, "a", run.book.trade_date, run.clock.now, request)
        fills = fill_on_arrival(intent, run.board, run.clock.now)
        placed = Placed(intent.client_order_id, "filled" if fills else "working", tuple(fills or ()))
        run.book.placed(Working(intent), placed)
        run.requests.append((run.clock.now, request))
        return placed

    def request_approval(self, request, reference, reasons):
        self.asked.append((request, reference, reasons))
        if self.unasked is None:
            number = UUID(int=len(self.asked))
            most = self.run.config.approval_drift_max
            self.run.people.approvals[request.trade_id] = Approval(number, request.trade_id, "waiting", request, most)
        return self.unasked

    def settle(self, what, state, result):
        self.settled.append((what, state, result))
        if isinstance(what, Approval):
            self.run.people.approvals.pop(what.trade_id, None)
        else:
            self.run.people.orders.remove(what)

    def approve(self):
        """Say yes to all that waits."""
        people = self.run.people
        people.approvals = {name: replace(one, state="approved") for name, one in people.approvals.items()}

    def cancel(self, client_order_id):
        self.run.book.gone(client_order_id)

    def emit(self, event_type, category, severity, description, data=None, *, requires_action=False):  # noqa: ARG002
        self.events.append((self.run.clock.now, event_type, description, requires_action))

    def latch_loss(self, reason):
        self.latched.append(reason)

    def request_pause(self, reason):
        raise AssertionError(reason)

    request_stop = request_pause

    def request_suspend(self, reason, **_):
        self.suspends.append(reason)


@dataclass
class Run:
    """One day. `path` replaces the seeded path (index points), `ticks` may change each tick, `statuses` by bar."""

    strategies: list[str] = field(default_factory=lambda: ["sell_put"])
    parameters: dict = field(default_factory=dict)
    day: Day = DAY
    previous: Day = PREVIOUS
    seed: int = 1
    beta: int = 4
    step_s: int = 300
    path: list[float] | None = None
    config: SessionConfig = field(default_factory=SessionConfig)
    risk: RiskParameters = field(default_factory=RiskParameters)
    equity: Decimal = Decimal(100_000)
    session_type: SessionType = SessionType.BACKTEST
    status: object = None
    flatten: object = None
    change: object = None
    calendar_name: str = "XNYS"

    def __post_init__(self):
        self.calendar = get_calendar(self.calendar_name)
        feed = FeedConfig(kind="replayed", seed=self.seed, beta=self.beta, step_s=self.step_s)
        self.feed = PathFeed("replayed", (self.previous, self.day), feed, self.calendar, path=self.path)
        self.clock = session_clock(self.feed, self.calendar, feed, self.session_type)
        self.book = BookView(self.day.date)
        self.desk = MemoryDesk(self)
        self.people = People()
        self.states = {name: {} for name in ROSTER_ORDER}
        self.requests, self.samples, self.decisions, self.fills = [], [], [], []
        self.bar = 0

    def go(self, bars=None):
        """Run to the end of the day, or `bars` steps."""
        while not self.clock.finished and (bars is None or self.bar < bars):
            self.step()
            self.clock.advance()
            self.bar += 1
        return self

    def step(self):
        """Do one step as a host does."""
        tick = self.feed.tick(self.clock.now)
        tick = tick if self.change is None else self.change(self.bar, tick)
        self.board = Board(tick, DEFAULT_RULES, stressed=self.book.stressed)
        if not tick.stale and self.book.needs_match(tick):
            self._match(tick)
        context = self.context(tick)
        for name in ROSTER_ORDER:
            self.states[name] = get_agent(name).step(self.states[name], context)
        self.samples.append(context.outputs.sample)
        self.context_seen = context
        self.decisions.append(
            (tick.now, [p.request for p in context.outputs.plan], list(context.outputs.exits), context.outputs.market)
        )

    def _match(self, tick):
        fills = []
        for order in self.book.working.values():
            fills += fill_resting(order.intent, self.board, tick.now) or []
        for trade in self.book.open_trades:
            fills += expiries(trade, self.board, tick.now)
        self.book.matched(fills, tick)

    def context(self, tick):
        status = SessionStatus.ACTIVE if self.status is None else self.status(self.bar)
        return StepContext(
            session_id=SESSION,
            epoch=1,
            status=status,
            session_type=self.session_type,
            config=self.config,
            risk=self.risk,
            enabled_strategies=self.strategies,
            strategy_parameters=check_strategies(self.strategies, self.parameters),
            account=AccountView(
                "a", self.equity, self.equity, latched=self.desk.latched[0] if self.desk.latched else None
            ),
            now=tick.now,
            tick=tick,
            board=self.board,
            book=self.book,
            desk=self.desk,
            calendar=self.calendar,
            rules=DEFAULT_RULES,
            people=self.people,
            flatten=False if self.flatten is None else self.flatten(self.bar),
        )

    @property
    def reasons(self):
        """The reasons of all orders, in order."""
        return [request.reason for _, request in self.requests]

    @property
    def results(self):
        return trades_of(self.book.fills)

    @property
    def net(self):
        return sum((result.net for result in self.results), Decimal(0))

    def at(self, moment):
        """Exchange time as text."""
        return moment.astimezone(self.calendar.zone).strftime("%H:%M")


def flat_path(level=2751.15, steps=78):
    return [level] * (steps + 1)


def path_with(changes, level=2751.15, steps=78):
    """A path at `level` that moves to a new level from each given bar on."""
    path = []
    for bar in range(steps + 1):
        level = changes.get(bar, level)
        path.append(level)
    return path
