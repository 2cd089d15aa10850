"""The mover: what is old leaves Postgres for the cold store, proven there first; nothing of it is lost on the way."""

from dataclasses import replace as changed
from uuid import UUID

import pytest
from state_world import World, make_world, report

from fntx_sessions.automation import retaining
from fntx_sessions.exceptions import Unavailable
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.state.checkpoints import create_checkpoint, list_checkpoints
from fntx_sessions.state.container import from_bytes, to_bytes
from fntx_sessions.state.loading import load
from fntx_sessions.state.objects.cold import open_cold
from fntx_sessions.state.objects.watched import WatchedStore
from fntx_sessions.state.pace import Pace
from fntx_sessions.state.retention import move_due
from fntx_sessions.state.saves import save_due
from fntx_sessions.state.snapshot import Packer
from fntx_sessions.state.tier_health import health_of
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.cold import object_name
from fntx_sessions.state.tiers.redis import HotTier

MONTH_AGO = "UPDATE checkpoints SET timestamp = now() - interval '31 days'"


@pytest.fixture
def world(settings):
    """A database, a Redis and a folder of this test's own."""
    with make_world(settings) as made:
        yield made


@pytest.fixture(params=["folder", "gcs"])
def store(request, world):
    """Where old checkpoints go."""
    if request.param == "gcs":
        return request.getfixturevalue("gcs_server").store()
    return open_cold(world.settings)


