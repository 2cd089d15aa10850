"""Faults around saves: Postgres killed in the middle of one, processes killed at each write, a disk that is full."""

import os
import random
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import orjson
import pytest
from own_postgres import OwnPostgres, own_server
from state_world import World, agent_bytes, make_world, report
from worker_process import wait_until

from fntx_sessions.automation import saving
from fntx_sessions.exceptions import PreconditionFailed, Unavailable
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.settings import Settings
from fntx_sessions.state import backups, remembered, save_rows
from fntx_sessions.state.backup_import import bring_in
from fntx_sessions.state.backup_saves import save_to_backup
from fntx_sessions.state.checkpoints import create_checkpoint, load_checkpoint
from fntx_sessions.state.live import Report
from fntx_sessions.state.saves import save_due
from fntx_sessions.testing import failpoints_armed

_STORED = "SELECT epoch, revision, checkpoint_type, verified FROM checkpoints ORDER BY epoch, revision"


@pytest.fixture(autouse=True)
def fresh_process():
    """What a process remembers is this test's own."""
    remembered.get_remembered.cache_clear()
    saving._Looked.at = float("-inf")


@pytest.fixture
def world(settings) -> Iterator[World]:
    """A database and a Redis of this test's own."""
    with make_world(settings) as made:
        yield made


@pytest.fixture
def own_postgres() -> Iterator[OwnPostgres]:
    with own_server() as own:
        yield own


def files(world: World) -> list[Path]:
    return sorted(backups.folder_of(world.settings).glob("*.backup"))


def noise(seed: int, size: int) -> str:
    """Return text that does not compress."""
    return random.Random(seed).randbytes(size).hex()  # noqa: S311 - the same each time


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a forked process; return how that ended, as waitpid tells it."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            work()
            os._exit(0)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_postgres_killed_in_mid_save_loses_nothing_and_takes_it_in_order(
    own_postgres, redis_url, tmp_path, monkeypatch
):
    """Crashed between the write and its commit, then away, then back: history in order, the newest is current."""
    settings = Settings(home=tmp_path, database_url=own_postgres.server.url(), redis_url=redis_url, auth_mode="open")
    with make_world(settings) as world:
        [session_id] = world.sessions(1)
        desk = Desk(*world.stores)
        saving.save_sweep(desk)
        world.live.report(report(session_id, n=2))
        world.due()
        with monkeypatch.context() as patched:
            patched.setattr(
                save_rows, "failpoint", lambda name: name == "save.before_commit" and own_postgres.end(signal.SIGKILL)
            )
            with pytest.raises(Unavailable, match="Postgres"):
                saving.save_sweep(desk)
        assert [path.name for path in files(world)] == [f"{session_id}_1_2.backup"], "the very save that was cut off"
        world.live.report(report(session_id, n=3))
        saving.back_up(desk, now=True)
        own_postgres.start()
        world.live.report(report(session_id, n=4))
        with suppress(Unavailable):  # the first to come finds a connection that died with the server
            saving.save_sweep(desk)

        def saved() -> bool:
            world.due()
            saving._Looked.at = float("-inf")
            saving.save_sweep(desk)
            return world.rows("SELECT revision FROM saves") == [{"revision": 4}]

        wait_until(saved, "what is newest is saved, by a later sweep where one met a connection that had died")
        stored = [(row["revision"], row["checkpoint_type"]) for row in world.rows(_STORED)]
        assert (stored[:2], files(world)) == ([(2, "backup"), (3, "backup")], [])
        own_postgres.end(signal.SIGINT)
        own_postgres.start()  # stopped in order it comes back too
        assert bring_in_again(world).imported == 0


def bring_in_again(world: World):
    world.engine.dispose()
    return bring_in(world.engine, world.settings)


@pytest.mark.parametrize("place", ["backup.written", "backup.renamed"])
def test_a_process_killed_while_it_writes_a_backup_leaves_it_whole_or_not_at_all(world, place):
    """A file of the right name is whole; what was left aside is in nobody's way, and the next pass writes it."""
    [session_id] = world.sessions(1)
    save_due(*world.stores)
    world.live.report(report(session_id, n=2))

    def killed() -> None:
        with failpoints_armed(f"{place}:kill"), make_world(world.settings) as mine:
            save_due(*mine.stores)  # nothing is due: it only learns the session
            knows(mine, session_id)
            save_to_backup(*mine.stores, now=True)

    assert in_child(killed) == -signal.SIGKILL
    assert len(files(world)) == (place == "backup.renamed")
    save_to_backup(*world.stores, now=True)
    found = bring_in(world.engine, world.settings)
    assert (found.imported, found.refused) == (1, {})
    assert world.rows("SELECT revision FROM saves") == [{"revision": 2}]


