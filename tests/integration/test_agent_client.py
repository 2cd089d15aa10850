"""AgentClient against a real desk: joins, reads at least once, reports under the epoch that stands, loses nothing."""

import asyncio
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from agent_world import EXAMPLES, PLANNER, AgentDesk, agent_desk, away, quiet_desk
from hosting import T
from pydantic import SecretStr
from worker_process import wait_until

from fntx_sessions.agents.shutting_out import shut_out
from fntx_sessions.exceptions import (
    FellBehind,
    InvalidArgument,
    NotFound,
    NotJoined,
    OutcomeUnknown,
    Retryable,
    SessionClosed,
    StaleEpoch,
    Superseded,
    TooMuch,
    Unavailable,
)
from fntx_sessions.lifecycle.granting import RevokeArguments, revoke
from fntx_sessions.schemas import SessionStatus
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.local import ensure_local_keys
from fntx_sessions.security.tokens import issue, read
from fntx_sessions.state.redis_client import key

__all__ = ["agent_desk", "quiet_desk"]

WHEN = "2026-01-05T15:00:00+00:00"


def decision(name: str) -> dict[str, Any]:
    return {"decision_id": name, "timestamp": WHEN, "what": "hold", "latency_ms": 1.5}


def names(found: Any) -> list[str]:
    return [event.event for event in found]


def started(desk: AgentDesk, *agents: str) -> Any:
    """Create a session, join its agents, start it; return its id and the client of the first agent."""
    session_id = desk.session(*agents)
    clients = [desk.client(session_id, agent) for agent in agents or [PLANNER]]
    for client in clients:
        client.join()
    desk.do(T.START, session_id)
    for client in clients[1:]:
        client.close()
    return session_id, clients[0]


def test_joining_tells_how_the_session_is_and_what_this_agent_was(agent_desk):
    """Status, roster, settings, limits, and the internal state reported last; a start waits for nobody then."""
    session_id = agent_desk.session(tags=["remote"])
    with agent_desk.client(session_id) as client:
        joined = client.join()
        assert (joined.status, joined.epoch, joined.internal_state) == (SessionStatus.INITIALIZING, 0, None)
        assert (joined.roster, joined.config["tags"], joined.limits.reports_per_s) == ([PLANNER], ["remote"], 50)
        assert "ticket" not in repr(joined).replace("ticket=", "")
        assert client.report(state={"internal_state": {"n": 1}}) == 1
    assert agent_desk.do(T.START, session_id).state == "done"
    with agent_desk.client(session_id) as again:
        assert (again.join().internal_state, again.epoch) == ({"n": 1}, 1)


def test_a_memory_too_large_for_the_answer_comes_back_all_the_same(agent_desk):
    """More than the desk puts into an answer is read from the live state."""
    _, client = started(agent_desk)
    with client:
        client.events()
        client.report(state={"internal_state": {"text": "x" * 300_000}})
        assert len(client.join().internal_state["text"]) == 300_000


def test_who_is_not_on_the_roster_or_has_not_joined_is_told_what_to_do(agent_desk):
    """Typed refusals: NotFound naming the roster, NotJoined before joining and after leaving."""
    session_id = agent_desk.session()
    with agent_desk.client(session_id, "SomebodyElse") as stranger, pytest.raises(NotFound, match=PLANNER):
        stranger.join()
    with agent_desk.client(session_id) as client:
        for ask in (client.events, client.heartbeat, client.report):
            with pytest.raises(NotJoined, match="Join it"):
                ask()
        client.join(ready=False)
        client.ready()
        client.leave()
        with pytest.raises(NotJoined):
            client.report()


def test_a_name_no_agent_can_have_is_refused_at_once(agent_desk):
    """Nothing is asked for it."""
    with pytest.raises(InvalidArgument):
        agent_desk.client(agent_desk.session(), "no name")


def test_a_desk_that_does_not_answer_is_given_up_in_time(agent_desk):
    """No worker reads what was asked: OutcomeUnknown after the deadline, and never a wait without end."""
    session_id = agent_desk.session()
    with agent_desk.client(session_id, command_deadline_s=0.3, command_resend_s=0.1) as client:
        client._questions._redis = _Deaf(client._redis)
        with pytest.raises(OutcomeUnknown, match="outcome of join unknown"):
            client.join()


class _Deaf:
    """A Redis whose answers nobody hears."""

    def __init__(self, real: Any) -> None:
        self.unlink = real.unlink

    def get(self, _key: str) -> None:
        return None


