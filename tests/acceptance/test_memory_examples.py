"""The spec's memory examples as they are written, against real workers; what came of them; and `fntx memory`."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest
from running_desk import RunningDesk, quiet_desk, run
from worker_process import raw_app, wait_until

from fntx_sessions import (
    DeskMemory,
    MCPManager,
    MemoryImportance,
    MemorySlice,
    MemoryType,
    SessionLifecycleManager,
    SessionTransition,
    SessionType,
)
from fntx_sessions.cli.app import run as fntx
from fntx_sessions.exceptions import CommandConflict, InvalidArgument, NotFound

__all__ = ["quiet_desk"]
SENDER = "SessionLifecycleManager"
WORKER = ("-Q", "commands,queries,sweeps", "-c", "1")


@pytest.fixture(scope="module")
def desk(quiet_desk: RunningDesk):
    """A desk with a worker for commands, questions and sweeps."""
    with quiet_desk.worker(*WORKER):
        yield quiet_desk


@pytest.fixture(autouse=True)
def _this_desk(desk: RunningDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fntx_sessions.caller.manager.get_settings", lambda: desk.settings)


async def remembered(desk: RunningDesk, mcp: DeskMemory, session_id: Any, count: int) -> list[Any]:
    """Return a session's slices, newest first, once the sweep has made as many."""
    for _ in range(600):
        desk.sweep("memory")
        found = await mcp.get_agent_memories(SENDER, session_id=session_id)
        if len(found) >= count:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"{len(found)} of {count} slices")


def test_mcp_memory_system(desk: RunningDesk) -> None:
    """A transition is stored with the models' own `dict()`, and comes back by search and by agent."""

    async def example(mcp: DeskMemory, transition: SessionTransition) -> None:
        # Sessions store key decisions in MCP
        await mcp.store_memory(
            "SessionLifecycleManager",
            MemorySlice(
                memory_type=MemoryType.EXECUTION,
                content={"session_transition": transition.dict()},
                importance=MemoryImportance.MEDIUM
            )
        )  # fmt: skip

    async def scenario() -> None:
        async with desk.manager() as manager, DeskMemory() as mcp:
            assert isinstance(mcp, MCPManager)
            session = await manager.create_session(SessionType.PAPER_TRADING)
            await manager.start_session(session.session_id, reason="quick brown fox")
            transition = (await manager.get_session_transitions(session.session_id))[-1]
            await example(mcp, transition)
            [found] = [one for one in await mcp.search_memories("quick fox") if one.session_id is None]
            assert SessionTransition.model_validate(found.content["session_transition"]) == transition
            newest = (await mcp.get_agent_memories(SENDER, memory_type="execution", importance="medium", limit=1))[0]
            assert newest == found.model_copy(update={"rank": None})

    run(scenario)


def test_agent_coordination(desk: RunningDesk) -> None:
    """Context reaches the streams of both agents, as it was given."""

    async def example(mcp: DeskMemory, session_id: str) -> None:
        # Notify agents of session events
        await mcp.share_context(
            "SessionLifecycleManager",
            ["StrategicPlannerAgent", "TacticalExecutorAgent"],
            {
                "session_event": "status_changed",
                "session_id": session_id,
                "from_status": "paused",
                "to_status": "active"
            }
        )  # fmt: skip

    async def scenario() -> None:
        session_id = str(uuid4())
        async with DeskMemory() as mcp:
            await example(mcp, session_id)
            for agent in ("StrategicPlannerAgent", "TacticalExecutorAgent"):
                [told] = await mcp.get_context(agent, session_id=session_id)
                assert (told.sender, told.context["to_status"]) == (SENDER, "active")

    run(scenario)


def test_the_desk_remembers_by_itself(desk: RunningDesk) -> None:
    """A service that starts and pauses a session finds both among the memories, and its agents were told the same."""

    async def scenario() -> None:
        async with desk.manager() as manager, DeskMemory() as mcp:
            session = await manager.create_session(SessionType.PAPER_TRADING)
            await manager.start_session(session.session_id)
            await manager.pause_session(session.session_id)
            kept = await remembered(desk, mcp, session.session_id, 3)
            steps = [one.content["session_transition"]["to_status"] for one in kept]
            assert steps == ["paused", "active", "initializing"]
            told = await mcp.get_context("RiskManagerAgent", session_id=session.session_id)
            assert [one.context["to_status"] for one in told] == steps[::-1]

    run(scenario)


def test_refusals_arrive_as_they_were_meant(desk: RunningDesk) -> None:
    """One id for two slices, an unknown session, a query of nothing: each is the same error in another process."""

    async def scenario() -> None:
        async with DeskMemory() as mcp:
            memory_id = uuid4()
            for _ in range(2):
                assert await mcp.store_memory("A", MemorySlice("risk", {"x": 1}), memory_id=memory_id) == memory_id
            with pytest.raises(CommandConflict):
                await mcp.store_memory("A", MemorySlice("risk", {"x": 2}), memory_id=memory_id)
            with pytest.raises(NotFound):
                await mcp.store_memory("A", MemorySlice("risk", {}, session_id=uuid4()))
            with pytest.raises(InvalidArgument, match="no word"):
                await mcp.search_memories("...")
            with pytest.raises(InvalidArgument, match="memory_type"):
                await mcp.store_memory("A", {"content": {}})

    run(scenario)


