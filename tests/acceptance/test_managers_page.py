"""The Python of docs/managers.md and the example of a trading day, run against a real worker."""

import asyncio
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from running_desk import RunningDesk, desk, quiet_desk, run
from state_world import agent_bytes

from fntx_sessions import SessionLifecycleManager, SessionStateManager, SessionType, TradingSession
from fntx_sessions.state.live import LiveState, Report

__all__ = ["desk", "quiet_desk"]

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "managers.md").read_text(), re.DOTALL)
RISK = "RiskManagerAgent"


def remember(desk: RunningDesk, session: TradingSession) -> None:
    """Let an agent report, so that there is state to keep."""
    with desk.redis() as client:
        live = LiveState(client, desk.settings)
        live.raise_fence(session.session_id, session.epoch)
        live.report(Report(session.session_id, session.epoch, RISK, {f"agent/{RISK}": agent_bytes(RISK)}))


async def execute(block: str, names: dict[str, Any]) -> None:
    """Run a block with these names at hand; a page has no function around it."""
    head = f"async def block({', '.join(f'{name}={name}' for name in names)}):\n"
    exec(head + textwrap.indent(block, "    "), names)  # noqa: S102 - the page's own text
    await asyncio.wait_for(names["block"](), 60)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_page_runs_as_it_stands(desk: RunningDesk, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a session that runs and two managers at hand, nothing of the page is refused or hangs."""
    monkeypatch.setattr("fntx_sessions.caller.manager.get_settings", lambda: desk.settings)

    async def scenario() -> None:
        async with SessionLifecycleManager() as lifecycle_manager, SessionStateManager() as state_manager:
            session = await lifecycle_manager.create_session(SessionType.PAPER_TRADING)
            await lifecycle_manager.start_session(session.session_id)
            remember(desk, session)
            names = {"lifecycle_manager": lifecycle_manager, "state_manager": state_manager, "session": session}
            given = names if number else {}
            await execute(BLOCKS[number], given)

    run(scenario)


def test_the_example_of_a_trading_day(desk: RunningDesk) -> None:
    """A service of its own process: its session runs, is paused by a storm, resumed and stopped, all of it told."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FNTX_")}
    found = subprocess.run(
        [sys.executable, "examples/trading_day.py"], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
        env=environment | {"FNTX_REDIS_URL": desk.redis_url, "FNTX_HOME": str(desk.folder), "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    told = re.findall(r"^[\d:]{8} (session_\w+)", found.stdout, re.MULTILINE)
    expected = ["session_created", "session_started", "session_paused", "session_resumed", "session_stopped"]
    assert [one for one in told if one in expected] == expected
    assert "refused: cannot pause" in found.stdout
    assert "0 trades, net $0" in found.stdout
