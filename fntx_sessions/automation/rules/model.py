"""The values that rules are made of: what may be looked at, what was found, and what is to be done."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from fntx_sessions.schemas import SessionStatus
from fntx_sessions.trading.calendars import Calendar


class Action(StrEnum):
    """What a rule set does when it fires."""

    START = "start"
    STOP = "stop"
    PAUSE = "pause"
    RESUME = "resume"


# Of each rule set, the field of a session's config that holds it.
KEYS: dict[str, str] = {action.value: f"auto_{action.value}_conditions" for action in Action}
PAST = {Action.START: "started", Action.STOP: "stopped", Action.PAUSE: "paused", Action.RESUME: "resumed"}


@dataclass(frozen=True, slots=True)
class MarketFacts:
    """The market as it was last known. Every field None where unknown. age_s: seconds before the session's `now`.

    stale: too old to trade on by the feed's own limit; halted: trading is stopped by the exchange.
    """

    age_s: float
    spot: float | None = None
    previous_close: float | None = None
    vix: float | None = None
    regime: str | None = None
    liquidity: str | None = None
    stale: bool = False
    halted: bool = False


@dataclass(frozen=True, slots=True)
class PositionFacts:
    """One open leg, as it was reported. quantity < 0: short. strike, expiry: None for shares."""

    trade_id: str
    symbol: str
    quantity: int
    opened_at: datetime
    right: str = "stock"
    strike: Decimal | None = None
    expiry: date | None = None


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """How a session does, as its last step, its ledger or its agents' report says; None where unknown.

    age_s: seconds before `now`. daily_pnl: the account's counted P&L of the trade date, dollars after fees, negative
    is a loss; loss_limit: dollars, positive. drawdown: dollars, <= 0. position_count: contracts and shares' lots open.
    error_rate: failed / attempted over 5 min. decision_latency_ms: median. positions: None where not known leg by leg.
    guarded: a hosted RiskManagerAgent keeps the session's limits itself, so that nobody else need judge them.
    pnl_age_s: of daily_pnl, where that is the ledger's: what is realised does not age; None: it is as old as the rest.
    """

    age_s: float
    daily_pnl: Decimal | None = None
    loss_limit: Decimal | None = None
    latched: bool = False
    drawdown: Decimal | None = None
    position_count: int | None = None
    error_rate: float | None = None
    decision_latency_ms: float | None = None
    positions: tuple[PositionFacts, ...] | None = None
    guarded: bool = False
    pnl_age_s: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that one evaluation of one session's rules may look at. Times are UTC, aware.

    now: the session's own clock (the wall by Postgres's clock, or simulated). extended: its market_open and
    market_close are those of the extended hours. started_at: when it was started, by the same clock; None: not yet.
    market, session: None where nothing ever came. unrecorded: of a recording, which never had all that a session knows
    of itself; what it lacks of that is nobody's fault.
    """

    session_id: UUID
    now: datetime
    status: SessionStatus
    calendar: Calendar
    extended: bool = False
    started_at: datetime | None = None
    market: MarketFacts | None = None
    session: SessionFacts | None = None
    unrecorded: bool = False


class Reading(NamedTuple):
    """What a condition read. value: plain JSON, None where unknown. age_s: of the data; None: it needs none.

    note: in words what there is to say beside the value, or why there is none. limit: what is compared with, where that
    is not the rule's own value. decided: it holds, or not, whatever the value. stale: too old to trade on by the feed's
    own limit, which counts unless the rule sets `max_age_s`. expected: that there is no value is no fault of the data's
    (the exchange is shut, too few attempts), so it is not reported as missing.
    """

    value: Any
    age_s: float | None = None
    note: str = ""
    limit: Any = None
    decided: bool | None = None
    stale: bool = False
    expected: bool = False


class Condition(Protocol):
    """One kind of condition; another package adds its own through the entry point group `fntx_sessions.conditions`.

    Plain attributes `name` and `ordered` will do. A Reading of None, NaN or an infinity is taken as not known.
    """

    @property
    def name(self) -> str:
        """Return its name, as rules write it."""

    @property
    def ordered(self) -> int:
        """Return +1 where it holds above its value, -1 below it, 0 where no clear_value makes sense."""

    def check(self, value: Any) -> Any:
        """Return the rule's value as it is kept; raises ValueError saying what is wrong with it and what to write."""

    def read(self, facts: Facts, value: Any) -> Reading:
        """Return what the condition looks at; a value of None, NaN or an infinity is taken as not known."""

    def holds(self, found: Any, value: Any) -> bool:
        """Tell whether what was found fulfils the rule's value."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition of a rule set, checked. path: where it stands, such as ``stop.0`` or ``start.1.all_of.0``.

    mark: stands for all that was written, so that what is remembered of a rule is not taken for its successor's.
    problem: what makes a stored rule unusable here, such as a plug-in that is not installed; it then reads as unknown.
    """

    path: str
    condition: str
    value: Any
    for_s: float = 0.0
    clear_value: Any = None
    cooldown_s: float = 0.0
    max_age_s: float | None = None
    children: tuple["Rule", ...] = ()
    mark: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class RuleSets:
    """The four rule sets of a session. An empty one never fires."""

    start: tuple[Rule, ...] = ()
    stop: tuple[Rule, ...] = ()
    pause: tuple[Rule, ...] = ()
    resume: tuple[Rule, ...] = ()


class Truth(NamedTuple):
    """One condition as it was found. holds None: not known. since: when it began to hold (or not) so, session clock.

    met: it holds, has held for `for_s`, and its cooldown is over. why: the sentence, "VIX 31.2 >= 30, quote 4 s old".
    """

    path: str
    condition: str
    value: Any
    limit: Any
    age_s: float | None
    holds: bool | None
    met: bool
    since: datetime | None
    why: str
    children: tuple["Truth", ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that decisions keep."""
        return {
            "path": self.path,
            "condition": self.condition,
            "value": self.value,
            "limit": self.limit,
            "age_s": self.age_s,
            "holds": self.holds,
            "met": self.met,
            "since": self.since.isoformat() if self.since else None,
            "why": self.why,
            "children": [child.to_json() for child in self.children],
        }


@dataclass(frozen=True, slots=True)
class Memory:
    """What the engine remembers of a session between evaluations, by path; plain JSON, so that it can be stored."""

    rules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an evaluation came to. action None: nothing is to be done, and `why` says why not.

    truths: of every rule set that was looked at, by its name. missing: paths of stop rules without usable data.
    warnings: (key, sentence) of limits that are nearly reached. memory: to be kept for the next evaluation.
    unfired: to be kept instead where the action was refused, so that no cooldown runs for what did not happen.
    """

    action: Action | None
    why: str
    truths: Mapping[str, tuple[Truth, ...]]
    memory: Memory
    missing: tuple[str, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()
    unfired: Memory | None = None
