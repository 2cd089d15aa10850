"""The stack's cold store: whoever works beside the stack opens that one, and is told of that one."""

from pathlib import Path

import pytest
from gcs_server import GcsServer

from fntx_sessions.settings import Settings
from fntx_sessions.stack import Stack, adopt_local_stack
from fntx_sessions.stack.control import Supervisor
from fntx_sessions.stack.doctor_cold import diagnose_cold
from fntx_sessions.stack.plan import Plan
from fntx_sessions.stack.procfile import SHIPPED
from fntx_sessions.stack.status import read_status
from fntx_sessions.state.objects.cold import open_cold

GIVEN = {"FNTX_DATABASE_URL": "postgresql://127.0.0.1:1/db", "FNTX_REDIS_URL": "redis://127.0.0.1:1/0"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose supervisor answers."""
    monkeypatch.setattr(Supervisor, "answers", lambda _self: True)
    return tmp_path / "home"


def started(home: Path, **told: str | None) -> dict[str, str]:
    """Have a stack choose its addresses; return what its children are told."""
    plan = Plan(home, GIVEN | told, SHIPPED)
    plan.folder.prepare()
    plan.prepare()
    return plan.children_environment()


def test_a_process_adopts_the_cold_store_of_the_stack(home: Path, tmp_path: Path) -> None:
    """Its bucket and where that is reached; an address of one's own goes before both."""
    started(home, FNTX_COLD_URL="gs://desk/prefix", STORAGE_EMULATOR_HOST="http://127.0.0.1:1")
    environ = {"FNTX_HOME": str(home)}
    assert adopt_local_stack(environ)
    assert environ["FNTX_COLD_URL"] == "gs://desk/prefix"
    assert environ["STORAGE_EMULATOR_HOST"] == "http://127.0.0.1:1"
    own = {"FNTX_HOME": str(home), "FNTX_COLD_URL": tmp_path.as_uri()}
    assert adopt_local_stack(own)
    assert own["FNTX_COLD_URL"] == tmp_path.as_uri()
    assert "STORAGE_EMULATOR_HOST" not in own


def test_the_folder_at_home_is_made_however_it_is_named(home: Path) -> None:
    """Where nothing was set, children are told the folder's address, and may make it."""
    url = started(home, FNTX_COLD_URL=None)["FNTX_COLD_URL"]
    assert url == (home / "cold").resolve().as_uri()
    open_cold(Settings(home=home, cold_url=url)).create("checks/one", b"1", {})
    assert open_cold(Settings(home=home)).read("checks/one") == b"1"


def test_status_and_doctor_tell_of_the_stacks_own(
    home: Path, gcs_server: GcsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of what the shell they run in would open."""
    url = f"gs://{gcs_server.new_bucket()}/desk"
    stack = Stack(home, env=GIVEN)
    told = started(home, FNTX_COLD_URL=url, STORAGE_EMULATOR_HOST=gcs_server.url)
    [check] = diagnose_cold(home, told)
    assert (check.result, url in check.meaning) == ("ok", True)
    monkeypatch.setattr(Stack, "environment", lambda _self: GIVEN | {"FNTX_COLD_URL": url})
    monkeypatch.setattr(Stack, "given", lambda _self: GIVEN | {"FNTX_COLD_URL": url})
    assert read_status(stack).cold == url + "/"
