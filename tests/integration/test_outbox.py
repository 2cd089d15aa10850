"""What follows a commit reaches Redis: in order, once in effect, whatever dies or stalls in between."""

import threading
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest
from lifecycle_harness import S, T, World, ask, decision
from sqlalchemy import text

from fntx_sessions.exceptions import Unavailable
from fntx_sessions.lifecycle import machine, outbox
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.redis_client import build_redis, key
from fntx_sessions.testing import FailpointReached, failpoints_armed


@pytest.fixture
def world(database_url):
    made = World.over(database_url, db_pool_size=8)
    yield made
    made.close()


@pytest.fixture
def client(world, redis_url):
    with build_redis(redis_url, world.settings) as made:
        yield made


def relay(world, client) -> int:
    return outbox.relay_due(world.engine, client, world.settings)


def inbox(client, session_id) -> list[tuple[str, dict]]:
    """Return a session's stream as (id, event) pairs."""
    found = client.xrange(key(session_id, "inbox"))
    return [(entry.decode(), orjson.loads(fields[b"event"])) for entry, fields in found]


def expected(world, session_id) -> list[tuple[str, str]]:
    """Return the ids and events a session's stream must hold, from its transitions."""
    steps = world.transitions(session_id)
    return [(f"{step['version']}-{0 if step['from_status'] is None else 1}", step["to_status"]) for step in steps]


def told(client, session_id) -> list[tuple[str, str]]:
    return [(entry, event["to_status"]) for entry, event in inbox(client, session_id)]


def due_again(world) -> None:
    """Let every claim lapse."""
    world.execute("UPDATE session_work SET relay_claimed_until = NULL")


def left(world) -> int:
    return world.rows("SELECT count(*) AS n FROM outbox")[0]["n"]


def test_follow_ups_arrive_in_order_and_leave_nothing_behind(world, client):
    """One entry a transition under version and position, the fence where the epoch is, nothing due any more."""
    session_id = world.in_status(S.CLOSING)
    assert relay(world, client) == left(world) + 5
    assert told(client, session_id) == expected(world, session_id)
    assert inbox(client, session_id)[1][1]["event"] == "session_started"
    assert LiveState(client, world.settings).marks([session_id])[0].epoch == 1
    assert left(world) == 0
    assert world.rows("SELECT relay_due_at, relay_claimed_until FROM session_work")[0] == {
        "relay_due_at": None,
        "relay_claimed_until": None,
    }
    assert relay(world, client) == 0


@pytest.mark.parametrize("place", ["relay.claimed", "relay.sent"])
def test_a_relay_that_dies_is_done_over_without_doubles(world, client, place):
    """Before the send nothing is lost; after it nothing is there twice."""
    session_id = world.in_status(S.PAUSED)
    with failpoints_armed(f"{place}:raise"), pytest.raises(FailpointReached):
        relay(world, client)
    assert relay(world, client) == 0, "the dead relay's claim must hold until it lapses"
    world.do(T.RESUME, session_id)
    due_again(world)
    relay(world, client)
    assert told(client, session_id) == expected(world, session_id)
    assert left(world) == 0


def test_a_relay_that_stalls_past_its_claim_changes_nothing(world, client, monkeypatch):
    """While it sleeps others relay older and newer entries; when it wakes, the order and the due time stay right."""
    session_id = world.in_status(S.ACTIVE)
    send = outbox._send

    def slow(*arguments):
        monkeypatch.setattr(outbox, "_send", send)
        due_again(world)
        world.do(T.PAUSE, session_id)
        assert relay(world, client) > 0
        world.do(T.RESUME, session_id)
        return send(*arguments)

    monkeypatch.setattr(outbox, "_send", slow)
    relay(world, client)
    due_again(world)
    relay(world, client)
    assert told(client, session_id) == expected(world, session_id)
    assert left(world) == 0


def test_a_follow_up_written_while_a_relay_ends_stays_due(world, client):
    """The relay's last statement waits for the command, sees what it wrote, and leaves the session due."""
    session_id = world.in_status(S.ACTIVE)
    with ThreadPoolExecutor(1) as threads, world.engine.begin() as command:
        claimed = threading.Event()

        def relay_slowly():
            with failpoints_armed(""):
                return relay(world, client)

        command.execute(text("SELECT 1 FROM sessions WHERE session_id = :id FOR NO KEY UPDATE"), {"id": session_id})
        original = outbox.failpoint

        def at(name):
            if name == "relay.sent":
                command.execute(
                    text("INSERT INTO outbox (session_id, version, position, kind) VALUES (:id, 99, 0, 'event')"),
                    {"id": session_id},
                )
                command.execute(
                    text("UPDATE session_work SET relay_due_at = clock_timestamp() WHERE session_id = :id"),
                    {"id": session_id},
                )
                claimed.set()
            original(name)

        outbox.failpoint = at
        try:
            relaying = threads.submit(relay_slowly)
            assert claimed.wait(10)
            while not world.rows(
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ):
                pass
            command.commit()
            relaying.result()
        finally:
            outbox.failpoint = original
    assert left(world) == 1
    assert world.rows("SELECT 1 FROM session_work WHERE relay_due_at IS NOT NULL")
    assert relay(world, client) == 1