def knows(world: World, session_id: UUID) -> None:
    """Have this process remember a session and its key, as its save sweep would."""
    from fntx_sessions.state.claims import Work  # noqa: PLC0415 - in the child alone
    from fntx_sessions.state.data_keys import DataKeys  # noqa: PLC0415

    remembered.get_remembered().note([Work(session_id, 1, (1, 1), None, "periodic")])
    DataKeys(world.engine, world.settings).ensure([session_id])


@pytest.mark.parametrize("place", ["kept", "moved", "stored", "told", "deleted"])
def test_a_process_killed_while_it_imports_leaves_old_or_new(world, place):
    """A SIGKILL at each step of an import: the next one ends it, with nothing twice and nothing lost."""
    [session_id] = world.sessions(1)
    save_due(*world.stores)
    for n in (2, 3):
        world.live.report(report(session_id, n=n))
        save_to_backup(*world.stores, now=True)

    def killed() -> None:
        with failpoints_armed(f"backup.{place}:kill"), make_world(world.settings) as mine:
            bring_in(mine.engine, mine.settings)

    assert in_child(killed) == -signal.SIGKILL
    bring_in(world.engine, world.settings)
    assert [(row["revision"], row["verified"]) for row in world.rows(_STORED)] == [(2, True), (3, True)]
    assert (world.rows("SELECT revision FROM saves"), files(world)) == ([{"revision": 3}], [])
    assert world.rows("SELECT count(*) AS n FROM events WHERE event_type = 'saved_to_backup'") == [{"n": 1}]


def test_a_disk_that_takes_no_more_keeps_the_newest_good_backup(world, tmp_path):
    """The kernel refuses the write: a named error, nothing acknowledged, no half file, and the last good one stays."""
    [session_id] = world.sessions(1)
    save_due(*world.stores)
    for n in (2, 3):
        world.live.report(report(session_id, n=n))
        save_to_backup(*world.stores, now=True)
    sound = noise(1, 40_000)
    world.live.report(report(session_id, agent="Large", noise=sound))
    told = tmp_path / "told"

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
        with make_world(world.settings) as mine:
            knows(mine, session_id)
            failed = save_to_backup(*mine.stores, now=True)
        told.write_text(f"{len(failed.saved)} {failed.problem}")

    assert in_child(full) == 0
    assert told.read_text().startswith("0 the backup folder is out of reach")
    assert [path.name for path in files(world)] == [f"{session_id}_1_3.backup"], "history made way, the newest did not"
    assert sorted(path.name for path in files(world)[0].parent.iterdir()) == [f"{session_id}_1_3.backup"]
    assert save_to_backup(*world.stores, now=True).saved == [session_id], "space came back"
    assert bring_in(world.engine, world.settings).imported == 2


def test_a_checkpoint_of_nothing_is_refused_and_one_of_100_mb_is_kept_whole(world):
    """No state is no checkpoint; 100 MB in parts of up to 20 MB are saved, checkpointed and read back to the byte."""
    empty, huge = world.sessions(2)
    world.client.delete(f"fntx:{{{empty}}}:live")
    with pytest.raises(PreconditionFailed, match="neither Redis nor a save holds any state"):
        create_checkpoint(*world.stores, empty, "manual")
    for n in range(6):
        data = orjson.dumps({"noise": noise(n, 850_000) * 10})
        state = b'{"agent_id":"A","last_update":"2024-01-02T14:30:00Z","internal_state":' + data + b"}"
        world.live.report(Report(huge, 1, f"A{n}", {f"agent/A{n}": state}))
    assert save_due(*world.stores).saved == [huge]
    made = create_checkpoint(*world.stores, huge, "manual")
    cut = world.live.read([huge])[0]
    assert sum(map(len, cut.parts.values())) > 100_000_000
    assert load_checkpoint(world.engine, world.settings, made.checkpoint_id).parts == cut.parts
    assert made.verified


def test_state_that_is_not_json_never_replaces_what_is(world):
    """Bytes that no reader could take, written past the script: the last good save stands, evidence is kept."""
    [session_id] = world.sessions(1)
    save_due(*world.stores)
    for revision, data in enumerate((b"\xff\xfe", b"", b"[" * 5000, b'{"agent_id": "a"}' + b"\x00"), 2):
        world.client.hset(
            f"fntx:{{{session_id}}}:live", mapping={"part:agent/RiskManagerAgent": data, "revision": revision}
        )
        world.due()
        assert list(save_due(*world.stores).failed) == [session_id]
    assert world.rows("SELECT revision FROM saves") == [{"revision": 1}]
    assert world.rows("SELECT count(*) AS n FROM invalid_states") == [{"n": 4}]
    world.client.hset(
        f"fntx:{{{session_id}}}:live", mapping={"part:agent/RiskManagerAgent": agent_bytes(), "revision": 9}
    )
    world.due()
    assert save_due(*world.stores).saved == [session_id]
