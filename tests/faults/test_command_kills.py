"""A process killed with -9 at every named place of a command: asked again, it is done once, and nothing is lost."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import orjson
import pytest
from command_victim import act
from lifecycle_harness import S, T, World, check_session

import fntx_sessions.lifecycle
from fntx_sessions.lifecycle import outbox
from fntx_sessions.state.redis_client import build_redis, key

TESTS = Path(__file__).parents[1]
# Where it is killed, what it does, and the status the session has before.
KILLS = [
    ("command.locked", T.START, S.INITIALIZING),
    ("command.before_commit", T.START, S.INITIALIZING),
    ("command.before_commit", T.STOP, S.ACTIVE),
    ("command.committed", T.PAUSE, S.ACTIVE),
    ("recovery.begun", T.RECOVER, S.SUSPENDED),
    ("recovery.restored", T.RECOVER, S.SUSPENDED),
]
CREATIONS = ["create.before_commit", "create.committed"]
RELAYS = ["relay.claimed", "relay.sent"]
# The order gate's own tests, and those of the commands on checkpoints.
ELSEWHERE = {"order.before_commit", "order.committed"} | {
    "checkpoint_command.begun", "checkpoint_command.made", "prune.begun",
    # tests/faults/test_recovery_kills.py
    "recovery.fenced", "recovery.verified", "recovery.put_back", "recovery.compared", "recovery.cancelled",
    "recovery.asked", "recovery.reconciled", "recovery.finished", "recovery.called",
    # tests/integration/test_shredding.py
    "shred.committed",
    # tests/integration/test_two_people.py
    "confirmation.before_keep", "confirmation.before_settled",
    # tests/integration/test_audit.py
    "audit.anchor_written",
}  # fmt: skip
COMMITTED = {"command.committed", "create.committed"}


@pytest.fixture(scope="module")
def world(module_database_url):
    made = World.over(module_database_url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def nursery(module_database_url, valkey_server):
    """The process that forks the victims."""
    process = subprocess.Popen(
        [sys.executable, str(TESTS / "faults" / "command_victim.py"), module_database_url, valkey_server],
        env={**os.environ, "PYTHONPATH": str(TESTS)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        yield process
        process.stdin.close()


@pytest.fixture
def kill(nursery, redis_url):
    """Call to do something in a process of its own that the failpoint kills."""

    def do(place, what, session_id, command_id):
        nursery.stdin.write(f"{place} {what} {session_id} {command_id}\n")
        nursery.stdin.flush()
        assert int(nursery.stdout.readline()) == -signal.SIGKILL

    return do


def test_every_place_of_a_command_is_killed_here():
    """A failpoint that is added to lifecycle/ is added here, or its own tests are named."""
    folder = Path(fntx_sessions.lifecycle.__file__).parent
    named = {name for file in folder.rglob("*.py") for name in re.findall(r'failpoint\("([^"]+)"\)', file.read_text())}
    assert named == {place for place, _, _ in KILLS} | {*CREATIONS, *RELAYS} | ELSEWHERE


@pytest.mark.parametrize(("place", "trigger", "status"), KILLS)
def test_a_killed_command_asked_again_is_done_once(world, redis_url, kill, place, trigger, status):
    """Either all of it was committed or none; the second delivery finishes or repeats it, never doubles it."""
    session_id, command_id = world.in_status(status), uuid4()
    before = world.row(session_id)
    kill(place, trigger, session_id, command_id)
    if place.startswith("command.") and place not in COMMITTED:
        assert world.row(session_id) == before
        assert world.rows("SELECT 1 FROM commands WHERE command_id = :id", id=command_id) == []
    outcome = act(world, redis_url, trigger, session_id, command_id)
    assert outcome.state == "done"
    assert outcome.repeated == (place in COMMITTED)
    steps = [step for step in world.transitions(session_id) if step["command_id"] == command_id]
    assert [step["trigger"] for step in steps] == [trigger]
    assert act(world, redis_url, trigger, session_id, command_id).repeated
    check_session(world, session_id)
    _relayed_once(world, redis_url, session_id)


def test_a_killed_recovery_leaves_its_command_waiting_and_its_epoch_behind(world, redis_url, kill):
    """The command stays pending for whoever takes it up; the dead attempt's epoch is fenced off by the next."""
    session_id, command_id = world.in_status(S.SUSPENDED), uuid4()
    epoch = world.row(session_id)["epoch"]
    kill("recovery.begun", T.RECOVER, session_id, command_id)
    row = world.row(session_id)
    assert (row["epoch"], row["pending"]["command_id"]) == (epoch + 1, str(command_id))
    outcome = act(world, redis_url, T.RECOVER, session_id, command_id)
    assert (outcome.state, outcome.status, outcome.epoch) == ("done", S.PAUSED, epoch + 2)


@pytest.mark.parametrize("place", CREATIONS)
def test_a_killed_creation_asked_again_makes_one_session(world, redis_url, kill, place):
    """Nothing of it is there before the commit, everything after it."""
    session_id, command_id = uuid4(), uuid4()
    kill(place, "create", session_id, command_id)
    made = "SELECT 1 FROM session_agents WHERE session_id = :id"
    assert len(world.rows(made, id=session_id)) == (5 if place in COMMITTED else 0)
    outcome = act(world, redis_url, "create", session_id, command_id)
    assert (outcome.state, outcome.repeated) == ("done", place in COMMITTED)
    assert len(world.rows(made, id=session_id)) == 5
    check_session(world, session_id)
    _relayed_once(world, redis_url, session_id)


@pytest.mark.parametrize("place", RELAYS)
def test_a_killed_relay_is_done_over(world, redis_url, kill, place):
    """Nothing is lost before the send, nothing doubled after it."""
    session_id = world.in_status(S.CLOSED)
    kill(place, "relay", session_id, uuid4())
    assert world.rows("SELECT 1 FROM outbox WHERE session_id = :id", id=session_id)
    world.execute("UPDATE session_work SET relay_claimed_until = NULL")  # the dead one's claim lapses
    _relayed_once(world, redis_url, session_id)


def _relayed_once(world, redis_url, session_id):
    """Relay, and find each step of the session in its stream once, in order."""
    with build_redis(redis_url, world.settings) as client:
        outbox.relay_session(world.engine, client, world.settings, session_id)
        told = [orjson.loads(fields[b"event"]) for _, fields in client.xrange(key(session_id, "inbox"))]
    assert [event["to_status"] for event in told] == [step["to_status"] for step in world.transitions(session_id)]
    assert world.rows("SELECT 1 FROM outbox WHERE session_id = :id", id=session_id) == []
