"""Redis flushed, restarted, full and read-only: what Postgres holds stands, and the hot copies are made up for."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from conftest import running
from sqlalchemy import event
from state_world import World, make_world, report
from structlog.testing import capture_logs
from worker_process import wait_until, worker

from fntx_sessions import SessionLifecycleManager
from fntx_sessions.automation.standing_in import StandIn
from fntx_sessions.automation.sweeps import note_run
from fntx_sessions.caller.producer import QUERIES, Message, Producer
from fntx_sessions.exceptions import Unavailable
from fntx_sessions.settings import Settings
from fntx_sessions.stack.folder import Folder
from fntx_sessions.stack.redis_status import read_redis
from fntx_sessions.stack.valkey import Valkey
from fntx_sessions.stack.waiting import until
from fntx_sessions.state.loading import load
from fntx_sessions.state.redis_client import key
from fntx_sessions.state.saves import SAVES, Saver, SaveReport, save_due
from fntx_sessions.state.tier_health import REDIS, REDIS_WRITES, health_of
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.memory import MemoryTier

WAIT_S = 20.0


@dataclass
class Server:
    """A Valkey of this test's own, which may be stopped and started again."""

    valkey: Valkey
    stack: ExitStack

    def start(self) -> None:
        """Start it, and return once it answers."""
        log = self.valkey.folder.logs / "valkey.log"
        process = self.stack.enter_context(running(self.valkey.start(log)))
        self.valkey.wait_ready(log, lambda: process.poll() is None)

    def stop(self) -> None:
        """End it in order: what is in its file stays."""
        self.stack.close()


@contextmanager
def server() -> Iterator[Server]:
    """A Valkey in a folder that is gone afterwards."""
    home = Path(tempfile.mkdtemp(prefix="fntx-", dir="/tmp"))
    folder = Folder(home)
    folder.prepare()
    made = Server(Valkey.of(folder).prepare(), ExitStack())
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    """One server for the tests of this file; each empties and unlocks it."""
    with server() as made:
        yield made


@pytest.fixture
def own(shared: Server) -> Server:
    """The server, empty, writable, without a limit."""
    with redis.Redis.from_url(shared.valkey.url()) as client:
        client.replicaof("NO", "ONE")
        client.config_set("maxmemory", 0)
        client.flushall()
    return shared


@pytest.fixture
def world(tmp_path: Path, database_url: str, own: Server) -> Iterator[World]:
    """A world over that server; tiers that failed are tried again at once."""
    settings = Settings(
        home=tmp_path, database_url=database_url, redis_url=own.valkey.url(), auth_mode="open", tier_retry_s=0
    )
    with make_world(settings) as made:
        yield made


@pytest.fixture
def memory() -> MemoryTier:
    """The memory of one process."""
    return MemoryTier(10_000_000)


@dataclass(frozen=True)
class Process:
    """What one worker does: it saves what is due, over and over."""

    world: World
    memory: MemoryTier

    def save(self) -> SaveReport:
        """Save everything that is due."""
        self.world.due()
        return Saver(*self.world.stores, self.memory).save(SAVES.claim_due(self.world.engine, 500, 15))

    def read(self, session_id, memory: MemoryTier | None = None):
        """Read a session's save as another process would, or as this one."""
        return load(*self.world.stores, Ref(session_id), memory or MemoryTier(0))


@pytest.fixture
def process(world: World, memory: MemoryTier) -> Process:
    """A worker."""
    return Process(world, memory)


def fill(client: redis.Redis) -> None:
    """Leave Redis no byte more than it has, as a full one refuses every write."""
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)


def freeze(client: redis.Redis) -> None:
    """Make it a replica of a primary that is nowhere: it answers, and takes no writes."""
    client.replicaof("127.0.0.1", 1)


def thaw(client: redis.Redis) -> None:
    client.replicaof("NO", "ONE")
    client.config_set("maxmemory", 0)


REFUSING = pytest.mark.parametrize(
    ("refuse", "problem"),
    [(fill, "command not allowed when used memory"), (freeze, "read only replica")],
    ids=["full", "read-only"],
)


def told(world: World, what: str) -> list[str]:
    """Return the descriptions of the events of a type."""
    found = world.rows("SELECT description FROM events WHERE event_type = :what ORDER BY session_id", what=what)
    return [str(row["description"]) for row in found]


def tier_row(world: World, tier: str) -> dict:
    """Return what Postgres says of a tier of this host."""
    [found] = world.rows("SELECT up, problem, since FROM tier_states WHERE tier = :tier", tier=tier)
    return found


