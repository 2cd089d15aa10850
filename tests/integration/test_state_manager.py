"""SessionStateManager against a real worker: what other services ask about the state a session has kept."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID, uuid4

import pytest
from running_desk import RunningDesk, desk, quiet_desk, run
from state_world import agent_bytes

from fntx_sessions import SessionLifecycleManager, SessionStateManager, SessionStatus, SessionType, TradingSession
from fntx_sessions.cli.app import run as fntx
from fntx_sessions.cli.asking import line
from fntx_sessions.exceptions import (
    CommandConflict,
    IntegrityError,
    InvalidArgument,
    NotFound,
    PreconditionFailed,
    VersionConflict,
)
from fntx_sessions.settings import get_settings
from fntx_sessions.state.live import LiveState, Report

__all__ = ["desk", "quiet_desk"]

pytestmark = pytest.mark.timeout(180)
RISK = "RiskManagerAgent"
Scenario = Callable[[SessionLifecycleManager, SessionStateManager], Coroutine[Any, Any, None]]


def with_managers(desk: RunningDesk, scenario: Scenario) -> None:
    async def whole() -> None:
        async with desk.manager() as lifecycle_manager, SessionStateManager(settings=desk.settings) as state_manager:
            await scenario(lifecycle_manager, state_manager)

    run(whole)


def remember(desk: RunningDesk, session: TradingSession, note: str) -> None:
    """Let an agent of the session say something."""
    with desk.redis() as client:
        live = LiveState(client, desk.settings)
        live.raise_fence(session.session_id, session.epoch)
        parts = {f"agent/{RISK}": agent_bytes(RISK, note=note)}
        live.report(Report(session.session_id, session.epoch, RISK, parts))


async def started(desk: RunningDesk, manager: SessionLifecycleManager, note: str = "first") -> TradingSession:
    session = await manager.create_session(SessionType.PAPER_TRADING)
    await manager.start_session(session.session_id)
    await asyncio.to_thread(remember, desk, session, note)
    return session


def note_of(session: TradingSession) -> str:
    found: str = session.agent_states[RISK].internal_state["note"]
    return found


def test_the_example_of_checkpoint_and_recovery_runs_as_written(desk: RunningDesk) -> None:
    """A checkpoint, the list, a restore, a plan and its execution; the agents' memory goes back and forth."""

    async def scenario(lifecycle_manager: SessionLifecycleManager, state_manager: SessionStateManager) -> None:
        session = await started(desk, lifecycle_manager)
        session_id = session.session_id

        # Automatic checkpointing every 15 minutes
        checkpoint = await state_manager.create_checkpoint(session)

        # List available checkpoints
        checkpoints = await state_manager.list_checkpoints(session_id, limit=10)

        await asyncio.to_thread(remember, desk, session, "second")
        await lifecycle_manager.pause_session(session_id)
        checkpoint_id = checkpoint.checkpoint_id

        # Restore from checkpoint
        success = await state_manager.restore_from_checkpoint(session, checkpoint_id)

        assert success
        assert (session.status, session.epoch) == (SessionStatus.PAUSED, 2)
        assert checkpoints == [checkpoint]
        assert checkpoint.verified
        assert note_of(await lifecycle_manager.get_session(session_id)) == "first"

        # Create recovery plan
        plan = await state_manager.create_recovery_plan(session_id)

        # Execute recovery
        success = await state_manager.execute_recovery_plan(plan)

        assert success
        assert (session.status, session.epoch) == (SessionStatus.PAUSED, 3)
        session = await lifecycle_manager.get_session(session_id)
        assert (session.status, note_of(session)) == (SessionStatus.PAUSED, "first")

    with_managers(desk, scenario)


def test_the_debug_example_runs_as_written(desk: RunningDesk, caplog: pytest.LogCaptureFixture) -> None:
    """A sound state is valid; a broken one is not, and the errors say where."""
    logger = logging.getLogger("example")

    async def example(state_manager: SessionStateManager, session: TradingSession) -> None:
        # Validate session state
        validation = await state_manager.validate_session_state(session)
        if not validation["valid"]:
            logger.error(f"Validation errors: {validation['errors']}")  # noqa: G004 - as the page has it

    async def scenario(lifecycle_manager: SessionLifecycleManager, state_manager: SessionStateManager) -> None:
        session = await started(desk, lifecycle_manager)
        await example(state_manager, session)
        assert not caplog.records
        with desk.redis() as client:
            client.hset(f"fntx:{{{session.session_id}}}:live", f"part:agent/{RISK}", b"{")
        await example(state_manager, session)
        assert RISK in caplog.text

    with_managers(desk, scenario)


