"""A process killed at every write of a save, backup, checkpoint, move, archive, drop, restore and recovery.

Which writes there are is not listed here: see `tests/write_kills.py`. After each kill a process with nothing in memory
reads what was there before or what was to be, whole; then the work is finished, and is as if nobody had been killed.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from archiving import make_desk
from history_world import add, begin, weeks_back
from hosting import S, T, make_hosting, shared
from lifecycle_harness import check_session
from recovery_world import lose_redis, memory, run_of
from state_world import World, make_world, report
from write_kills import deaths

from fntx_sessions.exceptions import NotFound
from fntx_sessions.security.actor import Actor
from fntx_sessions.settings import Settings
from fntx_sessions.state import backups, remembered
from fntx_sessions.state.archive import Archiver, archive_due, object_name
from fntx_sessions.state.archive_restore import restore_session
from fntx_sessions.state.backup_import import bring_in
from fntx_sessions.state.backup_saves import save_to_backup
from fntx_sessions.state.checkpoints import checkpoint_due, create_checkpoint, list_checkpoints
from fntx_sessions.state.claims import Work
from fntx_sessions.state.data_keys import DataKeys
from fntx_sessions.state.loading import load
from fntx_sessions.state.objects.cold import open_cold
from fntx_sessions.state.part_rows import collect_orphans
from fntx_sessions.state.retention import move_due
from fntx_sessions.state.saves import save_due
from fntx_sessions.state.segment_rows import segments_of
from fntx_sessions.state.segments import read, segment_due
from fntx_sessions.state.snapshot import Packer
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.memory import MemoryTier, get_memory
from fntx_sessions.state.tiers.postgres import PostgresTier
from fntx_sessions.state.tiers.redis import HotTier

ADMIN = Actor("root", frozenset({"admin"}))
LAPSE = (
    "UPDATE session_work SET save_claimed_until = NULL, checkpoint_claimed_until = NULL, archive_claimed_until = NULL"
)
ORPHANS = """
SELECT 1 FROM parts p WHERE NOT EXISTS (SELECT FROM snapshot_parts s WHERE s.part_hash = p.part_hash)
"""


@pytest.fixture
def settings(tmp_path: Path, module_database_url: str, redis_url: str) -> Settings:
    """Settings over the database of this file; what was due of the test before is not any more."""
    return shared(tmp_path, module_database_url, redis_url)


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    with make_world(settings) as made:
        made.run("UPDATE session_work SET next_save_at = NULL, next_checkpoint_at = NULL, archive_due_at = NULL")
        yield made


@pytest.fixture
def hosting(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    with make_hosting(settings) as made:
        yield made


@pytest.fixture
def desk(settings: Settings):
    with make_desk(settings) as made:
        made.run("UPDATE session_work SET archive_due_at = NULL, archive_claimed_until = NULL")
        made.run("UPDATE checkpoints SET pinned = true")
        yield made


def forget() -> None:
    """Be a process that remembers nothing."""
    get_memory.cache_clear()
    remembered.get_remembered.cache_clear()


def large(n: int) -> str:
    """Return text that does not ride inline, and differs."""
    return f"{n} " + os.urandom(6_000).hex()


def held(stores: tuple, ref: Ref) -> dict[str, bytes] | None:
    """Return what is read of a snapshot, having seen that no tier holds half of it; None: there is none."""
    forget()
    engine, client, settings = stores
    packer = Packer.of(settings, engine)
    for tier in (PostgresTier(engine), HotTier.of(client, settings)):
        packed = tier.get(ref)
        if packed is not None:
            packer.unpack(packed)
    try:
        return dict(load(*stores, ref, MemoryTier(0)).snapshot.parts)
    except NotFound:
        return None


def no_orphans(world: World) -> None:
    """See that parts nobody names go by themselves."""
    world.run("UPDATE parts SET created_at = created_at - interval '2 hours'")
    collect_orphans(world.engine, 100_000)
    assert world.rows(ORPHANS) == []


@pytest.mark.parametrize("first", [True, False], ids=["first", "next"])
def test_a_save(world, tmp_path, first):
    """Before the commit the former save is read, after it the new one, whichever copies were made of it."""
    asked = {}

    def fresh():
        [asked["id"]] = world.sessions(1)
        if not first:
            world.live.report(report(asked["id"], agent="Big", text=large(1)))
            save_due(*world.stores)
        asked["old"] = held(world.stores, Ref(asked["id"]))
        world.live.report(report(asked["id"], agent="Big", text=large(2)))
        world.live.report(report(asked["id"], agent="Small", text="2"))
        world.run("UPDATE session_work SET next_save_at = now() WHERE session_id = :id", id=asked["id"])

    stores = set()
    for died in deaths(lambda: in_world(world.settings, save_due), tmp_path, fresh):
        stores.add(died.split()[2])
        new = world.live.read([asked["id"]])[0].parts
        assert held(world.stores, Ref(asked["id"])) in (asked["old"], new), died
        world.run(LAPSE + ", next_save_at = now() WHERE session_id = :id", id=asked["id"])
        forget()
        save_due(*world.stores)
        assert held(world.stores, Ref(asked["id"])) == new, died
    assert stores == {"postgres:", "redis:", "after:"}
    no_orphans(world)


def in_world(settings: Settings, act) -> None:
    with make_world(settings) as own:
        act(*own.stores)


def test_a_backup(world, tmp_path):
    """A file is whole or not there; what the next one writes comes in as the current save."""
    asked = {}

    def fresh():
        [asked["id"]] = world.sessions(1)
        save_due(*world.stores)
        world.live.report(report(asked["id"], agent="Big", text=large(2)))

    def back_up():
        with make_world(world.settings) as own:
            knows(own, asked["id"])
            save_to_backup(*own.stores, now=True)

    for died in deaths(back_up, tmp_path, fresh):
        for backup in backups.find(world.settings, asked["id"]):
            Packer.of(world.settings, world.engine).unpack(backups.read(backup))
        knows(world, asked["id"])
        save_to_backup(*world.stores, now=True)
        forget()
        assert bring_in(world.engine, world.settings).refused == {}
        assert held(world.stores, Ref(asked["id"])) == world.live.read([asked["id"]])[0].parts, died


def test_a_backup_that_comes_in(world, tmp_path):
    """Whatever the process that brings them in died at, the next ends it: nothing is lost, nothing there twice."""
    asked = {}

    def fresh():
        [asked["id"]] = world.sessions(1)
        save_due(*world.stores)
        asked["states"] = [held(world.stores, Ref(asked["id"]))]
        knows(world, asked["id"])
        for n in (2, 3):
            world.live.report(report(asked["id"], agent="Big", text=large(n)))
            save_to_backup(*world.stores, now=True)
            asked["states"].append(world.live.read([asked["id"]])[0].parts)

    for died in deaths(lambda: in_world(world.settings, lambda e, _, s: bring_in(e, s)), tmp_path, fresh):
        assert held(world.stores, Ref(asked["id"])) in asked["states"], died
        assert bring_in(world.engine, world.settings).refused == {}
        found = world.rows(
            "SELECT revision, verified FROM checkpoints WHERE session_id = :id ORDER BY revision", id=asked["id"]
        )
        assert [(row["revision"], row["verified"]) for row in found] == [(2, True), (3, True)], died
        told = "SELECT 1 FROM events WHERE event_type = 'saved_to_backup' AND session_id = :id"
        assert len(world.rows(told, id=asked["id"])) == 1, died
        assert held(world.stores, Ref(asked["id"])) == asked["states"][-1], died
        assert backups.find(world.settings, asked["id"]) == []
    no_orphans(world)


def knows(world: World, session_id: UUID) -> None:
    """Have this process remember a session and its key, as its save sweep would."""
    forget()
    remembered.get_remembered().note([Work(session_id, 1, (1, 1), None, "periodic")])
    DataKeys(world.engine, world.settings).ensure([session_id])


def test_a_periodic_checkpoint(world, tmp_path):
    """Each that is there is whole, and read back before it is said to be verified."""
    asked = {}

    def fresh():
        [asked["id"]] = world.sessions(1)
        world.live.report(report(asked["id"], agent="Big", text=large(1)))

    for died in deaths(lambda: in_world(world.settings, checkpoint_due), tmp_path, fresh):
        live = world.live.read([asked["id"]])[0].parts
        for made in list_checkpoints(world.engine, asked["id"]):
            assert held(world.stores, Ref(asked["id"], made.checkpoint_id)) == live, died
        world.run(LAPSE + " WHERE session_id = :id", id=asked["id"])
        forget()
        checkpoint_due(*world.stores)
        newest = list_checkpoints(world.engine, asked["id"])[0]
        assert newest.verified, died
        assert held(world.stores, Ref(asked["id"], newest.checkpoint_id)) == live, died
    no_orphans(world)


def test_a_checkpoint_by_hand(hosting, world, tmp_path):
    """Asked again with its id there is one, whole."""
    asked = {}

    def fresh():
        asked["id"], asked["command"] = with_memory(hosting), uuid4()

    def act():
        with make_hosting(hosting.desk.settings) as own:
            own.do(T.CHECKPOINT, asked["id"], command_id=asked["command"])

    for died in deaths(act, tmp_path, fresh):
        live = world.live.read([asked["id"]])[0].parts
        for made in list_checkpoints(world.engine, asked["id"]):
            assert held(world.stores, Ref(asked["id"], made.checkpoint_id)) == live, died
        forget()
        outcome = hosting.do(T.CHECKPOINT, asked["id"], command_id=asked["command"])
        [made] = list_checkpoints(world.engine, asked["id"])
        assert (str(made.checkpoint_id), made.verified) == (outcome.extra["checkpoint_id"], True), died
        assert held(world.stores, Ref(asked["id"], made.checkpoint_id)) == live, died
    no_orphans(world)


def with_memory(hosting) -> UUID:
    """A session whose agents remember something large."""
    session_id = hosting.started()
    hosting.step()
    with make_world(hosting.desk.settings) as world:
        world.live.report(report(session_id, agent="EvaluatorAgent", steps=1, text=large(1)))
    return session_id


def test_a_pruning(hosting, world, tmp_path):
    """What is still offered is whole, hot, in Postgres and in the cold store; asked again, the rest goes everywhere."""
    asked = {}

    def fresh():
        session_id = asked["id"] = with_memory(hosting)
        asked["command"] = uuid4()
        asked["ids"] = [create_checkpoint(*world.stores, session_id, "manual").checkpoint_id for _ in range(2)]
        world.run("UPDATE checkpoints SET timestamp = now() - interval '31 days' WHERE checkpoint_id = :id",
                  id=asked["ids"][0])  # fmt: skip
        move_due(*world.stores, open_cold(world.settings))

    def act():
        with make_hosting(hosting.desk.settings) as own:
            own.do(T.PRUNE, asked["id"], actor=ADMIN, command_id=asked["command"], keep=1)

    for died in deaths(act, tmp_path, fresh):
        for row in world.rows("SELECT * FROM checkpoints WHERE session_id = :id AND verified", id=asked["id"]):
            assert held(world.stores, Ref(asked["id"], row["checkpoint_id"])), died
        forget()
        hosting.do(T.PRUNE, asked["id"], actor=ADMIN, command_id=asked["command"], keep=1)
        assert [one.checkpoint_id for one in list_checkpoints(world.engine, asked["id"])] == asked["ids"][1:], died
        cold = open_cold(world.settings)
        assert list(cold.list(f"sessions/{asked['id']}/")) == [], died
    no_orphans(world)


def test_a_move(desk, world, tmp_path):
    """Each checkpoint is in Postgres or in the cold store, said so, and reads as it did."""
    asked = {}

    def fresh():
        session_id = asked["id"] = desk.closed(checkpoints=1, samples=1)
        asked["ids"] = [row["checkpoint_id"] for row in desk.whole(session_id)["checkpoints"]]
        asked["old"] = [held(desk.stores, Ref(session_id, one)) for one in asked["ids"]]
        desk.run("UPDATE checkpoints SET timestamp = now() - interval '31 days' WHERE session_id = :id", id=session_id)

    def act():
        with make_desk(desk.settings) as own:
            move_due(*own.stores, own.cold)

    for died in deaths(act, tmp_path, fresh):
        rows = desk.rows("SELECT tier, manifest FROM checkpoints WHERE session_id = :id", id=asked["id"])
        assert all((row["tier"] == "cold") == (row["manifest"] is None) for row in rows), died
        assert [held(desk.stores, Ref(asked["id"], one)) for one in asked["ids"]] == asked["old"], died
        desk.run("UPDATE checkpoints SET move_claimed_until = NULL WHERE session_id = :id", id=asked["id"])
        move_due(*desk.stores, desk.cold)
        rows = desk.rows("SELECT tier FROM checkpoints WHERE session_id = :id", id=asked["id"])
        assert {row["tier"] for row in rows} == {"cold"}, died
        assert [held(desk.stores, Ref(asked["id"], one)) for one in asked["ids"]] == asked["old"], died
    no_orphans(world)


def archiving(settings: Settings) -> None:
    with make_desk(settings) as own:
        archive_due(own.engine, own.settings, own.cold)


def test_an_archive(desk, tmp_path):
    """There is none or a whole one, and all is in Postgres still; the next sweep has it noted."""
    asked = {}

    def fresh():
        asked["id"] = desk.closed(checkpoints=1, samples=3)
        asked["old"] = desk.whole(asked["id"])

    archiver = Archiver(desk.engine, desk.settings, desk.cold)
    for died in deaths(lambda: archiving(desk.settings), tmp_path, fresh):
        if desk.cold.info(object_name(asked["id"])) is not None:
            archiver.verify(asked["id"])
        assert desk.whole(asked["id"]) == asked["old"], died
        desk.run("UPDATE session_work SET archive_claimed_until = NULL")
        archiving(desk.settings)
        archiver.verify(asked["id"])
        noted = "SELECT 1 FROM archives WHERE session_id = :id AND verified_at IS NOT NULL"
        assert desk.rows(noted, id=asked["id"]), died


def test_letting_go_of_an_archived_sessions_rows(desk, tmp_path):
    """All of them or none; the archive brings them back."""
    asked = {}

    def fresh():
        asked["id"] = desk.closed(checkpoints=1, samples=3)
        asked["old"] = desk.whole(asked["id"])
        archiving(desk.settings)
        desk.old(asked["id"])

    for died in deaths(lambda: archiving(desk.settings), tmp_path, fresh):
        [row] = desk.rows("SELECT rows_dropped_at FROM archives WHERE session_id = :id", id=asked["id"])
        assert (desk.whole(asked["id"]) == asked["old"]) == (row["rows_dropped_at"] is None), died
        desk.run("UPDATE session_work SET archive_claimed_until = NULL")
        archiving(desk.settings)
        assert desk.whole(asked["id"])["samples"] == [], died
        restore_session(desk.engine, desk.settings, desk.cold, asked["id"], "test")
        assert desk.whole(asked["id"]) == asked["old"], died
        desk.run("UPDATE session_work SET archive_due_at = NULL WHERE session_id = :id", id=asked["id"])


def test_a_restore_of_an_archive(desk, tmp_path):
    """Nothing of it is seen, or all; asked again it is whole."""
    asked = {}

    def fresh():
        asked["id"] = desk.closed(checkpoints=1, samples=3)
        asked["old"] = desk.whole(asked["id"])
        archiving(desk.settings)
        desk.old(asked["id"])
        archiving(desk.settings)
        asked["gone"] = desk.whole(asked["id"])

    def act():
        with make_desk(desk.settings) as own:
            restore_session(own.engine, own.settings, own.cold, asked["id"], "victim")

    for died in deaths(act, tmp_path, fresh):
        assert desk.whole(asked["id"]) in (asked["gone"], asked["old"]), died
        restore_session(desk.engine, desk.settings, desk.cold, asked["id"], "test")
        assert desk.whole(asked["id"]) == asked["old"], died
        check_session(desk.lifecycle, asked["id"])
        desk.run("UPDATE session_work SET archive_due_at = NULL WHERE session_id = :id", id=asked["id"])


def test_a_segment_of_a_long_session(tmp_path, database_url, redis_url):
    """A week is noted as sealed only with a segment that holds every row of it; the next run has it.

    What is dropped afterwards, and when: test_history_kills.py.
    """
    settings = shared(tmp_path, database_url, redis_url).model_copy(update={"warm_keep_s": 7 * 86_400.0})
    old, asked = weeks_back(2), {}
    with make_world(settings) as world:
        begin(world, 2)

        def fresh():
            world.run("UPDATE session_work SET status = 'closed'")  # those of before
            [asked["id"]] = world.sessions(1, live=False)
            add(world, asked["id"], old, "events", "fills")

        def act():
            with make_world(settings) as own:
                segment_due(own.engine, settings, open_cold(settings))

        for died in deaths(act, tmp_path, fresh):
            assert set(sealed(world, asked["id"]).values()) <= {1}, died
            world.run(LAPSE)
            segment_due(world.engine, settings, open_cold(settings))
            assert sealed(world, asked["id"]) == {"events": 1, "fills": 1}, died


def sealed(world: World, session_id: UUID) -> dict[str, int]:
    """Return how many rows are in segments that are noted as proven, by relation."""
    with world.engine.begin() as connection:
        found = [one for one in segments_of(connection, session_id) if one.verified_at]
    store = open_cold(world.settings)
    return {one.relation: len(read(world.engine, world.settings, store, one)) for one in found}


def test_a_recovery(hosting, tmp_path):
    """Nothing or all of the save is in Redis; the next attempt ends PAUSED with it, the money as it was."""
    asked = {}

    def fresh():
        session_id = asked["id"] = with_memory(hosting)
        hosting.save(session_id)
        hosting.do(T.SUSPEND, session_id)
        asked["command"], asked["old"] = uuid4(), memory(hosting, session_id)
        lose_redis(hosting, session_id)

    def act():
        with make_hosting(hosting.desk.settings) as own:
            own.do(T.RECOVER, asked["id"], command_id=asked["command"])

    for died in deaths(act, tmp_path, fresh):
        assert memory(hosting, asked["id"]) in ({}, asked["old"]), died
        assert hosting.row(asked["id"])["status"] in (S.SUSPENDED, S.PAUSED), died
        with suppress(AssertionError):
            hosting.save(asked["id"])  # what the sweep would do meanwhile: no half of it may become the save
        forget()
        outcome = hosting.do(T.RECOVER, asked["id"], command_id=asked["command"])
        row = hosting.row(asked["id"])
        assert (outcome.state, row["status"], row["pending"]) == ("done", S.PAUSED, None), died
        assert memory(hosting, asked["id"]) == asked["old"], died
        assert row["recovery_data"]["source"].startswith(("latest save", "live state")), died
        assert run_of(hosting, asked["command"])["state"] in ("done", "running"), died
        hosting.check_books(asked["id"])
