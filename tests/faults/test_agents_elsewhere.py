"""The example agents as processes of their own: killed, started again, and nothing of them lost or done twice."""

import os
import shutil
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from agent_world import PLANNER, AgentDesk, agent_desk, example, quiet_desk
from hosting import T

from fntx_sessions.schemas import SessionStatus
from fntx_sessions.state.redis_client import key

__all__ = ["agent_desk", "quiet_desk"]

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def only_redis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder from which redis can be imported, and nothing else that is installed."""
    folder = tmp_path_factory.mktemp("only")
    found = find_spec("redis")
    assert found is not None
    shutil.copytree(Path(found.origin).parent, folder / "redis", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def status(desk: AgentDesk, session_id) -> str:
    return desk.hosting.row(session_id)["status"]


@pytest.mark.parametrize("program", ["agent_elsewhere.py", "agent_plain_redis.py"])
def test_an_agent_killed_and_started_again_goes_on_where_it_was(agent_desk, only_redis, tmp_path, program):
    """Kill -9 in the middle of its work: its memory and unread events are back, each decision is told once.

    The second example can import redis and the standard library, nothing of this package, and no Celery.
    """
    desk, session_id = agent_desk, agent_desk.session(wait_ready_s=60)
    only = only_redis if "plain" in program else None
    assert desk.hosting.ask(T.START, session_id).state == "pending"
    with example(desk.running, program, session_id, tmp_path / "1.log", only=only) as first:
        first.wait_for("joined active")  # its joining let the start go on
        assert status(desk, session_id) == SessionStatus.ACTIVE
        first.wait_for("decided 5")
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
    decided = int(last(first.lines(), "decided").split()[1])
    desk.do(T.PAUSE, session_id)
    with example(desk.running, program, session_id, tmp_path / "2.log", only=only) as second:
        second.wait_for("told session_paused")
        assert remembered(second.lines()) >= decided
        desk.do(T.RESUME, session_id)
        second.wait_for(f"decided {decided + 5}")
    told = [name for kind, name in desk.records(session_id) if kind == "decision"]
    assert told == [f"{PLANNER}-{number}" for number in range(1, len(told) + 1)]
    [who] = desk.hosting.rows("SELECT joined_by FROM session_agents WHERE session_id = :id", id=session_id)
    assert who["joined_by"] == "their-service"


def last(lines: list[str], word: str) -> str:
    return [line for line in lines if line.startswith(word)][-1]


def remembered(lines: list[str]) -> int:
    """Return what its first joining gave back."""
    return int(next(line for line in lines if line.startswith("joined")).split()[-1])


@pytest.mark.parametrize("program", ["agent_elsewhere.py", "agent_plain_redis.py"])
def test_an_agent_whose_redis_forgot_all_joins_again(agent_desk, only_redis, tmp_path, program):
    """The live state gone, as after a restart of Redis without its file: it joins by itself, under the same epoch."""
    desk, session_id = agent_desk, agent_desk.session()
    only = only_redis if "plain" in program else None
    with example(desk.running, program, session_id, tmp_path / "log", only=only) as agent:
        agent.wait_for("joined initializing")
        desk.do(T.START, session_id)
        agent.wait_for("decided 2")
        desk.redis.delete(key(session_id, "live"))
        agent.wait_for("joined active epoch 1")
        desk.do(T.STOP, session_id)
        desk.hosting.finish()
        agent.wait_for("ended")
        assert agent.process.wait(20) == 0


def test_an_agent_cannot_import_what_the_plain_one_must_not(only_redis, tmp_path, agent_desk):
    """The folder of the plain example really is without this package and without Celery."""
    assert [path.name for path in only_redis.iterdir()] == ["redis"]


@pytest.mark.parametrize("act", [T.RECOVER, T.SUSPEND])
def test_an_agent_follows_a_session_that_fails_under_it(agent_desk, tmp_path, act: Callable):
    """Suspended, or recovered under a new epoch: it stops deciding, joins again where it must, and is not refused."""
    desk, session_id = agent_desk, agent_desk.session()
    with example(desk.running, "agent_elsewhere.py", session_id, tmp_path / "log") as agent:
        agent.wait_for("joined initializing")
        desk.do(T.START, session_id)
        agent.wait_for("decided 2")
        desk.do(T.SUSPEND, session_id)
        agent.wait_for("told session_suspended")
        if act is T.RECOVER:
            desk.hosting.save(session_id)
            desk.do(T.RECOVER, session_id)
            agent.wait_for("told session_recovered")
            assert "joined paused epoch 2" in last(agent.lines(), "joined")
            desk.do(T.RESUME, session_id)
            before = int(last(agent.lines(), "decided").split()[1])
            agent.wait_for(f"decided {before + 2}")
