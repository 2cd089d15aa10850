"""Weeks of long sessions are sealed, proven, and only then dropped; what a session's measures are made of stays."""

from datetime import UTC, datetime, timedelta

import pytest
from history_world import add, begin, count, history, week_at, weeks_back, weeks_of
from owning import owner_engine
from sqlalchemy import text
from state_world import make_world

from fntx_sessions.database.history import RELATIONS
from fntx_sessions.exceptions import IntegrityError, NotFound
from fntx_sessions.lifecycle.reads.metrics import get_metrics
from fntx_sessions.lifecycle.reads.sessions import get_session
from fntx_sessions.state.dropping import drop_due
from fntx_sessions.state.objects.cold import open_cold
from fntx_sessions.state.segment_rows import segments_of
from fntx_sessions.state.segments import read, read_lines, segment_due

OLD = weeks_back(3)


@pytest.fixture
def world(settings):
    with make_world(settings.model_copy(update={"warm_keep_s": 7 * 86_400.0})) as made:
        begin(made, 4)
        yield made


@pytest.fixture
def store(world):
    return open_cold(world.settings)


def segments(world, session_id):
    with world.engine.begin() as connection:
        return segments_of(connection, session_id)


def seal(world, store):
    return segment_due(world.engine, world.settings, store)


def drop(world):
    with owner_engine(world.engine) as owner:
        return drop_due(owner, world.settings)


def names(at, *relations):
    return [week_at(name, at).name for name in relations or RELATIONS]


def test_a_week_is_sealed_as_it_was_and_once(world, store):
    """Each relation's rows of an old week come back to the last digit; a second sweep finds nothing to do."""
    one, other = world.sessions(2, live=False)
    for moment in (OLD, OLD + timedelta(hours=1), weeks_back(0)):
        add(world, one, moment)
    add(world, other, OLD, "events")
    assert (seal(world, store).segments, seal(world, store).segments) == (5, 0)
    found = {segment.relation: segment for segment in segments(world, one)}
    assert {name: segment.rows for name, segment in found.items()} == dict.fromkeys(RELATIONS, 2)
    for name, segment in found.items():
        lines = [line.decode() for line in read_lines(world.engine, world.settings, store, segment)]
        rows = f"SELECT * FROM {name} WHERE session_id = :id AND timestamp < :until"
        back = f"SELECT r.* FROM unnest(CAST(:l AS jsonb[])) u(x), jsonb_populate_record(NULL::{name}, x) r"
        differ = f"SELECT count(*) FROM (({rows}) EXCEPT ({back}) UNION ALL ({back}) EXCEPT ({rows})) d"
        with world.engine.begin() as connection:
            bound = {"id": one, "until": weeks_back(1), "l": lines}
            assert connection.execute(text(differ.replace("::", "\\:\\:")), bound).scalar_one() == 0
    assert [row["event_type"] for row in read(world.engine, world.settings, store, found["events"])] == ["noted"] * 2


def test_what_leaves_postgres_is_in_segments_and_changes_no_measure(world, store):
    """Events of a dropped week are read from its segment; fills, samples and transitions of a live session stay."""
    [session_id] = world.sessions(1, live=False)
    for week in (3, 2, 0):
        add(world, session_id, weeks_back(week))
    before, measures = history(world, session_id), get_metrics(world.engine, session_id).model_dump()
    seal(world, store)
    assert set(drop(world)) == {name for week in (4, 3, 2) for name in names(weeks_back(week))}
    after = history(world, session_id)
    assert {name: len(rows) for name, rows in after.items()} == {
        "events": 1,
        "transitions": 3,
        "fills": 3,
        "samples": 3,
    }
    assert all(after[name] == before[name] for name in ("transitions", "fills", "samples"))
    stable = {name: value for name, value in measures.items() if name not in {"active_duration", "last_updated"}}
    assert {name: get_metrics(world.engine, session_id).model_dump()[name] for name in stable} == stable
    sealed = [one for one in segments(world, session_id) if one.relation == "events"]
    ids = [row["event_id"] for one in sealed for row in read(world.engine, world.settings, store, one)]
    assert ids == [str(row["event_id"]) for row in before["events"][:2]]
    assert seal(world, store).segments == 0


def test_a_week_stays_while_one_row_of_it_is_nowhere_else(world, store):
    """A closed session that is not archived yet holds its week, and those after it; once it is, they go."""
    one, closed = world.sessions(2, live=False)
    for session_id in (one, closed):
        add(world, session_id, OLD)
    world.run("UPDATE session_work SET status = 'closed' WHERE session_id = :id", id=str(closed))
    seal(world, store)
    assert set(drop(world)) == set(names(weeks_back(4)))
    assert drop(world) == []
    assert count(world, "events") == 2
    archived = "INSERT INTO archives (session_id, object, checksum, size_bytes, verified_at) VALUES (:id, 'o', '', 1, "
    world.run(f"{archived} NULL)", id=str(closed))
    assert drop(world) == []
    world.run("UPDATE archives SET verified_at = now()")
    assert set(drop(world)) == {name for week in (3, 2) for name in names(weeks_back(week))}
    assert [count(world, name) for name in RELATIONS] == [0, 2, 2, 2]