def test_a_joining_that_is_done_twice_is_one_joining(agent_desk):
    """A message sent again, or delivered twice, does not supersede the process that sent it."""
    session_id = agent_desk.session()
    with agent_desk.client(session_id) as client:
        ticket = client.join().ticket
        client.ask("fntx.agents.join", agent=PLANNER, ticket=ticket)
        assert client.heartbeat() >= 0


def test_events_come_in_order_and_again_until_they_are_acknowledged(agent_desk):
    """At least once: another process of the agent gets what this one had not acknowledged, and nothing before it."""
    session_id, client = started(agent_desk)
    agent_desk.do(T.PAUSE, session_id)
    with client:
        found = client.events()
        assert names(found) == ["session_created", "session_started", "session_paused"]
        assert [event.version for event in found] == [1, 2, 3]
        assert names(client.events(limit=2)) == names(found)[:2]
        client.ack(found[1])
        client.ack(found[0])  # no way back
        assert names(client.events()) == ["session_paused"]
        client.heartbeat()
    with agent_desk.client(session_id) as again:
        assert again.join().position == found[1].id
        assert names(again.events()) == ["session_paused"]


def test_waiting_for_an_event_ends_with_it(agent_desk):
    """A wait of an hour returns as soon as something happens."""
    session_id, client = started(agent_desk)
    with client, ThreadPoolExecutor(1) as threads:
        client.ack(client.events()[-1])
        waiting = threads.submit(client.events, 3600.0)
        agent_desk.do(T.PAUSE, session_id)
        assert names(waiting.result(20)) == ["session_paused"]


def test_closing_ends_a_wait(agent_desk):
    """Nobody waits on with a client that was closed."""
    client = agent_desk.client(agent_desk.session(), redis_socket_timeout_s=0.5)
    client.join()
    with ThreadPoolExecutor(1) as threads:
        client.ack(client.events()[-1])
        waiting = threads.submit(client.events, 3600.0)
        client.close()
        with suppress(Unavailable):  # its connection may have been closed under it
            assert waiting.result(20) == []


def test_an_old_epoch_is_refused_until_the_event_that_raised_it_is_read(agent_desk):
    """Parts of an epoch that is over are dropped; trades and decisions happened, and are told under the new one."""
    session_id = agent_desk.session()
    with agent_desk.client(session_id) as client:
        client.join()
        agent_desk.do(T.START, session_id)
        with pytest.raises(StaleEpoch, match="rejoin"):
            client.report(state={"internal_state": {"n": 1}}, decisions=[decision("d1")])
        assert client.unsent == 1
        client.events()
        assert client.epoch == 1
        client.heartbeat()
        assert agent_desk.records(session_id) == [("decision", "d1")]
        assert agent_desk.redis.hget(key(session_id, "live"), f"part:agent/{PLANNER}") is None


def test_of_two_processes_as_one_agent_the_newest_speaks(agent_desk):
    """The other's next report is refused by a name of its own, and changes nothing."""
    session_id, first = started(agent_desk)
    with first, agent_desk.client(session_id) as second:
        first.events()
        second.join()
        with pytest.raises(Superseded, match="only the newest"):
            first.report(state={"internal_state": {"who": "first"}})
        second.report(state={"internal_state": {"who": "second"}})
        assert second.join().internal_state == {"who": "second"}


def test_what_was_told_while_redis_was_away_arrives_once_it_is_back(agent_desk):
    """The newest of each part, every record once and in order; each call says that it could not be sent."""
    session_id, client = started(agent_desk)
    with client:
        client.events()
        with away(client):
            for number in range(5):
                with pytest.raises(Unavailable):
                    client.report(state={"internal_state": {"n": number}}, decisions=[decision(f"d{number}")])
            with pytest.raises(Unavailable):
                client.events()
        assert client.unsent == 6
        client.heartbeat()
        assert client.unsent == 0
        assert agent_desk.records(session_id) == [("decision", f"d{number}") for number in range(5)]
        assert client.join().internal_state == {"n": 4}


def test_what_is_kept_for_redis_is_bounded(agent_desk):
    """Past the limits a report is refused and none of it is taken; what was kept stays."""
    session_id = agent_desk.session()
    with agent_desk.client(session_id, agent_records_max=2, agent_unsent_max_bytes=3000) as client:
        client.join()
        with away(client):
            with pytest.raises(Unavailable):
                client.report(decisions=[decision("d1"), decision("d2")])
            with pytest.raises(TooMuch, match="3 records"):
                client.report(decisions=[decision("d3")])
            with pytest.raises(TooMuch, match="bytes"):
                client.report(state={"internal_state": {"text": "x" * 4000}})
        client.heartbeat()
        assert agent_desk.records(session_id) == [("decision", "d1"), ("decision", "d2")]


