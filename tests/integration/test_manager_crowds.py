"""Managers in numbers: thousands of awaits, several in one process, loops in threads, and processes that fork."""

import asyncio
import base64
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr
from running_desk import RunningDesk, desk, quiet_desk, run

from fntx_sessions import SessionLifecycleManager, SessionStatus, SessionType
from fntx_sessions.exceptions import OutcomeUnknown, Unavailable
from fntx_sessions.settings import Settings

__all__ = ["desk", "quiet_desk"]

pytestmark = pytest.mark.timeout(120)
AWAITS = 2000
CROWD = 500
CONNECTIONS = 8
FORKING = Path(__file__).parents[1] / "forking_client.py"


async def paper(manager: SessionLifecycleManager):
    return await manager.create_session(SessionType.PAPER_TRADING)


class Echo(threading.Thread):
    """Answers every question with its own arguments, as fast as Redis hands them out: no worker is that quick."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        self._client = client
        self.answered = self.longest = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            self.longest = max(self.longest, self._client.llen("queries"))
            messages = self._client.rpop("queries", 50)
            if not messages:
                self.over.wait(0.001)
                continue
            self._client.mset(dict(self._answer(json.loads(one)) for one in messages))
            self.answered += len(messages)

    def _answer(self, message: dict[str, Any]) -> tuple[str, str]:
        _, kwargs, _ = json.loads(base64.b64decode(message["body"]))
        answer = {"state": "done", "result": kwargs, "error": None}
        return f"celery-task-meta-{message['headers']['id']}", json.dumps({"status": "SUCCESS", "result": answer})


def test_two_thousand_awaits_at_once(quiet_desk: RunningDesk) -> None:
    """Each gets its own answer, on one loop and a handful of connections, while the loop stays free."""

    async def scenario(client: redis.Redis) -> None:
        async with quiet_desk.manager(command_deadline_s=5.0, redis_url=_beside(quiet_desk)) as manager:
            asked = asyncio.gather(*(manager._query("fntx.sessions.get", {"number": turn}) for turn in range(AWAITS)))
            ticks = 0
            while not asked.done():
                await asyncio.sleep(0.01)
                ticks += 1
            assert [one["number"] for one in await asked] == [*range(AWAITS)]
            assert ticks > 20
            assert len(asyncio.all_tasks()) <= 2
            answers = manager._asked()._answers
            assert answers._waiting == {}
            assert len(answers.redis.connection_pool._available_connections) <= CONNECTIONS

    with _client_beside(quiet_desk) as client:
        client.flushdb()
        echo = Echo(client)
        echo.start()
        try:
            run(scenario, client)
        finally:
            echo.over.set()
            echo.join()
        assert AWAITS <= echo.answered < 1.5 * AWAITS
        assert echo.longest <= Settings.model_fields["command_in_flight"].default


def test_a_crowd_is_answered_by_real_workers_whatever_the_deadline(
    desk: RunningDesk, caplog: pytest.LogCaptureFixture
) -> None:
    """The line takes far longer than a call's deadline; it moves, so nobody is told that the desk is out of reach."""

    async def scenario() -> None:
        async with desk.manager(command_in_flight=4, command_deadline_s=1.5, command_resend_s=0.5) as manager:
            session = await manager.create_session(SessionType.PAPER_TRADING, deadline_s=30)
            events = manager.subscribe(session.session_id)
            asked = asyncio.gather(*(manager.get_session_metrics(session.session_id) for _ in range(CROWD)))
            assert (await anext(events)).event_type == "session_created"
            assert not asked.done()
            with pytest.raises(Unavailable, match="nothing of it was sent"):
                await manager._asked().query("fntx.templates.list", {}, deadline_s=0.01)
            assert len(await asked) == CROWD

    run(scenario)
    assert "cannot be followed" not in caplog.text


def test_a_hundred_cancelled_leave_nothing(desk: RunningDesk) -> None:
    """Cancelled in every state of a call: no wait, no task, and the manager answers on."""

    async def scenario() -> None:
        async with desk.manager(command_in_flight=20, command_deadline_s=90.0) as manager:
            session = await paper(manager)
            asked = [asyncio.create_task(manager.get_session_metrics(session.session_id)) for _ in range(100)]
            for turn, one in enumerate(asked):
                one.cancel()
                if turn % 20 == 0:
                    await asyncio.sleep(0.005)
            await asyncio.gather(*asked, return_exceptions=True)
            assert manager._caller is not None
            assert manager._caller._answers._waiting == {}
            assert (await manager.get_session(session.session_id)) is session
            assert not manager._caller.line("queries").locked()

    run(scenario)


