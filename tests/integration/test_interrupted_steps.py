"""What ends a step from outside: it goes on to whom it is for, charges only who took too long, and is rarely needed."""

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import bad_agents
import pytest
from agents_at_fault import hosting_agents, with_agent
from billiard import common, pool
from hosting import SYSTEM, Hosting, S

from fntx_sessions.agents import claims, host
from fntx_sessions.agents.registry import get_agent

SOFT, EXIT = signal.SIGUSR1, signal.SIGUSR2
INTERRUPTED = ["IsInterrupted", "RaisesAnew"]


@pytest.fixture
def desk(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    """As in a pool's child: its own handlers, of the soft limit and of its exit."""
    before = {
        SOFT: signal.signal(SOFT, pool.soft_timeout_sighandler),
        EXIT: signal.signal(EXIT, common._shutdown_cleanup),
    }
    try:
        with hosting_agents(tmp_path, module_database_url, redis_url) as made:
            yield made
    finally:
        common.clear_terminate_handler_fired()
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupted(desk: Hosting, name: str, number: signal.Signals, error: type[BaseException], **settings: float):
    """Step two sessions; the second is interrupted in its turn. Return both as they are afterwards."""
    sound, struck = with_agent(desk, "Sound"), with_agent(desk, name)
    desk.step()
    desk.run("UPDATE session_work SET next_step_at = now() - interval '1 s' WHERE session_id = :id", id=sound)
    before = desk.row(sound)["clock_at"]
    get_agent(name).signal = number
    with pytest.raises(error):
        desk.with_settings(**settings).step()
    common.clear_terminate_handler_fired()
    assert desk.row(sound)["agent_failures"].keys() <= ({claims.HUNG} if settings else set())
    assert desk.row(sound)["step_claimed_until"] is None
    assert desk.row(struck)["clock_at"] == before, "what was interrupted left nothing"
    return desk.row(sound), desk.row(struck)


@pytest.mark.parametrize("name", INTERRUPTED)
@pytest.mark.parametrize(("number", "error"), [(SOFT, pool.SoftTimeLimitExceeded), (EXIT, SystemExit)])
def test_an_interruption_is_charged_to_nobody_in_its_turn(desk, name, number, error):
    """It ends the sweep, as it is meant to; who was stepped just then, or before, is none the worse."""
    _, struck = interrupted(desk, name, number, error)
    assert struck["agent_failures"] == {}
    get_agent(name).signal = 0
    desk.step()
    assert desk.row(struck["session_id"])["clock_at"] > struck["clock_at"]


@pytest.mark.parametrize(("number", "error"), [(SOFT, pool.SoftTimeLimitExceeded), (EXIT, SystemExit)])
def test_who_took_too_long_by_itself_is_charged(desk, number, error):
    """By its own clock, and told so; the sweep ends all the same."""
    _, struck = interrupted(desk, "IsInterrupted", number, error, agent_hung_s=1e-9)
    assert struck["agent_failures"]["IsInterrupted"] == 1
    assert claims.HUNG in struck["agent_failures"]
    [told] = desk.events(struck["session_id"], "agent_failed")
    assert "IsInterrupted failed: its step still ran after" in told["description"]
    assert told["source_agent"] == "IsInterrupted"


def test_a_worker_ends_though_an_agent_swallows_that(desk):
    """What the agent made of its step is kept; nothing is begun after it."""
    struck = with_agent(desk, "SwallowsAll")
    desk.step()
    get_agent("SwallowsAll").signal = EXIT
    before = desk.row(struck)["clock_at"]
    with pytest.raises(SystemExit):
        desk.step()
    row = desk.row(struck)
    assert (row["agent_failures"], row["step_claimed_until"]) == ({}, None)
    assert row["clock_at"] > before


def test_an_agent_that_raises_what_pools_raise_is_at_fault(desk, monkeypatch):
    """They are told apart by where they come from."""
    session_id = with_agent(desk, "Raises")

    def fault(_self: object, _state: object) -> None:
        raise pool.SoftTimeLimitExceeded

    monkeypatch.setattr(bad_agents.Raises, "fault", fault)
    desk.step()
    desk.step()
    assert desk.row(session_id)["agent_failures"] == {"Raises": 1}


@dataclass
class Clock:
    """Time that passes only as agents take it."""

    at: float = 1000.0

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


def test_many_slow_and_sound_agents_never_reach_the_limit(desk, monkeypatch):
    """A sweep begins only what will be over in time, leaves the rest as it was to whoever is free, and all get on."""
    clock = Clock()
    monkeypatch.setattr(host, "time", SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep))
    sessions = [with_agent(desk, "Sound") for _ in range(8)]
    slow = desk.with_settings(step_sweep_s=5.0)
    honest = bad_agents.Sound.step

    def step(self, state, context):
        clock.at += 1.5
        return honest(self, state, context)

    monkeypatch.setattr(bad_agents.Sound, "step", step)
    steps, sweeps = 0, 0
    desk.run("UPDATE session_work SET next_step_at = now() WHERE next_step_at IS NOT NULL")
    while steps < len(sessions):
        began = clock.at
        steps += host.step_due(slow.desk, "h1")
        sweeps += 1
        assert clock.at - began < slow.desk.settings.step_soft_limit_s
        assert sweeps <= len(sessions)
    assert sweeps > 1
    rows = [desk.row(one) for one in sessions]
    assert {row["step_claimed_by"] for row in rows} == {None}
    assert all(row["agent_failures"] == {} and row["status"] == S.ACTIVE for row in rows)


