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
from own_postgres import own_server
from pydantic import SecretStr
from redis import Redis
from running_desk import RunningDesk, frozen, quiet_desk, wait_until
from sqlalchemy import text

from fntx_sessions.automation import halts
from fntx_sessions.automation.halt_arguments import ReleaseArguments
from fntx_sessions.lifecycle import owed
from fntx_sessions.lifecycle.halting import SHARED
from fntx_sessions.schemas import SessionStatus
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.local import ensure_local_keys
from fntx_sessions.security.tokens import issue
from fntx_sessions.settings import Settings
from fntx_sessions.stack.folder import Folder
from fntx_sessions.stack.halt_status import diagnose_halts
from fntx_sessions.stack.status import Status, read_database
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


def fntx(settings: Settings, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as an operator does, with a token of its own."""
    command = [sys.executable, "-c", FNTX, *arguments]
    own = environment(settings) | more
    return subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=False, timeout=60)


def environment(settings: Settings) -> dict[str, str]:
    return {
        "FNTX_HOME": str(settings.home),
        "FNTX_DATABASE_URL": settings.database_url.get_secret_value(),
        "FNTX_REDIS_URL": settings.redis_url.get_secret_value(),
        "FNTX_HALT_FLATTEN_S": "20",
    }


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
            told = hosting.rows("SELECT description FROM events WHERE event_type = 'halt_closes'")
            assert len(told) == 2
            assert all(one["description"].startswith("a halt by admin closes its positions from halt:") for one in told)
            listed = fntx(settings, "halt", "ls", "--json")
            assert [one["actor"] for one in json.loads(listed.stdout)] == ["admin"]
            ended = fntx(settings, "halt", "release", "--scope", "all", "--reason", "over")
            assert (ended.returncode, "ended by a worker alone" in ended.stderr) == (5, True)
            assert len(hosting.rows("SELECT 1 FROM halts WHERE released_at IS NULL")) == 1


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
        owed.pay_oldest(hosting.desk.engine, 10)
        assert len(hosting.rows("SELECT 1 FROM audit WHERE action = 'halt'")) == 1


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


IMPATIENT = {"FNTX_HALT_DATABASE_S": "1", "FNTX_HALT_PATIENCE_S": "1"}
# Long enough for a busy machine to freeze Postgres meanwhile.
ASKING = IMPATIENT | {"FNTX_HALT_DATABASE_S": "4"}
ASKED = ("halt", "--scope", "template:Paper Trading", "--reason", "it's odd", "--flatten")
AGAIN = """fntx halt --scope 'template:Paper Trading' --flatten --reason 'it'"'"'s odd'"""


@pytest.fixture
def own_desk(home, redis_url):
    """Settings and servers of this test's own Postgres, and a desk on it."""
    with own_server() as server:
        settings = Settings(home=home, database_url=server.server.url(), redis_url=redis_url)
        with make_hosting(settings) as hosting:
            yield server, hosting


def test_with_postgres_away_or_hung_nothing_is_halted_and_the_broker_is_named(own_desk):
    """One sentence within the setting's time: not halted, nothing under way, call the broker, what to ask again."""
    server, hosting = own_desk
    settings = hosting.desk.settings

    def asked() -> str:
        done = fntx(settings, *ASKED, **IMPATIENT)
        assert done.returncode == 5, done.stderr
        return done.stderr

    with frozen(server):
        hung = asked()
        listed = fntx(settings, "halt", "ls", **IMPATIENT)
        assert (listed.returncode, "Nothing was changed" in listed.stderr) == (5, True)
    assert hosting.rows("SELECT 1 FROM halts") == []
    hosting.desk.engine.dispose()
    server.end(signal.SIGKILL)
    away = asked()
    server.start()
    for told in (hung, away):
        assert "NOT halted: Postgres is out of reach (" in told
        for part in ("Nothing was sent", "no exit runs", "call the broker", f"Ask again once it answers: {AGAIN}"):
            assert part in told
        for part in ("may", "command id", "fntx up", "straight"):
            assert part not in told
    with Redis.from_url(settings.redis_url.get_secret_value()) as client:
        assert not client.exists("commands")
    assert fntx(settings, *ASKED).returncode == 0


def test_postgres_that_hangs_in_between_leaves_no_contradiction(own_desk):
    """Placed or not is not known and said so, with the same advice; asked again it is one halt."""
    server, hosting = own_desk
    settings = hosting.desk.settings
    with hosting.desk.engine.begin() as connection:
        connection.execute(text(SHARED))
        asking = subprocess.Popen(
            [sys.executable, "-c", FNTX, *ASKED], env=os.environ | environment(settings) | ASKING,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        with running(asking):
            # Asked on this very connection: a transaction that is idle for long is ended by Postgres.
            waits = text("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            wait_until(lambda: connection.execute(waits).all(), "the halt to wait for what begins to trade")
            with frozen(server):
                _, told = asking.communicate(timeout=60)
    assert asking.returncode == 5, told
    *_, last = told.strip().splitlines()
    assert "it is not known whether template:Paper Trading is halted: it may be" in last
    for part in ("none was closed twice", "no exit runs", "call the broker", f"however often: {AGAIN}"):
        assert part in last
    assert "Nothing was changed" not in last
    assert "NOT halted" not in last
    done = fntx(settings, *ASKED)
    assert done.returncode == 0, done.stderr
    assert len(hosting.rows("SELECT 1 FROM halts WHERE released_at IS NULL")) == 1


def test_status_and_doctor_show_the_halts_that_stand(own_desk):
    """Who halted what, since when, why, and what ends it; nothing of it once it is over."""
    server, hosting = own_desk
    settings = hosting.desk.settings

    def looked():
        found = read_database(server.server.url())
        lines = Status(
            home="", running=True, sentence="", processes=[], database=found, redis=None, versions={}
        ).facts()
        return lines["halts"], list(diagnose_halts(found.halts))

    line, [check] = looked()
    assert (line, check.result) == ("none stands", "ok")
    placed = fntx(settings, *ASKED)
    assert "It stands until it is ended, whatever was closed: fntx halt release --scope" in placed.stderr
    line, [check] = looked()
    assert line.startswith("template:Paper Trading is halted, to be flat, by admin since ")
    assert line.endswith(": it's odd")
    assert (check.result, "nothing in it starts" in check.meaning) == ("warn", True)
    assert check.fix.endswith("fntx halt release --scope 'template:Paper Trading' --reason ...")
    admin = Actor("admin", frozenset({"admin"}))
    halts.release(hosting.desk, admin, ReleaseArguments(scope="template:Paper Trading", reason="over"))
    assert looked()[0] == "none stands"
