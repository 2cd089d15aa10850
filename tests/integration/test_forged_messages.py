"""What anybody who reaches Redis can push or publish: no process of ours dies of it or stalls, and commands flow on."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from subprocess import Popen
from typing import Any
from uuid import uuid4

import pytest
import redis
from forged_messages import control_messages, envelope, event_messages, queue_elements
from pages_world import Pages, Person, pages_running
from running_desk import REDIS_DATABASE, RunningDesk, quiet_desk
from worker_process import beat, raw_app, wait_until

from tasks import routes

__all__ = ["quiet_desk"]
pytestmark = pytest.mark.timeout(240)
UNPICKLED = Path("/tmp/fntx-was-unpickled")  # noqa: S108 - where the forged pickle would write
LOOK = {"Authorization": "Basic bG9va2VyOmxvb2stb25seQ=="}


@dataclass(frozen=True)
class House:
    """The processes, and what they wrote."""

    desk: RunningDesk
    worker: Popen[bytes]
    beat: Popen[bytes]
    pages: Pages

    def log(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.desk.folder.glob("*.log"))

    def ask(self, task: str = "fntx.sessions.list", **options: Any) -> Any:
        app = raw_app(self.desk.redis_url)
        return app.send_task(task, kwargs={}, queue="queries", **options).get(timeout=60)


@pytest.fixture(scope="module")
def house(quiet_desk: RunningDesk) -> Iterator[House]:
    """A worker of all queues, a beat and a Flower, to each of which all of it was sent."""
    environment = {"FNTX_BROKER_VISIBILITY_TIMEOUT_S": "60", "FNTX_BROKER_SLOW_VISIBILITY_TIMEOUT_S": "60"}
    with ExitStack() as stack:
        pages = stack.enter_context(pages_running(quiet_desk))
        process = stack.enter_context(quiet_desk.worker("-Q", ",".join(routes.QUEUES), "-c", "1", **environment))
        beating = stack.enter_context(beat(quiet_desk._environment(), quiet_desk.folder / "beat.log"))
        with quiet_desk.redis() as client:
            wait_until(lambda: listeners(client) >= 3, "worker, beat and Flower listen")
            flood(client)
        yield House(quiet_desk, process, beating, pages)


def listeners(client: redis.Redis) -> int:
    return sum(int(one["psub"]) > 0 for one in client.client_list())


def flood(client: redis.Redis) -> None:
    """Send all of it: every element to one queue, and every tenth to the others, which are read by the same code."""
    elements = queue_elements()
    client.lpush(routes.QUERIES, *elements.values())
    for queue in set(routes.QUEUES) - {routes.QUERIES}:
        client.lpush(queue, *islice(elements.values(), 0, None, 10))
    for channel, messages in (("celery.pidbox", control_messages()), ("celeryev/worker.heartbeat", event_messages())):
        for message in messages:
            client.publish(f"/{REDIS_DATABASE}.{channel}", message)
    for number, element in enumerate(elements.values()):
        for name in ("unacked", "unacked_slow"):
            client.hset(name, f"forged-{number}", b'[%b, "", "queries"]' % element if number % 2 else element)
            client.zadd(name.replace("unacked", "unacked_index"), {f"forged-{number}": 1})


def test_commands_flow_on(house: House) -> None:
    """A question is answered by the same worker, behind all of it, and nothing is left in a queue or elsewhere."""
    assert house.ask()["state"] == "done"
    with house.desk.redis() as client:
        wait_until(lambda: not any(client.llen(queue) for queue in routes.QUEUES), "all of it was taken")
        wait_until(lambda: not client.zcount("unacked_index_slow", 1, 1), "what cannot be given back is gone")
        wait_until(lambda: not any(client.llen(queue) for queue in routes.QUEUES), "and what could was refused")
    assert house.worker.poll() is None


@pytest.mark.parametrize("name", ["commands", "queries", "_kombu.binding.queries"])
def test_what_is_put_in_a_queues_place_is_dropped(house: House, name: str) -> None:
    """A set where a queue was: the worker that reads it drops it and says so, as does one that starts then."""
    with house.desk.redis() as client:
        wait_until(lambda: replaced(client, name), "another type lies there")
        if name.startswith("_"):
            with house.desk.worker("-Q", "queries", "-c", "1"):
                assert client.type(name) == b"set"
        wait_until(lambda: client.type(name) != (b"string"), "it is gone")
    assert house.ask()["state"] == "done"
    assert house.worker.poll() is None
    assert f'"key": "{name}"' in house.log()


def replaced(client: redis.Redis, name: str) -> bool:
    client.unlink(name)
    return bool(client.set(name, "x", nx=True))


def test_none_died_and_none_connected_anew(house: House) -> None:
    """Worker, beat and Flower are the processes they were, on the connections they had; what was refused is counted."""
    house.ask()
    assert [one.poll() for one in (house.worker, house.beat, house.pages.process)] == [None, None, None]
    log = house.log()
    for trouble in ("Unrecoverable", "Connection to broker lost", "Failed to capture events", "Exception in callback"):
        assert trouble not in log
    assert '"messages_refused"' in log


def test_nothing_of_another_content_was_unpacked(house: House) -> None:
    """Pickle, YAML and msgpack are no content of ours, whatever the message calls itself; nor is what is compressed."""
    house.ask()
    assert not UNPICKLED.exists()


def test_beat_goes_on(house: House) -> None:
    """It answers a ping, and its sweeps are sent."""
    house.ask()
    names = {name for one in raw_app(house.desk.redis_url).control.ping(timeout=3) for name in one}
    assert any("beat" in name for name in names)
    assert any(name.endswith("@test") for name in names)


def test_flower_goes_on(house: House) -> None:
    """It shows a task that was sent after all of it, and no host of a forged event beyond its bound."""
    task_id = str(uuid4())
    house.ask(task_id=task_id)
    person = Person(house.pages.url, **LOOK)
    wait_until(lambda: task_id in person.get("/api/tasks").text, "Flower saw the task")
    hosts = person.get("/metrics").text.count("flower_worker_online{")
    assert hosts <= 1000


def test_what_a_message_wants_run_afterwards_is_not(house: House) -> None:
    """Celery would run callbacks, chains and chords of a message, sent by the worker: they are refused or dropped."""
    later = str(uuid4())
    signature = {
        "task": "fntx.sessions.list",
        "args": [],
        "kwargs": {},
        "options": {"task_id": later, "queue": "queries"},
    }
    with house.desk.redis() as client:
        for name in ("callbacks", "chain", "errbacks"):
            inside = envelope([[], {}, {name: [signature]}])
            outside = envelope(headers={name: [signature], "task": "fntx.sessions.list"})
            client.lpush(routes.QUERIES, json.dumps(inside), json.dumps(outside))
            wait_until(lambda told=outside: client.exists(f"celery-task-meta-{told['headers']['id']}"), "it was run")
            assert not client.exists(f"celery-task-meta-{inside['headers']['id']}")
        house.ask()
        assert not client.exists(f"celery-task-meta-{later}")


def test_what_flower_asks_is_answered(house: House) -> None:
    """Each question of its page of a worker, as its client sends it."""
    inspect = raw_app(house.desk.redis_url).control.inspect(timeout=30, limit=1)
    for question in ("stats", "active_queues", "registered", "scheduled", "reserved", "revoked", "conf"):
        assert getattr(inspect, question)(), question
    assert inspect.active(safe=True)


def test_no_broadcast_ends_a_worker_or_takes_its_work(house: House) -> None:
    """What Celery's remote control would do for anybody: end it, take queues from it, revoke a command."""
    control = raw_app(house.desk.redis_url).control
    revoked = str(uuid4())
    control.revoke(revoked)
    control.cancel_consumer("queries")
    control.rate_limit("fntx.sessions.list", "1/h")
    control.shutdown()
    assert house.ask(task_id=revoked)["state"] == "done"
    assert house.ask()["state"] == "done"
    assert house.worker.poll() is None
