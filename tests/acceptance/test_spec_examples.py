"""The spec's examples, run as they are written but for the import line, against a real worker."""

import asyncio
from types import SimpleNamespace

import pytest
from running_desk import RunningDesk, desk, quiet_desk, run

from fntx_sessions import SessionLifecycleManager, SessionStateManager, SessionStatus, SessionType

__all__ = ["desk", "quiet_desk"]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(autouse=True)
def _this_desk(desk: RunningDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process's own settings be those of the desk, as FNTX_* variables would."""
    monkeypatch.setattr("fntx_sessions.caller.manager.get_settings", lambda: desk.settings)


def test_session_lifecycle_management() -> None:
    """Create, start, pause, resume, stop."""

    async def example(lifecycle_manager: SessionLifecycleManager) -> None:
        # Create a new session
        session = await lifecycle_manager.create_session(
            session_type=SessionType.REGULAR,
            config={
                "close_positions_on_stop": True,
                "allow_overnight_positions": False
            }
        )  # fmt: skip

        assert session.status == SessionStatus.INITIALIZING
        # Start trading
        await lifecycle_manager.start_session(session.session_id)

        assert session.status == SessionStatus.ACTIVE
        # Pause during volatile conditions
        await lifecycle_manager.pause_session(session.session_id, reason="high_volatility")

        assert session.status == SessionStatus.PAUSED
        # Resume when conditions improve
        await lifecycle_manager.resume_session(session.session_id)

        assert session.status == SessionStatus.ACTIVE
        # Stop and close positions
        await lifecycle_manager.stop_session(session.session_id)

        assert session.status == SessionStatus.CLOSING
        path = await lifecycle_manager.get_session_transitions(session.session_id)
        assert [step.to_status for step in path] == ["initializing", "active", "paused", "active", "closing"]
        assert path[2].reason == "high_volatility"

    async def scenario() -> None:
        async with SessionLifecycleManager() as lifecycle_manager:
            await example(lifecycle_manager)

    run(scenario)


def test_session_templates() -> None:
    """A named template with an override."""

    async def scenario() -> None:
        async with SessionLifecycleManager() as lifecycle_manager:
            # Use pre-defined templates
            session = await lifecycle_manager.create_session_from_template(
                "Regular Trading",
                overrides={"position_limit": 5}
            )  # fmt: skip

            assert session.session_type == SessionType.REGULAR
            assert session.risk_parameters["position_limit"] == 5
            assert session.template_name == "Regular Trading"

    run(scenario)


def test_basic_trading_session(desk: RunningDesk, capsys: pytest.CaptureFixture[str]) -> None:
    """A loop over `session.status` ends when somebody else pauses the session."""

    async def pause_elsewhere(_seconds: float) -> None:
        async with desk.manager() as other:
            (mine,) = await other.list_sessions(status="active", session_type=SessionType.REGULAR)
            await other.pause_session(mine.session_id, reason="somebody else")

    async def example(
        asyncio: SimpleNamespace,
        mcp_manager: None,
        state_manager: SessionStateManager,
    ) -> SessionLifecycleManager:
        # Initialize manager
        lifecycle_manager = SessionLifecycleManager(mcp_manager, state_manager)
        await lifecycle_manager.initialize()

        # Create and start session
        session = await lifecycle_manager.create_session(SessionType.REGULAR)
        await lifecycle_manager.start_session(session.session_id)

        # Monitor session
        while session.status == SessionStatus.ACTIVE:
            metrics = await lifecycle_manager.get_session_metrics(session.session_id)
            print(f"P&L: ${metrics.net_pnl}, Trades: {metrics.total_trades}")  # noqa: T201
            await asyncio.sleep(60)

        # Stop when done
        await lifecycle_manager.stop_session(session.session_id)
        assert session.status == SessionStatus.CLOSING
        return lifecycle_manager

    naps: list[float] = []

    async def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 1:
            await pause_elsewhere(seconds)

    async def scenario() -> None:
        async with desk.manager() as cleaner:
            for session in await cleaner.list_sessions(status="active"):
                await cleaner.stop_session(session.session_id)
        async with SessionStateManager() as state_manager:
            manager = await example(SimpleNamespace(sleep=nap), None, state_manager)
            await manager.shutdown()

    run(scenario)
    assert capsys.readouterr().out.count("P&L: $0.0, Trades: 0") == 2
    assert naps == [60, 60]


def test_custom_session_configuration() -> None:
    """Risk parameters assigned before the start take effect with it."""

    async def example(lifecycle_manager: SessionLifecycleManager) -> None:
        # Create session with custom configuration
        session = await lifecycle_manager.create_session(
            session_type=SessionType.REGULAR,
            config={
                "close_positions_on_stop": True,
                "allow_overnight_positions": False,
                "max_position_hold_time": 240,  # 4 hours
                "require_confirmation": False,
                "use_limit_orders_only": True
            }
        )  # fmt: skip

        # Override risk parameters
        session.risk_parameters = {
            "max_daily_risk": 0.01,  # 1% instead of 2%
            "position_limit": 2,     # 2 positions instead of 3
            "stop_loss_multiplier": 2.0,  # Tighter stops
            "take_profit_multiplier": 0.3  # Quicker profits
        }  # fmt: skip

        await lifecycle_manager.start_session(session.session_id)

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

    async def scenario() -> None:
        async with SessionLifecycleManager() as lifecycle_manager:
            await asyncio.wait_for(example(lifecycle_manager), 60)

    run(scenario)


def test_recovery_from_failure() -> None:
    """A service that crashed comes back with new managers, recovers its session and resumes it."""

    async def crashed() -> str:
        async with SessionLifecycleManager() as manager:
            session = await manager.create_session(SessionType.PAPER_TRADING)
            await manager.start_session(session.session_id)
            await manager.suspend_session(session.session_id)
            plan = await manager.create_recovery_plan(session.session_id)
            assert plan.status == SessionStatus.SUSPENDED
        return str(session.session_id)

    async def example(mcp_manager: None, state_manager: SessionStateManager, abc123: str) -> SessionLifecycleManager:
        # On restart:
        lifecycle_manager = SessionLifecycleManager(mcp_manager, state_manager)
        await lifecycle_manager.initialize()

        # Recover session
        recovered_session = await lifecycle_manager.recover_session(
            session_id=abc123,
            checkpoint_id=None  # Uses latest checkpoint
        )  # fmt: skip
        assert recovered_session.status == SessionStatus.PAUSED
        assert recovered_session.recovery_data["rto_s"] > 0

        # Resume trading
        await lifecycle_manager.resume_session(recovered_session.session_id)
        assert recovered_session.status == SessionStatus.ACTIVE
        return lifecycle_manager

    async def scenario() -> None:
        abc123 = await crashed()
        async with SessionStateManager() as state_manager:
            manager = await asyncio.wait_for(example(None, state_manager, abc123), 60)
            await manager.shutdown()

    run(scenario)
