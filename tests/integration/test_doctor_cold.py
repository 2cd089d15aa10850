"""What the doctor says of the cold store."""

import json
import shutil
import socket
from pathlib import Path

import pytest
from gcs_server import GcsServer
from misbehaving import Answer, misbehaving

from fntx_sessions.exceptions import Unavailable
from fntx_sessions.settings import Settings
from fntx_sessions.stack.doctor_cold import diagnose_cold
from fntx_sessions.state.objects.cold import open_cold


def found(home: Path) -> list[tuple[str, str]]:
    return [(check.name, check.result) for check in diagnose_cold(home)]


def test_a_folder_at_home_is_tried_without_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where nothing is set, nothing is connected to, and no object is left; where there is no home, none is made."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the network was reached")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    assert found(tmp_path) == [("cold store", "ok")]
    assert list((tmp_path / "cold").rglob("*.object")) == []
    assert found(tmp_path / "missing") == []
    assert not (tmp_path / "missing").exists()


def test_a_bucket_is_tried(gcs_server: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A bucket that works is ok; one that is missing fails with the command that makes it."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server.url)
    monkeypatch.setenv("FNTX_COLD_URL", f"gs://{gcs_server.new_bucket()}/desk")
    assert found(tmp_path) == [("cold store", "ok")]
    monkeypatch.setenv("FNTX_COLD_URL", "gs://missing-bucket")
    (check,) = diagnose_cold(tmp_path)
    assert (check.result, "gcloud storage buckets create gs://missing-bucket" in check.fix) == ("fail", True)


def test_a_bucket_that_keeps_what_is_deleted_is_warned_of(
    gcs_server: GcsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Soft delete keeps shredded keys: the doctor says for how long, and how to turn it off."""
    name = gcs_server.new_bucket()
    body = json.dumps({"name": name, "softDeletePolicy": {"retentionDurationSeconds": "604800"}}).encode()
    answer = Answer(200, [("Content-Type", "application/json")], body)
    with misbehaving(gcs_server.url) as proxy:
        proxy.on(lambda asked: asked.path.split("?")[0].endswith(f"/b/{name}"), lambda _asked, _on: answer)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        monkeypatch.setenv("FNTX_COLD_URL", f"gs://{name}")
        ok, warned = diagnose_cold(tmp_path)
    assert (ok.result, warned.result) == ("ok", "warn")
    assert "for 7 days" in warned.meaning
    assert warned.fix == f"gcloud storage buckets update gs://{name} --clear-soft-delete"


def test_a_bad_address_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The doctor goes on after an address that cannot be one, and names the variable."""
    monkeypatch.setenv("FNTX_COLD_URL", "s3://bucket")
    (check,) = diagnose_cold(tmp_path)
    assert (check.result, check.meaning.split(":")[0]) == ("fail", "FNTX_COLD_URL")


@pytest.mark.parametrize("where", ["cold", "elsewhere"])
@pytest.mark.parametrize("left", ["nothing", "a mount point"])
def test_a_cold_folder_that_vanished_is_out_of_reach_and_not_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, left: str
):
    """Whether the folder is gone, or only the empty one is there that its disk is mounted on; put back, all is well.

    What is read from it then is no loss, so that `fntx audit verify` exits with 6 and not with 1.
    """
    folder = tmp_path / where
    if where == "elsewhere":
        folder.mkdir()
        monkeypatch.setenv("FNTX_COLD_URL", folder.as_uri())
    store = open_cold(Settings(home=tmp_path))
    store.create("anchors/a", b"x", {})
    away = folder.rename(tmp_path / "away")
    if left == "a mount point":
        folder.mkdir()
    for call in (
        lambda: store.create("anchors/a", b"other", {}),
        lambda: store.read("anchors/a"),
        lambda: list(store.list("anchors/")),
    ):
        with pytest.raises(Unavailable, match="not mounted"):
            call()
    (check,) = diagnose_cold(tmp_path)
    assert (check.result, "ount" in check.fix) == ("fail", True)
    assert list(tmp_path.rglob("*.object")) == list(away.rglob("*.object"))
    assert folder.exists() == (left == "a mount point")
    if left == "a mount point":
        folder.rmdir()
    away.rename(folder)
    assert store.read("anchors/a") == b"x"
    assert found(tmp_path) == [("cold store", "ok")]


def test_a_store_without_the_newest_anchor_is_told(tmp_path: Path):
    """The store is asked, not Postgres' note alone: another store, or one that lost what it held, is none of ours."""
    open_cold(Settings(home=tmp_path)).create("anchors/1", b"x", {})
    assert [check.result for check in diagnose_cold(tmp_path, anchor="anchors/1")] == ["ok"]
    [_, lost] = diagnose_cold(tmp_path, anchor="anchors/2")
    assert (lost.name, lost.result, "anchors/2" in lost.meaning) == ("anchors", "fail", True)


@pytest.mark.parametrize("damage", ["its header is cut", "its bytes are cut", "its bytes are others", "it is empty"])
def test_a_damaged_newest_anchor_is_told_and_ends_nothing(tmp_path: Path, damage: str):
    """A newest anchor that is there and not whole is a finding with what to run; the doctor's other checks go on."""
    open_cold(Settings(home=tmp_path)).create("anchors/1", b"ends of chains", {})
    [file] = tmp_path.rglob("*.object")
    whole = file.read_bytes()
    damaged = {
        "its header is cut": whole[:20],
        "its bytes are cut": whole[:-1],
        "its bytes are others": whole[:-1] + b"?",
        "it is empty": b"",
    }
    file.write_bytes(damaged[damage])
    [_, anchors] = diagnose_cold(tmp_path, anchor="anchors/1")
    assert (anchors.name, anchors.result, anchors.fix) == ("anchors", "fail", "fntx audit verify --all")
    assert "anchors/1" in anchors.meaning


def test_a_cold_folder_put_back_without_its_empty_directories_is_the_one_it_was(tmp_path: Path):
    """A copy that leaves out empty directories has every object: it is read, and written to as before."""
    store = open_cold(Settings(home=tmp_path))
    store.create("anchors/a", b"x", {})
    shutil.rmtree(tmp_path / "cold" / ".incoming")
    assert store.read("anchors/a") == b"x"
    assert [info.name for info in store.list("")] == ["anchors/a"]
    assert found(tmp_path) == [("cold store", "ok")]
    assert (tmp_path / "cold" / ".incoming").is_dir()


def test_what_else_lies_at_a_mount_point_is_no_cold_folder(tmp_path: Path):
    """A file system's own directory, or a file that says that no disk is mounted, is no trace of a store."""
    store = open_cold(Settings(home=tmp_path))
    store.create("anchors/a", b"x", {})
    (tmp_path / "cold").rename(tmp_path / "away")
    (tmp_path / "cold" / "lost+found").mkdir(parents=True)
    (tmp_path / "cold" / "NOT-MOUNTED").touch()
    with pytest.raises(Unavailable, match="not mounted"):
        store.read("anchors/a")
