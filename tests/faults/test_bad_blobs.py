"""Every kind of sealed copy, damaged in every way: refused by name, and never taken for what it is not."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
import pytest
from archiving import Desk, agent, make_desk, noise
from history_world import add, begin, weeks_back
from lifecycle_harness import S
from psycopg2 import Binary
from state_world import World

from fntx_sessions.exceptions import IntegrityError, Unavailable
from fntx_sessions.security.keyring import load_ring
from fntx_sessions.state import backups
from fntx_sessions.state.archive import Archiver, archive_due, object_name
from fntx_sessions.state.checkpoints import create_checkpoint
from fntx_sessions.state.cold_keys import ensure_cold_key, import_cold_key
from fntx_sessions.state.cold_keys import object_name as key_name
from fntx_sessions.state.data_key import binding
from fntx_sessions.state.data_keys import DataKeys
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.loading import load
from fntx_sessions.state.retention import move_due
from fntx_sessions.state.saves import save_sessions
from fntx_sessions.state.segment_rows import Segment, segments_of
from fntx_sessions.state.segments import read as read_segment
from fntx_sessions.state.segments import segment_due
from fntx_sessions.state.snapshot import Packer
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.memory import MemoryTier, get_memory
from fntx_sessions.state.tiers.postgres import PostgresTier


@dataclass
class Copy:
    """One stored blob: how its bytes are got and put, and how it is read."""

    get: Callable[[UUID], bytes]
    put: Callable[[UUID, bytes], object]
    read: Callable[[UUID], object]
    version: int = 2  # where the format stands in it
    ids: Sequence[UUID] = ()  # of two sessions that have one, where they are not closed ones


@pytest.fixture
def desk(settings) -> Iterator[Desk]:
    with make_desk(settings.model_copy(update={"warm_keep_s": 7 * 86_400.0})) as made:
        yield made


def column(desk: Desk, table: str, name: str, key: str, of: Callable[[UUID], Any]) -> dict[str, Any]:
    """Return how the bytes in one column are got and put."""

    def get(session_id: UUID) -> bytes:
        return bytes(desk.rows(f"SELECT {name} FROM {table} WHERE {key} = :id", id=of(session_id))[0][name])

    def put(session_id: UUID, data: bytes) -> None:
        desk.run(f"UPDATE {table} SET {name} = :data WHERE {key} = :id", id=of(session_id), data=Binary(data))
        desk.client.flushdb()

    return {"get": get, "put": put}


def in_cold(desk: Desk, name: Callable[[UUID], str]) -> dict[str, Any]:
    """Return how the bytes of a cold object are got and put; the store itself has nothing to say against them."""

    def put(session_id: UUID, data: bytes) -> None:
        desk.cold.replace(name(session_id), data, {})
        desk.client.flushdb()

    return {"get": lambda session_id: desk.cold.read(name(session_id)), "put": put}


def checkpoint_of(desk: Desk, session_id: UUID) -> UUID:
    found = desk.rows("SELECT checkpoint_id FROM checkpoints WHERE session_id = :id ORDER BY timestamp", id=session_id)
    return found[0]["checkpoint_id"]


def save(desk: Desk) -> Copy:
    def read(session_id: UUID) -> object:
        return load(*desk.stores, Ref(session_id), MemoryTier(0))

    return Copy(**column(desk, "saves", "manifest", "session_id", lambda one: one), read=read)


def part(desk: Desk) -> Copy:
    copy = save(desk)
    [copy.get, copy.put] = column(desk, "parts", "data", "session_id", lambda one: one).values()
    return copy


def checkpoint(desk: Desk) -> Copy:
    def of(session_id: UUID) -> UUID:
        return checkpoint_of(desk, session_id)

    def read(session_id: UUID) -> object:
        return load(*desk.stores, Ref(session_id, of(session_id)), MemoryTier(0))

    return Copy(**column(desk, "checkpoints", "manifest", "checkpoint_id", of), read=read)


def moved_checkpoint(desk: Desk) -> Copy:
    desk.run("UPDATE checkpoints SET timestamp = timestamp - interval '60 days'")
    move_due(*desk.stores, desk.cold)
    copy = checkpoint(desk)
    where = in_cold(desk, lambda one: f"sessions/{one}/checkpoints/{checkpoint_of(desk, one)}")
    return Copy(**where, read=copy.read, version=3)


def backup(desk: Desk) -> Copy:
    def path(session_id: UUID):
        return backups.folder_of(desk.settings) / f"{session_id}_1_99.backup"

    for row in desk.rows("SELECT session_id FROM saves"):
        packed = PostgresTier(desk.engine).get(Ref(row["session_id"]))
        backups.make_folder(path(row["session_id"]).parent)
        backups.write_whole(path(row["session_id"]), backups.to_bytes(packed))

    def read(session_id: UUID) -> object:
        [found] = backups.find(desk.settings, session_id)
        return Packer.of(desk.settings, desk.engine).unpack(backups.read(found))

    return Copy(lambda one: path(one).read_bytes(), lambda one, data: path(one).write_bytes(data), read, version=3)


def archive(desk: Desk) -> Copy:
    archive_due(desk.engine, desk.settings, desk.cold)
    archiver = Archiver(desk.engine, desk.settings, desk.cold)
    return Copy(**in_cold(desk, object_name), read=archiver.verify, version=5)


def segment(desk: Desk) -> Copy:
    world = World(*desk.stores)
    begin(world, 4)
    ids = world.sessions(2, live=False)
    for session_id in ids:
        add(world, session_id, weeks_back(3), "events")
    segment_due(desk.engine, desk.settings, desk.cold)

    def of(session_id: UUID) -> Segment:
        with desk.engine.begin() as connection:
            [found] = segments_of(connection, session_id)
        return found

    def read(session_id: UUID) -> object:
        return read_segment(desk.engine, desk.settings, desk.cold, of(session_id))

    return Copy(**in_cold(desk, lambda one: of(one).object), read=read, ids=ids)


def key_object(desk: Desk) -> Copy:
    for row in desk.rows("SELECT session_id FROM session_keys"):
        ensure_cold_key(desk.engine, desk.settings, desk.cold, row["session_id"])

    def read(session_id: UUID) -> object:
        desk.run("DELETE FROM session_keys WHERE session_id = :id", id=session_id)
        DataKeys(desk.engine, desk.settings).forget(session_id)
        import_cold_key(desk.engine, desk.settings, desk.cold, session_id)
        return DataKeys(desk.engine, desk.settings).ensure([session_id])

    return Copy(**in_cold(desk, key_name), read=read)


HOLDERS = (save, part, checkpoint, moved_checkpoint, backup, archive, segment, key_object)


def truncated(desk: Desk, copy: Copy, one: UUID, two: UUID) -> Iterator[bytes]:
    whole = copy.get(one)
    yield from (b"", whole[:3], whole[: len(whole) // 2], whole[:-1])


def padded(desk: Desk, copy: Copy, one: UUID, two: UUID) -> Iterator[bytes]:
    yield copy.get(one) + b"}"


def flipped(desk: Desk, copy: Copy, one: UUID, two: UUID) -> Iterator[bytes]:
    whole = copy.get(one)
    for at in range(0, len(whole), max(len(whole) // 40, 1)):
        yield whole[:at] + bytes([whole[at] ^ 8]) + whole[at + 1 :]


def another_sessions(desk: Desk, copy: Copy, one: UUID, two: UUID) -> Iterator[bytes]:
    yield copy.get(two)


def of_a_future_version(desk: Desk, copy: Copy, one: UUID, two: UUID) -> Iterator[bytes]:
    whole = copy.get(one)
    if whole.startswith(b"{"):
        yield whole.replace(b'"format":1', b'"format":250')
    else:
        yield whole[: copy.version] + bytes([250]) + whole[copy.version + 1 :]


def under_another_key(desk: Desk, copy: Copy, one: UUID, two: UUID) -> Iterator[bytes]:
    """The bytes as they are; the session's key is another one, by the name of the right one."""
    ring = load_ring(desk.settings)
    if copy.get(one).startswith(b"{"):
        facts = orjson.loads(copy.get(one))
        yield orjson.dumps(facts | {"wrapped": ring.wrap(os.urandom(32), b"of somebody else").data.hex()})
        return
    [row] = desk.rows("SELECT data_key_id FROM session_keys WHERE session_id = :id", id=one)
    wrapped = ring.wrap(os.urandom(32), binding(one, bytes(row["data_key_id"])))
    desk.run("UPDATE session_keys SET wrapped = :data WHERE session_id = :id", id=one, data=Binary(wrapped.data))
    DataKeys(desk.engine, desk.settings).forget(one)
    yield copy.get(one)


