"""`fntx keys`: what hangs on which key, rotation online and resumable, and no key lost that is needed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from state_world import make_world

from fntx_sessions.cli.app import run
from fntx_sessions.cli.exits import Exit
from fntx_sessions.database.engine import build_engine, get_engine
from fntx_sessions.security.keyring import create_ring, load_ring, new_ring, parse_ring, ring_file
from fntx_sessions.settings import Settings, get_settings
from fntx_sessions.state.codec import Codec, Label
from fntx_sessions.state.data_keys import DataKeys, ensure_cold_key, seal_of
from fntx_sessions.state.objects.cold import open_cold
from fntx_sessions.state.payloads import DESK


@pytest.fixture
def desk(settings, monkeypatch):
    """A world whose ring is the home's file, and a command line over the same."""
    monkeypatch.delenv("FNTX_KEY_RING")
    for name, value in {
        "FNTX_HOME": str(settings.home),
        "FNTX_DATABASE_URL": settings.database_url.get_secret_value(),
        "FNTX_REDIS_URL": settings.redis_url.get_secret_value(),
        "FNTX_KEY_ROTATION_BATCH": "7",
    }.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    get_engine.cache_clear()
    with make_world(Settings()) as world:
        yield world
    get_engine().dispose()
    get_engine.cache_clear()
    get_settings.cache_clear()


def ids_with_keys(desk, count, *, cold=0):
    """Give `count` sessions a data key, and the first `cold` of them a cold key object."""
    ids = sorted(uuid4() for _ in range(count))
    DataKeys(desk.engine, desk.settings).ensure(ids)
    for session_id in ids[:cold]:
        ensure_cold_key(desk.engine, desk.settings, open_cold(desk.settings), session_id)
    return ids


def wrapped_by(desk):
    """Return how many data keys of sessions and the desk, and cold key objects, hang on which ring key."""
    # What is done to the ring is audited, which takes a key of the chains'.
    rows = desk.rows(
        "SELECT ring_key_id, count(*) AS n FROM session_keys"
        " WHERE CAST(session_id AS text) NOT LIKE '00000000-0000-0001-%' GROUP BY 1"
    )
    cold = [info.metadata["ring_key_id"] for info in open_cold(desk.settings).list("keys/")]
    return {row["ring_key_id"]: row["n"] for row in rows}, {key: cold.count(key) for key in cold}


def listed(capsys):
    capsys.readouterr()
    assert run(["keys", "list", "--json"]) == Exit.DONE
    return {key["state"]: key for key in json.loads(capsys.readouterr().out)["keys"]}


def test_init_then_list(desk, capsys):
    """The ring is made once; the list says what hangs on it and shows no secret."""
    assert run(["keys", "list"]) == Exit.UNAVAILABLE
    assert "fntx keys init" in capsys.readouterr().err
    assert run(["keys", "init"]) == Exit.DONE
    assert run(["keys", "init"]) == Exit.USAGE
    ids_with_keys(desk, 3, cold=2)
    assert run(["keys", "list"]) == Exit.DONE
    shown = capsys.readouterr().out
    [secret] = [key["key"] for key in json.loads(ring_file(desk.settings).read_text())["keys"].values()]
    assert secret not in shown
    found = listed(capsys)["current"]
    assert (found["data_keys"], found["cold_objects"]) == (3 + 1, 2)  # and the audit's
    # Without a ring nothing could be written before the first was made; the second try was refused.
    deeds = desk.rows("SELECT action, outcome, target, actor FROM audit ORDER BY seq")
    assert [(deed["action"], deed["outcome"]) for deed in deeds] == [
        ("keys", "done"), ("keys", "pending"), ("keys", "refused"),
    ]  # fmt: skip
    assert found["key"] in deeds[0]["target"]
    assert "@" in deeds[0]["actor"]


def test_a_ring_that_is_gone_is_not_made_anew_where_something_was_sealed_with_it(desk, capsys):
    """It could open nothing of that; the one that was there is to be put back, and then all is well."""
    run(["keys", "init"])
    ids_with_keys(desk, 3)
    path = ring_file(desk.settings)
    kept = path.read_bytes()
    path.unlink()
    capsys.readouterr()
    assert run(["keys", "init"]) == Exit.UNAVAILABLE
    said = capsys.readouterr().err
    assert "Put back the ring that was there, from its copy" in said
    assert not path.exists()
    path.write_bytes(kept)
    path.chmod(0o600)
    assert run(["keys", "list"]) == Exit.DONE


