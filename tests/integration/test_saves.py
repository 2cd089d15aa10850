"""Saves: batched, fenced, only of what changed; whatever fails, the last good save stands."""

import multiprocessing
import os
import threading
from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy.exc import IntegrityError as ConstraintError
from state_world import World, agent_bytes, make_world, postgres_away, report

from fntx_sessions.exceptions import IntegrityError, NotFound, Unavailable
from fntx_sessions.state import part_rows, save_rows
from fntx_sessions.state.loading import load_save
from fntx_sessions.state.redis_client import build_redis, key
from fntx_sessions.state.saves import SAVES, Saver, SaveReport, save_due, save_owned, save_sessions
from fntx_sessions.state.tiers.memory import MemoryTier
from fntx_sessions.testing import FailpointReached, failpoints_armed

LARGE = "x" * 50_000


@pytest.fixture
def world(settings):
    """A database and a Redis of this test's own."""
    with make_world(settings) as made:
        yield made


def load(world: World, session_id, memory: MemoryTier | None = None):
    return load_save(*world.stores, session_id, memory or MemoryTier(0))


def internal(found, agent: str = "RiskManagerAgent") -> bytes:
    return found.snapshot.parts[f"agent/{agent}"]


def test_due_sessions_are_saved_whole_and_marked(world):
    """What is saved is what was live; the marks and the next due time follow."""
    ids = world.sessions(3)
    done = save_due(*world.stores)
    assert (sorted(done.saved), done.failed, done.skipped) == (ids, {}, {})
    assert load(world, ids[0]).snapshot.parts == world.live.read(ids)[0].parts
    [row] = world.rows("SELECT * FROM session_work WHERE session_id = :id", id=ids[0])
    assert (row["saved_epoch"], row["saved_revision"], row["save_claimed_until"]) == (1, 1, None)
    assert row["last_saved_at"] < row["next_save_at"]
    assert save_due(*world.stores).saved == []


def test_an_unchanged_session_costs_a_timestamp(world):
    """Nothing is written to saves nor to the hot copy; the work row says it is current, and due later."""
    [session_id] = world.sessions(1)
    save_due(*world.stores)
    before = world.rows("SELECT xmin::text, saved_at FROM saves")
    last = world.rows("SELECT last_saved_at FROM session_work")[0]["last_saved_at"]
    world.client.delete(key(session_id, "hot"))
    world.due()
    assert save_due(*world.stores).unchanged == [session_id]
    assert world.rows("SELECT xmin::text, saved_at FROM saves") == before
    assert not world.client.exists(key(session_id, "hot"))
    [work] = world.rows("SELECT last_saved_at, next_save_at > now() AS later FROM session_work")
    assert work["last_saved_at"] > last
    assert work["later"]


def test_an_invalid_session_fails_alone_and_keeps_its_last_good_save(world):
    """State that bypassed the report's check is found at the save, named, and stops no other session."""
    good, bad = world.sessions(2)
    save_due(*world.stores)
    world.live.report(report(good, fresh=True))
    world.client.hset(key(bad, "live"), mapping={"part:agent/RiskManagerAgent": b'{"agent_id": NaN}', "revision": 2})
    world.due()
    done = save_due(*world.stores)
    assert done.saved == [good]
    assert "agent/RiskManagerAgent" in done.failed[bad]
    assert load(world, bad).snapshot.revision == 1
    assert world.rows("SELECT save_claimed_until FROM session_work WHERE session_id = :id", id=bad) == [
        {"save_claimed_until": None}
    ]


def test_a_flushed_redis_never_overwrites_the_last_good_save(world):
    """State that is gone, or begins again at the same epoch, is skipped with the reason."""
    gone, again = world.sessions(2)
    for n in range(3):
        world.live.report(report(again, n=n))
    save_due(*world.stores)
    world.client.flushdb()
    world.live.raise_fence(again, 1)
    world.live.report(report(again, n=99))
    world.due()
    done = save_due(*world.stores)
    assert "not live" in done.skipped[gone]
    assert "behind the last save" in done.skipped[again]
    assert (load(world, gone).snapshot.revision, load(world, again).snapshot.revision) == (1, 4)
    assert world.live.marks([gone]) == [None]


def test_a_session_at_another_epoch_is_left_to_its_new_owner(world):
    """Neither a fence behind the session nor one ahead of it is saved."""
    [session_id] = world.sessions(1)
    world.run("UPDATE session_work SET epoch = 2")
    assert "epoch 1, the session at 2" in save_due(*world.stores).skipped[session_id]


