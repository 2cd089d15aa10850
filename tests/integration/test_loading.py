"""Reading a snapshot: the nearest sound copy answers, says so, and mends what was passed over."""

from contextlib import contextmanager
from uuid import uuid4

import pytest
from sqlalchemy import event
from state_world import World, make_world, report

from fntx_sessions.exceptions import IntegrityError, NotFound, Unavailable
from fntx_sessions.state.checkpoints import create_checkpoint
from fntx_sessions.state.loading import Found, load
from fntx_sessions.state.objects.cold import open_cold
from fntx_sessions.state.redis_client import build_redis, key
from fntx_sessions.state.saves import save_sessions
from fntx_sessions.state.snapshot import Packer
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.cold import ColdTier, object_name
from fntx_sessions.state.tiers.memory import MemoryTier
from fntx_sessions.state.tiers.postgres import PostgresTier
from fntx_sessions.state.tiers.redis import HotTier

LARGE = "x" * 50_000
BIG = "agent/Big"
FLIP = "set_byte({0}, 40, 255 - get_byte({0}, 40))"


@pytest.fixture
def world(settings):
    """A database and a Redis of this test's own."""
    with make_world(settings) as made:
        yield made


@pytest.fixture
def session_id(world):
    """A session with a small and a large part, saved in every tier but this test's memory."""
    [made] = world.sessions(1)
    world.live.report(report(made, agent="Big", notes=LARGE))
    assert save_sessions(*world.stores, [made]).saved == [made]
    return made


def read(world: World, ref: Ref, memory: MemoryTier | None = None, **options) -> Found:
    return load(*world.stores, ref, memory or MemoryTier(0), **options)


def tiers(world: World) -> dict:
    hot, cold = HotTier.of(world.client, world.settings), ColdTier(open_cold(world.settings))
    return {"redis": hot, "postgres": PostgresTier(world.engine), "cold": cold}


def kept_cold(world: World, ref: Ref):
    """Copy a snapshot into the cold tier, as the mover does."""
    packed = tiers(world)["postgres"].get(ref)
    assert tiers(world)["cold"].put(packed)
    return packed


def flip_hot(world: World, session_id, field: str) -> None:
    name = key(session_id, "hot")
    [found] = [one for one in world.client.hkeys(name) if one.startswith(field.encode())]
    blob = bytearray(world.client.hget(name, found))
    blob[-1] ^= 1
    world.client.hset(name, found, bytes(blob))


def events(world: World) -> list:
    return [row["description"] for row in world.rows("SELECT * FROM events WHERE event_type = 'state_repaired'")]


@pytest.mark.parametrize("field", ["manifest", "part:", "checksum"])
def test_a_damaged_hot_copy_is_written_again_from_the_tier_that_answered(world, session_id, field):
    """Passed over and reported once; the next read is answered by Redis, the same bytes."""
    flip_hot(world, session_id, field)
    first, second = read(world, Ref(session_id)), read(world, Ref(session_id))
    assert (first.tier, first.repaired, second.tier, second.problems) == ("postgres", ("redis",), "redis", ())
    assert first.snapshot == second.snapshot


def test_a_hot_copy_that_cannot_even_be_read_is_written_again(world, session_id):
    """A mark that is no number is damage like any other."""
    world.client.hset(key(session_id, "hot"), "epoch", "one")
    assert read(world, Ref(session_id)).repaired == ("redis",)
    assert read(world, Ref(session_id)).tier == "redis"


def test_damage_in_memory_is_mended_there(world, session_id):
    """Even this process's own copy is verified before it answers."""
    packed = tiers(world)["postgres"].get(Ref(session_id))
    memory = MemoryTier(1_000_000)
    memory.put(type(packed)(session_id, packed.epoch, packed.revision, packed.manifest[:-1] + b"?", packed.checksum))
    assert read(world, Ref(session_id), memory).repaired == ("memory",)
    assert read(world, Ref(session_id), memory).tier == "memory"


def test_tiers_that_lost_their_copy_get_it_back(world, session_id):
    """A read that falls through fills the tiers above: the next one is near."""
    world.client.flushdb()
    memory = MemoryTier(1_000_000)
    assert [read(world, Ref(session_id), memory).tier for _ in range(2)] == ["postgres", "memory"]
    assert read(world, Ref(session_id)).tier == "redis"


