"""Real workers and a real beat: killed, stalled, told to end. Sessions go on, and never in two places."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from conftest import DatabaseServer
from hosting import FEED, Hosting, S, T, make_hosting
from worker_process import beat, end, wait_until, worker

from fntx_sessions.settings import Settings
from fntx_sessions.state.live import LiveState

REDIS_DATABASE = 8
CONFIG = {"step_interval_s": 0.1, "feed": FEED}
HOLDS = {
    "risk_parameters": {"take_profit_multiplier": 0.99, "stop_loss_multiplier": 20},
    "strategy_parameters": {"sell_put": {"entry_time": "09:30:00"}},
}


@dataclass
class Workers:
    """A sweeps worker, a beat, and as many agents workers as a test asks for; `once` arms one kill in a step."""

    hosting: Hosting
    folder: Path
    environment: dict[str, str]
    once: Path
    stack: ExitStack
    agents: dict[str, subprocess.Popen] = field(default_factory=dict)
    number: int = 0

    def begin(self) -> None:
        self._worker("sweeps", "-Q", "sweeps,checkpoints", "-c", "1")
        self.stack.enter_context(beat(self.environment, self.folder / "beat.log"))

    def at_least(self, count: int) -> None:
        """Have `count` agents workers that live."""
        self.agents = {name: process for name, process in self.agents.items() if process.poll() is None}
        while len(self.agents) < count:
            self.number += 1
            name = f"agents{self.number}"
            self.agents[name] = self._worker(name, "-Q", "agents", "-c", "1")

    def only_one(self) -> None:
        """Have one agents worker, so that a tick can reach no other."""
        self.at_least(1)
        for process in list(self.agents.values())[1:]:
            end(process)
        self.at_least(1)
        hosts = "UPDATE hosts SET lease_until = now() - interval '1 h' WHERE host_id LIKE 'agents%' AND pid <> :pid"
        self.hosting.run(hosts, pid=next(iter(self.agents.values())).pid)

    def _worker(self, name: str, *arguments: str) -> subprocess.Popen:
        log = self.folder / f"{name}.log"
        return self.stack.enter_context(worker(self.environment, log, *arguments, "-n", f"{name}@test", app="tasks"))

    def hosting_of(self, session_id) -> tuple[str, subprocess.Popen]:
        """Return the host that has the session, and its worker's process."""
        wait_until(lambda: self.hosting.row(session_id)["host_id"], "somebody hosts it")
        host_id = self.hosting.row(session_id)["host_id"]
        return host_id, self.agents[host_id.split("@")[0]]

    def trading(self, **asked: Any):
        """A started session that some worker has brought into a position."""
        session_id = self.hosting.started(config=CONFIG | asked.pop("config", {}), **HOLDS, **asked)
        wait_until(lambda: self.hosting.broker.positions(session_id), "it holds a position")
        wait_until(lambda: self.hosting.row(session_id)["clock_at"], "its first step is stored")
        return session_id

    def goes_on(self, session_id) -> None:
        """Wait until the session's clock moves on from here."""
        clock = self.hosting.row(session_id)["clock_at"]
        wait_until(lambda: self.hosting.row(session_id)["clock_at"] > clock, "it is stepped on")

    def closed(self, session_id) -> None:
        """Stop the session, see it CLOSED and flat, and its books agree."""
        self.hosting.do(T.STOP, session_id)
        wait_until(lambda: self.hosting.row(session_id)["status"] == S.CLOSED, "it is closed")
        assert self.hosting.broker.positions(session_id) == []
        self.hosting.check_books(session_id)
        assert [fill["opening"] for fill in self.hosting.fills(session_id)] == [True, False]


@pytest.fixture(scope="module")
def workers(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: DatabaseServer,
    module_database_url: str,
    valkey_server: str,
) -> Iterator[Workers]:
    url = valkey_server.rsplit("/", 1)[0] + f"/{REDIS_DATABASE}"
    folder = tmp_path_factory.mktemp("takeover")
    once = folder / "once"
    once.touch()
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    environment = {
        "FNTX_HOME": str(folder), "FNTX_DATABASE_URL": module_database_url, "FNTX_REDIS_URL": url,
        "FNTX_AUTH_MODE": "open", "FNTX_LEASE_S": "2", "FNTX_LEASE_RENEW_S": "0.5",
        "FNTX_LIVENESS_INTERVAL_S": "0.5", "FNTX_FAILPOINTS": f"step.bar:kill@{once}",
        "FNTX_KEY_RING": os.environ["FNTX_KEY_RING"],
    }  # fmt: skip
    settings = Settings(home=folder, database_url=module_database_url, redis_url=url, auth_mode="open")
    with make_hosting(settings) as hosting, ExitStack() as stack:
        made = Workers(hosting, folder, environment, once, stack)
        made.begin()
        yield made


def everyone(process: subprocess.Popen) -> list[psutil.Process]:
    found = psutil.Process(process.pid)
    return [found, *found.children(recursive=True)]


