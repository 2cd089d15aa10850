"""Sweeps that have nothing to do rest: each one's work is seen, and what cannot be seen rests nobody."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hosting import Hosting, make_hosting, shared
from sqlalchemy import Engine
from structlog.testing import capture_logs
from worker_process import wait_until

from fntx_sessions.automation import hosts, resting
from fntx_sessions.automation.resting import HAS_WORK, Resting, idle_sweeps
from fntx_sessions.exceptions import Unavailable
from tasks.beat import Scheduler
from tasks.celery import app

DUE = {
    "relay": "relay_due_at", "step": "next_step_at", "save": "next_save_at", "pending": "pending_due_at",
    "checkpoint": "next_checkpoint_at", "rules": "next_rule_at", "memory": "memory_due_at",
}  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        made.run(f"UPDATE session_work SET {', '.join(f'{column} = NULL' for column in DUE.values())}")
        yield made


@pytest.mark.parametrize(("sweep", "column"), DUE.items())
def test_a_sweep_rests_until_something_is_due_for_it(desk, sweep, column):
    """Due now or in a moment: it is sent. Later, or nothing at all: it rests, and the others do all the while."""
    session_id = desk.create()
    hosts.renew(desk.desk.engine, desk.desk.settings, "h1", "agents")
    desk.run(f"UPDATE session_work SET {', '.join(f'{one} = NULL' for one in DUE.values())}")
    assert idle_sweeps(desk.desk.engine) == set(HAS_WORK)
    desk.run(f"UPDATE session_work SET {column} = now() + interval '1 second' WHERE session_id = :id", id=session_id)
    assert idle_sweeps(desk.desk.engine) == set(HAS_WORK) - {sweep}


def test_the_guard_rests_while_an_agents_worker_lives(desk):
    """Its lease over, the guard is sent: nobody else steps what is open."""
    hosts.renew(desk.desk.engine, desk.desk.settings, "h1", "agents")
    assert "guard" in idle_sweeps(desk.desk.engine)
    desk.lose("h1")
    assert "guard" not in idle_sweeps(desk.desk.engine)


@pytest.fixture
def looking() -> Iterator[Callable[[Callable[[], Engine]], Resting]]:
    made: list[Resting] = []

    def make(engine: Callable[[], Engine]) -> Resting:
        made.append(Resting(engine))
        return made[-1]

    yield make
    for one in made:
        one.close()
    wait_until(lambda: all(thread.name != "fntx-resting" for thread in threading.enumerate()), "nobody looks any more")


def test_a_postgres_that_does_not_answer_rests_nobody(looking):
    """Saves go into backups then, which nothing in Postgres says; the log says it once."""
    asked = []

    def engine():
        asked.append(1)
        raise Unavailable("Postgres", "away", "Start it.")

    found = looking(engine)
    with capture_logs() as logged:
        assert found.now() == frozenset()
        wait_until(lambda: len(asked) > 2, "it is asked again")
    assert [entry["event"] for entry in logged] == ["rest_not_known"]
    assert found.now() == frozenset()


def test_what_was_seen_long_ago_rests_nobody(desk, looking, monkeypatch):
    """A look that hangs is no look."""
    found = looking(lambda: desk.desk.engine)
    wait_until(found.now, "it has looked")
    monkeypatch.setattr(resting, "_FRESH_S", -1.0)
    assert found.now() == frozenset()


def test_a_sweep_that_rests_is_sent_from_time_to_time(monkeypatch):
    """`sweep_rest_s`: so that a late sweep can be told from one without work."""
    scheduler = Scheduler(app, lazy=True)
    monkeypatch.setattr(scheduler._resting, "now", lambda: frozenset({"relay"}))
    assert not scheduler._rests("fntx.sweeps.relay"), "it was never sent"
    scheduler._sent["fntx.sweeps.relay"] = resting.time.monotonic()
    assert scheduler._rests("fntx.sweeps.relay")
    assert not scheduler._rests("fntx.sweeps.liveness")
    scheduler._sent["fntx.sweeps.relay"] -= 11
    assert not scheduler._rests("fntx.sweeps.relay")