@REFUSING
def test_saves_go_on_while_redis_takes_nothing(
    world: World, process: Process, refuse: Callable[[redis.Redis], None], problem: str
) -> None:
    """Saves are committed, hot copies reported missing once, and made up for when Redis takes them again."""
    ids = world.sessions(3)
    refuse(world.client)
    with capture_logs() as logs:
        first = process.save()
        world.run("UPDATE session_work SET saved_revision = 0")  # as if each had changed
        world.run("UPDATE saves SET revision = 0")
        second = process.save()
    assert sorted(first.saved) == sorted(second.saved) == ids
    assert problem in first.hot_problem
    assert problem in second.hot_problem
    assert [line["tier"] for line in logs if line["event"] == "tier.down"] == [REDIS_WRITES]
    assert [problem in line for line in told(world, "tier_down")] == [True] * 3
    assert (tier_row(world, REDIS_WRITES)["up"], world.client.exists(key(ids[0], "hot"))) == (False, 0)
    assert process.read(ids[0]).tier == "postgres"
    thaw(world.client)
    assert process.save().saved == []
    assert [process.read(one).tier for one in ids] == ["redis"] * 3
    assert len(told(world, "tier_up")) == 3
    assert (tier_row(world, REDIS_WRITES)["up"], tier_row(world, REDIS_WRITES)["problem"]) == (True, "")


@REFUSING
def test_a_redis_that_takes_nothing_is_not_called_away(
    own: Server, world: World, refuse: Callable[[redis.Redis], None], problem: str
) -> None:
    """Who sends is told what it is and the way out of that; `status` and `doctor` find it out by a write."""
    assert (read_redis(own.valkey.url()).refuses, world.client.get("fntx:probe")) == ("", b"")
    refuse(world.client)
    producer = Producer(world.settings, own.valkey.url())
    try:
        refused = producer.send(Message("fntx.templates.list", {}, uuid4(), QUERIES))
    finally:
        producer.close()
    assert refused is not None
    assert refused.certain
    found = read_redis(own.valkey.url())
    for told in (str(refused.problem), f"{found}{found.fix}"):
        assert problem in told
        assert "fntx up" not in told
        assert ("maxmemory" if refuse is fill else "primary") in told
        assert ".." not in told
    assert "saves" in str(found)
    thaw(world.client)
    assert read_redis(own.valkey.url()).refuses == ""


@REFUSING
def test_a_question_is_not_asked_for_ever_of_a_redis_that_takes_nothing(
    world: World, refuse: Callable[[redis.Redis], None], problem: str
) -> None:
    """It is told after `query_patience_s`, long before the deadline."""
    refuse(world.client)
    settings = world.settings.model_copy(update={"query_patience_s": 0.1, "command_deadline_s": 3600.0})

    async def scenario() -> None:
        async with SessionLifecycleManager(settings=settings) as manager:
            await manager.list_sessions()

    with pytest.raises(Unavailable, match=problem):
        asyncio.run(asyncio.wait_for(scenario(), WAIT_S))


@REFUSING
def test_saves_are_made_though_no_sweep_can_be_sent(
    world: World, refuse: Callable[[redis.Redis], None], problem: str
) -> None:
    """A worker notices that beat sends nothing and saves by itself, hot copies apart, until sweeps come again."""
    [session_id] = world.sessions(1)
    saver = StandIn(world.settings)
    try:
        note_run(world.engine, "save")
        saver.look()
        assert not saver.active
        refuse(world.client)
        world.run("UPDATE sweep_runs SET last_run = last_run - interval '16 seconds'")
        saver.look()
        assert saver.active
        [saved] = world.rows("SELECT session_id, revision FROM saves")
        assert saved == {"session_id": session_id, "revision": 1}
        assert [problem in line for line in told(world, "tier_down")] == [True]
        [run] = world.rows("SELECT last_run < now() - interval '16 seconds' AS old FROM sweep_runs")
        assert run["old"], "who looks whether beat sends must not take this for it"
        note_run(world.engine, "save")
        thaw(world.client)
        saver.look()
        assert not saver.active
        assert (len(told(world, "tier_up")), tier_row(world, REDIS_WRITES)["up"]) == (1, True)
    finally:
        saver.end()


def test_a_worker_of_sweeps_saves_without_any_beat(world: World, tmp_path: Path) -> None:
    """Beat is dead, or cannot send: the worker finds it out by itself."""
    [session_id] = world.sessions(1)
    environment = {
        "FNTX_HOME": str(tmp_path),
        "FNTX_DATABASE_URL": world.settings.database_url.get_secret_value(),
        "FNTX_REDIS_URL": world.settings.redis_url.get_secret_value(),
        "FNTX_AUTH_MODE": "open",
        "FNTX_SAVE_INTERVAL_S": "0.1",
    }
    log = tmp_path / "worker.log"
    with worker(environment, log, "-Q", "sweeps", "-c", "1", "-n", "alone@test", app="tasks"):
        wait_until(lambda: world.rows("SELECT FROM saves WHERE session_id = :id", id=session_id), "it is saved")
    assert "saves.not_sent" in log.read_text()