@pytest.mark.parametrize(("column", "byte"), [("manifest", 40), ("checksum", 4)])
def test_a_damaged_save_of_record_is_mended_from_a_nearer_copy(world, session_id, column, byte):
    """Redis answers; the record, whose bytes differ, is looked at, written again, and the session's events tell."""
    world.run(f"UPDATE saves SET {column} = set_byte({column}, {byte}, 255 - get_byte({column}, {byte}))")
    found = read(world, Ref(session_id))
    assert (found.tier, found.repaired) == ("redis", ("postgres",))
    world.client.flushdb()
    assert read(world, Ref(session_id)).tier == "postgres"
    [told] = events(world)
    assert "latest save was damaged in Postgres" in told
    assert "from redis" in told


def test_a_damaged_part_of_the_record_is_mended_from_the_cold_tier(world, session_id):
    """With nothing nearer, the cold copy of the same save answers and mends the part in place."""
    kept_cold(world, Ref(session_id))
    world.client.flushdb()
    world.run(f"UPDATE parts SET data = {FLIP.format('data')}")
    found = read(world, Ref(session_id))
    assert (found.tier, found.repaired) == ("cold", ("postgres",))
    world.client.flushdb()
    assert read(world, Ref(session_id)).tier == "postgres"


def test_an_older_copy_neither_answers_for_the_record_nor_mends_it(world, session_id):
    """Behind the mark of record nothing answers: the error names every copy, and Postgres keeps its bytes."""
    kept_cold(world, Ref(session_id))
    world.live.report(report(session_id, n=2))
    save_sessions(*world.stores, [session_id])
    world.client.flushdb()
    world.run(f"UPDATE saves SET manifest = {FLIP.format('manifest')}")
    before = world.rows("SELECT manifest FROM saves")
    with pytest.raises(IntegrityError, match=r"postgres: .*; cold is at 1/2, behind the record"):
        read(world, Ref(session_id))
    assert world.rows("SELECT manifest FROM saves") == before
    assert events(world) == []


def test_an_old_save_put_back_in_postgres_is_found_out(world, session_id):
    """A replayed row opens, and is still behind what its session's work row notes: the newer copy answers and mends."""
    row = world.rows("SELECT epoch, revision, manifest, checksum FROM saves")[0]
    world.live.report(report(session_id, n=2))
    save_sessions(*world.stores, [session_id])
    put_back = (
        "UPDATE saves SET epoch = :epoch, revision = :revision, manifest = CAST(:manifest AS bytea), "
        "checksum = CAST(:checksum AS bytea)"
    )
    old = row | {name: bytes(row[name]) for name in ("manifest", "checksum")}
    world.run(put_back, **old)
    found = read(world, Ref(session_id))
    assert (found.tier, found.snapshot.revision, found.repaired) == ("redis", 3, ("postgres",))
    assert PostgresTier(world.engine).mark(session_id) == (1, 3)
    world.run(put_back, **old)
    world.client.flushdb()
    with pytest.raises(IntegrityError, match="an older one was put in its place"):
        read(world, Ref(session_id))


@pytest.mark.parametrize("forged", [False, True], ids=["as it was", "under a new mark"])
def test_an_old_hot_copy_put_back_does_not_answer(world, session_id, forged):
    """Under its own mark it is behind; under a forged one it is not what it was sealed as."""
    name = key(session_id, "hot")
    old = world.client.hgetall(name)
    world.live.report(report(session_id, n=2))
    save_sessions(*world.stores, [session_id])
    world.client.delete(name)
    world.client.hset(name, mapping=old | ({b"revision": b"3"} if forged else {}))
    found = read(world, Ref(session_id))
    assert (found.tier, found.snapshot.revision) == ("postgres", 3)
    assert read(world, Ref(session_id)).tier == "redis"


def test_another_sessions_hot_copy_does_not_answer(world, session_id):
    """Swapped in Redis, neither opens; each session gets its own back."""
    [other] = world.sessions(1)
    save_sessions(*world.stores, [other])
    mine, theirs = world.client.hgetall(key(session_id, "hot")), world.client.hgetall(key(other, "hot"))
    world.client.hset(key(session_id, "hot"), mapping=theirs | {b"epoch": b"9"})
    world.client.hset(key(other, "hot"), mapping=mine)
    assert [read(world, Ref(one)).repaired for one in (session_id, other)] == [("redis",), ("redis",)]
    assert [read(world, Ref(one)).tier for one in (session_id, other)] == ["redis", "redis"]


def test_a_repair_does_not_undo_a_save_made_meanwhile(world, session_id):
    """The record is replaced only where it still holds the very bytes that were found damaged."""
    warm = PostgresTier(world.engine)
    sound = warm.get(Ref(session_id))
    world.run(f"UPDATE saves SET manifest = {FLIP.format('manifest')}")
    damaged = warm.get(Ref(session_id))
    world.live.report(report(session_id, n=2))
    save_sessions(*world.stores, [session_id])
    assert not warm.replace(damaged, sound)
    assert read(world, Ref(session_id)).snapshot.revision == 3


