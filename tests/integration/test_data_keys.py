"""Data keys: one a session, agreed on by all, wrapped by the ring, and gone from everywhere once shredded."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from sqlalchemy import event, text
from state_world import make_world, postgres_away

from fntx_sessions.database.engine import build_engine
from fntx_sessions.exceptions import IntegrityError, Shredded, Unavailable
from fntx_sessions.security.keyring import new_ring
from fntx_sessions.settings import Settings
from fntx_sessions.state import data_keys, key_cache
from fntx_sessions.state.codec import Codec, Label
from fntx_sessions.state.data_keys import DataKeys, ensure_cold_key, import_cold_key, seal_of
from fntx_sessions.state.objects.cold import open_cold

SHRED = text("UPDATE session_keys SET wrapped = NULL, ring_key_id = NULL, shredded_at = now() WHERE session_id = :id")


@pytest.fixture
def world(settings):
    with make_world(settings) as made:
        yield made


@pytest.fixture
def other_process(settings):
    """An engine of another process: nothing is remembered for it yet."""
    engine = build_engine(settings.database_url.get_secret_value(), settings)
    yield engine
    engine.dispose()


def keys_of(world):
    return DataKeys(world.engine, world.settings)


class Statements:
    """Counts what an engine sends."""

    def __init__(self, engine):
        self.sent = []
        event.listen(engine, "before_cursor_execute", lambda *a: self.sent.append(a[2].split()[0]))


def test_a_batch_costs_three_statements_once_and_none_afterwards(world):
    """A thousand new sessions are one read, one write, one read; remembered, they are nothing."""
    ids, statements = [uuid4() for _ in range(1000)], Statements(world.engine)
    assert keys_of(world).ensure(ids) == {}
    assert statements.sent == ["SELECT", "INSERT", "SELECT"]
    made = {session_id: keys_of(world).of(session_id) for session_id in ids}
    assert len({key.key_id for key in made.values()}) == 1000
    assert keys_of(world).ensure(ids) == {}
    assert len(statements.sent) == 3


def test_two_processes_at_once_agree_on_one_key(world, other_process):
    """Whoever comes second takes the key of whoever was first, for every session of the batch."""
    ids = [uuid4() for _ in range(200)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda engine: DataKeys(engine, world.settings).ensure(ids), (world.engine, other_process)))
    label = Label(ids[0], "save")
    sealed = Codec(seal_of(world.settings, world.engine)).encode(b"x", label)
    assert Codec(seal_of(world.settings, other_process)).decode(sealed, label) == b"x"
    for session_id in ids:
        assert keys_of(world).of(session_id).naming == DataKeys(other_process, world.settings).of(session_id).naming


def test_the_table_holds_no_plain_key(world):
    """What Postgres stores opens with the ring alone, for its own session alone."""
    first, second = uuid4(), uuid4()
    keys_of(world).ensure([first, second])
    world.run(
        "UPDATE session_keys SET (data_key_id, wrapped) = (SELECT data_key_id, wrapped FROM session_keys "
        "WHERE session_id = :second) WHERE session_id = :first",
        first=first, second=second,
    )  # fmt: skip
    keys_of(world).forget(first)
    with pytest.raises(IntegrityError, match=f"data key of session {first}"):
        keys_of(world).of(first)


def test_reading_makes_no_key(world):
    """What is sealed under a key this database does not have is refused; no new key takes its place."""
    with pytest.raises(IntegrityError, match="not in this database"):
        keys_of(world).opening(uuid4())
    assert world.rows("SELECT count(*) AS n FROM session_keys") == [{"n": 0}]


def test_a_shredded_session_has_no_key_for_anybody(world, other_process):
    """Who asks anew is told when it was shredded; a batch goes on without it, and no new key is made."""
    gone, here = uuid4(), uuid4()
    keys_of(world).ensure([gone, here])
    world.run(SHRED.text, id=gone)
    other = DataKeys(other_process, world.settings)
    problems = other.ensure([gone, here])
    assert list(problems) == [gone]
    assert isinstance(problems[gone], Shredded)
    for call in (other.of, other.opening):
        with pytest.raises(Shredded, match="was shredded at"):
            call(gone)


def test_a_shredded_key_leaves_memory_once_it_is_due_for_comparing(world, monkeypatch):
    """A process that remembers the key learns of the shredding when it next compares, with its other keys at once."""
    ids = [uuid4() for _ in range(50)]
    keys_of(world).ensure(ids)
    world.run(SHRED.text, id=ids[7])
    assert keys_of(world).of(ids[7])
    monkeypatch.setattr(key_cache, "RECHECK_S", -1e9)
    statements = Statements(world.engine)
    assert keys_of(world).of(ids[0])
    assert len(statements.sent) == 1
    monkeypatch.undo()
    with pytest.raises(Shredded):
        keys_of(world).of(ids[7])
    assert len(statements.sent) == 1


def test_remembered_keys_outlive_postgres_and_cost_no_wait_for_it(world, new_database, monkeypatch):
    """While Postgres is away, what is remembered is used, asked about once; what is not remembered says why not."""
    known = [uuid4() for _ in range(20)]
    keys_of(world).ensure(known)
    monkeypatch.setattr(key_cache, "RECHECK_S", 0.0)
    asked = []

    def away(*_args, **_more):
        asked.append(1)
        raise Unavailable("Postgres", "away", "")

    monkeypatch.setattr(data_keys, "read_keys", away)
    for session_id in known:
        assert keys_of(world).of(session_id)
    assert keys_of(world).ensure(known) == {}
    assert len(asked) == 1
    with pytest.raises(Unavailable):
        keys_of(world).ensure([*known, uuid4()])


def test_without_a_ring_nothing_is_sealed_and_the_way_out_is_named(world, tmp_path):
    """A process without a ring makes none of its own: it says what to run, and that the ring is shared."""
    bare = world.settings.model_copy(update={"key_ring": None, "home": tmp_path / "bare"})
    with pytest.raises(Unavailable, match=r"a fleet shares one.*fntx keys init"):
        DataKeys(world.engine, bare).of(uuid4())
    assert not (tmp_path / "bare").exists()
    assert world.rows("SELECT count(*) AS n FROM session_keys") == [{"n": 0}]


def test_a_key_of_another_ring_is_named(world, other_process):
    """A host with another ring says which key it lacks, and the rest of its batch goes on."""
    theirs, own = uuid4(), uuid4()
    keys_of(world).ensure([theirs])
    stranger = Settings(**world.settings.model_dump(exclude={"key_ring"}), key_ring=new_ring().to_bytes().decode())
    problems = DataKeys(other_process, stranger).ensure([theirs, own])
    assert list(problems) == [theirs]
    assert "has no key" in str(problems[theirs])
    assert isinstance(problems[theirs], Unavailable)


def test_the_memory_of_keys_is_bounded(monkeypatch):
    """Where it is full, the key not used for longest leaves first."""
    cache, ids = key_cache.KeyCache(most=2), [uuid4() for _ in range(3)]
    for session_id in ids[:2]:
        cache.put(session_id, key_cache.Remembered(None))
    cache.get(ids[0], 0.0)
    cache.put(ids[2], key_cache.Remembered(None))
    assert [cache.get(session_id, 0.0) is not None for session_id in ids] == [True, False, True]


def test_a_forked_child_starts_with_nothing_remembered():
    """No lock of the parent is inherited, and so no key either."""
    code = (
        "import os, sys; from sqlalchemy import create_engine; from fntx_sessions.settings import Settings\n"
        "from fntx_sessions.state import data_keys as d\n"
        "e = create_engine('postgresql+psycopg2://'); d.DataKeys(e, Settings()); pid = os.fork()\n"
        "sys.exit(len(d._caches)) if not pid else sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def cold(world):
    return open_cold(world.settings)


def test_the_cold_key_object_holds_the_key_as_it_is_wrapped_now(world, cold):
    """It is written once, says which ring key it hangs on without being read, and holds nothing plain."""
    session_id = uuid4()
    ensure_cold_key(world.engine, world.settings, cold, session_id)
    [row] = world.rows("SELECT ring_key_id, wrapped, cold_at FROM session_keys")
    info = cold.info(f"keys/{session_id}")
    assert info.metadata["ring_key_id"] == row["ring_key_id"]
    assert bytes(row["wrapped"]).hex() in cold.read(info.name).decode()
    ensure_cold_key(world.engine, world.settings, cold, session_id)
    assert world.rows("SELECT ring_key_id, wrapped, cold_at FROM session_keys") == [row]


def test_an_empty_database_gets_the_key_back_from_its_cold_object(world, cold, other_process):
    """What was sealed before the database was lost opens again; a key that is there already is never replaced."""
    session_id = uuid4()
    label = Label(session_id, "checkpoint", "c")
    blob = Codec(seal_of(world.settings, world.engine)).encode(b"state", label)
    ensure_cold_key(world.engine, world.settings, cold, session_id)
    world.run("DELETE FROM session_keys")
    import_cold_key(other_process, world.settings, cold, session_id)
    assert Codec(seal_of(world.settings, other_process)).decode(blob, label) == b"state"
    world.run("DELETE FROM session_keys")
    keys_of(world).forget(session_id)
    keys_of(world).of(session_id)
    with pytest.raises(IntegrityError, match="the database has data key"):
        import_cold_key(world.engine, world.settings, cold, session_id)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda data: data[:-5], "not a key object"),
        (lambda data: data.replace(b'"format":1', b'"format":9'), "newer version"),
        (lambda data: data.replace(b'"session_id":"', b'"session_id":"%s","x":"' % str(uuid4()).encode()), "another"),
        (lambda data: data[:-4] + (b"00" if data[-4:-2] != b"00" else b"11") + data[-2:], "does not open"),
    ],
)  # fmt: skip
def test_a_damaged_cold_key_is_named(world, cold, damage, named):
    """Cut, of a newer version, another session's, flipped: refused by name, and nothing is stored."""
    session_id = uuid4()
    ensure_cold_key(world.engine, world.settings, cold, session_id)
    name = f"keys/{session_id}"
    cold.replace(name, damage(cold.read(name)), {})
    world.run("DELETE FROM session_keys")
    with pytest.raises(IntegrityError, match=named):
        import_cold_key(world.engine, world.settings, cold, session_id)
    assert world.rows("SELECT 1 FROM session_keys") == []


