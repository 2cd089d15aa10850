"""All that the checks of one session look at, read for a batch of sessions in one question to each store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from fntx_sessions.agents.claims import HUNG
from fntx_sessions.agents.interrupts import interrupt_in
from fntx_sessions.automation.health.facts_sql import READ
from fntx_sessions.database.engine import rows, statements
from fntx_sessions.exceptions import FntxError, Unavailable
from fntx_sessions.lifecycle import commands
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import SessionStatus, SessionType
from fntx_sessions.session_config import DEFAULT_FEED
from fntx_sessions.state.agent_doors import STRANGER, Seen, look
from fntx_sessions.state.vitals import Vitals, read_vitals
from fntx_sessions.trading.calendars import get_calendar
from fntx_sessions.trading.feeds import market_age
from fntx_sessions.trading.market_store import latest_markets
from fntx_sessions.trading.rules import TradingRules

# Where the agents themselves step; elsewhere the manager's guard does, or nobody.
AGENTS_STEP = frozenset({SessionStatus.ACTIVE, SessionStatus.PAUSED, SessionStatus.CLOSING})
_UNTRIED = Vitals(None, None)


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """One agent of a session. vitals None: Redis could not be asked.

    stepping_s: its step is under way for so long, as the host that has the session says; None: it is not.
    failures: charged to it since a person last recovered its session. cpu_ms: processor time of its last step; None: it
    was not measured. seen: how it does at its door; None: it is hosted, or Redis could not be asked.
    """

    name: str
    hosted: bool
    required: bool
    ready: bool
    failures: int = 0
    stepping_s: float | None = None
    cpu_ms: float | None = None
    vitals: Vitals | None = None
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class HostFacts:
    """The worker that steps a session. lost_s: since its lease ran out; 0: it stands. Measures None: not known."""

    host_id: str
    lost_s: float
    memory_bytes: int | None = None
    cpu_fraction: float | None = None


@dataclass(frozen=True, slots=True)
class HealthFacts:
    """One session as it was found at `now`, by the clock of Postgres; ages in seconds. None: unknown, or it has none.

    in_status_s: since its status began. saved_s: since its last save, None where it is not saved by the clock.
    overdue_s: how late its next step is. hangs: steps that hung or took their process down, since a person last
    recovered it. claimed_s: since a process claimed its step. invalid: what of it no save could
    take since the last good one. attended: an agents worker lives. healing: it was suspended for `causes` and will be
    recovered by itself; suspended_for: what was said then. market_s: age of the market published to `feed` as trading
    takes it, None where it trades on none or options are shut; feed_s the same whether it trades or not.
    market_ahead_s: how far its date is ahead. attempts: recoveries begun lately. before: the checks of the look before
    this one that were not ok. unseen: Redis could not be asked. strangers: reports refused of who had not joined;
    None: it has no agents of other services.
    """

    session_id: UUID
    now: datetime
    status: SessionStatus
    session_type: SessionType
    version: int
    epoch: int
    in_status_s: float
    agents: tuple[AgentFacts, ...] = ()
    host: HostFacts | None = None
    attended: bool = True
    hosted: bool = True
    save_interval_s: float = 5.0
    saved_s: float | None = None
    step_interval_s: float = 1.0
    overdue_s: float | None = None
    claimed_s: float | None = None
    invalid: str | None = None
    measures: Mapping[str, Any] = field(default_factory=dict)
    rules_blind_s: float | None = None
    calendar: str = "XNYS"
    calendar_problem: str | None = None
    market_s: float | None = None
    market_missing: bool = False
    feed: str = DEFAULT_FEED
    hangs: int = 0
    market_ahead_s: float = 0.0
    feed_s: float | None = None
    unseen: bool = False
    requires_action: str | None = None
    healing: bool = False
    causes: tuple[str, ...] = ()
    suspended_for: str = ""
    next_recovery_at: datetime | None = None
    attempts: int = 0
    grade_before: str | None = None
    before: tuple[dict[str, Any], ...] = ()
    strangers: Seen | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """Facts of a batch. unseen: why Redis could not be asked, empty where it was."""

    facts: list[HealthFacts]
    unseen: str = ""


def read_health_facts(desk: Desk, session_ids: Sequence[UUID]) -> Read:
    """Return the facts of the sessions that are there, by id; without Redis, what Postgres knows.

    Raises Unavailable.
    """
    bound = {
        "ids": list(map(str, session_ids)),
        "claim_s": desk.settings.step_claim_s,
        "forgiven_s": commands.RECOVERY_FORGIVEN_S,
    }
    with statements(desk.engine) as connection:
        found = rows(connection.execute(READ, bound))
    rules = TradingRules.from_settings(desk.settings)
    try:
        asked = [(row["session_id"], [one["agent"] for one in row["agents"]]) for row in found]
        vitals = read_vitals(desk.redis, asked)
        seen = _seen(desk, found)
        published_at = _published_at(desk, found)
    except Unavailable as error:
        return Read(
            [replace(_facts(row, None, None, rules), market_missing=False, unseen=True) for row in found], str(error)
        )
    return Read(
        [
            _of_session(row, one, published_at.get(row["feed"]), rules, seen.get(row["session_id"], {}))
            for row, one in zip(found, vitals, strict=True)
        ]
    )


def _of_session(
    row: dict[str, Any],
    vitals: dict[str, Vitals] | None,
    market_at: datetime | None,
    rules: TradingRules,
    seen: dict[str, Seen] | None,
) -> HealthFacts:
    """Return the facts of one; what is in Redis for it alone may be past reading, and hides no other's."""
    facts = _facts(row, vitals, market_at, rules, seen or {})
    return replace(facts, unseen=True) if vitals is None or seen is None else facts


