"""The spec's Python examples, each run as it is written but for its import line, against a real worker.

`spec_examples.txt` beside this file holds them word for word.
"""

import ast
import asyncio
import logging
import re
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from running_desk import RunningDesk, desk, quiet_desk, run
from state_world import agent_bytes

import fntx_sessions
from fntx_sessions import (
    DeskMemory,
    SessionLifecycleManager,
    SessionStateManager,
    SessionStatus,
    SessionType,
    TradingSession,
)
from fntx_sessions.memory.context import stream
from fntx_sessions.session_config import Condition
from fntx_sessions.state.live import LiveState, Report

__all__ = ["desk", "quiet_desk"]

pytestmark = pytest.mark.timeout(180)
PAGE = Path(__file__).with_name("spec_examples.txt").read_text(encoding="utf-8")
EXAMPLES = {
    int(number): (title, code)
    for number, title, code in re.findall(
        r"^## (\d+)\. ([^\n]+)\n\n```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE
    )
}
RISK = "RiskManagerAgent"
PUBLIC = {name: getattr(fntx_sessions, name) for name in fntx_sessions.__all__}


@pytest.fixture(autouse=True)
def _this_desk(desk: RunningDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process's own settings be those of the desk, as FNTX_* variables would."""
    monkeypatch.setattr("fntx_sessions.caller.manager.get_settings", lambda: desk.settings)


async def example(number: int, **names: Any) -> SimpleNamespace:
    """Run one example with the names it takes as given, and return those it leaves."""
    _, code = EXAMPLES[number]
    known = {"asyncio": asyncio} | PUBLIC | names
    scope = compile(_function(code, known), f"spec example {number}", "exec")
    exec(scope, known)  # noqa: S102 - the spec's own text
    return SimpleNamespace(**await known["_example"]())


def _function(code: str, known: dict[str, Any]) -> str:
    """Return an async function of the example's lines, which returns the names that they assign."""
    code = code.replace("from backend.session import", "from fntx_sessions import")
    assigned = {
        node.id
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id not in known
    }
    lines = [f"global {', '.join(sorted(assigned))}"] if assigned else []
    end = f"return {{name: globals()[name] for name in {sorted(assigned)} if name in globals()}}"
    return "async def _example():\n" + textwrap.indent("\n".join([*lines, code, end]), "    ")


async def started(manager: SessionLifecycleManager, kind: SessionType = SessionType.PAPER_TRADING) -> TradingSession:
    session = await manager.create_session(kind)
    await manager.start_session(session.session_id)
    return session


def remember(desk: RunningDesk, session: TradingSession) -> None:
    """Let an agent of the session report, so that there is state to keep."""
    with desk.redis() as client:
        live = LiveState(client, desk.settings)
        live.raise_fence(session.session_id, session.epoch)
        parts = {f"agent/{RISK}": agent_bytes(RISK, note="seen")}
        live.report(Report(session.session_id, session.epoch, RISK, parts))


def test_every_example_of_the_spec_is_here() -> None:
    """All fifteen, and each of them is Python."""
    assert list(EXAMPLES) == [*range(1, 16)]
    for number in EXAMPLES:
        compile(_function(EXAMPLES[number][1], PUBLIC), str(number), "exec")


def test_session_lifecycle_management() -> None:
    """1: create, start, pause, resume, stop."""

    async def scenario() -> None:
        async with SessionLifecycleManager() as lifecycle_manager:
            session = (await example(1, lifecycle_manager=lifecycle_manager)).session
            assert session.status == SessionStatus.CLOSING
            assert session.config["close_positions_on_stop"] is True
            path = await lifecycle_manager.get_session_transitions(session.session_id)
            assert [step.to_status for step in path] == ["initializing", "active", "paused", "active", "closing"]
            assert path[2].reason == "high_volatility"

    run(scenario)


def test_checkpoint_and_recovery(desk: RunningDesk) -> None:
    """2: a checkpoint, the list, a restore, a plan, its execution."""

    async def scenario() -> None:
        async with SessionLifecycleManager() as manager, SessionStateManager() as state_manager:
            session = await started(manager)
            remember(desk, session)
            first = await state_manager.create_checkpoint(session)
            await manager.pause_session(session.session_id)
            given = {"session_id": session.session_id, "checkpoint_id": first.checkpoint_id}
            left = await example(2, state_manager=state_manager, session=session, **given)
            assert left.success is True
            assert left.checkpoint.checkpoint_id in [one.checkpoint_id for one in left.checkpoints]
            assert left.plan.session_id == session.session_id
            assert session.status == SessionStatus.PAUSED

    run(scenario)


def test_session_templates() -> None:
    """3: a named template with an override; and the five that the comment lists."""

    async def scenario() -> None:
        async with SessionLifecycleManager() as lifecycle_manager:
            session = (await example(3, lifecycle_manager=lifecycle_manager)).session
            assert session.session_type == SessionType.REGULAR
            assert session.risk_parameters["position_limit"] == 5
            assert session.template_name == "Regular Trading"
            named = set(re.findall(r"^# - ([\w ]+):", EXAMPLES[3][1], re.MULTILINE))
            assert named <= {one.template_name for one in await lifecycle_manager.list_templates()}
            assert len(named) == 5

    run(scenario)


def test_multi_agent_coordination(desk: RunningDesk) -> None:
    """4: the roster of a regular session is the one listed, and its inbox tells the events listed."""
    asyncio.run(example(4))
    roster = set(re.findall(r"^# - (\w+Agent)\b", EXAMPLES[4][1], re.MULTILINE))
    told = re.findall(r"^# - (session_\w+)", EXAMPLES[4][1], re.MULTILINE)

    async def scenario() -> None:
        async with SessionLifecycleManager() as manager:
            session = await started(manager, SessionType.REGULAR)
            await manager.pause_session(session.session_id)
            await manager.resume_session(session.session_id)
            await manager.stop_session(session.session_id)
            assert set(session.roster) == roster
            with desk.redis() as client:
                entries = client.xrange(f"fntx:{{{session.session_id}}}:inbox")
            assert all(
                f'"{event}"'.encode() in entry[b"event"] for event, (_, entry) in zip(told, entries, strict=True)
            )

    run(scenario)


def test_state_persistence(desk: RunningDesk) -> None:
    """5: the settings say every 5 seconds, and a session shows each kind of state that is listed."""

    async def scenario() -> None:
        await example(5)
        async with SessionLifecycleManager() as manager, SessionStateManager() as state_manager:
            session = await started(manager)
            remember(desk, session)
            assert session.config["save_interval_s"] == 5
            checkpoint = await state_manager.create_checkpoint(session)
            whole = await state_manager.get_checkpoint(session, checkpoint.checkpoint_id)
            assert {"agent_states", "market_state", "trading_state"} <= set(type(whole).model_fields)

    run(scenario)


def test_basic_trading_session(desk: RunningDesk, capsys: pytest.CaptureFixture[str]) -> None:
    """6: a loop over `session.status` ends when somebody else pauses the session."""
    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 1:
            async with desk.manager() as other:
                (mine,) = await other.list_sessions(status="active", session_type=SessionType.REGULAR)
                await other.pause_session(mine.session_id, reason="somebody else")

    async def scenario() -> None:
        async with desk.manager() as cleaner:
            for session in await cleaner.list_sessions(status="active"):
                await cleaner.stop_session(session.session_id)
        async with SessionStateManager() as state_manager, DeskMemory() as mcp_manager:
            names = {"mcp_manager": mcp_manager, "state_manager": state_manager}
            left = await example(6, asyncio=SimpleNamespace(sleep=nap), **names)
            assert left.session.status == SessionStatus.CLOSING
            await left.lifecycle_manager.shutdown()

    run(scenario)
    assert capsys.readouterr().out.count("P&L: $0.0, Trades: 0") == 2
    assert naps == [60, 60]


def test_recovery_from_failure() -> None:
    """7: a service that crashed comes back with new managers, recovers its session by the start of its id, resumes."""

    async def scenario() -> None:
        async with SessionLifecycleManager() as manager:
            mine = UUID("abc123" + uuid4().hex[6:])
            await manager.create_session(SessionType.PAPER_TRADING, session_id=mine)
            await manager.start_session(mine)
            await manager.suspend_session(mine)
        async with SessionStateManager() as state_manager, DeskMemory() as mcp_manager:
            left = await example(7, mcp_manager=mcp_manager, state_manager=state_manager)
            assert left.recovered_session.session_id == mine
            assert left.recovered_session.status == SessionStatus.ACTIVE
            assert left.recovered_session.recovery_data["rto_s"] > 0
            await left.lifecycle_manager.shutdown()

    run(scenario)


def test_custom_session_configuration() -> None:
    """8: risk parameters assigned before the start take effect with it."""

    async def scenario() -> None:
        async with SessionLifecycleManager() as lifecycle_manager:
            session = (await example(8, lifecycle_manager=lifecycle_manager)).session
            assert session.status == SessionStatus.ACTIVE
            stored = await lifecycle_manager.get_session(session.session_id)
            assert stored is session
            assert stored.config["max_position_hold_time"] == 240
            assert stored.risk_parameters == {
                "max_daily_risk": 0.01,
                "position_limit": 2,
                "stop_loss_multiplier": 2.0,
                "take_profit_multiplier": 0.3,
            }

    run(scenario)


@pytest.mark.parametrize(("number", "name"), [(9, "auto_start_conditions"), (10, "auto_stop_conditions")])
def test_auto_conditions(number: int, name: str) -> None:
    """9, 10: the lists are taken as a session's conditions, just so."""

    async def scenario() -> None:
        conditions = getattr(await example(number), name)
        assert [Condition.model_validate(one).condition for one in conditions] == [
            one["condition"] for one in conditions
        ]
        async with SessionLifecycleManager() as manager:
            session = await manager.create_session(SessionType.REGULAR, {name: conditions})
            assert [one["condition"] for one in session.config[name]] == [one["condition"] for one in conditions]

    run(scenario)


def test_mcp_memory_system() -> None:
    """11: a transition is stored as an execution memory, and found again."""

    async def scenario() -> None:
        async with SessionLifecycleManager() as manager, DeskMemory() as mcp:
            session = await started(manager)
            transition = (await manager.get_session_transitions(session.session_id))[-1]
            await example(11, mcp=mcp, transition=transition)
            (found,) = await mcp.get_agent_memories("SessionLifecycleManager", limit=1)
            assert (found.memory_type, found.importance.name) == ("execution", "MEDIUM")
            assert found.content["session_transition"]["transition_id"] == str(transition.transition_id)

    run(scenario)


def test_agent_coordination(desk: RunningDesk) -> None:
    """12: the agents named are told of the change."""

    async def scenario() -> None:
        async with DeskMemory() as mcp:
            session_id = str(uuid4())
            await example(12, mcp=mcp, session_id=session_id)
        with desk.redis() as client:
            for agent in ("StrategicPlannerAgent", "TacticalExecutorAgent"):
                ((_, entry),) = client.xrevrange(stream(agent), count=1)
                told = b" ".join(entry.values())
                assert session_id.encode() in told
                assert b"status_changed" in told

    run(scenario)


def test_market_awareness() -> None:
    """13: a published storm is what the example looks at, and it pauses."""

    async def scenario() -> None:
        async with SessionLifecycleManager() as lifecycle_manager:
            session = await started(lifecycle_manager)
            storm = {"timestamp": datetime.now(UTC), "spy_price": 540.0, "market_regime": "high_volatility"}
            market_state = (await lifecycle_manager.publish_market(storm)).market.state
            names = {"market_state": market_state, "session_id": session.session_id}
            await example(13, lifecycle_manager=lifecycle_manager, **names)
            assert session.status == SessionStatus.PAUSED

    run(scenario)


def test_key_metrics() -> None:
    """14: metrics are made of the numbers given."""

    async def scenario() -> None:
        metrics = (await example(14)).metrics
        assert (metrics.total_trades, metrics.winning_trades, metrics.decision_latency_ms) == (42, 31, 145)
        assert (float(metrics.net_pnl), float(metrics.max_drawdown)) == (1250.5, -500.0)

    run(scenario)


def test_debug_information(desk: RunningDesk, caplog: pytest.LogCaptureFixture) -> None:
    """15: a sound state says nothing; a broken one is logged by path."""

    async def scenario() -> None:
        logger = logging.getLogger("spec")
        async with SessionLifecycleManager() as manager, SessionStateManager() as state_manager:
            session = await started(manager)
            assert (await example(15, state_manager=state_manager, session=session, logger=logger)).validation["valid"]
            assert not caplog.records
            with desk.redis() as client:
                LiveState(client, desk.settings).raise_fence(session.session_id, session.epoch)
                client.hset(f"fntx:{{{session.session_id}}}:live", "part:agent/RiskManagerAgent", b"no JSON")
            left = await example(15, state_manager=state_manager, session=session, logger=logger)
            assert not left.validation["valid"]
            assert "Validation errors" in caplog.text

    run(scenario)
