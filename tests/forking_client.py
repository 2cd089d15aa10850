"""A service that uses a manager, forks, and uses it in both processes. Prints JSON lines; see test_manager_crowds."""

import asyncio
import json
import os
import sys
from pathlib import Path

from fntx_sessions import SessionLifecycleManager, SessionType
from fntx_sessions.settings import Settings


def tell(**facts: object) -> None:
    print(json.dumps(facts), flush=True)  # noqa: T201


async def connection(manager: SessionLifecycleManager) -> int:
    """Return the id Redis knows the manager's connection by."""
    return await manager._caller._answers.redis.client_id()


async def alive(manager: SessionLifecycleManager) -> list[int]:
    """Return the ids of all connections Redis has."""
    return [int(one["id"]) for one in await manager._caller._answers.redis.client_list()]


async def in_child(manager: SessionLifecycleManager, subscription) -> None:
    tell(child_templates=len(await manager.list_templates()), child=await connection(manager))
    try:
        await anext(subscription)
    except Exception as error:  # noqa: BLE001
        tell(child_subscription=str(error))
    await manager.shutdown()


async def begin(manager: SessionLifecycleManager):
    session = await manager.create_session(SessionType.PAPER_TRADING)
    subscription = manager.subscribe(session.session_id)
    await anext(subscription)
    tell(parent_templates=len(await manager.list_templates()), parent_before=await connection(manager))
    return session, subscription


async def go_on(manager: SessionLifecycleManager, session, subscription) -> None:
    await manager.start_session(session.session_id)
    event = await anext(subscription)
    tell(parent_event=event.event_type, alive_after=await alive(manager))
    await manager.shutdown()


def main() -> None:
    settings = Settings(home=Path(sys.argv[2]), redis_url=sys.argv[1], auth_mode="open")
    manager = SessionLifecycleManager(settings=settings)
    runner = asyncio.Runner()
    session, subscription = runner.run(begin(manager))
    child = os.fork()
    if child == 0:
        asyncio.run(in_child(manager, subscription))
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    tell(child_exit=os.waitstatus_to_exitcode(status))
    runner.run(go_on(manager, session, subscription))
    runner.close()


if __name__ == "__main__":
    main()
