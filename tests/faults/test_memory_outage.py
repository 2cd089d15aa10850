"""Callers of a memory system that hangs: they cost commands and questions next to nothing."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from running_desk import RunningDesk, quiet_desk, run
from worker_process import raw_app, worker

from fntx_sessions import DeskMemory, MemorySlice, SessionLifecycleManager, SessionType
from fntx_sessions.exceptions import Unavailable

__all__ = ["quiet_desk"]
CROWD = 60


def ask_often(desk: RunningDesk) -> None:
    """Leave messages of all kinds in the queues, as callers do who do not wait for one another."""
    app = raw_app(desk.redis_url)
    slice_: dict[str, Any] = {"agent": "A", "memory_type": "risk", "content": {"x": 1}}
    told = {"sender": "A", "recipients": ["B"], "context": {"x": 1}}
    for verb, given, queue in (
        ("store", slice_, "commands"), ("share", told, "commands"),
        ("search", {"query": "x"}, "queries"), ("list", {"agent": "A"}, "queries"),
    ):  # fmt: skip
        for _ in range(CROWD // 4):
            app.send_task(f"fntx.memory.{verb}", kwargs=given, queue=queue, task_id=str(uuid4()))
    app.close()


def test_commands_and_questions_go_on_while_a_crowd_asks_a_memory_that_hangs(quiet_desk: RunningDesk) -> None:
    """One process, sixty messages before each command: it is done, slices are kept, questions refused by name."""

    async def scenario() -> None:
        async with quiet_desk.manager() as manager, DeskMemory(settings=quiet_desk.settings) as mcp:
            session = await manager.create_session(SessionType.PAPER_TRADING)
            await manager.start_session(session.session_id)
            for command in (manager.pause_session, manager.resume_session):
                await asyncio.to_thread(ask_often, quiet_desk)
                await command(session.session_id, deadline_s=10)
            await _memory_says_so(mcp, manager, session.session_id)

    async def _memory_says_so(mcp: DeskMemory, manager: SessionLifecycleManager, session_id: Any) -> None:
        memory_id = uuid4()
        assert await mcp.store_memory("A", MemorySlice("risk", {}), memory_id=memory_id) == memory_id
        await mcp.share_context("A", ["B"], {"session_id": session_id})
        with pytest.raises(Unavailable, match="memory system 'hangs'"):
            await mcp.search_memories("x")
        assert (await manager.get_session_metrics(session_id)).total_trades == 0

    environment = quiet_desk._environment() | {"FNTX_MEMORY": "hangs"}
    arguments = ("-Q", "commands,queries", "-c", "1", "-n", "hanging-memory@test")
    with worker(environment, quiet_desk.folder / "hanging.log", *arguments, app="hanging_memory_app"):
        run(scenario)
