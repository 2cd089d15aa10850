"""Which hosted agents there are: the entry point group `fntx_sessions.agents`, looked at once a process.

A package is imported by the first step that needs an agent of it: what it breaks, it breaks there, and is charged for.
"""

from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from fntx_sessions.agents.base import Agent
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.trading.calendars import get_calendar
from fntx_sessions.trading.feeds import build_tick
from fntx_sessions.trading.market import Board

GROUP = "fntx_sessions.agents"

# The order of a step: each agent builds on what those before it said. Others follow in the order they were named.
ROSTER_ORDER = (
    "EnvironmentWatcherAgent",
    "StrategicPlannerAgent",
    "RiskManagerAgent",
    "TacticalExecutorAgent",
    "EvaluatorAgent",
)


@lru_cache(maxsize=1)
def _found() -> dict[str, EntryPoint]:
    """Return where each agent is; nobody's package takes the name of a built-in one."""
    points = sorted(entry_points(group=GROUP), key=_is_ours)
    return {point.name: point for point in points}


def _is_ours(point: EntryPoint) -> bool:
    return point.value.startswith("fntx_sessions.")


def known_agents() -> list[str]:
    """Return the names of all hosted agents, the built-in ones first, in step order; none is imported for it."""
    return step_order(sorted(_found()))


def whence(name: str) -> str:
    """Return the package and version a hosted agent comes from, ``package 1.0``, or empty where that is not told."""
    point = _found()[name]
    return "" if point.dist is None else f"{point.dist.name} {point.dist.version}"


@lru_cache(maxsize=64)
def get_agent(name: str) -> Agent:
    """Return this process's instance of a hosted agent; raises InvalidArgument when there is none of that name.

    Importing and making it is its package's code: that may raise anything.
    """
    found = _found().get(name)
    if found is None:
        fix = f"Known are {', '.join(known_agents())}; others need an entry point in the group {GROUP}."
        raise InvalidArgument("agents", f"{name!r} is not a hosted agent", fix)
    made: Agent = found.load()()
    return made


def step_order(names: list[str]) -> list[str]:
    """Return the names in the order of a step, each once."""
    unique = list(dict.fromkeys(names))
    builtin = [name for name in ROSTER_ORDER if name in unique]
    return builtin + [name for name in unique if name not in ROSTER_ORDER]


def warm_up() -> None:
    """Load what every step needs, calendars and pricing included, before the pool forks: once, and shared by all.

    No other package's agents: one that hangs or dies as it is imported must not keep a worker from starting.
    """
    for name in ROSTER_ORDER:
        get_agent(name)
    today = datetime.now(UTC)
    calendar = get_calendar()
    board = Board(build_tick(today, calendar, spot=400.0, previous_close=400.0, vix=20.0, beta=0.0, kind="warm-up"))
    board.strike("put", 0.15)
    calendar.option_hours(calendar.trade_date(today))