def test_every_copy_damaged_is_an_error_that_names_each(world, session_id):
    """Redis, Postgres and cold, each with what is wrong with it."""
    kept_cold(world, Ref(session_id))
    flip_hot(world, session_id, "manifest")
    world.run(f"UPDATE saves SET manifest = {FLIP.format('manifest')}")
    store, name = open_cold(world.settings), object_name(Ref(session_id))
    store.replace(name, store.read(name)[:-7], {})
    with pytest.raises(IntegrityError, match=r"redis: .*; postgres: .*; cold: .*truncated"):
        read(world, Ref(session_id))


def test_without_postgres_the_newest_copy_of_all_answers(world, session_id):
    """Not the nearest: memory is behind Redis here, and the cold copy behind both."""
    kept_cold(world, Ref(session_id))
    memory = MemoryTier(1_000_000)
    memory.put(tiers(world)["redis"].get(Ref(session_id)))
    world.live.report(report(session_id, n=2))
    save_sessions(*world.stores, [session_id])
    with without_postgres(world) as away:
        found = read(away, Ref(session_id), memory)
        assert (found.tier, found.snapshot.revision) == ("redis", 3)
        assert "not compared with the record" in found.problems[0]
        away.client.delete(key(session_id, "hot"))
        assert read(away, Ref(session_id), MemoryTier(0)).tier == "cold"
        with pytest.raises(Unavailable, match="Postgres is out of reach"):
            read(away, Ref(uuid4()))


@contextmanager
def without_postgres(world: World):
    """The same world, whose engine has lost its server but not what its process knows."""

    def refuse(_dialect, _record, _args, params):
        params["host"], params["port"] = "127.0.0.1", 1

    event.listen(world.engine, "do_connect", refuse)
    world.engine.dispose()
    try:
        yield world
    finally:
        event.remove(world.engine, "do_connect", refuse)


def test_a_missing_save_is_not_found_in_any_tier(world):
    """No save is not an empty save."""
    with pytest.raises(NotFound, match="there is no save"):
        read(world, Ref(uuid4()))


def test_a_save_that_only_the_cold_tier_holds_answers(world, session_id):
    """A closed session's save may have left Postgres and Redis long ago."""
    kept_cold(world, Ref(session_id))
    before = read(world, Ref(session_id)).snapshot
    tiers(world)["postgres"].delete(Ref(session_id))
    world.client.flushdb()
    found = read(world, Ref(session_id))
    assert (found.tier, found.snapshot) == ("cold", before)


@pytest.fixture
def checkpoint(world, session_id):
    """A checkpoint of the session."""
    return Ref(session_id, create_checkpoint(*world.stores, session_id, "manual").checkpoint_id)


def test_a_checkpoint_is_read_hot_warm_and_cold(world, checkpoint):
    """Wherever it is, it is the same; one that was moved is read under the name its row gives."""
    packed = tiers(world)["postgres"].get(checkpoint)
    world.client.flushdb()
    warm = read(world, checkpoint)
    hot = read(world, checkpoint)
    tiers(world)["cold"].put(packed)
    name = object_name(checkpoint)
    world.run("UPDATE checkpoints SET tier = 'cold', manifest = NULL, cold_object = :name", name=name)
    world.client.flushdb()
    assert tiers(world)["postgres"].get(checkpoint) is None
    cold = read(world, checkpoint)
    assert [warm.tier, hot.tier, cold.tier] == ["postgres", "redis", "cold"]
    assert warm.snapshot == hot.snapshot == cold.snapshot
    with without_postgres(world) as away:
        away.client.flushdb()
        assert read(away, checkpoint).tier == "cold"


@pytest.mark.parametrize("what", ["manifest", "part"])
def test_a_damaged_checkpoint_of_record_is_mended(world, checkpoint, what):
    """In Postgres from the cold tier, with an event; its parts too, which the save shares."""
    kept_cold(world, checkpoint)
    world.client.flushdb()
    table, column = ("checkpoints", "manifest") if what == "manifest" else ("parts", "data")
    world.run(f"UPDATE {table} SET {column} = {FLIP.format(column)}")
    assert read(world, checkpoint).repaired == ("postgres",)
    assert str(checkpoint.checkpoint_id) in events(world)[0]
    world.client.flushdb()
    assert read(world, checkpoint).tier == "postgres"
    assert read(world, Ref(checkpoint.session_id)).tier == "postgres"