def test_a_flood_is_slowed_and_nothing_of_it_is_lost(agent_desk):
    """Past the reports a second that it may send, a report is kept and goes with a later one."""
    session_id = agent_desk.session()
    with agent_desk.client(session_id) as client:
        client.join()
        agent_desk.redis.hset(key(session_id, "live"), "cap:reports_per_s", 3)
        refused = 0
        for number in range(10):
            try:
                client.report(decisions=[decision(f"d{number}")])
            except TooMuch:
                refused += 1
        assert refused
        wait_until(lambda: _sent(client), "the rest is sent")
        assert agent_desk.records(session_id) == [("decision", f"d{number}") for number in range(10)]


def _sent(client: Any) -> bool:
    try:
        client.heartbeat()
    except Retryable:
        return False
    return client.unsent == 0


def test_records_wait_here_while_the_desk_has_enough_of_them(agent_desk):
    """A backlog before Postgres is told as such, and the records stay with the agent."""
    session_id = agent_desk.session()
    with agent_desk.client(session_id) as client:
        client.join()
        agent_desk.redis.hset(key(session_id, "live"), "cap:records", 1)
        client.report(decisions=[decision("d1")])
        with pytest.raises(TooMuch, match="Postgres"):
            client.report(decisions=[decision("d2")])
        agent_desk.redis.delete(key(session_id, "records"))  # taken in
        client.heartbeat()
        assert agent_desk.records(session_id) == [("decision", "d2")]


def test_many_records_go_in_several_reports(agent_desk):
    """No report is so long that others wait for it; all arrive, in order, each once."""
    session_id = agent_desk.session()
    with agent_desk.client(session_id) as client:
        client.join()
        client.report(decisions=[decision(f"d{number}") for number in range(1200)])
        assert [name for _, name in agent_desk.records(session_id)] == [f"d{number}" for number in range(1200)]


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"state": {"internal_state": {"pnl": float("nan")}}}, PLANNER),
        ({"state": {"internal_state": {}, "surprise": 1}}, PLANNER),
        ({"state": b'{"agent_id": "\xff"}'}, PLANNER),
        ({"state": b"x" * 20_000_001}, PLANNER),
        ({"market": {"timestamp": WHEN, "spy_price": -1}}, "market"),
        ({"trading": {"trades_today": -1}}, "trading"),
        ({"decisions": [decision("d") | {"latency_ms": float("inf")}]}, "decision 0.latency_ms"),
        ({"decisions": [decision("d"), decision("")]}, "decision 1.decision_id"),
        ({"trades": [{"trade_id": "t", "strategy": "s", "opened_at": "yesterday"}]}, "trade 0.opened_at"),
        ({"errors": [{"error_id": "e", "timestamp": WHEN, "error": "E", "message": "x" * 10_001}]}, "error 0.message"),
        ({"decisions": [decision("d") | {"data": {"text": "x" * 70_000}}]}, "decision 0"),
    ],
)
def test_what_is_wrong_never_leaves_the_agent(agent_desk, told, named):
    """It is refused by the field's name; nothing of the report is sent, and the next one is not held up."""
    session_id = agent_desk.session()
    with agent_desk.client(session_id) as client:
        client.join()
        with pytest.raises(InvalidArgument) as refused:
            client.report(**({"decisions": [decision("good")]} | told))
        assert named in str(refused.value)
        assert (client.unsent, agent_desk.records(session_id)) == (0, [])
        client.heartbeat()


def test_what_the_desk_refuses_for_good_holds_nothing_up(agent_desk):
    """Another agent's part: named, let go of, and later reports pass."""
    session_id, first = started(agent_desk, PLANNER, "TheirRisk")
    with first, agent_desk.client(session_id, "TheirRisk") as second:
        first.events()
        second.join()
        first.report(trading={"daily_pnl": 1.0})
        with pytest.raises(InvalidArgument, match="trading"):
            second.report(trading={"daily_pnl": 2.0})
        second.report(state={"internal_state": {"n": 1}})


def test_an_agent_that_fell_behind_joins_again_and_gets_the_present_first(agent_desk):
    """Events let go of unread are noticed, never passed over in silence; joining says that some are gone."""
    session_id, client = started(agent_desk)
    with client:
        client.ack(client.events()[0])
        client.heartbeat()
        agent_desk.do(T.PAUSE, session_id)
        agent_desk.do(T.RESUME, session_id)
        agent_desk.redis.xtrim(key(session_id, "inbox"), maxlen=1, approximate=False)
        with pytest.raises(FellBehind, match="join again"):
            client.events()
        joined = client.join()
        assert (joined.missed, joined.status) == (True, SessionStatus.ACTIVE)
        [left] = client.events()
        assert (left.event, left.version) == ("session_resumed", joined.version)
        client.ack(left)
        client.heartbeat()
        assert (client.join().missed, client.events()) == (False, [])


