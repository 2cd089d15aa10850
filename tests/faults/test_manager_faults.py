"""What a manager does when messages, workers or Redis are lost: it asks again, acts once, and never hangs."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from running_desk import RunningDesk, quiet_desk, run, wait_until

from fntx_sessions import SessionLifecycleManager, SessionType
from fntx_sessions.exceptions import OutcomeUnknown, Unavailable
from fntx_sessions.settings import Settings

__all__ = ["quiet_desk"]

pytestmark = pytest.mark.timeout(180)
COMMANDS = "commands"


async def eventually(condition: Any, what: str) -> None:
    """Wait for a condition without blocking the loop."""
    await asyncio.to_thread(wait_until, condition, what)


def commands_waiting(desk: RunningDesk) -> int:
    with desk.redis() as client:
        return client.llen(COMMANDS)


@pytest.fixture(autouse=True)
def _empty_queues(quiet_desk: RunningDesk) -> None:
    with quiet_desk.redis() as client:
        client.flushdb()


async def _transitions(manager: SessionLifecycleManager, session_id: Any) -> list[str]:
    return [step.to_status.value for step in await manager.get_session_transitions(session_id)]


def test_a_message_that_redis_lost_is_sent_again(quiet_desk: RunningDesk) -> None:
    """A command whose message vanished is sent again under its own id, and done."""
    desk = quiet_desk

    async def scenario() -> None:
        async with desk.manager(command_resend_s=0.5) as manager:
            asked = asyncio.create_task(
                manager.create_session(SessionType.PAPER_TRADING, {"tags": ["lost"]}, deadline_s=60)
            )
            await eventually(lambda: commands_waiting(desk), "the message is on the queue")
            with desk.redis() as client:
                client.lpop(COMMANDS)
            await eventually(lambda: commands_waiting(desk), "the message is sent again")
            with desk.worker():
                session = await asked
                assert await _transitions(manager, session.session_id) == ["initializing"]
                assert await manager.list_sessions(tag="lost") == [session]

    run(scenario)


@pytest.mark.parametrize("place", ["command.before_commit", "command.committed"])
def test_a_child_killed_in_the_middle_of_a_command(quiet_desk: RunningDesk, tmp_path: Path, place: str) -> None:
    """Killed before or after its commit, the command has one outcome and one effect."""
    desk = quiet_desk

    async def scenario() -> None:
        once = tmp_path / "struck"
        async with desk.manager() as manager:
            with desk.worker(FNTX_FAILPOINTS=f"{place}:kill@{once}"):
                session = await manager.create_session(SessionType.PAPER_TRADING, deadline_s=60)
                outcome = await manager.start_session(session.session_id, deadline_s=60)
                assert once.exists()
                assert outcome.version == 2
                assert await _transitions(manager, session.session_id) == ["initializing", "active"]

    run(scenario)


def test_a_worker_killed_whole_with_a_command_in_hand(quiet_desk: RunningDesk, tmp_path: Path) -> None:
    """Nobody gives its message back for a minute; the manager does not wait for that."""
    desk = quiet_desk

    async def scenario() -> None:
        once = tmp_path / "struck"
        async with desk.manager() as manager:
            with desk.worker(FNTX_FAILPOINTS=f"command.before_commit:hang@{once}") as worker:
                session = await manager.create_session(SessionType.PAPER_TRADING, deadline_s=60)
                asked = asyncio.create_task(manager.start_session(session.session_id, deadline_s=60))
                await eventually(once.exists, "the command is in hand")
                os.killpg(worker.pid, signal.SIGKILL)
            with desk.worker():
                assert (await asked).version == 2
                assert await _transitions(manager, session.session_id) == ["initializing", "active"]

    run(scenario)


def test_no_outcome_before_the_deadline_is_unknown(quiet_desk: RunningDesk) -> None:
    """The error names the id to ask again with; done later after all, the same id tells so."""
    desk = quiet_desk

    async def scenario() -> None:
        async with desk.manager(command_resend_s=0.2) as manager:
            with pytest.raises(OutcomeUnknown) as caught:
                await manager.create_session(SessionType.PAPER_TRADING, deadline_s=0.5, reason="late")
            with pytest.raises(Unavailable, match="queries"):
                await asyncio.wait_for(manager._asked().query("fntx.templates.list", {}, deadline_s=0.3), 30)
            with desk.worker():
                command_id = caught.value.named()["command_id"]
                again = await manager.create_session(
                    SessionType.PAPER_TRADING, command_id=command_id, reason="late", deadline_s=60
                )
                same = await manager.get_outcome(command_id)
                assert same.session_id == again.session_id

    run(scenario)


def test_a_question_without_postgres_is_answered_at_once_with_what_can_be_seen(
    quiet_desk: RunningDesk, tmp_path: Path
) -> None:
    """A worker that finds Postgres away is believed: no 30 s of asking, and `fntx status` is named."""
    nowhere = "postgresql+psycopg2://nobody@127.0.0.1:1/none"

    async def scenario() -> None:
        async with quiet_desk.manager(command_deadline_s=3600.0, query_patience_s=1.0) as manager:
            with pytest.raises(Unavailable, match="Postgres is out of reach") as caught:
                await asyncio.wait_for(manager.list_sessions(), 60)
            assert "`fntx status`" in str(caught.value)
            assert "is safe" in str(caught.value)

    with quiet_desk.worker("-Q", "queries", "-c", "1", FNTX_DATABASE_URL=nowhere):
        run(scenario)


def test_without_redis_nothing_is_sent_and_that_is_said(tmp_path: Path) -> None:
    """Where no Redis answers, the sentence says so and that nothing was changed."""
    settings = Settings(home=tmp_path, redis_url="redis://127.0.0.1:1/0", auth_mode="open", command_resend_s=0.1)

    async def scenario() -> None:
        manager = SessionLifecycleManager(settings=settings)
        with pytest.raises(Unavailable, match="Redis is out of reach"):
            await manager.initialize()
        with pytest.raises(Unavailable, match="Nothing was changed"):
            await manager.pause_session("0b45bab5-44b7-5654-b14d-b2b6f0dbf255", deadline_s=0.4)
        await manager.shutdown()

    run(scenario)


def test_without_an_address_the_fix_is_named(tmp_path: Path) -> None:
    """Neither configured nor a stack of one's own: the sentence says how to get one."""
    settings = Settings(home=tmp_path, auth_mode="open")

    async def scenario() -> None:
        with pytest.raises(Unavailable, match="fntx up"):
            await SessionLifecycleManager(settings=settings).initialize()

    run(scenario)