@REFUSING
def test_an_agent_is_told_that_its_report_was_not_kept(
    world: World, refuse: Callable[[redis.Redis], None], problem: str
) -> None:
    """A Redis that takes no writes acknowledges none; what it held before can still be read."""
    [session_id] = world.sessions(1)
    refuse(world.client)
    with pytest.raises(Unavailable, match=problem):
        world.live.report(report(session_id, n=2))
    assert world.live.read([session_id])[0].revision == 1
    thaw(world.client)
    assert world.live.report(report(session_id, n=2)) == 2


@REFUSING
def test_without_postgres_nothing_is_acknowledged_that_no_tier_holds(
    world: World, process: Process, refuse: Callable[[redis.Redis], None], problem: str
) -> None:
    """Redis takes nothing and Postgres is away: agents and savers are refused; what was acknowledged is read."""
    [session_id] = world.sessions(1)
    acknowledged = world.live.report(report(session_id, n=2))
    process.save()
    refuse(world.client)
    with postgres_away(world):
        with pytest.raises(Unavailable, match=problem):
            world.live.report(report(session_id, n=3))
        with pytest.raises(Unavailable, match="Postgres is out of reach"):
            save_due(*world.stores)
        found = process.read(session_id)
        assert (found.tier, found.snapshot.revision) == ("redis", acknowledged)
    thaw(world.client)
    world.due()
    assert save_due(*world.stores).failed == {}
    assert process.read(session_id).snapshot.revision == acknowledged


@contextmanager
def postgres_away(world: World) -> Iterator[None]:
    """Let no connection to Postgres come about."""

    def refuse(_dialect, _record, _args, params) -> None:
        params["host"], params["port"] = "127.0.0.1", 1

    event.listen(world.engine, "do_connect", refuse)
    world.engine.dispose()
    try:
        yield
    finally:
        event.remove(world.engine, "do_connect", refuse)


def test_redis_flushed_costs_no_save(world: World, process: Process) -> None:
    """Everything in it is gone: reads fall through and fill it again, and no saver takes the void for news."""
    ids = world.sessions(2)
    process.save()
    world.client.flushall()
    done = process.save()
    assert (done.saved, sorted(done.skipped)) == ([], ids)
    assert [process.read(one).tier for one in ids] == ["postgres", "postgres"]
    assert [process.read(one).tier for one in ids] == ["redis", "redis"]


def test_redis_restarted_is_used_again(tmp_path: Path, database_url: str) -> None:
    """Stopped, it is out of reach and said so once; started again it answers with what its file kept."""
    with server() as own:
        settings = Settings(
            home=tmp_path, database_url=database_url, redis_url=own.valkey.url(), auth_mode="open", tier_retry_s=0
        )
        with make_world(settings) as world:
            process = Process(world, MemoryTier(0))
            [session_id] = world.sessions(1)
            process.save()
            assert process.read(session_id).tier == "redis"
            own.stop()
            world.due()
            with capture_logs() as logs:
                found = [process.read(session_id) for _ in range(3)]
                with pytest.raises(Unavailable, match="Redis is out of reach"):
                    save_due(*world.stores)
            assert {one.tier for one in found} == {"postgres"}
            assert all("Redis is out of reach" in one.problems[0] for one in found)
            assert [line["tier"] for line in logs if line["event"] == "tier.down"] == [REDIS]
            assert tier_row(world, REDIS)["up"] is False
            own.start()
            until(lambda: process.read(session_id).tier == "redis", WAIT_S, lambda: AssertionError("not used again"))
            assert tier_row(world, REDIS)["up"] is True
            world.live.report(report(session_id, n=2))
            assert process.save().saved == [session_id]


def test_a_tier_that_failed_is_left_alone_for_a_while(world: World, own: Server) -> None:
    """For `tier_retry_s` nobody waits for it again, and the answer says why; then one caller tries."""
    patient = replace(world, settings=world.settings.model_copy(update={"tier_retry_s": 3600.0}))
    [session_id] = patient.sessions(1)
    process = Process(patient, MemoryTier(0))
    process.save()
    health = health_of(patient.engine, patient.settings)
    health.note(REDIS, "gone for the test")
    found = process.read(session_id)
    assert (found.tier, "left alone, down since" in found.problems[0]) == ("postgres", True)
    assert "gone for the test" in found.problems[0]
    health.note(REDIS)
    assert process.read(session_id).tier == "redis"


def test_a_down_that_postgres_missed_is_written_when_it_is_back(world: World, process: Process) -> None:
    """While Postgres is away nothing can be written of it; since when it was away is, afterwards."""
    [session_id] = world.sessions(1)
    process.save()
    with postgres_away(world):
        assert "not compared with the record" in process.read(session_id).problems[0]
        health = health_of(world.engine, world.settings)
        health.tell(world.engine)
        [down] = [state for state in health.states() if state.tier == "postgres"]
        assert not down.up
    process.read(session_id)
    row = tier_row(world, "postgres")
    assert row["up"] is True
    assert row["since"] > down.since