def test_rotation_wraps_everything_anew_and_changes_no_blob(desk, capsys):
    """All data keys and cold key objects hang on the new key; a running process opens old and new without a restart."""
    first = create_ring(desk.settings).current
    ids = ids_with_keys(desk, 20, cold=5)
    label = Label(ids[0], "save")
    blob = Codec(seal_of(desk.settings, desk.engine)).encode(b"state", label)
    assert run(["keys", "rotate"]) == Exit.DONE
    current = load_ring(desk.settings).current
    assert current != first
    assert wrapped_by(desk) == ({current: 20}, {current: 5})
    assert desk.rows("SELECT count(cold_at) AS n FROM session_keys") == [{"n": 5}]
    fresh = build_engine(desk.settings.database_url.get_secret_value(), desk.settings)
    for engine in (desk.engine, fresh):
        assert Codec(seal_of(desk.settings, engine)).decode(blob, label) == b"state"
    fresh.dispose()
    [late] = ids_with_keys(desk, 1)
    assert desk.rows("SELECT ring_key_id FROM session_keys WHERE session_id = :id", id=late) == [
        {"ring_key_id": current}
    ]


def test_the_desks_own_key_is_wrapped_anew_too(desk):
    """What belongs to no session is sealed with a key like any other, and that is rotated like any other."""
    create_ring(desk.settings)
    DataKeys(desk.engine, desk.settings).of(DESK)
    assert run(["keys", "rotate"]) == Exit.DONE
    assert wrapped_by(desk) == ({load_ring(desk.settings).current: 1}, {})


@pytest.mark.parametrize("point", ["keys.rewrapped", "keys.cold_written"])
def test_a_killed_rotation_goes_on_where_it_was(desk, tmp_path, point):
    """The second run finishes the first one's rotation, and makes no third key."""
    create_ring(desk.settings)
    ids_with_keys(desk, 20, cold=5)
    told = os.environ | {"FNTX_FAILPOINTS": f"{point}:kill@{tmp_path / 'once'}"}
    command = [sys.executable, "-c", "from fntx_sessions.cli.app import main; main()", "keys", "rotate"]
    assert subprocess.run(command, env=told, check=False).returncode == -9
    data_keys, cold = wrapped_by(desk)
    current = load_ring(desk.settings).current
    assert len(data_keys) + len(cold) > 2
    assert run(["keys", "rotate"]) == Exit.DONE
    assert load_ring(desk.settings).current == current
    assert len(load_ring(desk.settings).keys) == 2
    assert wrapped_by(desk) == ({current: 20}, {current: 5})


def test_a_key_that_is_needed_cannot_be_removed(desk, capsys):
    """Not while a data key hangs on it, and not while a cold key object does; the error says how many."""
    first = create_ring(desk.settings).current
    ids = ids_with_keys(desk, 4, cold=1)
    store, name = open_cold(desk.settings), f"keys/{ids[0]}"
    old, metadata = store.read(name), store.info(name).metadata
    desk.run("UPDATE session_keys SET cold_at = NULL")
    assert run(["keys", "rotate"]) == Exit.DONE
    store.replace(name, old, metadata)
    capsys.readouterr()
    assert run(["keys", "remove", first]) == Exit.REFUSED
    assert "0 data keys and 1 cold key objects" in capsys.readouterr().err
    assert first in load_ring(desk.settings).keys
    assert run(["keys", "rotate"]) == Exit.DONE  # finishes what was left
    assert run(["keys", "remove", first]) == Exit.DONE
    assert list(load_ring(desk.settings).keys) == [load_ring(desk.settings).current]
    assert run(["keys", "remove", load_ring(desk.settings).current]) == Exit.USAGE


def test_a_staged_key_is_handed_out_before_it_is_used(desk, capsys):
    """`--stage` changes what wraps nothing; the next rotation takes the staged key."""
    first = create_ring(desk.settings).current
    ids_with_keys(desk, 2)
    assert run(["keys", "rotate", "--stage"]) == Exit.DONE
    found = listed(capsys)
    assert (found["current"]["key"], found["current"]["data_keys"]) == (first, 2 + 1)  # and the audit's
    assert run(["keys", "rotate"]) == Exit.DONE
    assert load_ring(desk.settings).current == found["staged"]["key"]
    assert run(["keys", "rotate", "--stage"]) == Exit.DONE
    [staged] = load_ring(desk.settings).staged()
    assert run(["keys", "retire", staged.key_id]) == Exit.DONE
    assert load_ring(desk.settings).staged() == []


def test_a_data_key_that_does_not_open_stops_no_other(desk, capsys):
    """It keeps its wrapping, is named, and keeps its ring key from being removed."""
    first = create_ring(desk.settings).current
    bad, *_rest = ids_with_keys(desk, 5)
    desk.run("UPDATE session_keys SET wrapped = '\\x00' WHERE session_id = :id", id=bad)
    assert run(["keys", "rotate", "--json"]) == Exit.DONE
    assert list(json.loads(capsys.readouterr().out)["failed"]) == [str(bad)]
    assert run(["keys", "remove", first]) == Exit.REFUSED


