"""Backups: while Postgres is away sessions are saved into a sealed folder, and come in, in order, when it is back."""

import stat
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from state_world import World, make_world, report
from structlog.testing import capture_logs

from fntx_sessions.automation import hosts, saving
from fntx_sessions.database.engine import build_engine
from fntx_sessions.exceptions import Shredded, Unavailable
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.stack.backup_status import diagnose_backups, read_backups
from fntx_sessions.state import backups, remembered
from fntx_sessions.state.backup_import import bring_in
from fntx_sessions.state.backup_saves import save_to_backup
from fntx_sessions.state.claims import Work
from fntx_sessions.state.data_keys import DataKeys
from fntx_sessions.state.key_cache import Remembered
from fntx_sessions.state.loading import load_save
from fntx_sessions.state.payloads import EVENT, Payloads
from fntx_sessions.state.saves import save_due, save_sessions
from fntx_sessions.state.tier_health import health_of
from fntx_sessions.state.tiers.memory import MemoryTier
from fntx_sessions.testing import FailpointReached, failpoints_armed

NOWHERE = "postgresql+psycopg2://nobody@127.0.0.1:1/none"
LARGE = "x" * 50_000
_STORED = "SELECT epoch, revision, checkpoint_type, verified FROM checkpoints ORDER BY epoch, revision"


@pytest.fixture(autouse=True)
def fresh_process():
    """What a process remembers is this test's own."""
    remembered.get_remembered.cache_clear()
    saving._Looked.at = float("-inf")


@pytest.fixture
def world(settings):
    """A database and a Redis of this test's own."""
    with make_world(settings) as made:
        yield made


def away(world: World, count: int = 1, session_id: UUID | None = None) -> list[Path]:
    """Save to the backup folder as often as agents report; return the files."""
    for n in range(count):
        if session_id:
            world.live.report(report(session_id, away=n))
        assert not save_to_backup(*world.stores, now=True).problem
    return files(world)


def files(world: World) -> list[Path]:
    return sorted(backups.folder_of(world.settings).glob("*.backup"))


def events(world: World, event_type: str) -> list[dict[str, object]]:
    found = world.rows("SELECT * FROM events WHERE event_type = :kind ORDER BY timestamp", kind=event_type)
    opened = Payloads(world.engine)
    return [row | {"data": opened.open(row["session_id"], EVENT, row["event_id"], row["data"])} for row in found]


def save_mark(world: World, session_id: UUID) -> tuple[int, int]:
    [row] = world.rows("SELECT epoch, revision FROM saves WHERE session_id = :id", id=session_id)
    return row["epoch"], row["revision"]


def test_what_changed_while_postgres_was_away_comes_in_in_order(world):
    """Each backup becomes a verified checkpoint, the newest the current save, and an event says since when."""
    [session_id] = world.sessions(1)
    save_due(*world.stores)
    assert len(away(world, 3, session_id)) == 3
    found = bring_in(world.engine, world.settings)
    assert (found.imported, found.refused, files(world)) == (3, {}, [])
    kept = [(1, n, "backup", True) for n in (2, 3, 4)]
    assert [tuple(row.values()) for row in world.rows(_STORED)] == kept
    assert save_mark(world, session_id) == (1, 4)
    assert load_save(*world.stores, session_id, MemoryTier(0)).snapshot.parts == world.live.read([session_id])[0].parts
    [event] = events(world, "saved_to_backup")
    assert (event["data"]["count"], event["data"]["revision"]) == (3, 4)
    assert event["data"]["since"] <= event["data"]["until"]


def test_a_revision_is_written_once_and_only_its_owner_can_read_it(world):
    """Unchanged state costs no file; folder 0700, file 0600, and nothing of the state can be read in it."""
    [session_id] = world.sessions(1)
    save_due(*world.stores)
    assert away(world) == []
    [written] = away(world, 1, session_id)
    before = written.stat()
    assert away(world) == [written]
    assert written.stat().st_mtime_ns == before.st_mtime_ns
    assert (stat.S_IMODE(before.st_mode), stat.S_IMODE(written.parent.stat().st_mode)) == (0o600, 0o700)
    assert b"RiskManagerAgent" not in written.read_bytes()
    assert written.name == f"{session_id}_1_2.backup"