def test_who_never_acknowledged_anything_can_fall_behind_too(agent_desk):
    """Read from the beginning, it counts that anything was let go of."""
    session_id, client = started(agent_desk)
    with client:
        agent_desk.redis.xtrim(key(session_id, "inbox"), maxlen=1, approximate=False)
        with pytest.raises(FellBehind):
            client.events()
        assert client.join().missed
        assert names(client.events()) == ["session_started"]


def test_a_redis_that_forgot_all_is_joined_again(agent_desk):
    """Its hash gone, the agent is told that it has not joined; joined again it goes on, its records kept."""
    session_id, client = started(agent_desk)
    with client:
        client.events()
        agent_desk.redis.delete(key(session_id, "live"), key(session_id, "inbox"))
        with pytest.raises(NotJoined):
            client.report(decisions=[decision("d1")])
        assert client.join().epoch == 1
        client.heartbeat()
        assert agent_desk.records(session_id) == [("decision", "d1")]


def test_threads_share_a_client(agent_desk):
    """Eight threads report at once: every record arrives once, and acknowledging only moves forward."""
    session_id = agent_desk.session()
    with agent_desk.client(session_id) as client:
        client.join()
        agent_desk.redis.hset(key(session_id, "live"), "cap:reports_per_s", 100_000)

        def work(thread: int) -> None:
            for number in range(20):
                client.report(state={"internal_state": {"t": thread}}, decisions=[decision(f"{thread}-{number}")])
                client.ack(f"{number}-{thread}")

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(8)))
        assert sorted(agent_desk.records(session_id)) == sorted(
            ("decision", f"{thread}-{number}") for thread in range(8) for number in range(20)
        )
        assert client.position == "19-7"


def test_from_an_event_loop_nothing_blocks(agent_desk):
    """While one task waits for events another reports, and the loop goes round."""
    session_id, client = started(agent_desk)

    async def scenario() -> None:
        async with client.aio as agent:
            for event in await agent.events():
                agent.ack(event)
            waiting = asyncio.create_task(agent.events(3600.0))
            assert await agent.report(decisions=[decision("d1")]) >= 0
            turns = 0
            asyncio.get_running_loop().call_soon(pausing.start)
            while not waiting.done():
                await asyncio.sleep(0.001)
                turns += 1
            assert names(await waiting) == ["session_paused"]
            assert turns > 1

    pausing = threading.Thread(target=agent_desk.do, args=(T.PAUSE, session_id))
    asyncio.run(scenario())
    pausing.join()
    assert agent_desk.records(session_id) == [("decision", "d1")]


def test_a_run_that_would_join_a_closed_session_hears_the_rest_and_ends(agent_desk):
    """It took part until the session was closed; who never was in it is refused."""
    session_id = agent_desk.session()
    with agent_desk.client(session_id) as client:
        client.join()
        for trigger in (T.START, T.STOP):
            agent_desk.do(trigger, session_id)
        agent_desk.hosting.finish()
        seen: list[str] = []

        def told(event: Any) -> None:
            seen.append(event.event)
            if len(seen) == 1:
                raise NotJoined(str(session_id), client.agent, "Redis forgot it")

        client.run(told)
        first, *rest = seen
        assert names_of_life(rest) == ["session_created", "session_started", "session_stopped", "session_closed"]
        assert rest[0] == first  # it was not acknowledged, so it comes again
    with agent_desk.client(session_id) as late, pytest.raises(SessionClosed, match="is closed"):
        late.run(told)


def test_a_run_goes_through_a_life_and_mends_what_it_can(agent_desk):
    """Joined, told, ticked, joined again after Redis forgot, and ended when the session is closed."""
    session_id = agent_desk.session()
    client, seen, ticks = agent_desk.client(session_id), [], []

    def told(event: Any) -> None:
        seen.append(event.event)

    def tick() -> None:
        client.report(decisions=[decision(f"d{len(ticks)}")])
        ticks.append(time.monotonic())

    def life() -> None:
        with client:
            client.run(told, on_joined=lambda joined: seen.append(f"joined {joined.status}"), on_tick=tick, tick_s=0.05)

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(life)
        wait_until(lambda: ticks, "it works")
        agent_desk.do(T.START, session_id)
        wait_until(lambda: "session_started" in seen, "it is told of the start")
        agent_desk.redis.delete(key(session_id, "live"))
        wait_until(lambda: "joined active" in seen, "it joins again")
        agent_desk.do(T.STOP, session_id)
        agent_desk.hosting.finish()
        running.result(30)
    assert seen[0] == "joined initializing"
    assert names_of_life(seen) == ["session_created", "session_started", "session_stopped", "session_closed"]
    told_of = [name for _, name in agent_desk.records(session_id)]
    assert told_of == [f"d{number}" for number in range(len(told_of))]
    assert len(told_of) == len(ticks)