def test_a_ring_kept_elsewhere_is_rotated_there_and_wrapped_anew_here(desk, monkeypatch, capsys):
    """A ring from the environment cannot be changed; once it was, `rotate` wraps everything with its current key."""
    ring = new_ring()
    monkeypatch.setenv("FNTX_KEY_RING", ring.to_bytes().decode())
    given = Settings()
    ids = sorted(uuid4() for _ in range(3))
    DataKeys(desk.engine, given).ensure(ids)
    assert run(["keys", "rotate"]) == Exit.USAGE
    both = json.loads(ring.to_bytes())
    both["keys"] |= json.loads(new_ring().to_bytes())["keys"]
    both["current"] = next(key for key in both["keys"] if key != ring.current)
    monkeypatch.setenv("FNTX_KEY_RING", json.dumps(both))
    assert run(["keys", "rotate"]) == Exit.DONE
    assert wrapped_by(desk) == ({parse_ring(json.dumps(both), "it").current: 3}, {})


def test_the_list_is_shown_without_stores(desk, capsys):
    """With Postgres away, the ring is shown and the counts are not known; nothing can be removed."""
    create_ring(desk.settings)
    [key] = load_ring(desk.settings).keys
    os.environ["FNTX_DATABASE_URL"] = "postgresql+psycopg2://nobody@127.0.0.1:1/none"
    assert run(["keys", "list"]) == Exit.DONE
    told = capsys.readouterr()
    assert key in told.out
    assert "not known" in told.err
    assert run(["keys", "rotate"]) == Exit.UNAVAILABLE
    assert Path(ring_file(desk.settings)).exists()


def test_a_worker_without_a_ring_does_not_start(tmp_path, database_url, redis_url):
    """It would take sessions and could keep nothing of them: it ends at once and says what to run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FNTX_")}
    environment |= {"FNTX_HOME": str(tmp_path), "FNTX_DATABASE_URL": database_url, "FNTX_REDIS_URL": redis_url}
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-Q", "agents", "-c", "1"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert "makes its first with `fntx keys init`" in ended.stderr


@pytest.fixture
def elsewhere(tmp_path):
    """Return the address of another cold store than the desk's."""
    (tmp_path / "elsewhere").mkdir()
    return (tmp_path / "elsewhere").as_uri()


def test_a_key_needed_in_another_cold_store_cannot_be_removed(desk, capsys, monkeypatch, elsewhere):
    """A shell that opens another store rotates past objects it does not see: their key stays until they are asked."""
    first = create_ring(desk.settings).current
    ids_with_keys(desk, 4, cold=3)
    here = open_cold(desk.settings).address
    monkeypatch.setenv("FNTX_COLD_URL", elsewhere)
    assert run(["keys", "rotate"]) == Exit.DONE
    assert f"3 cold key objects lie in {here}" in capsys.readouterr().err
    assert run(["keys", "remove", first]) == Exit.REFUSED
    told = capsys.readouterr().err
    assert "3 cold key objects" in told
    assert f"FNTX_COLD_URL={here}" in told
    assert listed(capsys)["retired"]["elsewhere"] == {here: 3}
    monkeypatch.delenv("FNTX_COLD_URL")
    assert run(["keys", "remove", first]) == Exit.REFUSED
    assert run(["keys", "rotate"]) == Exit.DONE
    assert run(["keys", "remove", first]) == Exit.DONE


def test_a_store_that_is_gone_for_good_is_forgotten(desk, capsys, monkeypatch, elsewhere):
    """Then nothing hangs on the key any more; the store in use cannot be forgotten."""
    first = create_ring(desk.settings).current
    ids_with_keys(desk, 2, cold=2)
    gone = open_cold(desk.settings).address
    assert run(["keys", "forget-store", gone]) == Exit.USAGE
    monkeypatch.setenv("FNTX_COLD_URL", elsewhere)
    assert run(["keys", "rotate"]) == Exit.DONE
    capsys.readouterr()
    assert run(["keys", "forget-store", gone, "--json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out) == {"store": gone, "forgotten": 2}
    assert run(["keys", "remove", first]) == Exit.DONE


def test_objects_of_a_key_that_the_ring_lacks_are_listed(desk, capsys):
    """What cannot be opened any more is not left out of the counts."""
    create_ring(desk.settings)
    ids_with_keys(desk, 3, cold=2)
    path = ring_file(desk.settings)
    lost = load_ring(desk.settings).current
    path.write_bytes(new_ring().to_bytes())
    found = listed(capsys)
    assert (found["not in the ring"]["key"], found["current"]["cold_objects"]) == (lost, 0)
    assert (found["not in the ring"]["data_keys"], found["not in the ring"]["cold_objects"]) == (3, 2)
    assert run(["keys", "list"]) == Exit.DONE
    assert "put it back" in capsys.readouterr().err


def test_each_command_prints_json(desk, capsys):
    """What init, stage, retire and remove did, for programs."""

    def told(*arguments):
        capsys.readouterr()
        assert run(["keys", *arguments, "--json"]) == Exit.DONE
        return json.loads(capsys.readouterr().out)

    current = told("init")["current"]
    assert current == load_ring(desk.settings).current
    [staged] = told("rotate", "--stage")["staged"]
    assert told("retire", staged) == {"retired": staged}
    assert told("remove", staged) == {"removed": staged}