def test_an_epoch_that_moves_during_a_save_refuses_it(world):
    """The fence is checked in the statement that writes: a saver that slept through a recovery writes nothing."""
    [session_id] = world.sessions(1)
    claim = SAVES.claim_due(world.engine, 10, 15)
    saver = Saver(*world.stores, MemoryTier(0))
    [packed] = saver._changes.pack([session_id], {session_id: None}, SaveReport())
    world.run("UPDATE session_work SET epoch = 2")
    assert save_rows.write_saves(world.engine, claim, [packed], set()) == set()
    assert world.rows("SELECT * FROM saves") == []


def test_two_savers_only_move_forward(world):
    """Of two saves of one session the newer stands, whichever commits last; hot and Postgres agree."""
    [session_id] = world.sessions(1)
    claim = SAVES.claim_due(world.engine, 10, 15)
    saver = Saver(*world.stores, MemoryTier(0))
    [old] = saver._changes.pack([session_id], {session_id: None}, SaveReport())
    world.live.report(report(session_id, newer=True))
    save_sessions(*world.stores, [session_id])
    assert save_rows.write_saves(world.engine, claim, [old], set()) == set()
    saver._hot.write([(old, ())])
    assert load(world, session_id).snapshot.revision == 2
    assert world.rows("SELECT revision FROM saves") == [{"revision": 2}]


def test_savers_racing_over_the_same_sessions_never_go_back(world):
    """Four savers, agents reporting meanwhile: no error, no deadlock, and the last save is the last report."""
    ids = world.sessions(20)
    errors: list[Exception] = []

    def work(order: int) -> None:
        try:
            with make_world(world.settings) as mine:
                for n in range(5):
                    mine.live.report_many([report(session_id, agent=f"Agent{order}", n=n) for session_id in ids])
                    save_sessions(*mine.stores, ids[::order])
        except Exception as error:  # noqa: BLE001 - told to the test below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(order,)) for order in (1, -1, 1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    save_sessions(*world.stores, ids)
    assert errors == []
    assert [load(world, i).snapshot.parts for i in ids] == [cut.parts for cut in world.live.read(ids)]


def test_sweeps_share_the_due_sessions(world):
    """What one sweep claimed no other takes, until the claim lapses; then another takes over."""
    ids = world.sessions(4)
    first = SAVES.claim_due(world.engine, 3, 15)
    second = SAVES.claim_due(world.engine, 3, 15)
    assert sorted(w.session_id for claim in (first, second) for w in claim.work) == ids
    world.run("UPDATE session_work SET save_claimed_until = now() - interval '1 second'")
    assert len(save_due(*world.stores).saved) == 4


def test_missed_saves_are_caught_up_once(world):
    """A session an hour late is due next a whole interval after its claim, not for every tick it missed."""
    world.sessions(1)
    world.run("UPDATE session_work SET next_save_at = now() - interval '5 hours'")
    save_due(*world.stores)
    assert world.rows("SELECT next_save_at > now() + interval '59 minutes' AS late FROM session_work") == [
        {"late": True}
    ]


def test_a_due_time_set_during_the_save_is_kept(world):
    """A transition that asks for a save while one runs gets its own."""
    world.sessions(1)
    claim = SAVES.claim_due(world.engine, 10, 15)
    world.run("UPDATE session_work SET next_save_at = now()")
    Saver(*world.stores, MemoryTier(0)).save(claim)
    assert world.rows("SELECT next_save_at <= now() AS due FROM session_work") == [{"due": True}]


def test_a_session_that_ended_meanwhile_is_not_scheduled_again(world):
    """A next due time taken away by the lifecycle stays away."""
    world.sessions(2)
    claim = SAVES.claim_due(world.engine, 10, 15)
    world.run("UPDATE session_work SET next_save_at = NULL, status = 'closed'")
    Saver(*world.stores, MemoryTier(0)).save(claim)
    assert [row["next_save_at"] for row in world.rows("SELECT next_save_at FROM session_work")] == [None, None]


def test_a_host_saves_all_it_owns_before_it_shuts_down(world):
    """Due or not, everything a host steps is saved; other hosts' sessions are not touched."""
    mine = world.sessions(3, host="mine")
    world.sessions(2, host="other")
    small = world.settings.model_copy(update={"save_batch": 2})
    assert sorted(save_owned(world.engine, world.client, small, "mine").saved) == mine


def test_large_parts_are_stored_once_and_collected(world):
    """A large part that did not change is not written again; one no snapshot names any more is gone."""
    [session_id] = world.sessions(1)
    world.live.report(report(session_id, agent="Big", notes=LARGE))
    save_due(*world.stores)
    first = world.rows("SELECT part_hash, xmin::text FROM parts")
    world.live.report(report(session_id, n=1))
    save_sessions(*world.stores, [session_id])
    assert world.rows("SELECT part_hash, xmin::text FROM parts") == first
    world.live.report(report(session_id, agent="Big", notes=LARGE + "y"))
    save_sessions(*world.stores, [session_id])
    assert len(world.rows("SELECT 1 FROM parts")) == 1
    world.live.report(report(session_id, agent="Big", notes="small again"))
    save_sessions(*world.stores, [session_id])
    assert world.rows("SELECT 1 FROM parts") == world.rows("SELECT 1 FROM snapshot_parts") == []
    assert load(world, session_id).snapshot.parts == world.live.read([session_id])[0].parts


