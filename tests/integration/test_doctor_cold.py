"""What the doctor says of the cold store."""

import json
import socket
from pathlib import Path

import pytest
from gcs_server import GcsServer
from misbehaving import Answer, misbehaving

from fntx_sessions.stack.doctor_cold import diagnose_cold


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
