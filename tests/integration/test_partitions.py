"""History is cut by week: made ahead, by anybody, while others write; nobody is refused or waits for long."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from history_world import add, begin, count, drop, forget_to_make, history, make, week_at, weeks_back, weeks_of
from owning import owner_engine
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from state_world import make_world

from fntx_sessions.database.history import RELATIONS, delete_history
from fntx_sessions.database.partitions import maintenance, make_ahead
from fntx_sessions.database.weeks import is_partition
from fntx_sessions.state.dropping import drop_due

NOW = datetime.now(UTC)
_SHREDDED = """
INSERT INTO session_keys (session_id, data_key_id, shredded_at) VALUES (:id, '', now())
ON CONFLICT (session_id) DO UPDATE SET wrapped = NULL, shredded_at = now()
"""
_KEY = """
INSERT INTO session_keys (session_id, data_key_id, ring_key_id, wrapped) VALUES (:id, 'x', 'ring', 'wrapped')
ON CONFLICT DO NOTHING
"""
_CLOSED = """
SET LOCAL session_replication_role = replica;
UPDATE sessions SET status = 'closed', ended_at = now(), pinned = :pinned WHERE session_id = :id
"""
_ARCHIVED = """
INSERT INTO archives (session_id, object, checksum, size_bytes, contents, archived_at, verified_at)
VALUES (:id, 'x', '', 0, '{}', now(), CASE WHEN :verified THEN now() END)
"""


@pytest.fixture
def world(settings):
    with make_world(settings) as made:
        yield made


def test_a_new_database_has_this_week_and_the_next(world):
    """Nobody has to come by before the first row is written."""
    [session_id] = world.sessions(1, live=False)
    assert [len([week for name, week in weeks_of(world) if name == one]) for one in RELATIONS] == [2, 2, 2, 2]
    add(world, session_id, NOW)
    add(world, session_id, NOW + timedelta(days=7))
    for name in RELATIONS:
        assert [count(world, f"{name}_{end}") for end in ("past", "default")] == [0, 0]
        assert count(world, week_at(name, NOW).name) == 1


def test_made_twice_they_are_there_once(world):
    """What is there is left alone."""
    assert sorted(make(world, 3)) == sorted(
        week_at(name, NOW + timedelta(days=7 * ahead)).name for name in RELATIONS for ahead in (2, 3)
    )
    assert make(world, 3) == []
    assert all(is_partition(week.name) for _, week in weeks_of(world))


def test_two_makers_at_once_make_each_once(world):
    """Neither fails, and between them all is made."""
    with ThreadPoolExecutor(2) as pool:
        made = [name for names in pool.map(lambda _: make(world, 3), range(2)) for name in names]
    assert sorted(made) == sorted(set(made))
    assert len(weeks_of(world)) == 4 * len(RELATIONS)


def test_rows_that_nobody_made_a_partition_for_are_kept_and_move_later(world):
    """Beat was dead for weeks: rows went to DEFAULT, were read from there, and now are where they belong."""
    [session_id] = world.sessions(1, live=False)
    begin(world, 3)
    forget_to_make(world)
    for name, week in weeks_of(world):
        world.run(f"DROP TABLE {week.name}")
        assert name in RELATIONS
    moments = [weeks_back(2), weeks_back(1), NOW, NOW + timedelta(days=60)]
    for at in moments:
        add(world, session_id, at)
    before = history(world, session_id)
    assert [count(world, f"{name}_default") for name in RELATIONS] == [4, 4, 4, 4]
    make(world, 1)
    assert history(world, session_id) == before
    for name in RELATIONS:
        assert [count(world, week_at(name, at).name) for at in moments[:3]] == [1, 1, 1]
        assert count(world, f"{name}_default") == 1


def test_simulated_times_are_in_the_past(world):
    """Days of other years are replayed into a partition of their own, which no attaching has to read."""
    [session_id] = world.sessions(1, live=False)
    add(world, session_id, datetime(2018, 2, 5, 15, tzinfo=UTC))
    assert [count(world, f"{name}_past") for name in RELATIONS] == [1, 1, 1, 1]


@contextmanager
def writing(world, session_id):
    """Add rows one after another meanwhile, from several connections; afterwards none of them failed."""
    done, written, failed = threading.Event(), [], []

    def write(number):
        while not done.is_set():
            try:
                add(world, session_id, datetime.now(UTC) + timedelta(days=7 * number), "events", "samples")
                written.append(number)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told
                failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield written
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failed == []


def test_who_writes_meanwhile_is_not_refused_and_loses_nothing(world):
    """Rows of this and the coming weeks are written while their partitions are made, moved into, and older dropped."""
    [session_id] = world.sessions(1, live=False)
    begin(world, 6)
    forget_to_make(world)
    with writing(world, session_id) as written:
        while count(world, "events_default") < 20:
            time.sleep(0.01)
        made = make(world, 3)
        dropped = drop(world, warm_keep_s=0.0)
        so_far = len(written)
        while len(written) < so_far + 20:
            time.sleep(0.01)
    assert len(made) == 4 * len(RELATIONS)
    assert len(dropped) == 6 * len(RELATIONS)
    assert count(world, "events", session_id) == len(written)
    assert count(world, "events_default") == 0


def test_who_holds_a_lock_is_not_waited_for(world):
    """A transaction that reads history keeps its relation's partition from being made for now, and is not disturbed."""
    with world.engine.begin() as connection:
        connection.execute(text("SELECT count(*) FROM events"))
        made = make(world, 2)
        assert len(made) == len(RELATIONS) - 1
        assert not any(name.startswith("events") for name in made)
        connection.execute(text("SELECT count(*) FROM events"))
    assert make(world, 2) == [week_at("events", NOW + timedelta(days=14)).name]


