"""Agents of other services: a desk with a worker that answers them, sessions that name them, example processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hosting import Hosting, T, make_hosting
from running_desk import RunningDesk, quiet_desk
from worker_process import end, wait_until

from fntx_sessions import AgentClient, Outcome
from fntx_sessions.security.local import ensure_local_keys
from fntx_sessions.security.tokens import issue
from fntx_sessions.state.redis_client import key

EXAMPLES = Path(__file__).parents[1] / "examples"
PLANNER = "TheirPlanner"


@dataclass(frozen=True)
class AgentDesk:
    """A desk whose commands are done in this process, and whose agents ask a real worker."""

    running: RunningDesk
    hosting: Hosting

    @property
    def redis(self) -> Any:
        return self.hosting.desk.redis

    def session(self, *agents: str, **config: Any) -> UUID:
        """Create a session whose agents, `PLANNER` unless named, run elsewhere."""
        return self.hosting.create(config={"agents": list(agents or [PLANNER]), **config})

    def do(self, trigger: T, session_id: UUID, **arguments: Any) -> Outcome:
        """Do one command; its follow-ups are relayed at once. Raises what it was refused with."""
        return self.hosting.do(trigger, session_id, **arguments)

    def client(self, session_id: UUID, agent: str = PLANNER, **changed: Any) -> AgentClient:
        return AgentClient(session_id, agent, settings=self.running.settings.model_copy(update=changed))

    def records(self, session_id: UUID) -> list[tuple[str, str]]:
        """Return kind and id of what waits to be taken in, oldest first."""
        entries = self.redis.xrange(key(session_id, "records"))
        return [(fields[b"kind"].decode(), fields[b"id"].decode()) for _, fields in entries]


@pytest.fixture(scope="module")
def agent_desk(quiet_desk: RunningDesk) -> Iterator[AgentDesk]:
    """A desk with one worker that answers agents; nothing sweeps unless the test does."""
    with quiet_desk.worker(), make_hosting(quiet_desk.settings) as hosting:
        yield AgentDesk(quiet_desk, hosting)


@contextmanager
def away(client: AgentClient) -> Iterator[None]:
    """Let the client's Redis be out of reach."""
    pool = client._redis.connection_pool
    real = dict(pool.connection_kwargs)
    pool.disconnect()
    pool.reset()  # its connections know where they were
    pool.connection_kwargs.update({"path": "/nonexistent/redis.sock"} if "path" in real else {"port": 1})
    try:
        yield
    finally:
        pool.connection_kwargs.update(real)
        pool.reset()


class Example:
    """An example agent as a process of its own; its lines are read from a file."""

    def __init__(self, process: subprocess.Popen, log: Path) -> None:
        self.process = process
        self._log = log

    def lines(self) -> list[str]:
        return self._log.read_text().splitlines()

    def wait_for(self, said: str) -> None:
        """Return once a line begins so; fails with all it said."""

        def heard() -> bool:
            assert self.process.poll() is None or any(line.startswith(said) for line in self.lines()), self.lines()
            return any(line.startswith(said) for line in self.lines())

        wait_until(heard, f"it says {said!r}", 30.0)


@contextmanager
def example(
    desk: RunningDesk, name: str, session_id: UUID, log: Path, *, only: Path | None = None
) -> Iterator[Example]:
    """Run an example with a token of role agent. only: a folder with all that it can import beside what Python has."""
    ensure_local_keys(desk.folder)
    token = issue(desk.settings, "their-service", ["agent"], 600)
    own = {"FNTX_REDIS_URL": desk.redis_url, "FNTX_TOKEN": token, "PYTHONUNBUFFERED": "1"}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("FNTX_", "PYTHON"))}
    reach, flags = ({"PYTHONPATH": str(only)}, ["-S"]) if only else ({"PYTHONPATH": str(EXAMPLES.parent)}, [])
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *flags, str(EXAMPLES / name), str(session_id), PLANNER, "0.05"],
            env=inherited | own | reach, cwd=log.parent, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        yield Example(process, log)
    finally:
        end(process)


__all__ = ["EXAMPLES", "PLANNER", "AgentDesk", "agent_desk", "away", "example", "quiet_desk"]
