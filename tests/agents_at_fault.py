"""A desk that hosts the agents of bad_agents.py, beside our own."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import UUID

import bad_agents
import orjson
from hosting import FEED, Hosting, make_hosting, shared

from fntx_sessions.agents import registry
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.parts import agent_part

WATCHER, EVALUATOR = "EnvironmentWatcherAgent", "EvaluatorAgent"
_LIMITS = {
    "max_part_bytes": 20_000,
    "hosted_memory_max_bytes": 200_000_000,
    "hosted_events_max": 100,
    "hosted_events_max_bytes": 20_000,
}


def point(name: str, value: str) -> EntryPoint:
    """Return an entry point of the group of hosted agents."""
    return EntryPoint(name, value, registry.GROUP)


@contextmanager
def hosting_agents(home: Path, database_url: str, redis_url: str) -> Iterator[Hosting]:
    """Yield a desk that knows them, in a process that ignores Ctrl-C as a pool's child does."""
    theirs = [name for name, found in vars(bad_agents).items() if hasattr(found, "step")]
    found = registry._found() | {name: point(name, f"bad_agents:{name}") for name in theirs}
    found["Missing"] = point("Missing", "no_such_package:Missing")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    registry.get_agent.cache_clear()
    try:
        with (
            mock.patch.object(registry, "_found", return_value=found),
            make_hosting(shared(home, database_url, redis_url)) as made,
        ):
            yield made.with_settings(**_LIMITS)
    finally:
        registry.get_agent.cache_clear()
        signal.signal(signal.SIGINT, before)


def with_agent(desk: Hosting, *names: str) -> UUID:
    """Start a session with agents between our watcher and our evaluator."""
    return desk.started(config={"agents": [WATCHER, *names, EVALUATOR], "feed": FEED | {"step_s": 10}})


def memory(desk: Hosting, session_id: UUID, agent: str) -> dict[str, Any]:
    """Return an agent's part as it was reported last."""
    [cut] = LiveState(desk.desk.redis, desk.desk.settings).read([session_id])
    found: dict[str, Any] = orjson.loads(cut.parts[agent_part(agent)])
    return found