def test_sessions_of_a_killed_worker_are_taken_over(workers):
    """Kill -9 of the whole worker: PAUSED under a new epoch, next to nothing lost; resumed, another host goes on."""
    workers.at_least(2)
    session_id = workers.trading()
    host_id, process = workers.hosting_of(session_id)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: workers.hosting.row(session_id)["status"] == S.PAUSED, "it is taken over")
    row = workers.hosting.row(session_id)
    assert (row["epoch"], row["holds"]) == (2, ["recovery"])
    assert row["recovery_data"]["state_lost_s"] <= 10
    workers.goes_on(session_id)
    assert workers.hosting.row(session_id)["host_id"] != host_id
    workers.hosting.do(T.RESUME, session_id)
    workers.closed(session_id)


def test_a_stalled_worker_that_wakes_writes_nothing(workers):
    """SIGSTOP past the lease, taken over, SIGCONT: the epoch fences it, no order is doubled, and it is a host again."""
    workers.at_least(2)
    session_id = workers.trading()
    host_id, process = workers.hosting_of(session_id)
    stopped = everyone(process)
    for one in stopped:
        one.suspend()
    try:
        wait_until(lambda: workers.hosting.row(session_id)["status"] == S.PAUSED, "it is taken over")
    finally:
        for one in stopped:
            one.resume()
    live = "SELECT 1 FROM hosts WHERE host_id = :id AND lease_until > now()"
    wait_until(lambda: workers.hosting.rows(live, id=host_id), "the stalled host is alive again")
    workers.goes_on(session_id)
    samples = "SELECT epoch, count(*) AS n FROM samples WHERE session_id = :id GROUP BY epoch"
    old = {row["epoch"]: row["n"] for row in workers.hosting.rows(samples, id=session_id)}[1]
    for _ in range(2):
        workers.goes_on(session_id)
    row = workers.hosting.row(session_id)
    assert (row["status"], row["epoch"]) == (S.PAUSED, 2)
    assert {found["epoch"]: found["n"] for found in workers.hosting.rows(samples, id=session_id)}[1] == old
    saved = "SELECT epoch FROM saves WHERE session_id = :id"
    wait_until(lambda: workers.hosting.rows(saved, id=session_id) == [{"epoch": 2}], "the new host's save is stored")
    workers.goes_on(session_id)
    assert workers.hosting.rows(saved, id=session_id) == [{"epoch": 2}]
    sent = "SELECT count(*) AS n FROM order_intents WHERE session_id = :id"
    assert workers.hosting.rows(sent, id=session_id) == [{"n": 1}]
    desk = workers.hosting.desk
    assert LiveState(desk.redis, desk.settings).read([session_id])[0].epoch == 2
    workers.hosting.do(T.RESUME, session_id)
    workers.closed(session_id)


def test_a_killed_child_costs_its_agent_and_nothing_else(workers):
    """A pool child killed in the middle of a step: the same host goes on under the same epoch, one agent charged."""
    workers.only_one()
    session_id = workers.trading()
    host_id, _ = workers.hosting_of(session_id)
    workers.once.unlink()
    wait_until(workers.once.exists, "a child was killed in its step")
    charged = "SELECT session_id, agent_failures FROM session_work WHERE agent_failures <> '{}'"
    wait_until(lambda: workers.hosting.rows(charged), "the agent is charged")
    workers.goes_on(session_id)
    guilt = {"EvaluatorAgent": 1, "hung": 1}
    assert workers.hosting.rows(charged) == [{"session_id": session_id, "agent_failures": guilt}]
    row = workers.hosting.row(session_id)
    assert (row["status"], row["epoch"], row["host_id"]) == (S.ACTIVE, 1, host_id)
    workers.closed(session_id)


def test_a_worker_told_to_end_gives_its_sessions_back(workers):
    """SIGTERM: saved, checkpointed, given back; another host goes on under the same epoch, ACTIVE all the while."""
    workers.at_least(2)
    session_id = workers.trading()
    host_id, process = workers.hosting_of(session_id)
    process.terminate()
    wait_until(lambda: process.poll() is not None, "the worker has ended")
    kept = "SELECT verified FROM checkpoints WHERE session_id = :id AND checkpoint_type = 'shutdown'"
    assert [row["verified"] for row in workers.hosting.rows(kept, id=session_id)] == [True]
    workers.goes_on(session_id)
    row = workers.hosting.row(session_id)
    assert (row["status"], row["epoch"]) == (S.ACTIVE, 1)
    assert row["host_id"] not in (None, host_id)
    path = "SELECT to_status FROM transitions WHERE session_id = :id ORDER BY version"
    assert [step["to_status"] for step in workers.hosting.rows(path, id=session_id)] == [S.INITIALIZING, S.ACTIVE]
    workers.closed(session_id)


def test_a_cold_shutdown_gives_its_sessions_back_too(workers):
    """SIGQUIT, which `fntx down` and containers make of SIGTERM: saved, given back, gone on with, no recovery."""
    workers.only_one()
    session_id = workers.trading()
    _, process = workers.hosting_of(session_id)
    process.send_signal(signal.SIGQUIT)
    wait_until(lambda: process.poll() is not None, "the worker has ended")
    kept = "SELECT verified FROM checkpoints WHERE session_id = :id AND checkpoint_type = 'shutdown'"
    assert [row["verified"] for row in workers.hosting.rows(kept, id=session_id)] == [True]
    workers.at_least(1)
    workers.goes_on(session_id)
    row = workers.hosting.row(session_id)
    assert (row["status"], row["epoch"]) == (S.ACTIVE, 1)
    workers.closed(session_id)