def test_rows_of_an_archive_that_was_let_go_are_dropped_with_their_week(world, store):
    """Once the archive has taken over, nothing is kept for measures."""
    [session_id] = world.sessions(1, live=False)
    add(world, session_id, OLD)
    world.run(
        "INSERT INTO archives (session_id, object, checksum, size_bytes, verified_at, rows_dropped_at) "
        "VALUES (:id, 'o', '', 1, now(), now())",
        id=str(session_id),
    )
    drop(world)
    assert [count(world, name) for name in RELATIONS] == [0, 0, 0, 0]


def test_a_late_row_is_sealed_before_its_week_is_dropped(world, store):
    """A row that came after the segment was proven keeps the week until a new segment holds it, too."""
    [session_id] = world.sessions(1, live=False)
    add(world, session_id, OLD, "events")
    seal(world, store)
    first = segments(world, session_id)[0]
    add(world, session_id, OLD + timedelta(minutes=1), "events")
    assert week_at("events", OLD).name not in drop(world)
    assert seal(world, store).segments == 1
    assert week_at("events", OLD).name in drop(world)
    [segment] = segments(world, session_id)
    assert segment.rows == 2
    assert segment.object != first.object
    assert len(read(world.engine, world.settings, store, segment)) == 2
    assert store.info(first.object) is not None


def test_a_row_later_than_its_weeks_dropping_is_kept(world, store):
    """It goes into the past, and no segment is written over by it."""
    [session_id] = world.sessions(1, live=False)
    add(world, session_id, OLD, "events")
    seal(world, store)
    drop(world)
    add(world, session_id, OLD, "events")
    assert count(world, "events_past") == 1
    assert (seal(world, store).segments, segments(world, session_id)[0].rows) == (0, 1)


def test_a_pinned_sessions_rows_stay(world, store):
    """All of them, in the past; the week goes all the same."""
    one, pinned = world.sessions(2, live=False)
    for session_id in (one, pinned):
        add(world, session_id, OLD)
    world.run("UPDATE sessions SET pinned = true WHERE session_id = :id", id=str(pinned))
    before = history(world, pinned)
    seal(world, store)
    assert set(names(OLD)) <= set(drop(world))
    assert history(world, pinned) == before
    assert count(world, "events") == 1


def test_younger_weeks_and_simulated_times_are_left_alone(world, store):
    """Neither sealed nor dropped: they are too young, or not of the wall clock."""
    [session_id] = world.sessions(1, live=False)
    moments = [weeks_back(1), weeks_back(0), datetime(2018, 2, 5, tzinfo=UTC)]
    for at in moments:
        add(world, session_id, at)
    assert seal(world, store).segments == 0
    drop(world)
    assert [count(world, name) for name in RELATIONS] == [3, 3, 3, 3]
    assert {week.since for _, week in weeks_of(world)} >= {week_at("events", at).since for at in moments[:2]}


def test_a_damaged_segment_is_told_and_a_new_one_takes_another_name(world, store):
    """Nobody reads changed bytes as history; what is there already is never written over."""
    [session_id] = world.sessions(1, live=False)
    add(world, session_id, OLD, "events")
    seal(world, store)
    [segment] = segments(world, session_id)
    data = bytearray(store.read(segment.object))
    data[-1] ^= 1
    store.destroy(segment.object)
    with pytest.raises(NotFound):
        read(world.engine, world.settings, store, segment)
    store.create(segment.object, bytes(data), {})
    with pytest.raises(IntegrityError):
        read(world.engine, world.settings, store, segment)
    world.run("UPDATE archive_segments SET verified_at = NULL")
    assert seal(world, store).segments == 1
    [again] = segments(world, session_id)
    assert again.object != segment.object
    assert len(read(world.engine, world.settings, store, again)) == 1


def test_two_sweeps_at_once_share_the_work(world, store):
    """What one has claimed the other passes over; together they seal every session once."""
    sessions = world.sessions(6, live=False)
    for session_id in sessions:
        add(world, session_id, OLD, "events")
    world.run("UPDATE session_work SET archive_claimed_until = now() + interval '1 minute' WHERE session_id = :id",
              id=str(sessions[0]))  # fmt: skip
    assert seal(world, store).segments == 5
    world.run("UPDATE session_work SET archive_claimed_until = NULL")
    assert seal(world, store).segments == 1
    assert [len(segments(world, one)) for one in sessions] == [1] * 6


def test_a_session_says_which_weeks_of_it_are_sealed(world, store):
    """Whoever misses an old event is told where it may be."""
    [session_id] = world.sessions(1, live=False)
    assert get_session(world.engine, world.client, world.settings, session_id).sealed_weeks is None
    add(world, session_id, OLD)
    seal(world, store)
    told = get_session(world.engine, world.client, world.settings, session_id).sealed_weeks
    assert (told.first_week, told.last_week, told.rows) == (*[week_at("events", OLD).since] * 2, 4)