def test_only_the_newest_of_each_session_are_kept(world):
    """`backups_per_session` bounds the files of a session; the newest stay."""
    few = replace(world, settings=world.settings.model_copy(update={"backups_per_session": 2}))
    [session_id] = few.sessions(1)
    save_due(*few.stores)
    assert [path.name for path in away(few, 5, session_id)] == [f"{session_id}_1_{n}.backup" for n in (5, 6)]


def test_a_full_folder_keeps_the_newest_of_each_and_says_so(world):
    """Past `backup_max_bytes` history goes first; then a save is refused by name, and nothing good is deleted."""
    ids = world.sessions(2)
    save_due(*world.stores)
    for session_id in ids:
        away(world, 2, session_id)
    size = sum(path.stat().st_size for path in files(world))
    small = replace(world, settings=world.settings.model_copy(update={"backup_max_bytes": size * 5 // 8}))
    away(small, 1, ids[0])
    assert [path.name.rpartition("_")[2] for path in files(small)] == ["4.backup", "3.backup"]
    tiny = replace(world, settings=world.settings.model_copy(update={"backup_max_bytes": 100}))
    world.live.report(report(ids[1], more=True))
    refused = save_to_backup(*tiny.stores, now=True)
    assert (refused.saved, list(refused.failed)) == ([], [ids[1]])
    assert "backup folder" in refused.problem
    assert [path.name.rpartition("_")[2] for path in files(small)] == ["4.backup", "3.backup"]


def test_a_backup_of_an_older_epoch_is_history_only(world):
    """The current save moves only for the session's own epoch, and only forward."""
    [session_id] = world.sessions(1)
    save_due(*world.stores)
    away(world, 1, session_id)
    world.run("UPDATE session_work SET epoch = 2")
    assert bring_in(world.engine, world.settings).imported == 1
    assert save_mark(world, session_id) == (1, 1)
    assert [row["revision"] for row in world.rows(_STORED)] == [2]


def test_a_backup_behind_the_save_is_history_and_the_same_revision_is_no_news(world):
    """What another worker saved meanwhile stays current; a backup of that very revision just goes."""
    [session_id] = world.sessions(1)
    save_due(*world.stores)
    away(world, 2, session_id)
    save_sessions(*world.stores, [session_id])
    found = bring_in(world.engine, world.settings)
    assert (found.imported, found.known, files(world)) == (1, 1, [])
    assert save_mark(world, session_id) == (1, 3)
    assert [row["revision"] for row in world.rows(_STORED)] == [2]


@pytest.mark.parametrize("place", ["kept", "moved", "stored", "told", "deleted"])
def test_an_import_that_was_killed_is_done_again_and_makes_nothing_twice(world, place):
    """Wherever it ends: two checkpoints, the newest as current save, one event, no file."""
    [session_id] = world.sessions(1)
    save_due(*world.stores)
    away(world, 2, session_id)
    with failpoints_armed(f"backup.{place}:raise"), pytest.raises(FailpointReached):
        bring_in(world.engine, world.settings)
    bring_in(world.engine, world.settings)
    assert [row["revision"] for row in world.rows(_STORED)] == [2, 3]
    assert (save_mark(world, session_id), files(world)) == ((1, 3), [])
    assert len(events(world, "saved_to_backup")) == 1


@pytest.mark.parametrize("harm", ["flip", "truncate", "empty", "renamed", "stranger", "no session"])
def test_a_bad_file_is_put_aside_with_the_reason_and_holds_up_no_other(world, harm):
    """Damaged, foreign or misnamed: into refused/, said on the session, and the good ones come in."""
    bad, good = world.sessions(2)
    save_due(*world.stores)
    for session_id in (bad, good):
        away(world, 1, session_id)
    [path] = [path for path in files(world) if path.name.startswith(str(bad))]
    harmed = _harmed(world, path, harm)
    found = bring_in(world.engine, world.settings)
    assert (list(found.refused), found.imported) == ([harmed.name], 2 if harm == "stranger" else 1)
    aside = harmed.parent / backups.REFUSED
    assert (aside / harmed.name).exists()
    assert (aside / f"{harmed.name}.reason").read_text()
    told = events(world, "backup_refused")
    assert [row["session_id"] for row in told] == ([bad] if harm not in ("stranger", "no session") else [])
    assert save_mark(world, good) == (1, 2)
    assert bring_in(world.engine, world.settings).refused == {}


def _harmed(world: World, path: Path, harm: str) -> Path:
    data = path.read_bytes()
    if harm == "flip":
        path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    elif harm == "truncate":
        path.write_bytes(data[: len(data) // 2])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "renamed":
        return path.rename(path.with_name(path.name.replace("_1_2.", "_1_9.")))
    elif harm == "no session":
        return path.rename(path.with_name(f"{uuid4()}_1_2.backup"))
    else:
        stray = path.with_name("notes.txt")
        stray.write_text("mine")
        return stray
    return path


def test_large_parts_are_shared_with_what_postgres_has(world):
    """A part that did not change while Postgres was away is stored once."""
    [session_id] = world.sessions(1)
    world.live.report(report(session_id, agent="Large", text=LARGE))
    save_due(*world.stores)
    away(world, 2, session_id)
    bring_in(world.engine, world.settings)
    assert world.rows("SELECT count(*) AS n FROM parts") == [{"n": 1}]
    assert world.rows("SELECT count(*) AS n FROM snapshot_parts") == [{"n": 3}]


def test_the_save_sweep_turns_to_the_folder_and_back(world, monkeypatch):
    """Postgres away: the sweep backs up and says what is out of reach; back: it saves, imports and tells the tiers."""
    [session_id] = world.sessions(1)
    desk = Desk(*world.stores)
    saving.save_sweep(desk)
    world.live.report(report(session_id, more=1))
    down = build_engine(NOWHERE, world.settings)
    with monkeypatch.context() as patched:
        # The same process, the same cached keys: only the way to Postgres is gone.
        patched.setattr(world.engine, "connect", down.connect)
        patched.setattr(world.engine, "begin", down.begin)
        with pytest.raises(Unavailable, match="Postgres"):
            saving.save_sweep(desk)
    down.dispose()
    assert len(files(world)) == 1
    world.due()
    saving._Looked.at = float("-inf")
    saving.save_sweep(desk)
    assert (files(world), save_mark(world, session_id)) == ([], (1, 2))
    assert {state.tier: state.up for state in health_of(world.engine, world.settings).states()}["postgres"]
    assert world.rows("SELECT up FROM tier_states WHERE tier = 'postgres'") == [{"up": True}]


def test_two_processes_never_import_one_folder_at_once(world):
    """Whoever comes second finds the folder taken and leaves it; the lock goes with its holder."""
    [session_id] = world.sessions(1)
    save_due(*world.stores)
    away(world, 1, session_id)
    from fntx_sessions.state.backup_import import _alone  # noqa: PLC0415 - the lock is what is tested

    with _alone(backups.folder_of(world.settings)) as mine:
        assert mine
        assert bring_in(world.engine, world.settings).imported == 0
    assert bring_in(world.engine, world.settings).imported == 1


def test_find_lists_what_this_host_holds_and_names_hosts_out_of_sight(world):
    """Newest first, without reading; hosts whose folder is elsewhere are named."""
    [session_id] = world.sessions(1)
    save_due(*world.stores)
    away(world, 2, session_id)
    found = backups.find(world.settings, session_id)
    assert [one.mark for one in found] == [(1, 3), (1, 2)]
    assert backups.read(found[0]).revision == 3
    assert backups.find(world.settings, uuid4()) == []
    world.run("INSERT INTO hosts (host_id, pid, node, lease_until) VALUES ('w@a:1', 1, 'elsewhere', now())")
    world.run(
        "INSERT INTO hosts (host_id, pid, node, lease_until) VALUES ('w@b:1', 1, :node, now())",
        node=backups.this_host(),
    )
    assert backups.other_hosts(world.engine, world.settings) == ["elsewhere"]


def test_a_folder_that_cannot_be_written_is_a_named_error(world):
    """A file where the folder should be: reported, nothing acknowledged, and tried again next time."""
    [session_id] = world.sessions(1)
    save_due(*world.stores)
    (world.settings.home / backups.FOLDER).write_text("in the way")
    world.live.report(report(session_id, more=1))
    failed = save_to_backup(*world.stores, now=True)
    assert (failed.saved, list(failed.failed)) == ([], [session_id])
    assert "cannot be written" in failed.problem
    (world.settings.home / backups.FOLDER).unlink()
    assert save_to_backup(*world.stores, now=True).saved == [session_id]


def test_a_worker_that_ends_while_postgres_is_away_backs_up_what_its_host_has(world, monkeypatch):
    """Its last act needs no Postgres: each renewal of the lease notes the host's sessions and their keys."""
    mine, other = world.sessions(1, host="h1"), world.sessions(1, host="h2")
    save_due(*world.stores)
    remembered.get_remembered.cache_clear()
    hosts.remember_owned(world.engine, world.settings, "h1")
    world.live.report_many([report(one, more=1) for one in mine + other])
    assert saving.last_backup(Desk(*world.stores)) is None, "Postgres is there: nothing to do"
    down = build_engine(NOWHERE, world.settings)
    with monkeypatch.context() as patched:
        patched.setattr(world.engine, "connect", down.connect)
        patched.setattr(world.engine, "begin", down.begin)
        done = saving.last_backup(Desk(*world.stores))
    assert done is not None
    assert done.saved == mine
    assert [path.name for path in files(world)] == [f"{mine[0]}_1_2.backup"]


def test_nothing_is_backed_up_that_another_owner_took_or_without_a_key(world):
    """A live epoch that is not the claimed one is left alone; without its key at hand, a session has failed."""
    taken, keyless = world.sessions(2)
    remembered.get_remembered().note([Work(one, 1, (0, 0), None, "periodic") for one in (taken, keyless)])
    DataKeys(world.engine, world.settings).ensure([taken])
    world.live.raise_fence(taken, 2)
    with capture_logs() as logs:
        done = save_to_backup(*world.stores, now=True)
    [line] = [line for line in logs if line["event"] == "backup.sessions_not_saved"]
    assert line["sessions"] == {str(keyless): done.failed[keyless]}
    assert (done.saved, list(done.skipped), list(done.failed)) == ([], [taken], [keyless])
    assert "key" in done.failed[keyless]
    assert files(world) == []


def test_a_shredded_session_that_is_remembered_is_said_to_be_shredded(world):
    """Not that Postgres has its key: nobody has."""
    [session_id] = world.sessions(1)
    remembered.get_remembered().note([Work(session_id, 1, (0, 0), None, "periodic")])
    keys = DataKeys(world.engine, world.settings)
    keys._cache.put(session_id, Remembered(None, Shredded(str(session_id), "a moment ago")))
    assert "was shredded" in save_to_backup(*world.stores, now=True).failed[session_id]


def test_what_waits_in_the_folder_is_counted_by_session(world):
    """For `fntx status` and `fntx doctor`: which sessions, how many files, from when until when."""
    assert "none in" in str(read_backups(world.settings.home))
    [session_id, other] = world.sessions(2)
    save_due(*world.stores)
    away(world, 2, session_id)
    away(world, 1, other)
    found = read_backups(world.settings.home)
    assert (found.files, found.sessions) == (3, [str(session_id), str(other)])
    assert "3 of 2 sessions" in str(found)
    assert str(session_id)[:8] in str(found)
    assert [check.result for check in diagnose_backups(found, away=True)] == ["ok"]
    [check] = diagnose_backups(found, away=False)
    assert "coming in" in check.meaning
