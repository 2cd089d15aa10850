"""`python -m benchmarks.agents [AGENTS] [SECONDS] [TICK_S]`: remote agents on one stack, each with a client of its own.

Every agent reports its state and a decision every TICK_S, and acknowledges events. Meanwhile sessions are paused and
resumed. At the end every decision must be in Postgres once, and every agent must have seen every event.
"""

import multiprocessing
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
from sqlalchemy import text

from benchmarks.desk import ANN, Desk, own_desk, wait
from benchmarks.report import Result, middle, show
from fntx_sessions.agent_client import AgentClient, AgentEvent, Joined
from fntx_sessions.exceptions import Unavailable
from fntx_sessions.lifecycle import execute
from fntx_sessions.lifecycle.arguments import CreateArguments, HoldArguments, StartArguments
from fntx_sessions.schemas import SessionType, Trigger
from fntx_sessions.settings import Settings
from fntx_sessions.state.redis_client import key

AGENTS, SECONDS, TICK_S = 200, 30.0, 1.0
PER_SESSION = 5
PROCESSES = 4
_HANDLED_S = 2.0
WORKERS = {"commands": "commands,queries,celery", "sweeps": "sweeps,checkpoints,maintenance"}
Place = tuple[str, str, str, float]  # redis, home, token, seconds between two reports of an agent
_KEPT = text(
    "SELECT count(*), count(DISTINCT (session_id, agent, report_id)) FROM agent_reports WHERE kind = 'decision'"
)


@dataclass
class Life:
    """What one agent came to."""

    session_id: str
    agent: str
    joining_s: float = 0.0
    decided: int = 0
    reports_ms: list[float] = field(default_factory=list)
    seen: list[tuple[str, float]] = field(default_factory=list)
    problem: str | None = None


class Agent:
    """An agent in a thread of its own."""

    def __init__(self, place: Place, session_id: UUID, name: str, stop: threading.Event) -> None:
        redis_url, home, token, self._tick_s = place
        settings = Settings(home=Path(home), redis_url=redis_url, command_deadline_s=120.0)
        self.client = AgentClient(session_id, name, token=token, settings=settings)
        self.life = Life(str(session_id), name)
        self.active = False
        self._stop = stop

    def live(self) -> None:
        """Take part until told to stop; then send what is unsent."""
        try:
            with self.client:
                began = time.perf_counter()
                self.joined(self.client.join())
                self.life.joining_s = time.perf_counter() - began
                self.client.run(
                    self.told, on_joined=self.joined, on_tick=self.tick, tick_s=self._tick_s, stop=self._stop
                )
        except Exception as error:  # noqa: BLE001 - the parent tells it
            self.life.problem = f"{type(error).__name__}: {error}"

    def joined(self, joined: Joined) -> None:
        """Begin where the session stands."""
        self.active = joined.status == "active"

    def told(self, event: AgentEvent) -> None:
        """Note when it arrived, by the clock that the machine's processes share."""
        self.life.seen.append((event.id, time.time()))
        self.active = event.payload.get("to_status") == "active"

    def tick(self) -> None:
        """Report the state, and a decision."""
        number = self.life.decided
        told = {"decision_id": str(number), "timestamp": datetime.now(UTC), "what": "hold", "latency_ms": 1.0}
        began = time.perf_counter()
        # Kept by the client where it cannot be sent: counted, since it has to arrive.
        self.life.decided += 1
        with suppress(Unavailable):
            self.client.report(state={"internal_state": {"decided": number}}, decisions=[told])
        self.life.reports_ms.append((time.perf_counter() - began) * 1000)


def serve(place: Place, names: list[tuple[UUID, str]], line: Any) -> None:
    """Run a share of the agents, one thread each, until the line says so; answer their lives and the CPU they took."""
    stop = threading.Event()
    agents = [Agent(place, session_id, name, stop) for session_id, name in names]
    threads = [threading.Thread(target=agent.live) for agent in agents]
    for thread in threads:
        thread.start()
    line.recv()
    stop.set()
    for thread in threads:
        thread.join()
    line.send([agent.life for agent in agents])


@contextmanager
def agents_of(desk: Desk, names: list[tuple[UUID, str]], tick_s: float) -> Iterator[Any]:
    """Run the agents in processes of their own; yields a call that ends them and returns their lives."""
    spawn = multiprocessing.get_context("spawn")
    place = (desk.redis_url, str(desk.folder.home), desk.token, tick_s)
    pairs = [spawn.Pipe() for _ in range(PROCESSES)]
    processes = [
        spawn.Process(target=serve, args=(place, names[number::PROCESSES], theirs), daemon=True, name="agents")
        for number, (_, theirs) in enumerate(pairs)
    ]
    for process in processes:
        process.start()

    def end() -> list[Life]:
        for ours, _ in pairs:
            ours.send(None)
        return [life for ours, _ in pairs for life in ours.recv()]

    try:
        yield end
    finally:
        for process in processes:
            process.terminate()
            process.join()


