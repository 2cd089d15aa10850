"""What runbooks say in a leak and beside a second person is what commands say and take."""

import json
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from fntx_sessions.cli import halts
from fntx_sessions.cli.app import app
from fntx_sessions.security import signing_keys
from fntx_sessions.security.local import ensure_local_keys


def test_a_key_that_only_verifies_is_not_called_retired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`retire` takes a key out: the one before the current is told by what it still does."""
    pair = ensure_local_keys(tmp_path).signing
    before, now = signing_keys.list_keys(pair)[0].key_id, signing_keys.rotate(pair)
    monkeypatch.setenv("FNTX_HOME", str(tmp_path))
    told = CliRunner().invoke(app, ["signing-keys", "list", "--json"])
    states = {key["key"]: key["state"] for key in json.loads(told.stdout)["keys"]}
    assert states == {before: "still verifies", now: "current"}


def test_a_release_is_asked_for_again_under_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may wait for a second person: whoever asked looks for the outcome under the id of the answer."""
    asked, command_id = [], uuid4()
    monkeypatch.setattr(halts, "ask_worker", lambda *given: asked.append(given) or {"halt": {}, "sessions": []})
    given = ["--scope", "all", "--reason", "over", "--command-id", str(command_id), "--json"]
    assert CliRunner().invoke(app, ["halt", "release", *given]).exit_code == 0
    assert asked == [("halts.release", {"scope": "all", "reason": "over"}, command_id)]