def test_a_damaged_hot_checkpoint_is_mended_with_the_parts_it_shares(world, checkpoint):
    """Two checkpoints share a large part in Redis: mending one mends both."""
    other = Ref(checkpoint.session_id, create_checkpoint(*world.stores, checkpoint.session_id, "manual").checkpoint_id)
    read(world, checkpoint), read(world, other)
    name = key(checkpoint.session_id, "checkpoints")
    [part] = [field for field in world.client.hkeys(name) if field.startswith(b"part:")]
    world.client.hset(name, part, b"\x00" * 30)
    assert read(world, checkpoint).repaired == ("redis",)
    assert (read(world, checkpoint).tier, read(world, other).tier) == ("redis", "redis")


def test_a_checkpoint_that_postgres_does_not_list_is_not_found(world, checkpoint):
    """A copy somewhere does not bring back what was pruned."""
    read(world, checkpoint)
    tiers(world)["postgres"].delete(checkpoint)
    with pytest.raises(NotFound, match="there is no checkpoint"):
        read(world, checkpoint)


def test_a_checkpoint_that_is_listed_and_nowhere_is_named(world, checkpoint):
    """A row that leads nowhere is no missing checkpoint: somebody has to look."""
    world.client.flushdb()
    world.run("UPDATE checkpoints SET tier = 'cold', manifest = NULL, cold_object = 'sessions/gone'")
    with pytest.raises(IntegrityError, match="it is listed, and no tier has it"):
        read(world, checkpoint)


@pytest.mark.parametrize("tier", ["memory", "redis", "postgres", "cold"])
def test_only_what_is_asked_for_is_opened(world, session_id, tier, monkeypatch):
    """The manifest alone, or one part: nothing else is unsealed, and it comes from where the rest would."""
    kept_cold(world, Ref(session_id))
    memory = MemoryTier(1_000_000 if tier == "memory" else 0)
    if tier == "memory":
        read(world, Ref(session_id), memory)
    if tier in {"postgres", "cold"}:
        world.client.flushdb()
    if tier == "cold":
        tiers(world)["postgres"].delete(Ref(session_id))
    opened = []
    part = Packer._part
    monkeypatch.setattr(
        Packer, "_part", lambda self, packed, name, entry: opened.append(name) or part(self, packed, name, entry)
    )
    found = read(world, Ref(session_id), memory, only=())
    assert (found.tier, opened, found.snapshot.parts) == (tier, [], {})
    assert (sorted(found.agents()), found.manifest.revision) == (["Big", "RiskManagerAgent"], 2)
    assert found.manifest.parts[BIG].size > len(LARGE)
    assert LARGE.encode() in found.part(BIG)
    assert opened == [BIG]
    with pytest.raises(NotFound, match="no part 'agent/Nobody'"):
        found.part("agent/Nobody")


def test_a_part_that_was_replaced_between_two_questions_is_not_called_damage(world, session_id, monkeypatch):
    """Manifest and part are asked for one after the other; a save in between starts the question again."""
    world.client.flushdb()
    fetch, saved = PostgresTier.parts, []

    def save_first(self, packed, hashes):
        if not saved:
            world.live.raise_fence(session_id, 1)
            world.live.report(report(session_id, agent="Big", notes=LARGE + "y"))
            for n in range(3):
                world.live.report(report(session_id, n=n))
            saved.extend(save_sessions(*world.stores, [session_id]).saved)
            world.client.delete(key(session_id, "hot"))
        return fetch(self, packed, hashes)

    monkeypatch.setattr(PostgresTier, "parts", save_first)
    found = read(world, Ref(session_id), only=[BIG])
    assert saved == [session_id]
    assert (found.tier, found.problems) == ("postgres", ())
    assert b"xy" in found.snapshot.parts[BIG]


def test_redis_out_of_reach_costs_nothing_but_nearness(world, session_id, tmp_path):
    """Postgres answers, and the reader is told why Redis did not."""
    with build_redis(f"unix://{tmp_path}/nobody.sock", world.settings) as nobody:
        found = load(world.engine, nobody, world.settings, Ref(session_id), MemoryTier(0))
    assert found.tier == "postgres"
    assert "Redis is out of reach" in found.problems[0]


def test_only_the_newest_checkpoints_stay_hot(world, session_id):
    """Three by the setting; an older one that is read again does not drive them out."""
    refs = []
    for n in range(5):
        world.live.report(report(session_id, n=n))
        refs.append(Ref(session_id, create_checkpoint(*world.stores, session_id, "manual").checkpoint_id))
    for ref in refs:
        read(world, ref)
    held = [one.ref for one in HotTier.of(world.client, world.settings).held(session_id)]
    assert held == [Ref(session_id), *reversed(refs[-3:])]
    assert read(world, refs[0]).tier == "postgres"
    assert 0 < world.client.ttl(key(session_id, "checkpoints")) <= world.settings.hot_ttl_s