def test_relays_at_once_share_the_work(world, client):
    """Eight relays over twenty sessions while commands go on: every stream complete and in order."""
    sessions = [world.in_status(S.ACTIVE) for _ in range(20)]
    together = threading.Barrier(9)

    def relay_on(_):
        together.wait()
        for _ in range(5):
            relay(world, client)

    def command_on():
        together.wait()
        for trigger in (T.PAUSE, T.RESUME, T.PAUSE):
            for session_id in sessions:
                world.do(trigger, session_id)

    with ThreadPoolExecutor(9) as threads:
        commanding = threads.submit(command_on)
        list(threads.map(relay_on, range(8)))
        commanding.result()
    while left(world):
        due_again(world)
        relay(world, client)
    for session_id in sessions:
        assert told(client, session_id) == expected(world, session_id)


def test_one_session_whose_inbox_is_broken_holds_up_no_other(world, client):
    """The broken one stays due, with all of it; the others are relayed and done."""
    broken, sound = world.in_status(S.ACTIVE), world.in_status(S.ACTIVE)
    client.set(key(broken, "inbox"), "not a stream")
    relay(world, client)
    assert told(client, sound) == expected(world, sound)
    rows = world.rows("SELECT DISTINCT session_id FROM outbox")
    assert [row["session_id"] for row in rows] == [broken]
    client.delete(key(broken, "inbox"))
    due_again(world)
    relay(world, client)
    assert told(client, broken) == expected(world, broken)


def test_an_entry_that_failed_is_not_passed_over(world, client):
    """When Redis takes no more for a moment, what comes later is not let in before what failed."""
    session_id = world.in_status(S.PAUSED)
    usual = client.config_get("maxmemory")["maxmemory"]
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(Unavailable):
            relay(world, client)
    finally:
        client.config_set("maxmemory", usual)
    due_again(world)
    relay(world, client)
    assert told(client, session_id) == expected(world, session_id)


def test_without_redis_everything_stays_due(world, client):
    """Unavailable; nothing is dropped; the next relay does it all."""
    session_id = world.in_status(S.PAUSED)
    with build_redis("redis://127.0.0.1:1/0", world.settings) as nowhere, pytest.raises(Unavailable):
        relay(world, nowhere)
    due_again(world)
    relay(world, client)
    assert told(client, session_id) == expected(world, session_id)


def test_one_session_is_relayed_at_once_or_left_to_whoever_has_it(world, client):
    """relay_session sends that session alone, and nothing while another relay holds its claim."""
    one, other = world.in_status(S.ACTIVE), world.in_status(S.ACTIVE)
    assert outbox.relay_session(world.engine, client, world.settings, one) == 3
    assert inbox(client, other) == []
    world.do(T.PAUSE, one)
    world.execute("UPDATE session_work SET relay_claimed_until = now() + interval '1 minute'")
    assert outbox.relay_session(world.engine, client, world.settings, one) == 0


def relaying(world, trigger, session_id):
    """Do a command whose asker relays what follows."""
    return machine.run(world.engine, ask(trigger, session_id), decision(trigger), relaying=True)


def test_a_command_claims_its_own_relay(world, client):
    """Nobody else relays what it claimed; relayed, it is in Redis and out of Postgres; dropped, it is due in time."""
    session_id = world.in_status(S.ACTIVE)
    relay(world, client)
    outcome = relaying(world, T.PAUSE, session_id)
    assert relay(world, client) == 0
    assert outbox.relay_claimed(world.engine, client, world.settings, outcome.claimed) == 2 == len(outcome.claimed)
    assert told(client, session_id) == expected(world, session_id)
    assert left(world) == 0
    relaying(world, T.RESUME, session_id)
    due_again(world)
    assert relay(world, client) == 2
    assert told(client, session_id) == expected(world, session_id)


def test_a_command_claims_nothing_where_older_follow_ups_wait(world, client):
    """Else the newer would be in the stream first, and Redis would refuse the older."""
    session_id = world.in_status(S.ACTIVE)
    assert relaying(world, T.PAUSE, session_id).claimed == ()
    assert relay(world, client) == 5
    assert told(client, session_id) == expected(world, session_id)


def test_a_closed_sessions_live_state_expires(world, client):
    """What lives on in Redis after the end does so for `hot_ttl_s`, no longer; until then it has no end."""
    session_id = world.in_status(S.CLOSING)
    relay(world, client)
    assert client.ttl(key(session_id, "live")) == -1
    world.do(T.FINALIZE, session_id)
    relay(world, client)
    assert 0 < client.ttl(key(session_id, "live")) <= world.settings.hot_ttl_s