def test_a_saver_without_memory_of_the_former_save_still_collects(world):
    """Another worker's large part is found by what Postgres names, not by what this process remembers."""
    [session_id] = world.sessions(1)
    world.live.report(report(session_id, agent="Big", notes=LARGE))
    Saver(*world.stores, MemoryTier(0)).save(SAVES.claim_due(world.engine, 1, 15))
    world.live.report(report(session_id, agent="Big", notes=""))
    Saver(*world.stores, MemoryTier(0)).save(SAVES.claim_these(world.engine, [session_id], 15))
    assert world.rows("SELECT 1 FROM parts") == []


def test_a_part_collected_between_look_and_naming_is_sent_again(world, monkeypatch):
    """Garbage collection that wins the race costs a second try, never a dangling manifest."""
    [session_id] = world.sessions(1)
    world.live.report(report(session_id, agent="Big", notes=LARGE))
    monkeypatch.setattr(part_rows, "_stored", lambda _, refs: refs)  # believed stored, in truth gone
    assert save_due(*world.stores).saved == [session_id]
    assert internal(load(world, session_id), "Big") == agent_bytes("Big", notes=LARGE)


def test_a_named_part_cannot_be_deleted(world):
    """The foreign key says no to whoever would leave a manifest dangling."""
    [session_id] = world.sessions(1)
    world.live.report(report(session_id, agent="Big", notes=LARGE))
    save_due(*world.stores)
    with pytest.raises(ConstraintError, match="snapshot_parts"):
        world.run("DELETE FROM parts")


def test_sessions_of_any_size_go_in_chunks(world):
    """A batch whose bytes exceed the chunk is split and saved whole."""
    ids = world.sessions(3)
    for session_id in ids:
        world.live.report(report(session_id, agent="Big", notes=LARGE))
    small = world.settings.model_copy(update={"save_chunk_bytes": 60_000})
    assert sorted(save_due(world.engine, world.client, small).saved) == ids


def test_reading_falls_through_the_tiers_and_names_the_one_that_answered(world):
    """Memory, then Redis, then Postgres; a stale nearer copy is passed over."""
    [session_id] = world.sessions(1)
    world.live.report(report(session_id, agent="Big", notes=LARGE))
    memory = MemoryTier(1_000_000)
    Saver(*world.stores, memory).save(SAVES.claim_due(world.engine, 1, 15))
    nearest, hot = load(world, session_id, memory), load(world, session_id)
    assert (nearest.tier, hot.tier) == ("memory", "redis")
    world.client.delete(key(session_id, "hot"))
    warm = load(world, session_id)
    assert warm.tier == "postgres"
    assert nearest.snapshot == hot.snapshot == warm.snapshot
    world.live.report(report(session_id, n=2))
    Saver(*world.stores, MemoryTier(0)).save(SAVES.claim_these(world.engine, [session_id], 15))
    assert load(world, session_id, memory).tier == "redis"


def test_a_damaged_hot_copy_is_passed_over_and_named(world):
    """A flipped bit in Redis costs a read of Postgres, not the session."""
    [session_id] = world.sessions(1)
    save_due(*world.stores)
    blob = bytearray(world.client.hget(key(session_id, "hot"), "manifest"))
    blob[-1] ^= 1
    world.client.hset(key(session_id, "hot"), "manifest", bytes(blob))
    found = load(world, session_id)
    assert found.tier == "postgres"
    assert "does not open" in found.problems[0]


@pytest.mark.parametrize("damage", ["set_byte(manifest, 60, 255 - get_byte(manifest, 60))", "substr(manifest, 1, 40)"])
def test_a_damaged_save_of_record_is_named(world, damage):
    """With no other copy, damage in Postgres is an IntegrityError that names the save."""
    [session_id] = world.sessions(1)
    save_due(*world.stores)
    world.client.flushdb()
    world.run(f"UPDATE saves SET manifest = {damage}")
    with pytest.raises(IntegrityError, match=f"save of session {session_id}"):
        load(world, session_id)


def test_a_save_of_another_session_is_refused(world):
    """Two rows swapped are both refused: a blob opens only as what it was sealed as."""
    one, two = world.sessions(2)
    save_due(*world.stores)
    world.client.flushdb()
    world.run(
        "UPDATE saves s SET manifest = o.manifest, checksum = o.checksum "
        "FROM saves o WHERE o.session_id <> s.session_id"
    )
    for session_id in (one, two):
        with pytest.raises(IntegrityError, match="another session"):
            load(world, session_id)