def test_who_is_stepped_alone_has_its_turn_beside_slow_ones(desk, monkeypatch):
    """Where the batch used up a sweep, the next one begins with it."""
    monkeypatch.setattr(host._Turns, "suspect_waits", False)
    clock = Clock()
    monkeypatch.setattr(host, "time", SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep))
    slow, alone = with_agent(desk, "Sound"), with_agent(desk, "Exits")
    desk.step()
    desk.run("UPDATE session_work SET agent_failures = '{\"hung\": 1}' WHERE session_id = :id", id=alone)
    honest = bad_agents.Sound.step

    def step(self, state, context):
        clock.at += 100
        return honest(self, state, context)

    monkeypatch.setattr(bad_agents.Sound, "step", step)
    before = desk.row(alone)["clock_at"]
    assert desk.step() == 1
    assert desk.row(alone)["clock_at"] == before
    assert desk.step() == 1
    assert desk.row(alone)["clock_at"] > before
    assert desk.row(slow)["clock_at"] is not None


def test_agents_that_take_too_long_together_are_stepped_alone_then_given_up(desk, monkeypatch):
    """None of them hangs, and no sweep can end their step: at last a person has to look."""
    session_id = with_agent(desk, "Sound")
    desk.step()
    clock = Clock()
    monkeypatch.setattr(host, "time", SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep))

    def step_one(*_: object) -> None:
        clock.at += desk.desk.settings.step_soft_limit_s
        pool.soft_timeout_sighandler(0, None)

    monkeypatch.setattr(host, "_step_one", step_one)
    found = []
    for _ in range(4):
        with pytest.raises(pool.SoftTimeLimitExceeded):
            desk.step()
        found.append(desk.row(session_id)["agent_failures"].get("host", 0))
    assert found == [0, 1, 2, 3]
    assert desk.row(session_id)["status"] == S.ERROR


def test_nothing_is_begun_after_the_time_to_begin(desk):
    """But for the first: a sweep that begins late gets something done."""
    sessions = [with_agent(desk, "Sound") for _ in range(3)]
    desk.step()
    desk.run("UPDATE session_work SET next_step_at = now() WHERE next_step_at IS NOT NULL")
    rows = claims.claim_steps(desk.desk.engine, "h1", 10, 60)
    now = time.monotonic()
    assert host.step_batch(desk.desk, SYSTEM, rows, now, now) == 1
    assert len(claims.claim_steps(desk.desk.engine, "h1", 10, 60)) == len(sessions) - 1


def test_who_waits_longest_is_stepped_first(desk):
    """So that what slow batches leave, again and again, is never the same."""
    sessions = [with_agent(desk, "Sound") for _ in range(4)]
    for seconds, one in enumerate(sessions):
        due = "UPDATE session_work SET next_step_at = now() - make_interval(secs => :s) WHERE session_id = :id"
        desk.run(due, id=one, s=seconds)
    rows = claims.claim_steps(desk.desk.engine, "h1", 10, 60)
    assert [row["session_id"] for row in rows] == sessions[::-1]
