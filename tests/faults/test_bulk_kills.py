"""A bulk run whose process is killed, or that several advance at once: each session is asked once, none is left out."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest
from bulk_world import DUE, LAPSE, asked, begin, check_run, states
from hosting import Hosting, S, T, make_hosting, shared
from write_kills import deaths

from fntx_sessions.automation import bulk
from fntx_sessions.security.actor import Actor
from fntx_sessions.state.erasing import erase
from fntx_sessions.testing import failpoints_armed


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        made.run("DELETE FROM bulk_runs")
        yield made


def active(hosting: Hosting, count: int) -> list:
    return [hosting.started() for _ in range(count)]


def advance(hosting: Hosting, run) -> None:
    with make_hosting(hosting.desk.settings) as own:
        bulk.advance(own.desk, run, all_waves=True)


@pytest.mark.parametrize(("place", "done"), [("bulk.claimed", 0), ("bulk.item_done", 1)])
def test_a_killed_advancer_leaves_the_rest_to_the_next(hosting, place, done):
    """Killed between two items: the claim lapses, the sweep goes on, what was done answers again and is not redone."""
    made = active(hosting, 3)
    run = begin(hosting, asked(ids=made, wave_size=2))
    child = os.fork()
    if child == 0:
        with failpoints_armed(f"{place}:kill"):
            advance(hosting, run)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert [hosting.row(one)["status"] for one in made].count(S.PAUSED) == done
    assert bulk.advance_due(hosting.desk, 1) == 0  # the dead one's claim still stands
    hosting.run(LAPSE)
    assert bulk.advance_due(hosting.desk, 30) == 2
    report = bulk.report(hosting.desk.engine, run)
    assert (report.state, report.counts) == ("finished", {"done": 3})
    check_run(hosting, report, T.PAUSE)


def test_killed_at_any_write_it_goes_on_without_doing_anything_twice(hosting, tmp_path):
    """Before its first write, before its second, and so on: after each death the run is finished, each session once."""
    at = {}

    def fresh():
        at["ids"] = active(hosting, 2)
        at["run"] = begin(hosting, asked(ids=at["ids"]))

    places = set()
    for died in deaths(lambda: advance(hosting, at["run"]), tmp_path, fresh):
        places.add(died.split()[2])
        hosting.run(LAPSE)
        report = bulk.advance(hosting.desk, at["run"], all_waves=True)
        assert (report.state, states(report)) == ("finished", dict.fromkeys(at["ids"], "done")), died
        check_run(hosting, report, T.PAUSE)
    assert places == {"postgres:", "redis:", "after:"}


def test_a_begin_that_is_killed_left_nothing_or_all(hosting, tmp_path):
    """The run and its items are one transaction; begun again under its id, it is the same run."""
    made = active(hosting, 2)
    at = {}

    def fresh():
        at["request"] = asked(ids=made)

    def act():
        with make_hosting(hosting.desk.settings) as own:
            begin(own, at["request"])

    for died in deaths(act, tmp_path, fresh):
        items = hosting.rows("SELECT 1 FROM bulk_items WHERE bulk_id = :id", id=at["request"].bulk_id)
        assert len(items) in (0, 2), died
        run = begin(hosting, at["request"])
        assert len(bulk.report(hosting.desk.engine, run).items) == 2, died


def test_several_at_once_share_the_runs_and_double_nothing(hosting):
    """Four sweeps over three runs whose claims lapse under them: every session is asked once a run."""
    made = active(hosting, 6)
    runs = [begin(hosting, asked("pause", ids=made[n : n + 2], wave_size=1)) for n in (0, 2, 4)]
    problems = []

    def sweep():
        try:
            with make_hosting(hosting.desk.settings) as own:
                for _ in range(3):
                    own.run(LAPSE)  # as if the other were dead, while it is not
                    bulk.advance_due(own.desk, 30)
        except Exception as error:  # noqa: BLE001 - told below
            problems.append(error)

    threads = [Thread(target=sweep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    hosting.run(LAPSE)
    hosting.run(DUE)
    bulk.advance_due(hosting.desk, 30)
    for run in runs:
        report = bulk.report(hosting.desk.engine, run)
        assert (report.state, report.counts) == ("finished", {"done": 2})
        check_run(hosting, report, T.PAUSE)


def test_a_shredded_session_leaves_no_words_in_a_run(hosting):
    """Why it was refused quotes people; that goes with the session, the bare result stays."""
    [session_id] = active(hosting, 1)
    hosting.do(T.PAUSE, session_id, reason="a secret reason")
    run = begin(hosting, asked(ids=[session_id], bulk_id=uuid4()))
    [item] = bulk.advance(hosting.desk, run).items
    assert "a secret reason" in (item.problem or "")
    hosting.do(T.STOP, session_id)
    hosting.finish()
    hosting.do(T.SHRED, session_id, actor=Actor("ada", frozenset({"admin"})))
    erase(*hosting.desk.parts(), session_id)
    [item] = bulk.report(hosting.desk.engine, run).items
    assert (item.state, item.problem) == ("refused", None)