@pytest.mark.parametrize("verb", ["UPDATE {} SET reason = 'other'", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize("of", ["transitions", "transitions_past", "transitions_default", "week"])
def test_transitions_are_append_only_by_whatever_name(world, verb, of):
    """A partition is guarded like the whole, one made later too."""
    [session_id] = world.sessions(1, live=False)
    make(world, 2)
    ahead = NOW + timedelta(days=14)
    for at in (datetime(2018, 2, 5, tzinfo=UTC), ahead, NOW + timedelta(days=90)):
        add(world, session_id, at, "transitions")
    with pytest.raises(DBAPIError, match="transitions is append-only"):
        world.run(verb.format(week_at("transitions", ahead).name if of == "week" else of))


def test_one_sessions_history_can_be_deleted_and_no_other(world):
    """Rows of every relation and time go, of this session alone, and the guard stands again."""
    one, other = world.sessions(2, live=False)
    for session_id in (one, other):
        for at in (datetime(2018, 2, 5, tzinfo=UTC), NOW, NOW + timedelta(days=90)):
            add(world, session_id, at)
    kept = history(world, other)
    world.run(_SHREDDED, id=one)
    with world.engine.begin() as connection:
        assert delete_history(connection, one) == dict.fromkeys(RELATIONS, 3)
    assert all(rows == [] for rows in history(world, one).values())
    assert history(world, other) == kept
    with owner_engine(world.engine) as owner, owner.begin() as connection:
        delete_history(connection, one)
        with pytest.raises(DBAPIError, match="append-only"):
            connection.execute(text("DELETE FROM transitions WHERE session_id = :id"), {"id": other})
        connection.rollback()


@pytest.mark.parametrize("state", ["going on", "closed", "archived and pinned", "archive not verified"])
def test_transitions_of_a_session_that_is_nowhere_else_do_not_go(world, state):
    """Whoever works for the house cannot make them go, and none of the rest goes either."""
    [session_id] = world.sessions(1, live=False)
    add(world, session_id, NOW)
    if state != "going on":
        world.run(_CLOSED, id=session_id, pinned=state == "archived and pinned")
    if "archive" in state:
        world.run(_ARCHIVED, id=session_id, verified=state != "archive not verified")
    kept = history(world, session_id)
    with pytest.raises(DBAPIError, match="neither archived nor shredded"), world.engine.begin() as connection:
        delete_history(connection, session_id)
    assert history(world, session_id) == kept


_SET_ASIDE = "CREATE TEMP TABLE kept AS SELECT * FROM session_keys WHERE session_id = :id"
_AS_IF = "UPDATE session_keys SET shredded_at = now(), wrapped = NULL WHERE session_id = :id"


@pytest.mark.parametrize(
    "undone",
    ["UPDATE session_keys SET shredded_at = NULL, wrapped = (SELECT wrapped FROM kept) WHERE session_id = :id",
     "UPDATE session_keys SET session_id = gen_random_uuid() WHERE session_id = :id"],
)  # fmt: skip
def test_who_has_a_session_look_shredded_has_shredded_it(world, undone):
    """No key comes back or changes hands: what goes by the function for it does not go unseen."""
    [session_id] = world.sessions(1, live=False)
    world.run(_KEY, id=session_id)
    add(world, session_id, NOW)
    kept = history(world, session_id)
    steps = [text(_SET_ASIDE), text(_AS_IF), text("SELECT fntx_forget_transitions(:id)"), text(undone)]
    with world.engine.connect() as connection:
        for step in steps[:-1]:
            connection.execute(step, {"id": session_id})
        with pytest.raises(DBAPIError, match="stays so"):
            connection.execute(steps[-1], {"id": session_id})
    assert history(world, session_id) == kept


def test_a_role_for_maintenance_makes_and_drops_what_the_house_may_not(world, settings):
    """The house's own role writes and reads but owns nothing; the maintenance role acts as the owner."""
    [session_id] = world.sessions(1, live=False)
    begin(world, 1)
    told = settings.model_copy(update={"warm_keep_s": 0.0})
    for statement in ("DROP TABLE events_default", "LOCK TABLE events_default", "SELECT * FROM events_default"):
        with pytest.raises(DBAPIError, match=r"must be owner|permission denied"), world.engine.begin() as connection:
            connection.execute(text(statement))
    with maintenance(told, world.engine) as keeper:
        assert len(make_ahead(keeper, 2)) == len(RELATIONS)
        assert len(drop_due(keeper, told)) == len(RELATIONS)
    add(world, session_id, NOW + timedelta(days=14))
    assert len(history(world, session_id)["events"]) == 1


def test_a_keeper_who_is_a_member_of_the_owner_makes_what_the_house_can_use(world, settings):
    """A login of its own for maintenance needs no password of the owner's."""
    owner, keeper = (
        world.rows("SELECT tableowner AS me FROM pg_tables WHERE tablename = 'events'")[0]["me"],
        "fntx_keeper",
    )
    world.run(f'DROP ROLE IF EXISTS {keeper}; CREATE ROLE {keeper} LOGIN IN ROLE "{owner}"')
    world.run(f'ALTER ROLE {keeper} SET role = "{owner}"')
    url = world.engine.url.set(username=keeper).render_as_string(hide_password=False)
    try:
        with maintenance(
            settings.model_copy(update={"maintenance_database_url": SecretStr(url)}), world.engine
        ) as found:
            assert len(make_ahead(found, 2)) == len(RELATIONS)
        [session_id] = world.sessions(1, live=False)
        add(world, session_id, NOW + timedelta(days=14))
    finally:
        world.run(f"DROP ROLE {keeper}")