def noise(seed: int, size: int = 40_000) -> str:
    """Return text that does not compress away."""
    return "".join(f"{(seed * 2_654_435_761 + n * 40_503) % 2**32:08x}" for n in range(size // 8))


def old_checkpoints(world: World, count: int = 2) -> tuple[UUID, list[UUID]]:
    """Make a session with a save and checkpoints that share a large part, all 31 days old; return their ids."""
    [session_id] = world.sessions(1)
    world.live.report(report(session_id, agent="Big", notes=noise(1)))
    save_due(*world.stores)
    made = []
    for number in range(count):
        world.live.report(report(session_id, agent="Small", number=number))
        made.append(create_checkpoint(*world.stores, session_id, "manual").checkpoint_id)
    world.run(MONTH_AGO)
    return session_id, made


def contents(world: World, session_id: UUID, ids: list[UUID]) -> list[dict[str, bytes]]:
    """Return what the checkpoints hold, read through the tiers."""
    return [dict(load(*world.stores, Ref(session_id, one)).snapshot.parts) for one in ids]


def tiers(world: World) -> set[str]:
    """Return where checkpoints say they are."""
    return {str(row["tier"]) for row in world.rows("SELECT DISTINCT tier FROM checkpoints")}


def test_what_is_old_moves_and_reads_as_before(world, store):
    """Rows flip, bytes leave Postgres, hot copies go, each object is self-contained and opens; the save stays."""
    session_id, ids = old_checkpoints(world)
    before = contents(world, session_id, ids)
    done = move_due(*world.stores, store)
    assert sorted(done.moved) == sorted(ids)
    rows = world.rows("SELECT tier, manifest, cold_object, moved_at IS NOT NULL AS moved FROM checkpoints")
    assert {(row["tier"], row["manifest"], row["moved"]) for row in rows} == {("cold", None, True)}
    assert {row["cold_object"] for row in rows} == {object_name(Ref(session_id, one)) for one in ids}
    packer = Packer.of(world.settings, world.engine)
    found = [from_bytes(store.read(object_name(Ref(session_id, one))), Ref(session_id, one)) for one in ids]
    assert [dict(packer.unpack(packed).parts) for packed in found] == before
    assert store.read(f"keys/{session_id}")
    hot = HotTier.of(world.client, world.settings)
    assert [hot.get(Ref(session_id, one)) for one in ids] == [None, None]
    # The large part is the save's still, the checkpoints' names of it are gone.
    assert len(world.rows("SELECT DISTINCT snapshot_id FROM snapshot_parts")) == 1
    assert load(*world.stores, Ref(session_id)).snapshot.parts["agent/Big"] == before[0]["agent/Big"]


def test_a_moved_checkpoint_is_listed_and_read_through_the_tiers(world):
    """It says where it is, and is loaded from there."""
    session_id, ids = old_checkpoints(world)
    before = contents(world, session_id, ids)
    move_due(*world.stores, open_cold(world.settings))
    assert {one.tier for one in list_checkpoints(world.engine, session_id)} == {"cold"}
    found = load(*world.stores, Ref(session_id, ids[0]))
    assert (found.tier, dict(found.snapshot.parts)) == ("cold", before[0])


def test_what_nothing_names_any_more_is_collected(world):
    """A part that only moved checkpoints named leaves Postgres with them."""
    session_id, _ = old_checkpoints(world)
    world.live.report(report(session_id, agent="Big", notes=noise(2)))
    world.due()
    save_due(*world.stores)
    assert len(world.rows("SELECT 1 FROM parts")) == 2
    move_due(*world.stores, open_cold(world.settings))
    assert len(world.rows("SELECT 1 FROM parts")) == 1


@pytest.mark.parametrize(
    "stays",
    [
        "UPDATE checkpoints SET timestamp = now() - interval '29 days'",
        "UPDATE checkpoints SET pinned = true",
        "UPDATE sessions SET pinned = true",
    ],
)
def test_what_is_young_or_pinned_stays(world, stays):
    """Not old enough, pinned itself, or of a pinned session: nothing is copied, nothing moves."""
    old_checkpoints(world)
    world.run(stays)
    store = open_cold(world.settings)
    assert move_due(*world.stores, store).done == 0
    assert tiers(world) == {"postgres"}
    assert list(store.list("sessions/")) == []


def test_pinned_between_copy_and_flip_it_stays(world):
    """The flip looks again: what was pinned meanwhile is copied, not moved."""
    _, ids = old_checkpoints(world, 1)
    store = Meddling(open_cold(world.settings), lambda: world.run("UPDATE checkpoints SET pinned = true"))
    assert move_due(*world.stores, store).stayed == ids
    assert tiers(world) == {"postgres"}


def test_a_copy_that_is_there_already_is_compared_not_written_again(world):
    """After a kill between copy and flip the same object stands; its bytes and its time stay."""
    session_id, [one] = old_checkpoints(world, 1)
    store = open_cold(world.settings)
    move_due(*world.stores, store)
    first = store.info(object_name(Ref(session_id, one)))
    _back_to_postgres(world, session_id, one, store)
    assert move_due(*world.stores, store).moved == [one]
    assert store.info(object_name(Ref(session_id, one))) == first


def test_a_damaged_copy_is_written_anew(world):
    """Bytes that do not open give way to those that do; only then the row flips."""
    session_id, [one] = old_checkpoints(world, 1)
    store = open_cold(world.settings)
    before = contents(world, session_id, [one])
    store.create(object_name(Ref(session_id, one)), b"half a file", {})
    assert move_due(*world.stores, store).moved == [one]
    assert contents(world, session_id, [one]) == before


def test_another_snapshot_under_the_name_is_left_alone_and_told(world):
    """A whole object that is not this checkpoint is nobody's to overwrite: nothing moves, and the report says why."""
    session_id, [one] = old_checkpoints(world, 1)
    store = open_cold(world.settings)
    packer = Packer.of(world.settings, world.engine)
    other = changed(load(*world.stores, Ref(session_id, one)).snapshot, parts={})
    store.create(object_name(Ref(session_id, one)), to_bytes(packer.pack(other)), {})
    done = move_due(*world.stores, store)
    assert "another object of that name" in done.failed[one]
    assert tiers(world) == {"postgres"}
    assert move_due(*world.stores, store).done == 0  # not again at once, in the way of others


def test_a_checkpoint_damaged_in_postgres_stops_no_other(world):
    """What does not open is not copied; it stays as evidence, and the next one moves."""
    session_id, [one, two] = old_checkpoints(world)
    world.run("UPDATE checkpoints SET manifest = substr(manifest, 1, 90) WHERE checkpoint_id = :id", id=one)
    done = move_due(*world.stores, open_cold(world.settings))
    assert (list(done.failed), done.moved) == ([one], [two])
    assert open_cold(world.settings).info(object_name(Ref(session_id, one))) is None


@pytest.mark.parametrize("call", ["create", "read"])
def test_with_the_cold_store_away_nothing_is_flipped_and_it_is_said(world, call):
    """Nothing moves, the claim is given back, `tier_states` names the tier; when it is back, it all moves."""
    _, ids = old_checkpoints(world)
    health = health_of(world.engine, world.settings)
    store = WatchedStore(Away(open_cold(world.settings), call, name="sessions/"), health)
    with pytest.raises(Unavailable):
        move_due(*world.stores, store)
    health.tell(world.engine)
    [told] = world.rows("SELECT up, problem FROM tier_states WHERE tier = 'cold'")
    assert (told["up"], "the bucket is away" in str(told["problem"])) == (False, True)
    assert tiers(world) == {"postgres"}
    assert sorted(move_due(*world.stores, open_cold(world.settings)).moved) == sorted(ids)


def test_two_movers_move_each_checkpoint_once(world):
    """What one has claimed the other passes over; a claim that lapsed does no harm."""
    _, ids = old_checkpoints(world, 3)
    settings = world.settings.model_copy(update={"retention_batch": 2})
    seen = []

    def other() -> None:
        if not seen:
            seen.append(move_due(world.engine, world.client, settings, open_cold(settings)))

    done = move_due(world.engine, world.client, settings, Meddling(open_cold(settings), other))
    assert sorted(done.moved + seen[0].moved) == sorted(ids)
    world.run("UPDATE checkpoints SET move_claimed_until = NULL")
    assert move_due(*world.stores, open_cold(settings)).done == 0


def test_the_sweep_goes_on_until_nothing_is_due(world):
    """More than one batch in one run, into the store that the settings name."""
    _, ids = old_checkpoints(world, 3)
    settings = world.settings.model_copy(update={"retention_batch": 1})
    assert retaining.move_checkpoints(Desk(world.engine, world.client, settings)) == len(ids)
    assert tiers(world) == {"cold"}
    [told] = world.rows("SELECT up FROM tier_states WHERE tier = 'cold'")
    assert told["up"]


def test_it_keeps_to_its_rate():
    """After so many bytes it has waited for as long as they take at the rate, less what they took."""
    waited, moment = [], [100.0]
    pace = Pace(1000, waited.append, lambda: moment[0])
    pace.after(500)
    moment[0] += 2.0
    pace.after(500)
    pace.after(2000)
    assert waited == [0.5, 1.0]


def test_past_its_time_it_begins_no_other(world):
    """The sweep ends; what it had claimed is free at once."""
    _, ids = old_checkpoints(world)
    store = open_cold(world.settings)
    assert move_due(*world.stores, store, until=0.0).done == 0
    assert sorted(move_due(*world.stores, store).moved) == sorted(ids)


class Meddling:
    """A store during whose first look back something else happens."""

    def __init__(self, store, meddle) -> None:
        self._store = store
        self._meddle = meddle
        self.name = store.name

    def __getattr__(self, name):
        return getattr(self._store, name)

    def read(self, name):
        if name.startswith("sessions/"):
            self._meddle()
        return self._store.read(name)


class Away(Meddling):
    """A store of which one call fails for names that begin like `name`."""

    def __init__(self, store, call: str, name: str) -> None:
        super().__init__(store, lambda: None)
        self._call, self._name = call, name

    def create(self, name, data, metadata):
        self._fail("create", name)
        return self._store.create(name, data, metadata)

    def read(self, name):
        self._fail("read", name)
        return self._store.read(name)

    def _fail(self, call: str, name: str) -> None:
        if call == self._call and name.startswith(self._name):
            raise Unavailable("the cold store", "the bucket is away", "Wait.")


def _back_to_postgres(world: World, session_id: UUID, checkpoint_id: UUID, store) -> None:
    """Undo a flip, as if the process had been killed before it."""
    packed = from_bytes(store.read(object_name(Ref(session_id, checkpoint_id))))
    world.run(
        "UPDATE checkpoints SET tier = 'postgres', manifest = :manifest, cold_object = NULL, moved_at = NULL "
        "WHERE checkpoint_id = :id",
        manifest=packed.manifest, id=checkpoint_id,
    )  # fmt: skip
    for digest, data in packed.parts.items():
        world.run(
            "INSERT INTO parts (session_id, part_hash, data) VALUES (:s, :h, :d) ON CONFLICT DO NOTHING",
            s=session_id, h=digest, d=data,
        )  # fmt: skip
        world.run("INSERT INTO snapshot_parts VALUES (:s, :c, :h)", s=session_id, c=checkpoint_id, h=digest)
