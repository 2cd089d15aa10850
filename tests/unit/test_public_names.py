"""The public names: sorted, complete, and free of what their users may not need."""

import subprocess
import sys
from typing import get_type_hints

import pytest

import fntx_sessions
from fntx_sessions.memory.port import MCPManager


def test_names_are_sorted_and_each_of_them_is_there() -> None:
    """`__all__` is sorted, names nothing twice, and every name can be had."""
    names = fntx_sessions.__all__
    assert names == sorted(set(names))
    assert all(getattr(fntx_sessions, name).__name__ == name for name in names)
    assert set(names) <= set(dir(fntx_sessions))


def test_a_star_import_brings_the_spec_names() -> None:
    """What the spec's examples import is public."""
    assert {"SessionLifecycleManager", "SessionStateManager", "SessionType", "SessionStatus"} <= set(
        fntx_sessions.__all__
    )


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name fails as it does in any module."""
    with pytest.raises(AttributeError, match="SessionManager"):
        _ = fntx_sessions.SessionManager


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import fntx_sessions", ["celery", "sqlalchemy", "redis", "pydantic"]),
        ("from fntx_sessions import SessionType, TradingSession", ["celery", "sqlalchemy", "redis"]),
        # Not psutil: redis-py loads OpenTelemetry's SDK where the extra is installed, and that loads it.
        ("from fntx_sessions import SessionLifecycleManager", ["tasks", "QuantLib", "flower", "pandas"]),
    ],
)
def test_an_import_loads_no_more_than_it_needs(statement: str, absent: list[str]) -> None:
    """The vocabulary does without Celery and the stores; a manager without our tasks, whose import makes an app."""
    check = f"import sys; {statement}; print(*(set({absent}) & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_a_manager_does_not_become_the_current_celery_app() -> None:
    """A service with an app of its own keeps it, and its connections, which may be in use."""
    check = (
        "from celery import Celery, current_app; mine = Celery('mine', broker='redis://127.0.0.1:1/0'); "
        "used = mine.pool.acquire(); limit = mine.pool.limit; "
        "from fntx_sessions import SessionLifecycleManager, Settings; "
        "from fntx_sessions.caller.producer import Producer; "
        "Producer(Settings(home='/nonexistent'), 'redis://127.0.0.1:1/0'); "
        "assert current_app._get_current_object() is mine; assert mine.pool.limit == limit"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


def test_the_memory_port_tells_what_fits() -> None:
    """Whatever stores memories and shares context may be handed to a manager."""

    class Fits:
        async def store_memory(self, agent, memory): ...
        async def share_context(self, sender, recipients, context): ...
        async def search_memories(self, query, **filters): ...
        async def get_agent_memories(self, agent, **filters): ...

    assert isinstance(Fits(), MCPManager)
    assert not isinstance(object(), MCPManager)
    assert get_type_hints(fntx_sessions.SessionLifecycleManager.__init__)["mcp_manager"] == MCPManager | None