def test_a_stranger_remembers_with_celery_alone(desk: RunningDesk) -> None:
    """The tasks by their names, JSON in and out, as docs/integration.md has them."""
    app = raw_app(desk.redis_url)
    given = {"agent": "TheirPlanner", "memory_type": "learning", "content": {"what": "zebra crossing"}}
    sent = app.send_task("fntx.memory.store", kwargs=given, queue="commands", task_id=str(uuid4()))
    answer = sent.get(timeout=60)
    assert (answer["state"], answer["result"]["memory_id"]) == ("done", sent.id)
    found = app.send_task("fntx.memory.search", kwargs={"query": "zebra"}, queue="queries").get(timeout=60)
    assert [(one["agent"], one["content"], one["importance"]) for one in found["result"]] == [
        ("TheirPlanner", {"what": "zebra crossing"}, "medium")
    ]
    app.close()


class Own:
    """A service's own memory system, in its own process; the first calls fail."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.stored: list[str] = []
        self.told: list[tuple[list[str], dict[str, Any]]] = []

    async def store_memory(self, agent: str, memory: MemorySlice) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("not now")
        assert agent == SENDER
        self.stored.append(memory.content["session_transition"]["to_status"])

    async def share_context(self, sender: str, recipients: list[str], context: dict[str, Any]) -> None:
        assert sender == SENDER
        self.told.append((recipients, context))

    async def search_memories(self, *_: Any, **__: Any) -> list[Any]:
        return []

    async def get_agent_memories(self, *_: Any, **__: Any) -> list[Any]:
        return []


@pytest.mark.parametrize("failures", [0, 1])
def test_a_manager_remembers_in_the_system_it_was_given(desk: RunningDesk, failures: int) -> None:
    """Each transition of its commands, in order, in the background; what failed is told with the next command."""

    async def scenario() -> None:
        own = Own(failures)
        manager = SessionLifecycleManager(own, settings=desk.settings)
        async with manager:
            session = await manager.create_session(SessionType.PAPER_TRADING)
            await manager.start_session(session.session_id)
            await manager.stop_session(session.session_id)
        assert own.stored == ["initializing", "active", "closing"]
        assert [context["to_status"] for _, context in own.told] == own.stored
        assert own.told[0][0] == session.roster

    run(scenario)


def test_fntx_memory(desk: RunningDesk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`fntx memory store`, then `search`, `ls` and `context`: what was kept is shown, and errors have their codes."""
    monkeypatch.setenv("FNTX_HOME", str(desk.folder))
    monkeypatch.setenv("FNTX_REDIS_URL", desk.redis_url)
    monkeypatch.setenv("FNTX_AUTH_MODE", "open")
    kept = ["memory", "store", "Planner", "what=gnu migration", "size=3", "--importance", "high", "--tag", "gnu"]
    assert fntx([*kept, "--json"]) == 0
    memory_id = json.loads(capsys.readouterr().out)["memory_id"]
    for asked in (
        ["search", "migrations gnu"],
        ["ls", "Planner", "--type", "learning", "--importance", "high", "--tag", "gnu"],
    ):
        assert fntx(["memory", *asked, "--json"]) == 0
        [found] = json.loads(capsys.readouterr().out)
        assert (found["memory_id"], found["content"]) == (memory_id, {"what": "gnu migration", "size": 3})
        assert fntx(["memory", *asked]) == 0
        assert "gnu migration" in capsys.readouterr().out
    step = {"from_status": "paused", "to_status": "active", "actor": "ada", "trigger": "resume_session", "reason": "on"}
    moved = ["memory", "store", "Planner", f"session_transition={json.dumps(step)}", "--tag", "moved"]
    assert fntx(moved) == 0
    assert fntx(["memory", "ls", "--tag", "moved"]) == 0
    assert "paused -> active by ada: on" in capsys.readouterr().out
    assert fntx(["memory", "context", "NobodyAgent"]) == 0
    assert "told nothing" in capsys.readouterr().err
    assert fntx(["memory", "search", "-x"]) == 2
    assert fntx(["memory", "search", "the"]) == 2
    assert "no word" in capsys.readouterr().err


def test_the_sweep_survives_its_worker(desk: RunningDesk) -> None:
    """What one sweep was asked for is there whoever does it: two at once make no slice twice."""

    async def scenario() -> None:
        async with desk.manager() as manager, DeskMemory() as mcp:
            session = await manager.create_session(SessionType.PAPER_TRADING)
            for _ in range(5):
                desk.sweep("memory")
            assert len(await remembered(desk, mcp, session.session_id, 1)) == 1
            with desk.redis() as client:
                await asyncio.to_thread(wait_until, lambda: not client.llen("sweeps"), "sweeps are done")
            assert len(await mcp.get_agent_memories(SENDER, session_id=session.session_id)) == 1

    run(scenario)
