"""A process killed with -9 at every write of a move, archive, drop and restore: old or new after it, never mixed.

Whoever goes on finds out how far the dead one came, finishes it, and everything is as if nobody had been killed.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from archiving import make_desk
from lifecycle_harness import check_session
from mover_victim import act

from fntx_sessions import state
from fntx_sessions.settings import Settings
from fntx_sessions.state.archive import Archiver, object_name
from fntx_sessions.state.loading import load
from fntx_sessions.state.tiers.base import Ref

TESTS = Path(__file__).parents[1]
COPY = ["cold_folder.written", "copy.written", "copy.verified"]
MOVE = ["move.claimed", *COPY, "move.before_commit", "move.flipped", "move.collected"]
ARCHIVE = ["archive.claimed", *COPY, "archive.written", "archive.before_commit", "archive.noted"]
REPLACE = ["copy.replaced"]
DROP = ["drop.verified", "drop.deleted", "drop.before_commit", "drop.committed"]
RESTORE = ["restore.table", "restore.parts", "restore.before_commit", "restore.committed"]
LAPSE = "UPDATE session_work SET archive_claimed_until = NULL"


@pytest.fixture(scope="module")
def desk(tmp_path_factory, module_database_url, valkey_server):
    home = tmp_path_factory.mktemp("home")
    settings = Settings(home=home, database_url=module_database_url, redis_url=valkey_server, auth_mode="open")
    with make_desk(settings) as made:
        yield made


@pytest.fixture(scope="module")
def nursery(desk):
    """The process that forks the victims."""
    url, redis_url = desk.settings.database_url.get_secret_value(), desk.settings.redis_url.get_secret_value()
    process = subprocess.Popen(
        [sys.executable, str(TESTS / "faults" / "mover_victim.py"), str(desk.settings.home), url, redis_url],
        env={**os.environ, "PYTHONPATH": str(TESTS)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        yield process
        process.stdin.close()


@pytest.fixture(autouse=True)
def _alone(desk):
    """Leave nothing due for the next test."""
    yield
    desk.run("UPDATE session_work SET archive_due_at = NULL, archive_claimed_until = NULL")
    desk.run("UPDATE checkpoints SET pinned = true")


@pytest.fixture
def kill(nursery):
    """Call to do something in a process of its own that is killed when it comes to a place for the nth time."""

    def do(place, what, session_id, nth=1):
        nursery.stdin.write(f"{place} {nth} {what} {session_id}\n")
        nursery.stdin.flush()
        assert int(nursery.stdout.readline()) == -signal.SIGKILL

    return do


def test_every_place_is_killed_here():
    """A failpoint that is added to the mover or the archives is added here."""
    folder = Path(state.__file__).parent
    files = [*folder.glob("archive*.py"), *folder.glob("retention*.py"), folder / "cold_copies.py"]
    named = {name for file in files for name in re.findall(r'failpoint\("([^"]+)"\)', file.read_text())}
    assert named == {*MOVE, *ARCHIVE, *REPLACE, *DROP, *RESTORE} - {"cold_folder.written"}


@pytest.mark.parametrize("place", MOVE)
def test_a_killed_move_leaves_each_checkpoint_in_one_place_and_is_finished(desk, kill, place):
    """At any moment every checkpoint reads as it did; afterwards all are cold and what nobody names is gone."""
    session_id = desk.closed(checkpoints=2)
    ids = [row["checkpoint_id"] for row in desk.whole(session_id)["checkpoints"]]
    before = read(desk, session_id, ids)
    desk.run("UPDATE checkpoints SET timestamp = now() - interval '31 days' WHERE session_id = :id", id=session_id)
    kill(place, "move", session_id)
    rows = desk.rows("SELECT tier, manifest, cold_object FROM checkpoints WHERE session_id = :id", id=session_id)
    assert all((row["tier"] == "cold") == (row["manifest"] is None) for row in rows)
    assert read(desk, session_id, ids) == before
    desk.run("UPDATE checkpoints SET move_claimed_until = NULL")
    act(desk, "move", session_id)
    assert {row["tier"] for row in desk.rows("SELECT tier FROM checkpoints WHERE session_id = :id", id=session_id)} == {
        "cold"
    }
    assert read(desk, session_id, ids) == before
    assert desk.rows("SELECT 1 FROM snapshot_parts WHERE snapshot_id = ANY(:ids)", ids=ids) == []


@pytest.mark.parametrize("place", ARCHIVE)
def test_a_killed_archiving_is_done_over_to_the_same_end(desk, kill, place):
    """There is no archive or a whole one; Postgres has lost nothing, and the next sweep has it noted."""
    session_id = desk.closed(checkpoints=1, samples=5)
    before = desk.whole(session_id)
    kill(place, "archive", session_id)
    archiver = Archiver(desk.engine, desk.settings, desk.cold)
    if desk.cold.info(object_name(session_id)) is not None:
        archiver.verify(session_id)
    noted = bool(desk.rows("SELECT 1 FROM archives WHERE session_id = :id", id=session_id))
    assert noted == (place == "archive.noted")
    desk.run(LAPSE)
    act(desk, "archive", session_id)
    archiver.verify(session_id)
    assert desk.rows("SELECT 1 FROM archives WHERE session_id = :id AND verified_at IS NOT NULL", id=session_id)
    assert desk.whole(session_id) == before


def test_killed_while_a_damaged_archive_is_replaced_nothing_is_lost(desk, kill):
    """The rows are there until a whole archive is."""
    session_id = desk.closed(checkpoints=1, samples=5)
    before = desk.whole(session_id)
    act(desk, "archive", session_id)
    desk.cold.replace(object_name(session_id), b"half an archive", {})
    desk.old(session_id)
    kill("copy.replaced", "archive", session_id)
    assert desk.whole(session_id) == before
    desk.run(LAPSE)
    act(desk, "archive", session_id)
    act(desk, "restore", session_id)
    assert desk.whole(session_id) == before


@pytest.mark.parametrize(("place", "nth"), [(place, 1) for place in DROP] + [("drop.deleted", 5)])
def test_a_killed_drop_takes_all_rows_or_none(desk, kill, place, nth):
    """Never a session half gone; what is gone comes back whole."""
    session_id = desk.closed(checkpoints=1, samples=5)
    before = desk.whole(session_id)
    act(desk, "archive", session_id)
    desk.old(session_id)
    kill(place, "archive", session_id, nth)
    [row] = desk.rows("SELECT rows_dropped_at FROM archives WHERE session_id = :id", id=session_id)
    assert (row["rows_dropped_at"] is not None) == (place == "drop.committed")
    assert (desk.whole(session_id) == before) == (place != "drop.committed")
    desk.run(LAPSE)
    act(desk, "archive", session_id)
    assert desk.whole(session_id)["samples"] == []
    act(desk, "restore", session_id)
    assert desk.whole(session_id) == before


@pytest.mark.parametrize(("place", "nth"), [(place, 1) for place in RESTORE] + [("restore.table", 9)])
def test_a_killed_restore_brings_all_or_nothing(desk, kill, place, nth):
    """Nothing half restored is ever seen; asked again it is whole, or was already."""
    session_id = desk.closed(checkpoints=1, samples=5)
    before = desk.whole(session_id)
    act(desk, "archive", session_id)
    desk.old(session_id)
    act(desk, "archive", session_id)
    empty = desk.whole(session_id)
    kill(place, "restore", session_id, nth)
    assert desk.whole(session_id) == (before if place == "restore.committed" else empty)
    act(desk, "restore", session_id)
    assert desk.whole(session_id) == before
    check_session(desk.lifecycle, session_id)


def read(desk, session_id, ids):
    """Return what the checkpoints hold, wherever they are."""
    return [dict(load(*desk.stores, Ref(session_id, one)).snapshot.parts) for one in ids]