def agents(desk: Desk, count: int = AGENTS, seconds: float = SECONDS, tick_s: float = TICK_S) -> list[Result]:
    """Return reports a second, how long reports, joining and events take, CPU by process, and what was lost."""
    sessions = [_session(desk) for _ in range(-(-count // PER_SESSION))]
    names = [(session_id, f"Remote{number}") for session_id in sessions for number in range(PER_SESSION)][:count]
    with ExitStack() as stack:
        stack.enter_context(desk.celery("beat", "-A", "tasks", "beat", "--pidfile="))
        for name, queues in WORKERS.items():
            stack.enter_context(desk.working(name, "-Q", queues))
        end = stack.enter_context(agents_of(desk, names, tick_s))
        for session_id in sessions:
            _do(desk, Trigger.START, StartArguments(session_id=session_id, reason="bench"))
        wait(lambda: _active(desk) == len(sessions), "all are started", 300)
        print(f"{count} agents joined {len(sessions)} sessions", flush=True)
        before, began, counted = _seconds_of_cpu(), time.monotonic(), _reports(desk, sessions)
        told = _pause_and_resume(desk, sessions, seconds)
        shares = _shares(before, time.monotonic() - began)
        rate = (_reports(desk, sessions) - counted) / (time.monotonic() - began)
        lives = end()
        wait(lambda: _waiting(desk, sessions) == 0, "records are taken in", 60)
        return _results(desk, lives, told, rate, shares)


def _results(
    desk: Desk, lives: list[Life], told: dict[str, float], rate: float, shares: dict[str, float]
) -> list[Result]:
    problems = [life.problem for life in lives if life.problem]
    assert not problems, problems[:3]
    with desk.engine.connect() as connection:
        kept, distinct = connection.execute(_KEPT).one()
    decided = sum(life.decided for life in lives)
    took = sorted(ms for life in lives for ms in life.reports_ms)
    latencies = sorted(
        at - told[name] for life in lives for entry, at in life.seen if (name := f"{life.session_id} {entry}") in told
    )
    unseen = _unseen(desk, lives)
    return [
        Result("agents", "", len(lives)),
        Result("joining, median", "s", middle([life.joining_s for life in lives])),
        Result("reports", "/s", rate),
        Result("a report, median", "ms", middle(took)),
        Result("a report, 99 of 100", "ms", took[len(took) * 99 // 100]),
        Result("command sent to event handled, median", "ms", middle(latencies) * 1000),
        Result("command sent to event handled, 99 of 100", "ms", latencies[len(latencies) * 99 // 100] * 1000),
        *(Result(f"CPU, {name}", "core", share) for name, share in sorted(shares.items())),
        Result("decisions told", "", decided),
        Result("decisions kept, each once", "", distinct, "told", decided, 1),
        Result("decisions kept twice", "", kept - distinct),
        Result("events not seen by an agent", "", unseen),
    ]


def _unseen(desk: Desk, lives: list[Life]) -> int:
    """Return how many events of the inboxes some agent has not seen, or seen out of order."""
    missing = 0
    for life in lives:
        entries = [entry.decode() for entry, _ in desk.redis.xrange(key(UUID(life.session_id), "inbox"))]
        seen = list(dict.fromkeys(entry for entry, _ in life.seen))
        missing += sum(one != other for one, other in zip(entries, seen, strict=False)) + abs(len(entries) - len(seen))
    return missing


def _pause_and_resume(desk: Desk, sessions: list[UUID], seconds: float) -> dict[str, float]:
    """Pause and resume one session after the other until `seconds` are over; return when each event was asked for."""
    told: dict[str, float] = {}
    ends, turn = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        session_id, trigger = sessions[turn // 2 % len(sessions)], (Trigger.PAUSE, Trigger.RESUME)[turn % 2]
        at = time.time()
        version = _do(desk, trigger, HoldArguments(session_id=session_id, reason="bench"))
        last = desk.redis.xrevrange(key(session_id, "inbox"), count=1)[0][0].decode()
        if last.startswith(f"{version}-"):
            told[f"{session_id} {last}"] = at
        turn += 1
        time.sleep(0.2)
    # What was told last is handled before the agents end.
    time.sleep(_HANDLED_S)
    return told


def _session(desk: Desk) -> UUID:
    names = [f"Remote{number}" for number in range(PER_SESSION)]
    config = {"agents": names, "wait_ready_s": 300.0}
    asked = CreateArguments(session_type=SessionType.PAPER_TRADING, session_id=uuid4(), config=config)
    return execute.create(desk.tools, ANN, asked, uuid4()).raise_for_refusal().session_id


def _do(desk: Desk, trigger: Trigger, arguments: Any) -> int | None:
    return execute.command(desk.tools, trigger, ANN, arguments, uuid4()).raise_for_refusal().version


def _active(desk: Desk) -> int:
    time.sleep(0.2)
    with desk.engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM sessions WHERE status = 'active'")).scalar_one())


def _reports(desk: Desk, sessions: list[UUID]) -> int:
    """Return how often anything was reported: each report of these agents moves its session's revision."""
    return sum(int(desk.redis.hget(key(session_id, "live"), "revision") or 0) for session_id in sessions)


def _waiting(desk: Desk, sessions: list[UUID]) -> int:
    time.sleep(0.2)
    return sum(desk.redis.xlen(key(session_id, "records")) for session_id in sessions)


def _shares(before: dict[str, float], took: float) -> dict[str, float]:
    return {name: (after - before.get(name, 0.0)) / took for name, after in _seconds_of_cpu().items()}


def _seconds_of_cpu() -> dict[str, float]:
    """Return the processor seconds of this benchmark's children, by what they are."""
    found: dict[str, float] = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            name, times = _name(process), process.cpu_times()
            found[name] = found.get(name, 0.0) + times.user + times.system
    return found


def _name(process: psutil.Process) -> str:
    words = process.cmdline()
    known = next((word.split("@")[0] for word in words if word.endswith("@bench")), None)
    if known is None and any("multiprocessing" in word for word in words):
        known = "agents"
    return known or next((word for word in words if word == "beat"), process.name())


if __name__ == "__main__":
    with own_desk() as own:
        asked = [float(one) for one in sys.argv[1:]]
        show(agents(own, int(asked[0]), *asked[1:]) if asked else agents(own))