def test_a_run_works_on_while_redis_is_away(agent_desk):
    """Its work goes on, and what it told meanwhile arrives once Redis is back, each decision once."""
    client, told, stop = agent_desk.client(session_id := agent_desk.session()), [], threading.Event()

    def tick() -> None:
        told.append(f"d{len(told)}")
        client.report(decisions=[decision(told[-1])])

    with ThreadPoolExecutor(1) as threads, client:
        running = threads.submit(client.run, lambda _: None, on_tick=tick, tick_s=0.02, stop=stop)
        wait_until(lambda: told, "it works")
        with away(client):
            so_far = len(told)
            wait_until(lambda: len(told) > so_far + 3 and client.unsent > 2, "it works on")
        wait_until(lambda: not client.unsent, "what it told is sent")
        stop.set()
        running.result(30)
    assert [name for _, name in agent_desk.records(session_id)] == told


def test_the_example_of_the_page_runs(agent_desk, monkeypatch):
    """Whoever copies it from docs/integration.md has an agent."""
    page = (EXAMPLES.parent / "docs" / "integration.md").read_text()
    [code] = re.findall(r"### AgentClient\n\n```python\n(.*?)```", page, re.DOTALL)
    session_id = agent_desk.session()
    monkeypatch.setattr("fntx_sessions.agent_client.client.get_settings", lambda: agent_desk.running.settings)
    exec(code, {"session_id": session_id})  # noqa: S102 - our own page
    assert agent_desk.records(session_id) == [("decision", "1")]


def names_of_life(seen: list[str]) -> list[str]:
    """Return the events, without how often each was told."""
    return list(dict.fromkeys(one for one in seen if one.startswith("session_")))


def test_a_run_ends_with_what_a_handler_raises_and_the_event_comes_again(agent_desk):
    """A bug of the agent's own is its own to see; the event that met it is not acknowledged."""
    session_id = agent_desk.session()

    def told(event: Any) -> None:
        raise ZeroDivisionError

    with agent_desk.client(session_id) as client:
        with pytest.raises(ZeroDivisionError):
            client.run(told)
        assert names(client.events()) == ["session_created"]


def test_a_run_of_a_superseded_agent_ends(agent_desk):
    """Two processes do not take the agent from each other for ever."""
    session_id = agent_desk.session()
    with agent_desk.client(session_id) as first, agent_desk.client(session_id) as second:
        first.join()
        second.join()
        with pytest.raises(Superseded):
            first.run(lambda _: None, on_tick=first.heartbeat)


def test_a_report_is_what_the_desk_saves(agent_desk):
    """Parts as they were told, under their names."""
    session_id, client = started(agent_desk)
    with client:
        client.events()
        market = {"timestamp": WHEN, "spy_price": 512.5}
        client.report(state={"internal_state": {"n": 7}, "decisions_made": 3}, market=market)
    agent_desk.hosting.save(session_id)
    live = agent_desk.redis.hgetall(key(session_id, "live"))
    part = json.loads(live[f"part:agent/{PLANNER}".encode()])
    assert (part["agent_id"], part["internal_state"], part["decisions_made"]) == (PLANNER, {"n": 7}, 3)
    assert json.loads(live[b"part:market"])["spy_price"] == 512.5


def test_an_agent_whose_token_was_revoked_is_told_that_it_has_not_joined(agent_desk):
    """What it says under its old ticket is refused as of who never joined; nothing of it is written."""
    settings, at = agent_desk.running.settings, agent_desk.hosting.desk
    ensure_local_keys(agent_desk.running.folder)
    token = issue(settings, "leaked", ["agent"], 60)
    session_id = agent_desk.session()
    with agent_desk.client(session_id, token=SecretStr(token)) as client:
        client.join()
        assert client.report(state={"internal_state": {"n": 1}}) == 1
        asked = RevokeArguments(token_id=read(token, settings).actor.token_id)
        revoke(at.engine, at.settings, Actor("root", frozenset({"admin"})), asked, uuid4())
        assert shut_out(at) == 1
        with pytest.raises(NotJoined):
            client.report(state={"internal_state": {"n": 2}})
