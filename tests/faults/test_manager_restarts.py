"""Redis killed and Postgres refused while managers wait: nothing is lost, nothing acts twice, no event is left out."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from conftest import DatabaseServer
from lifecycle_harness import World
from running_desk import RunningDesk, run, wait_until
from test_broker_loss import Broker

from fntx_sessions import SessionLifecycleManager, SessionType, Trigger
from fntx_sessions.settings import Settings

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    made.start()
    try:
        yield made
    finally:
        made.kill()


@pytest.fixture
def own_desk(broker: Broker, tmp_path: Path, database_url: str) -> RunningDesk:
    """A desk on a Redis of its own."""
    url = broker.server.url()
    settings = Settings(
        home=tmp_path, database_url=database_url, redis_url=url, auth_mode="open", command_resend_s=0.5,
        subscribe_poll_s=0.2,
    )  # fmt: skip
    return RunningDesk(settings, tmp_path)


async def next_kinds(events: Any, count: int) -> list[str]:
    return [(await asyncio.wait_for(anext(events), 60)).event_type for _ in range(count)]


async def begun(manager: SessionLifecycleManager) -> tuple[UUID, Any]:
    session = await manager.create_session(SessionType.PAPER_TRADING, deadline_s=60)
    events = manager.subscribe(session.session_id)
    assert await next_kinds(events, 1) == ["session_created"]
    return session.session_id, events


def test_redis_killed_under_a_waiting_command_and_a_subscription(own_desk: RunningDesk, broker: Broker) -> None:
    """The command is sent to the Redis that is back and acts once; the subscription goes on where it was."""
    world = World.over(own_desk.database_url)

    async def scenario() -> None:
        async with own_desk.manager(command_deadline_s=90.0) as manager:
            with own_desk.worker():
                session_id, events = await begun(manager)
                waiting = asyncio.create_task(next_kinds(events, 3))
                await asyncio.to_thread(broker.kill)
                starting = asyncio.create_task(manager.start_session(session_id))
                while not manager._asked().line("commands").under_way:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(world.do, Trigger.PIN, session_id, pinned=True)
                await asyncio.to_thread(broker.start)
                assert (await starting).status == "active"
                await manager.pause_session(session_id)
                assert await waiting == ["pinned", "session_started", "session_paused"]
                assert len(await manager.get_session_transitions(session_id)) == 3

    try:
        run(scenario)
    finally:
        world.close()


def test_postgres_refusing_for_a_while_leaves_no_gap(
    own_desk: RunningDesk, postgres_server: DatabaseServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What was told before and after the outage comes, once each; the outage itself is said once."""
    name = own_desk.database_url.rpartition("/")[2].partition("?")[0]
    world = World.over(own_desk.database_url)

    def allow(yes: str) -> None:
        shut = f"ALTER DATABASE {name} ALLOW_CONNECTIONS {yes}"
        ended = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'"
        for statement in (shut, ended) if yes == "false" else (shut,):
            postgres_server._run(statement)

    async def scenario() -> None:
        async with own_desk.manager(query_patience_s=0.1) as manager:
            with own_desk.worker():
                session_id, events = await begun(manager)
                await asyncio.to_thread(world.do, Trigger.PIN, session_id, pinned=True)
                world.close()
                await asyncio.to_thread(allow, "false")
                waiting = asyncio.create_task(next_kinds(events, 2))
                await asyncio.to_thread(wait_until, lambda: "cannot be followed" in caplog.text, "the outage is said")
                await asyncio.to_thread(allow, "true")
                await manager.start_session(session_id, deadline_s=60)
                assert await waiting == ["pinned", "session_started"]
                assert caplog.text.count("cannot be followed") == 1

    try:
        run(scenario)
    finally:
        allow("true")
        world.close()
