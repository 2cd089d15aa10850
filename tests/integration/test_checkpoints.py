"""Checkpoints: one moment, kept for good, verified, sharing what did not change."""

import multiprocessing
import os
import re
from uuid import UUID, uuid4

import pytest
from state_world import World, agent_bytes, make_world, report

from fntx_sessions.exceptions import IntegrityError, NotFound, PreconditionFailed, StaleEpoch
from fntx_sessions.state.checkpoint_rows import find_row
from fntx_sessions.state.checkpoints import (
    checkpoint_due,
    create_checkpoint,
    describe_checkpoint,
    list_checkpoints,
    load_checkpoint,
    restore_live,
)
from fntx_sessions.state.live import Report
from fntx_sessions.state.proving import Verdict, verify_checkpoint
from fntx_sessions.state.redis_client import key
from fntx_sessions.state.saves import save_due
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.memory import get_memory
from fntx_sessions.testing import FailpointReached, failpoints_armed


@pytest.fixture
def world(settings):
    """A database and a Redis of this test's own."""
    with make_world(settings) as made:
        yield made


def noise(seed: int, size: int = 40_000) -> str:
    """Return text that does not compress away."""
    return "".join(f"{(seed * 2_654_435_761 + n * 40_503) % 2**32:08x}" for n in range(size // 8))


def stored_bytes(world: World) -> int:
    query = "SELECT coalesce(sum(length(data)), 0) AS n FROM parts"
    return int(world.rows(query)[0]["n"])


def test_a_checkpoint_holds_what_was_live_and_is_verified(world):
    """It reads back as the cut it was made of, with its states typed, and says it was verified."""
    [session_id] = world.sessions(1)
    market = b'{"timestamp":"2024-01-02T14:30:00Z","spy_price":470.5}'
    world.live.report(Report(session_id, 1, "EnvironmentWatcherAgent", {"market": market, "trading": b"{}"}))
    made = create_checkpoint(*world.stores, session_id, "manual", note="before the news")
    assert (made.verified, made.checkpoint_type, made.note, made.tier) == (
        True,
        "manual",
        "before the news",
        "postgres",
    )
    assert (made.epoch, made.revision) == (1, 2)
    assert (
        load_checkpoint(world.engine, world.settings, made.checkpoint_id).parts
        == world.live.read([session_id])[0].parts
    )
    row = find_row(world.engine, session_id, made.checkpoint_id)
    described = describe_checkpoint(*world.stores, row)
    assert described.read_from == "memory"
    assert set(described.agent_states) == {"RiskManagerAgent"}
    assert described.market_state.spy_price == 470.5
    assert described.trading_state.open_positions == []


def test_identity_changes_with_the_configuration_alone(world):
    """Two checkpoints of one configuration share an identity; another configuration has another."""
    [session_id] = world.sessions(1)
    one, two = (create_checkpoint(*world.stores, session_id, "manual") for _ in range(2))
    world.run("""UPDATE sessions SET config = '{"a": 1}'""")
    assert one.identity == two.identity != create_checkpoint(*world.stores, session_id, "manual").identity


def test_they_are_listed_newest_first(world):
    """The limit takes the newest; states are not read."""
    [session_id] = world.sessions(1)
    made = [create_checkpoint(*world.stores, session_id, "manual") for _ in range(3)]
    listed = list_checkpoints(world.engine, session_id, limit=2)
    assert [c.checkpoint_id for c in listed] == [made[2].checkpoint_id, made[1].checkpoint_id]
    assert listed[0].agent_states is None


def test_large_parts_are_shared_with_checkpoints_and_the_save(world):
    """Where one of five large agents moved, the next checkpoint costs that agent; a save then costs no part."""
    [session_id] = world.sessions(1, live=False)
    world.live.raise_fence(session_id, 1)
    world.live.report_many([report(session_id, agent=f"A{n}", notes=noise(n)) for n in range(5)])
    create_checkpoint(*world.stores, session_id, "manual")
    first = stored_bytes(world)
    world.live.report(report(session_id, agent="A3", notes=noise(99)))
    create_checkpoint(*world.stores, session_id, "manual")
    assert stored_bytes(world) - first <= first / 4
    second = stored_bytes(world)
    save_due(*world.stores)
    assert stored_bytes(world) == second


def test_a_part_a_checkpoint_names_outlives_the_save_that_moved_on(world):
    """Collecting the save's former parts never takes one a checkpoint holds."""
    [session_id] = world.sessions(1)
    world.live.report(report(session_id, agent="Big", notes=noise(1)))
    made = create_checkpoint(*world.stores, session_id, "manual")
    save_due(*world.stores)
    world.live.report(report(session_id, agent="Big", notes=noise(2)))
    world.due()
    save_due(*world.stores)
    kept = load_checkpoint(world.engine, world.settings, made.checkpoint_id)
    assert kept.parts["agent/Big"] == agent_bytes("Big", notes=noise(1))


def test_without_live_state_the_latest_save_is_kept_and_said(world):
    """A flushed Redis: the checkpoint is made of the save, and its note says so."""
    [session_id] = world.sessions(1)
    save_due(*world.stores)
    world.client.flushdb()
    made = create_checkpoint(*world.stores, session_id, "final", note="stopping")
    assert made.verified
    assert made.note.startswith("stopping; live state was gone: made of the save of ")


def test_invalid_live_state_falls_back_on_the_save(world):
    """Broken bytes in Redis do not hold a session's final checkpoint up; the note names them."""
    [session_id] = world.sessions(1)
    save_due(*world.stores)
    world.client.hset(key(session_id, "live"), "part:agent/RiskManagerAgent", b"{")
    made = create_checkpoint(*world.stores, session_id, "final")
    assert "live state was invalid (agent/RiskManagerAgent" in made.note


def test_a_session_without_any_state_is_refused(world):
    """Nothing to keep is a refusal that says what to do; an unknown session is not found."""
    [session_id] = world.sessions(1, live=False)
    with pytest.raises(PreconditionFailed, match="Start it first"):
        create_checkpoint(*world.stores, session_id, "manual")
    with pytest.raises(NotFound, match="no session"):
        create_checkpoint(*world.stores, uuid4(), "manual")
    with pytest.raises(NotFound, match="no checkpoint"):
        load_checkpoint(world.engine, world.settings, uuid4())


def test_due_checkpoints_are_made_once_and_scheduled_on(world):
    """Every due session gets one of the type asked for; the next is periodic; one without state stops no other."""
    ids = world.sessions(2)
    [empty] = world.sessions(1, live=False)
    world.run("UPDATE session_work SET checkpoint_type = 'transition'")
    done = checkpoint_due(*world.stores)
    assert sorted(c.session_id for c in done.created) == ids
    assert {c.checkpoint_type for c in done.created} == {"transition"}
    assert (done.failed, done.awaited) == ({}, {empty})
    query = (
        "SELECT DISTINCT checkpoint_type, next_checkpoint_at > now() AS later, checkpoint_claimed_until "
        f"FROM session_work WHERE session_id <> '{empty}'"
    )
    assert world.rows(query) == [{"checkpoint_type": "periodic", "later": True, "checkpoint_claimed_until": None}]
    assert checkpoint_due(*world.stores).created == []


def test_a_finished_session_has_its_last_checkpoint_once(world):
    """A final checkpoint asked for by the lifecycle is made, and none after it."""
    world.sessions(1)
    world.run("UPDATE session_work SET status = 'closed', checkpoint_type = 'final'")
    assert len(checkpoint_due(*world.stores).created) == 1
    assert world.rows("SELECT next_checkpoint_at FROM session_work") == [{"next_checkpoint_at": None}]


DAMAGES = pytest.mark.parametrize(
    ("damage", "named"),
    [
        (
            "UPDATE checkpoints SET manifest = set_byte(manifest, 60, 255 - get_byte(manifest, 60))",
            "checkpoint .* does not open",
        ),
        ("UPDATE checkpoints SET manifest = substr(manifest, 1, 50)", "truncated"),
        ("UPDATE checkpoints SET checksum = sha256('x')", "checksum was taken of"),
        ("UPDATE checkpoints SET revision = revision + 1", "stored under"),
        ("UPDATE parts SET data = set_byte(data, 60, 255 - get_byte(data, 60))", "part .* does not open"),
        ("DELETE FROM snapshot_parts", r"agent/Big .* is missing"),
    ],
)


def forget_copies(world: World, session_id: UUID, *, redis: bool = True) -> None:
    """Leave checkpoints where they are of record, and with redis=False in Redis."""
    memory = get_memory()
    for held in memory.held(session_id):
        memory.delete(held.ref)
    if redis:
        world.client.flushdb()


@DAMAGES
def test_a_damaged_record_is_mended_from_the_hot_copy(world, damage, named):
    """Whatever is wrong in Postgres: the copy in Redis answers, the record is whole again, and an event tells of it."""
    [session_id] = world.sessions(1)
    world.live.report(report(session_id, agent="Big", notes=noise(1)))
    made = create_checkpoint(*world.stores, session_id, "manual")
    ref = Ref(session_id, made.checkpoint_id)
    forget_copies(world, session_id, redis=False)
    world.run(damage)
    verdict = verify_checkpoint(*world.stores, ref)
    assert (verdict.problem, verdict.read_from) == (None, "redis")
    assert re.search(f"was damaged in postgres, mended from redis: .*{named}", verdict.mended)
    told = world.rows("SELECT event_type FROM events WHERE session_id = :id", id=session_id)
    assert told == [{"event_type": "state_repaired"}]
    world.client.flushdb()
    assert verify_checkpoint(*world.stores, ref) == Verdict(None, "postgres")
    assert load_checkpoint(world.engine, world.settings, made.checkpoint_id).agents().keys() >= {"Big"}
    assert [one.verified for one in list_checkpoints(world.engine, session_id)] == [True]


def test_reading_a_checkpoint_mends_the_manifest_of_its_record(world):
    """Who asks for a checkpoint gets it from the next sound copy, and leaves the record whole."""
    [session_id] = world.sessions(1)
    made = create_checkpoint(*world.stores, session_id, "manual")
    forget_copies(world, session_id, redis=False)
    world.run("UPDATE checkpoints SET manifest = set_byte(manifest, 60, 255 - get_byte(manifest, 60))")
    described = describe_checkpoint(*world.stores, find_row(world.engine, session_id, made.checkpoint_id))
    assert (set(described.agent_states), described.read_from) == ({"RiskManagerAgent"}, "redis")
    load_checkpoint(world.engine, world.settings, made.checkpoint_id)


@DAMAGES
def test_damage_is_found_and_named(world, damage, named):
    """A flipped bit, a cut blob, a swapped column, a lost part: refused by name, and marked as not verified."""
    [session_id] = world.sessions(1)
    world.live.report(report(session_id, agent="Big", notes=noise(1)))
    made = create_checkpoint(*world.stores, session_id, "manual")
    ref = Ref(session_id, made.checkpoint_id)
    assert verify_checkpoint(*world.stores, ref) == Verdict(None, "postgres")
    forget_copies(world, session_id)
    world.run(damage)
    with pytest.raises(IntegrityError, match=named):
        load_checkpoint(world.engine, world.settings, made.checkpoint_id)
    assert str(session_id) in verify_checkpoint(*world.stores, ref).problem
    assert [c.verified for c in list_checkpoints(world.engine, session_id)] == [False]


def test_two_checkpoints_swapped_are_refused(world):
    """A manifest opens only as the checkpoint it was sealed as, even within one session."""
    [session_id] = world.sessions(1)
    one, _ = (create_checkpoint(*world.stores, session_id, "manual") for _ in range(2))
    world.run(
        "UPDATE checkpoints c SET manifest = o.manifest, checksum = o.checksum "
        "FROM checkpoints o WHERE o.checkpoint_id <> c.checkpoint_id"
    )
    with pytest.raises(IntegrityError, match="does not open"):
        load_checkpoint(world.engine, world.settings, one.checkpoint_id)


def test_a_checkpoint_comes_back_to_life_under_a_new_epoch(world):
    """Agents are as they were, the money view as it is; the old epoch stays shut out."""
    [session_id] = world.sessions(1)
    made = create_checkpoint(*world.stores, session_id, "manual")
    world.live.report(Report(session_id, 1, "RiskManagerAgent", {"trading": b'{"daily_pnl":-5}', **_agent(n=2)}))
    snapshot = load_checkpoint(world.engine, world.settings, made.checkpoint_id)
    with pytest.raises(StaleEpoch):
        restore_live(world.client, world.settings, snapshot, 2)
    world.live.raise_fence(session_id, 2)
    assert restore_live(world.client, world.settings, snapshot, 2) == 3
    assert world.live.read([session_id])[0].parts == {**snapshot.parts, "trading": b'{"daily_pnl":-5}'}
    with pytest.raises(StaleEpoch):
        world.live.report(report(session_id, 1))


@pytest.mark.parametrize(
    ("place", "kept"),
    [("checkpoint.claimed", []), ("checkpoint.before_commit", []), ("checkpoint.after_commit", [False])],
)
def test_a_kill_leaves_a_whole_checkpoint_or_none(world, place, kept):
    """Killed with -9 before the commit nothing is there; after it, a whole one not yet verified. Then it goes on."""
    [session_id] = world.sessions(1)
    world.live.report(report(session_id, agent="Big", notes=noise(1)))
    child = multiprocessing.get_context("spawn").Process(target=checkpoint_and_die, args=(world.settings, place))
    child.start()
    child.join()
    assert child.exitcode == -9
    assert [c.verified for c in list_checkpoints(world.engine, session_id)] == kept
    assert len(world.rows("SELECT 1 FROM parts")) == len(kept)
    world.run("UPDATE session_work SET checkpoint_claimed_until = NULL")
    [made] = checkpoint_due(*world.stores).created
    assert made.verified
    for checkpoint in list_checkpoints(world.engine, session_id):
        assert verify_checkpoint(*world.stores, Ref(session_id, checkpoint.checkpoint_id)).problem is None


def test_an_error_inside_the_transaction_leaves_nothing(world):
    """Manifest and parts are stored together or not at all."""
    [session_id] = world.sessions(1)
    world.live.report(report(session_id, agent="Big", notes=noise(1)))
    with failpoints_armed("checkpoint.before_commit:raise"), pytest.raises(FailpointReached):
        create_checkpoint(*world.stores, session_id, "manual")
    assert world.rows("SELECT 1 FROM checkpoints UNION ALL SELECT 1 FROM parts") == []


def _agent(**internal: object) -> dict[str, bytes]:
    return {"agent/RiskManagerAgent": agent_bytes(**internal)}


def checkpoint_and_die(settings, place: str) -> None:
    os.environ.pop("FNTX_FAILPOINTS", None)
    with make_world(settings) as world, failpoints_armed(f"{place}:kill"):
        checkpoint_due(*world.stores)