def test_a_crowd_of_questions_neither_floods_the_queue_nor_holds_up_a_command(quiet_desk: RunningDesk) -> None:
    """No more than so many messages are under way; what got no turn says that nothing was sent; a stop goes first."""
    with _client_beside(quiet_desk) as client:
        client.flushdb()

    async def scenario() -> None:
        async with quiet_desk.manager(
            command_in_flight=10, command_deadline_s=0.5, command_resend_s=0.1, redis_url=_beside(quiet_desk)
        ) as manager:
            asked = asyncio.gather(*(manager.list_templates() for _ in range(100)), return_exceptions=True)
            with pytest.raises(OutcomeUnknown):
                await manager.create_session(SessionType.PAPER_TRADING)
            problems = [str(one) for one in await asked]
            assert sum("nothing of it was sent" in one for one in problems) >= 50
            with _client_beside(quiet_desk) as client:
                assert client.llen("queries") <= 10 * 6
                assert client.llen("commands") >= 1

    run(scenario)


def test_several_managers_in_one_process_know_what_they_learn(desk: RunningDesk) -> None:
    """Each has sessions of its own; each follows what it asks itself, and a closed one closes no other."""

    async def scenario() -> None:
        async with desk.manager() as one, desk.manager() as two:
            mine = await paper(one)
            theirs = await two.get_session(mine.session_id)
            assert mine is not theirs
            async with desk.manager() as three:
                await asyncio.gather(*(manager.list_templates() for manager in (one, two, three) for _ in range(10)))
            await one.start_session(mine.session_id)
            assert (mine.status, theirs.status) == (SessionStatus.ACTIVE, SessionStatus.INITIALIZING)
            await two.get_session_metrics(theirs.session_id)
            assert theirs.status == SessionStatus.ACTIVE

    run(scenario)


def test_two_loops_in_two_threads(desk: RunningDesk) -> None:
    """A manager for each loop; they work beside each other and disturb nothing."""
    together = threading.Barrier(2, timeout=30)

    async def scenario() -> list[str]:
        async with desk.manager() as manager:
            session = await paper(manager)
            await asyncio.to_thread(together.wait)
            for ask in (manager.start_session, manager.pause_session, manager.resume_session):
                await ask(session.session_id)
            events = [event async for event in _until(manager, session.session_id, 4)]
            return [event.event_type for event in events]

    with ThreadPoolExecutor(2) as threads:
        heard = [one.result(timeout=60) for one in [threads.submit(run, scenario) for _ in range(2)]]
    assert heard[0] == heard[1] == ["session_created", "session_started", "session_paused", "session_resumed"]


async def _until(manager: SessionLifecycleManager, session_id, count: int):
    events = manager.subscribe(session_id)
    for _ in range(count):
        yield await anext(events)


def test_after_a_fork_the_child_asks_on_connections_of_its_own(desk: RunningDesk) -> None:
    """The child's manager works; what the child inherited it neither uses nor closes, and the parent goes on."""
    with desk.redis() as client:
        found = subprocess.run(
            [sys.executable, str(FORKING), desk.redis_url, str(desk.folder)],
            capture_output=True, text=True, timeout=60, check=False,
            env=os.environ | {"PYTHONPATH": str(FORKING.parents[1])},
        )  # fmt: skip
        assert found.returncode == 0, found.stderr
        assert "Traceback" not in found.stderr, found.stderr
        told = {name: value for line in found.stdout.splitlines() for name, value in json.loads(line).items()}
        assert client.ping()
    assert told["child_templates"] == told["parent_templates"] >= 5
    assert told["parent_before"] in told["alive_after"]
    assert told["child"] not in told["alive_after"]
    assert "shut down" in told["child_subscription"]
    assert told["parent_event"] == "session_started"
    assert told["child_exit"] == 0


def test_a_deadline_is_kept_by_every_kind_of_call(quiet_desk: RunningDesk) -> None:
    """Without any worker a command ends at its own deadline, and asyncio's timeout ends any wait."""

    async def scenario() -> None:
        async with quiet_desk.manager(command_resend_s=0.1, redis_url=_beside(quiet_desk)) as manager:
            clock = asyncio.get_running_loop().time
            began = clock()
            with pytest.raises(OutcomeUnknown, match="Ask again"):
                await manager.create_session(SessionType.PAPER_TRADING, deadline_s=0.3)
            assert 0.3 <= clock() - began < 30
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await manager.list_templates()
            assert manager._caller is not None
            assert manager._caller._answers._waiting == {}

    run(scenario)


def _client_beside(desk: RunningDesk) -> redis.Redis:
    return redis.Redis.from_url(_beside(desk).get_secret_value())


def _beside(desk: RunningDesk) -> SecretStr:
    """A Redis database that no worker reads."""
    return SecretStr(desk.redis_url.rsplit("/", 1)[0] + "/8")
