"""`fntx halt` when nothing else works: Redis dead, no worker, one that hangs, and the command itself killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from conftest import running
from hosting import Hosting, make_hosting
from pydantic import SecretStr
from running_desk import RunningDesk, frozen, quiet_desk, wait_until

from fntx_sessions.schemas import SessionStatus
from fntx_sessions.security.local import ensure_local_keys
from fntx_sessions.security.tokens import issue
from fntx_sessions.settings import Settings
from fntx_sessions.stack.folder import Folder
from fntx_sessions.stack.valkey import Valkey

S = SessionStatus
FNTX = "import sys; from fntx_sessions.cli import main; main()"
__all__ = ["quiet_desk"]


@contextmanager
def own_valkey() -> Iterator[tuple[str, ExitStack]]:
    """Yield the URL of a Valkey of this test's own, and what ends it."""
    home, stack = Path(tempfile.mkdtemp(prefix="fntx-", dir="/tmp")), ExitStack()
    folder = Folder(home)
    folder.prepare()
    server = Valkey.of(folder).prepare()
    try:
        log = folder.logs / "valkey.log"
        process = stack.enter_context(running(server.start(log)))
        server.wait_ready(log, lambda: process.poll() is None)
        yield server.url(), stack
    finally:
        stack.close()
        shutil.rmtree(home)


@pytest.fixture
def home(tmp_path):
    """A home with the keys that tokens are checked by."""
    ensure_local_keys(tmp_path)
    return tmp_path


def fntx(settings: Settings, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as an operator does, with a token of its own."""
    own = {
        "FNTX_HOME": str(settings.home),
        "FNTX_DATABASE_URL": settings.database_url.get_secret_value(),
        "FNTX_REDIS_URL": settings.redis_url.get_secret_value(),
        "FNTX_HALT_FLATTEN_S": "20",
    }
    command = [sys.executable, "-c", FNTX, *arguments]
    return subprocess.run(
        command, env=os.environ | own | environment, capture_output=True, text=True, check=False, timeout=60
    )


def rows(hosting: Hosting, *ids):
    return [hosting.row(one)["status"] for one in ids]


def test_positions_are_closed_with_redis_dead_and_no_worker(home, database_url):
    """Told in words; on the broker and in the ledger it is so; every role is checked; once Redis is back all closes."""
    with own_valkey() as (url, stack):
        settings = Settings(home=home, database_url=database_url, redis_url=url)
        with make_hosting(settings) as hosting:
            first, second = hosting.holding(hosting.started()), hosting.holding(hosting.started())
            hosting.lose("h1")
            stack.close()
            token = issue(settings, "eve", ["viewer"], 60)
            eve = fntx(settings, "halt", "--scope", "all", "--reason", "x", FNTX_TOKEN=token)
            assert (eve.returncode, rows(hosting, first)) == (3, [S.ACTIVE])
            assert "eve (roles viewer) may not halt" in eve.stderr
            done = fntx(settings, "halt", "--scope", "all", "--reason", "drill", "--flatten")
            assert done.returncode == 0, done.stderr
            for part in ("Redis does not answer", "straight on Postgres", "no agents worker steps them"):
                assert part in done.stderr
            assert "all is halted" in done.stdout
            for session_id in (first, second):
                assert hosting.broker.positions(session_id) == []
                hosting.check_books(session_id)
            assert rows(hosting, first, second) == [S.CLOSING, S.CLOSING]
            listed = fntx(settings, "halt", "ls", "--json")
            assert [one["actor"] for one in json.loads(listed.stdout)] == ["admin"]
            ended = fntx(settings, "halt", "release", "--scope", "all", "--reason", "over")
            assert ended.returncode == 0, ended.stderr
            assert "the halt of all is over" in ended.stdout


def test_killed_anywhere_and_asked_again_it_goes_on(home, tmp_path, database_url):
    """Halt row and run are in Postgres: each command goes on at once with what the one killed before it left."""
    settings = Settings(home=home, database_url=database_url, redis_url="unix:///nonexistent/redis.sock")
    with own_valkey() as (url, _), make_hosting(settings.model_copy(update={"redis_url": SecretStr(url)})) as hosting:
        session_id, other = hosting.holding(hosting.started()), hosting.started()
        hosting.lose("h1")
        asked = ("halt", "--scope", "all", "--reason", "drill", "--flatten")
        for failpoint in ("halt.before_commit", "halt.placed", "halt.run_begun", "bulk.item_done", "order.placed"):
            killed = fntx(settings, *asked, FNTX_FAILPOINTS=f"{failpoint}:kill")
            assert killed.returncode == -signal.SIGKILL, (failpoint, killed.stderr)
        done = fntx(settings, *asked, "--json")
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer["left"] == 0
        states = {one["session_id"]: one["state"] for one in answer["flattened"]}
        assert states == {str(session_id): "flat", str(other): "flat"}
        hosting.check_books(session_id)
        assert hosting.broker.positions(session_id) == []
        assert len(hosting.rows("SELECT 1 FROM halts")) == 1


def test_a_worker_answers_and_one_that_hangs_is_not_waited_for(quiet_desk: RunningDesk):
    """Through a worker the same comes about; where it is frozen, the command goes straight to Postgres and says so."""
    settings = quiet_desk.settings
    with make_hosting(settings) as hosting, quiet_desk.worker() as process:
        wait_until(lambda: hosting.rows("SELECT 1 FROM hosts WHERE queues LIKE '%commands%'"), "the worker's lease")
        first, second = hosting.started(), hosting.started()
        own = {"FNTX_AUTH_MODE": "open", "FNTX_HALT_PATIENCE_S": "1"}
        done = fntx(settings, "halt", "--scope", f"session:{first}", "--reason", "x", "--json", **own)
        assert done.returncode == 0, done.stderr
        assert (json.loads(done.stdout)["straight"], rows(hosting, first)) == (False, [S.PAUSED])
        with frozen(process):
            done = fntx(settings, "halt", "--scope", "all", "--reason", "x", "--json", **own)
        assert done.returncode == 0, done.stderr
        assert (json.loads(done.stdout)["straight"], rows(hosting, second)) == (True, [S.PAUSED])
        again = fntx(settings, "halt", "--scope", "all", "--reason", "y", **own)
        assert "all is halted already, by anonymous" in again.stderr
        listed = fntx(settings, "halt", "ls", "--json", **own)
        assert {one["scope"] for one in json.loads(listed.stdout)} == {"all", "session"}
        ended = fntx(settings, "halt", "release", "--scope", "all", "--reason", "over", **own)
        assert "fntx resume" in ended.stdout or "still halted" in ended.stdout
        assert rows(hosting, first, second) == [S.PAUSED, S.PAUSED]