def test_a_session_shredded_while_its_key_object_is_written_leaves_none(world, cold, monkeypatch):
    """The writer that comes too late takes its own object away."""
    session_id = uuid4()
    keys_of(world).of(session_id)

    class Slow(type(cold)):
        def replace(self, name, data, metadata):
            super().replace(name, data, metadata)
            world.run(SHRED.text, id=session_id)

    cold.__class__ = Slow
    try:
        with pytest.raises(Shredded):
            ensure_cold_key(world.engine, world.settings, cold, session_id)
    finally:
        cold.__class__ = Slow.__base__
    assert cold.info(f"keys/{session_id}") is None


def test_with_postgres_away_a_key_is_read_from_its_cold_object(world, cold, other_process):
    """A process that remembers nothing still opens what it must read; it makes no key meanwhile."""
    session_id = uuid4()
    label = Label(session_id, "save")
    blob = Codec(seal_of(world.settings, world.engine)).encode(b"x", label)
    ensure_cold_key(world.engine, world.settings, cold, session_id)
    keys_of(world).forget(session_id)
    with postgres_away(world):
        assert Codec(seal_of(world.settings, world.engine)).decode(blob, label) == b"x"
        for call in (keys_of(world).opening, keys_of(world).of):
            with pytest.raises(Unavailable):
                call(uuid4())