HARMS = (truncated, padded, flipped, another_sessions, of_a_future_version, under_another_key)


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda one: one.__name__)
def test_a_bad_copy_is_refused_by_name(desk, holder):
    """Whatever was done to it: IntegrityError, with what it is; the whole one is read before and between."""
    made = [desk.closed(checkpoints=1, samples=2) for _ in range(2)]
    copy = holder(desk)
    one, two = copy.ids or made
    copy.read(one)
    for harm in HARMS:
        whole = copy.get(one)
        for data in list(harm(desk, copy, one, two)):
            copy.put(one, data)
            # A key object whose ring key's name was changed asks for a ring that has it.
            with pytest.raises((IntegrityError, Unavailable) if holder is key_object else IntegrityError) as told:
                copy.read(one)
            assert len(str(told.value)) > 30, harm.__name__
        copy.put(one, whole)
        if harm is not under_another_key:
            copy.read(one)


@pytest.mark.parametrize("holder", [save, checkpoint, part], ids=lambda one: one.__name__)
def test_a_copy_of_before_is_not_taken_for_the_present(desk, holder):
    """Replayed: its own bytes, whole and rightly sealed, of an earlier state."""
    session_id = desk.lifecycle.in_status(S.ACTIVE)
    desk.live(session_id, 1)
    copy = holder(desk)
    if holder is part:
        desk.run("DELETE FROM checkpoints WHERE session_id = :id", id=session_id)
    former = copy.get(session_id)
    LiveState(desk.client, desk.settings).report(Report(session_id, 1, "Big", {"agent/Big": agent(notes=noise(2))}))
    get_memory.cache_clear()
    save_sessions(*desk.stores, [session_id])
    if holder is checkpoint:
        made = create_checkpoint(*desk.stores, session_id, "manual")
        desk.run("UPDATE checkpoints SET timestamp = timestamp - interval '1 day' WHERE checkpoint_id = :id",
                 id=made.checkpoint_id)  # fmt: skip
    copy.put(session_id, former)
    with pytest.raises(IntegrityError):
        copy.read(session_id)
