"""Making, sealing and dropping weeks of history, killed at every write: nothing is lost, and the next run ends it."""

import multiprocessing
import signal

import pytest
from history_world import add, begin, count, forget_to_make, history, make_world, week_at, weeks_back, weeks_of
from history_world import drop as drop_as_owner
from history_world import make as make_ahead_as_owner

from fntx_sessions.database.history import RELATIONS
from fntx_sessions.state.objects.cold import open_cold
from fntx_sessions.state.segment_rows import segments_of
from fntx_sessions.state.segments import read, segment_due
from fntx_sessions.testing import failpoints_armed

OLD = weeks_back(3)
_fork = multiprocessing.get_context("fork")


@pytest.fixture
def world(settings):
    with make_world(settings.model_copy(update={"warm_keep_s": 7 * 86_400.0})) as made:
        yield made


def killed_at(place, act, settings):
    """Run `act` over a world of its own, in a process that is killed at a failpoint."""
    victim = _fork.Process(target=_run, args=(place, act, settings))
    victim.start()
    victim.join(30)
    assert victim.exitcode == -signal.SIGKILL
    victim.close()


def _run(place, act, settings):
    with make_world(settings) as own, failpoints_armed(f"{place}:kill"):
        act(own)


def make(world):
    make_ahead_as_owner(world, 1)


def seal(world):
    world.run("UPDATE session_work SET archive_claimed_until = NULL")  # of whoever was killed: it lapses by itself
    segment_due(world.engine, world.settings, open_cold(world.settings))


def drop(world):
    drop_as_owner(world)


@pytest.mark.parametrize("place", ["partition.moved", "partition.attached", "partition.committed"])
def test_killed_while_a_partition_is_made(world, place):
    """Rows that fell into DEFAULT are there before, and after, once each."""
    [session_id] = world.sessions(1, live=False)
    forget_to_make(world)
    add(world, session_id, weeks_back(0))
    before = history(world, session_id)
    killed_at(place, make, world.settings)
    assert history(world, session_id) == before
    make(world)
    assert history(world, session_id) == before
    assert len(weeks_of(world)) == 2 * len(RELATIONS)
    assert [count(world, f"{name}_default") for name in RELATIONS] == [0, 0, 0, 0]


@pytest.mark.parametrize("place", ["segment.before_write", "segment.written", "segment.verified", "segment.recorded"])
def test_killed_while_a_week_is_sealed(world, place):
    """Nothing may be dropped on the word of a segment that was not proven; the next run proves it."""
    begin(world, 3)
    [session_id] = world.sessions(1, live=False)
    add(world, session_id, OLD)
    before = history(world, session_id)
    killed_at(place, seal, world.settings)
    drop(world)
    assert {name: rows for name, rows in history(world, session_id).items() if name != "events"} == {
        name: rows for name, rows in before.items() if name != "events"
    }
    whole(world, session_id, 1)
    seal(world)
    drop(world)
    whole(world, session_id, 1)
    assert week_at("events", OLD) not in [week for _, week in weeks_of(world)]


@pytest.mark.parametrize(
    "place",
    [
        "partition.past_checked",
        "partition.drop_ready",
        "partition.counted",
        "partition.past_grown",
        "partition.dropped",
        "partition.drop_before_commit",
        "partition.drop_committed",
    ],
)
def test_killed_while_a_week_is_dropped(world, place):
    """The week is there whole or gone whole; what stays of it is there once."""
    begin(world, 3)
    [session_id] = world.sessions(1, live=False)
    add(world, session_id, OLD)
    seal(world)
    kept = {name: rows for name, rows in history(world, session_id).items() if name != "events"}
    killed_at(place, drop, world.settings)
    for _ in range(2):
        assert {name: rows for name, rows in history(world, session_id).items() if name != "events"} == kept
        whole(world, session_id, 1)
        drop(world)
    assert week_at("events", OLD) not in [week for _, week in weeks_of(world)]


def whole(world, session_id, rows):
    """Assert that the old week's events are in Postgres or in a proven segment, and which."""
    with world.engine.begin() as connection:
        found = [one for one in segments_of(connection, session_id) if one.relation == "events" and one.verified_at]
    sealed = sum(len(read(world.engine, world.settings, open_cold(world.settings), one)) for one in found)
    assert max(sealed, count(world, "events", session_id)) == rows