def test_what_is_no_plan_and_no_id_is_an_invalid_argument(desk: RunningDesk) -> None:
    """Named by its field, with where to get a right one."""

    async def scenario(_: SessionLifecycleManager, state_manager: SessionStateManager) -> None:
        anything: Any = {"session_id": str(uuid4())}
        with pytest.raises(InvalidArgument, match=r"plan: .* what create_recovery_plan returned"):
            await state_manager.execute_recovery_plan(anything)
        nothing: Any = None
        with pytest.raises(InvalidArgument, match=r"checkpoint_id: 'None' is not a UUID. .*fntx checkpoints ID"):
            await state_manager.restore_from_checkpoint(uuid4(), nothing)
        with pytest.raises(InvalidArgument, match=r"session_id: .*fntx ls"):
            await state_manager.validate_session_state(anything)

    with_managers(desk, scenario)


def test_one_command_id_makes_one_checkpoint(desk: RunningDesk) -> None:
    """Asked twice it is the same one; with another note the id is refused; a version that moved on too."""

    async def scenario(lifecycle_manager: SessionLifecycleManager, state_manager: SessionStateManager) -> None:
        session, command_id = await started(desk, lifecycle_manager), uuid4()
        made = [await state_manager.create_checkpoint(session, "a note", command_id=command_id) for _ in range(2)]
        assert made[0] == made[1]
        assert made[0].note == "a note"
        with pytest.raises(CommandConflict):
            await state_manager.create_checkpoint(session, "another", command_id=command_id)
        with pytest.raises(VersionConflict):
            await state_manager.create_checkpoint(session, expected_version=1)
        assert len(await state_manager.list_checkpoints(session)) == 1

    with_managers(desk, scenario)


def test_checkpoints_are_read_verified_pinned_and_pruned(desk: RunningDesk) -> None:
    """States come when asked for; what is pinned stays; the rest of the old ones goes; one gone is not found."""

    async def scenario(lifecycle_manager: SessionLifecycleManager, state_manager: SessionStateManager) -> None:
        session = await started(desk, lifecycle_manager)
        old, pinned, last = [await state_manager.create_checkpoint(session) for _ in range(3)]
        assert old.agent_states is None
        whole = await state_manager.get_checkpoint(session, old.checkpoint_id)
        assert whole.agent_states is not None
        assert whole.agent_states[RISK].internal_state == {"note": "first"}
        assert (await state_manager.verify_checkpoint(session, old.checkpoint_id)).verified
        await state_manager.pin(session, pinned.checkpoint_id)
        assert await state_manager.prune(session, keep=1) == [old.checkpoint_id]
        listed = await state_manager.list_checkpoints(session)
        assert [(one.checkpoint_id, one.pinned) for one in listed] == [
            (last.checkpoint_id, False),
            (pinned.checkpoint_id, True),
        ]
        with pytest.raises(NotFound):
            await state_manager.get_checkpoint(session, old.checkpoint_id)
        await state_manager.pin(session)
        assert (await lifecycle_manager.get_session(session.session_id)).pinned
        await state_manager.unpin(session)
        assert not (await lifecycle_manager.get_session(session.session_id)).pinned

    with_managers(desk, scenario)


def test_another_identity_is_restored_only_by_name(desk: RunningDesk) -> None:
    """The refusal says what changed and what to give; given that, it is restored."""

    async def scenario(lifecycle_manager: SessionLifecycleManager, state_manager: SessionStateManager) -> None:
        session = await started(desk, lifecycle_manager)
        kept = await state_manager.create_checkpoint(session)
        await lifecycle_manager.update_session(session.session_id, config={"max_position_hold_time": 45})
        await asyncio.to_thread(remember, desk, session, "second")
        await lifecycle_manager.pause_session(session.session_id)
        with pytest.raises(PreconditionFailed, match=r"config\.max_position_hold_time .* -> 45") as refused:
            await state_manager.restore_from_checkpoint(session, kept.checkpoint_id)
        assert f"--accept-identity {kept.identity[:12]}" in str(refused.value)
        assert await state_manager.restore_from_checkpoint(session, kept.checkpoint_id, kept.identity[:8])
        assert note_of(await lifecycle_manager.get_session(session.session_id)) == "first"

    with_managers(desk, scenario)