def _seen(desk: Desk, found: Sequence[dict[str, Any]]) -> dict[UUID, dict[str, Seen] | None]:
    """Return how the agents of other services do at their doors, of the sessions that have any."""
    remote = {row["session_id"]: [one["agent"] for one in row["agents"] if not one["hosted"]] for row in found}
    asked = [(session_id, [*agents, STRANGER]) for session_id, agents in remote.items() if agents]
    return {session_id: seen for (session_id, _), seen in zip(asked, look(desk.redis, asked), strict=True)}


def _published_at(desk: Desk, found: Sequence[dict[str, Any]]) -> dict[str, datetime]:
    """Return when the latest market of each feed is from that a session of these trades on."""
    feeds = {row["feed"] for row in found if row["feed_kind"] == "published"}
    return {feed: market.state.timestamp for feed, market in latest_markets(desk.redis, feeds).items()}


def _facts(
    row: dict[str, Any],
    vitals: dict[str, Vitals] | None,
    market_at: datetime | None,
    rules: TradingRules,
    seen: Mapping[str, Seen] = MappingProxyType({}),
) -> HealthFacts:
    problem, options_open = _calendar(row)
    needed = row["feed_kind"] == "published" and options_open
    trades = needed and row["status"] == SessionStatus.ACTIVE
    age_s = market_age(market_at, row["now"], rules) if needed and market_at else None
    direct = {name: row[name] for name in _DIRECT}
    return HealthFacts(
        **direct,
        status=SessionStatus(row["status"]),
        session_type=SessionType(row["session_type"]),
        agents=tuple(_agent(row, one, vitals, seen) for one in row["agents"]),
        host=_host(row),
        hangs=int((row["agent_failures"] or {}).get(HUNG, 0)),
        measures=row["measures"] or {},
        calendar_problem=problem,
        market_s=age_s if trades else None,
        market_missing=trades and market_at is None,
        market_ahead_s=max(0.0, (market_at - row["now"]).total_seconds()) if age_s is not None and market_at else 0.0,
        feed_s=age_s,
        causes=tuple(row["causes"] or ()) if row["healing"] else (),
        suspended_for=row["status_reason"] or "",
        before=tuple(row["before"] or ()),
        strangers=seen.get(STRANGER),
    )


_DIRECT = (
    "session_id", "now", "version", "epoch", "in_status_s", "attended", "hosted", "save_interval_s", "saved_s",
    "step_interval_s", "overdue_s", "claimed_s", "invalid", "rules_blind_s", "calendar", "requires_action", "healing",
    "next_recovery_at", "attempts", "grade_before", "feed",
)  # fmt: skip


def _agent(
    row: dict[str, Any], agent: dict[str, Any], vitals: dict[str, Vitals] | None, seen: Mapping[str, Seen]
) -> AgentFacts:
    name = agent["agent"]
    return AgentFacts(
        name,
        agent["hosted"],
        agent["required"],
        agent["ready"],
        int((row["agent_failures"] or {}).get(name, 0)),
        (row["stepping"] or {}).get(name),
        ((row["measures"] or {}).get("cpu_ms") or {}).get(name),
        None if vitals is None else vitals.get(name, _UNTRIED),
        seen.get(name),
    )


def _host(row: dict[str, Any]) -> HostFacts | None:
    if row["host_id"] is None:
        return None
    measured = row["host_measures"] or {}
    return HostFacts(row["host_id"], row["lost_s"], measured.get("memory_bytes"), measured.get("cpu_fraction"))


def _calendar(row: dict[str, Any]) -> tuple[str | None, bool]:
    """Return what is wrong with a session's calendar, None where it can be read, and whether options trade now."""
    now: datetime = row["now"].astimezone(UTC)
    try:
        return None, get_calendar(row["calendar"]).options_open(now)
    except FntxError as error:
        return str(error), False
    except Exception as error:
        if interrupt_in(error):  # the sweep's time is up, which says nothing of the calendar
            raise
        return f"{type(error).__name__}: {error}", False