def test_a_session_never_saved_is_not_found(world):
    """No save is not an empty save."""
    with pytest.raises(NotFound, match="there is no save"):
        load(world, uuid4())


def test_postgres_out_of_reach_is_answered_by_the_hot_copy(world):
    """The nearest copy answers and says what it could not be compared with."""
    [session_id] = world.sessions(1)
    save_due(*world.stores)
    with postgres_away(world):
        found = load_save(*world.stores, session_id, MemoryTier(0))
    assert (found.tier, found.snapshot.revision) == ("redis", 1)
    assert "not compared" in found.problems[0]


def test_redis_out_of_reach_leaves_everything_due(world, tmp_path):
    """No Redis: Unavailable, nothing changed, and the claim is given back at once."""
    world.sessions(2)
    with build_redis(f"unix://{tmp_path}/nobody.sock", world.settings) as nobody, pytest.raises(Unavailable):
        save_due(world.engine, nobody, world.settings)
    assert world.rows(
        "SELECT count(*) AS n FROM session_work WHERE next_save_at <= now() AND save_claimed_until IS NULL"
    ) == [{"n": 2}]


def test_hot_copies_that_fail_do_not_undo_the_save(world, monkeypatch):
    """The save of record stands; the report says why there is no hot copy, and the next save writes one."""

    def refuse(*_: object) -> None:
        raise Unavailable("Redis", "gone", "")

    world = replace(world, settings=world.settings.model_copy(update={"tier_retry_s": 0.0}))
    [session_id] = world.sessions(1)
    world.live.report(report(session_id, agent="Big", notes=LARGE))
    with monkeypatch.context() as patched:
        patched.setattr("fntx_sessions.state.tiers.redis.HotTier.put_many", refuse)
        done = save_due(*world.stores)
    assert (done.saved, "gone" in done.hot_problem) == ([session_id], True)
    world.live.report(report(session_id, n=2))
    save_sessions(*world.stores, [session_id])
    assert load(world, session_id).tier == "redis"  # the large part it lacked was sent after all


@pytest.mark.parametrize(
    ("place", "expected"),
    [("save.claimed", 1), ("save.before_commit", 1), ("save.after_commit", 3), ("save.after_hot", 3)],
)
def test_a_kill_leaves_the_old_save_or_the_new_one(world, tmp_path, place, expected):
    """Killed with -9 at each step, a save is whole, old or new; the next sweep finishes the job."""
    [session_id] = world.sessions(1)
    save_due(*world.stores)
    world.live.report(report(session_id, n=1))
    world.live.report(report(session_id, agent="Big", notes=LARGE))
    world.due()
    child = multiprocessing.get_context("spawn").Process(target=save_and_die, args=(world.settings, place))
    child.start()
    child.join()
    assert child.exitcode == -9
    assert load(world, session_id).snapshot.revision == expected
    world.run("UPDATE session_work SET next_save_at = now(), save_claimed_until = NULL")
    done = save_due(*world.stores)
    assert session_id in (*done.saved, *done.unchanged)
    assert load(world, session_id).snapshot.parts == world.live.read([session_id])[0].parts


def test_an_error_inside_the_transaction_leaves_the_old_save(world):
    """A failure before the commit rolls marks, save and parts back together."""
    [session_id] = world.sessions(1)
    world.live.report(report(session_id, agent="Big", notes=LARGE))
    with failpoints_armed("save.before_commit:raise"), pytest.raises(FailpointReached):
        save_due(*world.stores)
    assert world.rows("SELECT 1 FROM saves UNION ALL SELECT 1 FROM parts") == []
    assert world.rows("SELECT saved_revision FROM session_work") == [{"saved_revision": 0}]


def save_and_die(settings, place: str) -> None:
    os.environ.pop("FNTX_FAILPOINTS", None)
    with make_world(settings) as world, failpoints_armed(f"{place}:kill"):
        save_due(*world.stores)


def test_parts_that_a_killed_saver_left_are_collected_in_stretches(world):
    """Only what nobody names and nobody may be naming yet goes; a named part and a fresh one stay."""
    [session_id] = world.sessions(1)
    world.live.report(report(session_id, agent="Large", text=LARGE))
    save_due(*world.stores)
    for n in range(5):
        world.run(
            "INSERT INTO parts VALUES (:id, decode(lpad(:n, 4, '0'), 'hex'), 'x', now() - make_interval(hours => :h))",
            id=session_id, n=str(n), h=0 if n == 4 else 2,
        )  # fmt: skip
    collected, after = part_rows.collect_orphans(world.engine, 3)
    assert (collected, after) == (3, (session_id, b"\x00\x02"))
    assert part_rows.collect_orphans(world.engine, 10, after) == (1, None)
    assert world.rows("SELECT count(*) AS n FROM parts") == [{"n": 2}]
    assert internal(load(world, session_id), "Large")