def test_a_fork_is_a_session_of_its_own(desk: RunningDesk) -> None:
    """It names its parent, begins with its memory and its own account; the parent names it."""

    async def scenario(lifecycle_manager: SessionLifecycleManager, state_manager: SessionStateManager) -> None:
        session = await started(desk, lifecycle_manager)
        kept = await state_manager.create_checkpoint(session)
        fork = await lifecycle_manager.fork_session(session.session_id, kept.checkpoint_id, reason="what if")
        await lifecycle_manager.start_session(fork.session_id)
        fork = await lifecycle_manager.get_session(fork.session_id)
        assert (fork.parent_session_id, fork.status, note_of(fork)) == (session.session_id, "active", "first")
        assert fork.account_id == f"paper:{fork.session_id}"
        assert (await lifecycle_manager.get_session(session.session_id)).child_session_ids == [fork.session_id]

    with_managers(desk, scenario)


@pytest.fixture
def at_the_desk(desk: RunningDesk, monkeypatch: pytest.MonkeyPatch) -> RunningDesk:
    """The command line finds the desk by its addresses."""
    monkeypatch.setenv("FNTX_HOME", str(desk.folder))
    monkeypatch.setenv("FNTX_DATABASE_URL", desk.database_url)
    monkeypatch.setenv("FNTX_REDIS_URL", desk.redis_url)
    monkeypatch.setenv("FNTX_AUTH_MODE", "open")
    get_settings.cache_clear()
    line.cache_clear()
    yield desk  # type: ignore[misc]
    get_settings.cache_clear()


def test_the_command_line_keeps_lists_verifies_and_forks(
    at_the_desk: RunningDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    """Flat names, ids by their first characters; damage exits with 1 and says what it is."""
    made: list[TradingSession] = []

    async def scenario(lifecycle_manager: SessionLifecycleManager, _: SessionStateManager) -> None:
        made.append(await started(at_the_desk, lifecycle_manager))

    with_managers(at_the_desk, scenario)
    given = str(made[0].session_id)
    assert fntx(["checkpoint", given, "--note", "before the news"]) == 0
    assert fntx(["checkpoints", given]) == 0
    assert "before the news" in capsys.readouterr().out
    assert fntx(["verify", given]) == 0
    assert fntx(["pin", given]) == fntx(["unpin", given]) == 0
    assert fntx(["prune", given, "--keep", "1", "--older-than", "7d"]) == 0
    assert fntx(["prune", given]) == 2
    assert fntx(["fork", given, "--quiet"]) == 0
    assert str(UUID(capsys.readouterr().out.split()[-1])) != given
    _run(at_the_desk, _FLIP, given)
    assert fntx(["verify", given]) == 0
    assert "damaged in postgres, mended from" in " ".join(capsys.readouterr().out.split())
    _run(at_the_desk, _FOREIGN, given)
    assert fntx(["verify", given]) == 1
    assert "does not open" in " ".join(capsys.readouterr().out.split())

    async def read(_: SessionLifecycleManager, state_manager: SessionStateManager) -> None:
        one, sound = await state_manager.list_checkpoints(given)
        assert (one.verified, sound.verified) == (False, True)
        with pytest.raises(IntegrityError, match="does not open"):
            await state_manager.get_checkpoint(given, one.checkpoint_id)

    with_managers(at_the_desk, read)


_FLIP = "UPDATE checkpoints SET manifest = set_byte(manifest, 60, 255 - get_byte(manifest, 60)) WHERE session_id = %s"
# Under a name of its own no tier holds a copy of it.
_FOREIGN = """
CREATE TEMP TABLE one AS SELECT * FROM checkpoints WHERE session_id = %s;
UPDATE one SET checkpoint_id = gen_random_uuid(), timestamp = now();
INSERT INTO checkpoints SELECT * FROM one;
"""


def _run(desk: RunningDesk, statements: str, session_id: str) -> None:
    import psycopg2  # noqa: PLC0415 - for this alone

    with psycopg2.connect(desk.database_url.replace("+psycopg2", "")) as connection, connection.cursor() as cursor:
        cursor.execute(statements, (session_id,))
    connection.close()
