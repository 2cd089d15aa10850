"""The embedded stack with real stores, a real supervisor and stand-ins for workers."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis
from sqlalchemy import make_url

from fntx_sessions.exceptions import StackError
from fntx_sessions.stack import Stack, adopt_local_stack
from fntx_sessions.stack.orphans import find_orphans
from fntx_sessions.stack.redis_status import read_redis
from fntx_sessions.stack.valkey import Valkey
from fntx_sessions.stack.waiting import until

WAIT_S = 60.0
# The commands under test, however many others the whole `fntx` has.
FNTX = "import typer; from fntx_sessions.cli.stack import register; app = typer.Typer(); register(app); app()"
# Stand-ins: one that notes how it was ended and when, so that the order can be told, and one that dies at once.
NOTING = """\
import os, signal, time
def end(*_):
    with open(os.environ["FNTX_HOME"] + "/ends", "a") as file:
        file.write(os.environ["SUPERVISOR_PROCESS_NAME"] + "\\n")
    raise SystemExit(0)
signal.signal(signal.SIGTERM, end)
while True:
    time.sleep(60)
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A short path, which pytest's own is not."""
    with short_directory() as made:
        yield made / "home"


@pytest.fixture(scope="module")
def procfile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("procfile")
    (folder / "noting.py").write_text(NOTING)
    path = folder / "Procfile"
    path.write_text(f"worker: python {folder}/noting.py\nbeat: python {folder}/noting.py\n")
    return path


@pytest.fixture(scope="module")
def running(procfile: Path) -> Iterator[Stack]:
    """A stack that is up, shared by the tests that leave it up."""
    with short_directory() as made, Stack(made / "home", procfile=procfile) as stack:
        yield stack


@pytest.fixture(scope="module")
def prepared(procfile: Path) -> Iterator[Path]:
    """A home whose stack was up once and is down: copies of it need make and migrate no database."""
    with short_directory() as made:
        with Stack(made / "home", procfile=procfile):
            pass
        (made / "home" / "ends").unlink()
        yield made / "home"


@pytest.fixture
def stack(home: Path, procfile: Path, prepared: Path) -> Iterator[Stack]:
    """A stack that is down, in a folder with the data of a start before."""
    subprocess.run(["cp", "-a", prepared, home], check=True)  # -a: as root Postgres's data is another user's
    made = Stack(home, procfile=procfile)
    yield made
    made.down()
    assert not find_orphans(home)


@contextmanager
def short_directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="fntx-", dir="/tmp"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made)


def wait_for(condition) -> None:
    until(condition, WAIT_S, lambda: AssertionError(f"never happened: {condition}"))


def query(stack: Stack, statement: str) -> list[tuple]:
    url = make_url(stack.environment()["FNTX_MAINTENANCE_DATABASE_URL"])
    connection = psycopg2.connect(host=url.query["host"], port=url.query["port"], user=url.username, dbname="fntx")
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def kill_everything(stack: Stack) -> None:
    """What `kill -9` of everything does: the supervisor first, so that it can restart nothing."""
    supervisor = stack.supervisor.process()
    assert supervisor is not None
    everything = find_orphans(stack.folder.home)
    supervisor.kill()
    for process in everything:
        process.kill()
    psutil.wait_procs(everything, timeout=WAIT_S)


def test_up_makes_what_keys_a_running_stack_lacks(running):
    """A token that was revoked and deleted, the system key: made anew while all runs, as messages say of `fntx up`."""
    folder = running.folder.home / "keys"
    lost = [folder / "admin.token", folder / "system.pem"]
    for one in lost:
        one.unlink()
    assert running.up().started is False
    assert all(one.exists() for one in lost)


def test_up_makes_no_key_ring_in_the_place_of_one_that_is_gone(running, monkeypatch):
    """It could open nothing of what was sealed: it says to put back the other, and what runs goes on."""
    ring = running.folder.home / "keys" / "ring.json"
    with monkeypatch.context() as gone:
        gone.delenv("FNTX_KEY_RING")  # where tests keep theirs
        with pytest.raises(StackError, match=r"key ring is gone.*Put back the ring that was there"):
            running.up()
    assert not ring.exists()
    assert running.supervisor.answers()
    assert running.up().started is False


def test_up_brings_stores_and_processes_and_down_ends_them_in_order(home: Path, procfile: Path) -> None:
    """After up everything runs on a migrated database; down ends beat before the worker, and leaves no process."""
    stack = Stack(home, procfile=procfile)
    addresses = stack.up()
    assert addresses.started
    assert {name: process.state for name, process in stack.processes().items()} == dict.fromkeys(
        ("postgres", "valkey", "worker", "beat"), "RUNNING"
    )
    assert query(stack, "SELECT to_regclass('alembic_version') IS NOT NULL") == [(True,)]
    assert stack.down()
    assert (home / "ends").read_text().split() == ["beat", "worker"]
    assert stack.processes() == {}
    assert not stack.down()
    assert not find_orphans(home)


def test_no_secret_is_printed_or_in_a_command_line(running: Stack) -> None:
    """Valkey's password is in private files and environments only."""
    addresses = running.up()
    password = make_url(running.environment()["FNTX_REDIS_URL"]).password
    assert password
    assert password not in json.dumps(addresses.to_dict())
    assert not [p for p in find_orphans(running.folder.home) if any(password in word for word in p.cmdline())]
    holders = [
        path for path in running.folder.home.rglob("*") if path.is_file() and password.encode() in path.read_bytes()
    ]
    assert {path.stat().st_mode & 0o777 for path in holders} == {0o600}


def test_stores_refuse_strangers(running: Stack) -> None:
    """Postgres has no TCP port, and Valkey answers nobody without the password."""
    assert query(running, "SHOW listen_addresses") == [("",)]
    url = make_url(running.environment()["FNTX_REDIS_URL"])
    with redis.Redis(host=url.host, port=url.port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_no_other_user_reads_what_a_stack_writes(running: Stack) -> None:
    """Logs, sockets, configurations and data: nothing below HOME is for the group or for others."""
    wait_for(lambda: any((running.folder.logs).glob("worker*.log")))
    found = [path for path in running.folder.home.rglob("*") if not path.is_symlink()]
    passable = {path for path in found if path.is_dir() and path.stat().st_mode & 0o077 == 0o011}
    assert passable <= {running.folder.run}  # as root, whose Postgres is another user
    assert [path for path in found if path.stat().st_mode & 0o077 and path not in passable] == []


def test_a_second_up_says_what_runs(running: Stack, procfile: Path) -> None:
    """The second up starts nothing and gives the same addresses."""
    first = running.up()
    pids = {process.pid for process in running.processes().values()}
    second = Stack(running.folder.home, procfile=procfile).up()
    assert not second.started
    assert (second.database, second.redis) == (first.database, first.redis)
    assert {process.pid for process in running.processes().values()} == pids


def test_kill_of_everything_loses_nothing(stack: Stack) -> None:
    """After kill -9 of the supervisor and all its children, up starts on the same data at the same addresses."""
    first = stack.up()
    query(stack, "CREATE TABLE kept AS SELECT 42 AS answer")
    with redis.Redis.from_url(keeper(stack)) as client:
        client.set("kept", "yes")
        wait_for(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0)
    kill_everything(stack)
    assert not stack.supervisor.answers()
    again = stack.up()
    assert (again.database, again.redis) == (first.database, first.redis)
    assert query(stack, "SELECT answer FROM kept") == [(42,)]
    with redis.Redis.from_url(keeper(stack)) as client:
        assert client.get("kept") == b"yes"


def test_orphans_of_a_killed_supervisor_are_stopped(stack: Stack) -> None:
    """Where only the supervisor was killed, the next up stops what it left and starts anew."""
    stack.up()
    left = {process.pid for process in stack.processes().values()}
    supervisor = stack.supervisor.process()
    assert supervisor is not None
    supervisor.kill()
    supervisor.wait(WAIT_S)
    assert left <= {process.pid for process in find_orphans(stack.folder.home)}
    stack.up()
    assert not left & {process.pid for process in stack.processes().values()}
    assert query(stack, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("name", ["worker", "postgres", "valkey"])
def test_a_killed_child_is_started_again(running: Stack, name: str) -> None:
    """The supervisor brings back whatever dies."""
    pid = running.kill(name)

    def is_back() -> bool:
        process = running.processes()[name]
        return process.state == "RUNNING" and process.pid != pid

    wait_for(is_back)
    running.up()  # waits for the stores, as another test may need them at once


def test_a_child_that_keeps_dying_is_tried_again_ever_more_slowly(home: Path, tmp_path: Path, monkeypatch) -> None:
    """Its name and log are in the error, its tries are spaced, and everything is stopped again."""
    procfile = tmp_path / "Procfile"
    procfile.write_text("worker: false\n")
    monkeypatch.setattr("fntx_sessions.stack.stack.PROCESSES_START_S", 3.0)
    stack = Stack(home, procfile=procfile)
    with pytest.raises(StackError, match=r"do not stay up: worker.*logs"):
        stack.up()
    assert not find_orphans(home)
    tries = [
        line for line in (home / "logs" / "supervisord.log").read_text().splitlines() if "spawned: 'worker'" in line
    ]
    assert 2 <= len(tries) <= 3


def test_a_taken_port_is_left_alone(home: Path, procfile: Path, stack: Stack) -> None:
    """Where the port of the last start is somebody else's now, another is chosen and said."""
    stack.up()
    taken = make_url(stack.environment()["FNTX_REDIS_URL"]).port
    stack.down()
    with socket.create_server(("127.0.0.1", taken)):
        stack.up()
        assert make_url(stack.environment()["FNTX_REDIS_URL"]).port != taken


def test_servers_given_from_outside_are_used_and_none_started(
    home: Path, procfile: Path, database_url: str, redis_url: str
) -> None:
    """With both addresses in the environment the stack has processes only, and stores neither address."""
    given = {"FNTX_DATABASE_URL": database_url, "FNTX_REDIS_URL": redis_url}
    with Stack(home, env=given, procfile=procfile) as stack:
        assert set(stack.processes()) == {"worker", "beat"}
        assert stack.environment()["FNTX_DATABASE_URL"] == database_url
        kept = (home / "stack.json").read_text()
        assert "FNTX_DATABASE_URL" not in kept
        assert "FNTX_REDIS_URL" not in kept


def test_a_long_path_moves_the_sockets_only(home: Path, procfile: Path) -> None:
    """A folder too long for a socket's address works; its sockets lie in a short directory of this user's."""
    long = home / ("long" * 20) / "home"
    home.mkdir(mode=0o711)
    with Stack(long, procfile=procfile) as stack:
        assert not stack.folder.run.is_relative_to(long)
        assert query(stack, "SELECT 1") == [(1,)]
    shutil.rmtree(stack.folder.run)


def test_a_half_dead_supervisor_is_named(stack: Stack, home: Path, procfile: Path, monkeypatch) -> None:
    """A supervisor that lives but does not answer holds the folder; the error names its process."""
    stack.up()
    monkeypatch.setattr("fntx_sessions.stack.stack.SUPERVISOR_ANSWERS_S", 0.5)
    monkeypatch.setattr("fntx_sessions.stack.control.CALL_TIMEOUT_S", 0.5)
    supervisor = stack.supervisor.process()
    assert supervisor is not None
    supervisor.suspend()
    try:
        with pytest.raises(StackError, match=f"held by supervisor {supervisor.pid}"):
            Stack(home, procfile=procfile).up()
    finally:
        supervisor.resume()


def test_the_folder_is_held_while_another_brings_it_up(home: Path) -> None:
    """Two at once: the second is told which process holds the folder."""
    folder = Stack(home).folder
    folder.prepare()
    with folder.lock(), pytest.raises(StackError, match=f"process {os.getpid()}"), folder.lock(wait_s=0.1):
        pass


def test_a_folder_that_cannot_be_written_is_refused_in_one_sentence(home: Path) -> None:
    """A file where the folder should be, and a folder of another user: named, with the way out."""
    home.write_text("not a folder")
    with pytest.raises(StackError, match=r"cannot use the folder .*FNTX_HOME"):
        Stack(home).up()


def test_a_full_disk_is_said(home: Path, monkeypatch) -> None:
    """Too little room is refused before anything is made."""
    usage = shutil.disk_usage(home.parent)._replace(free=1_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    with pytest.raises(StackError, match="has 1 MB free"):
        Stack(home).up()


def test_a_bad_procfile_names_its_line(home: Path, tmp_path: Path) -> None:
    """A line that is no process type is refused before anything is started."""
    procfile = tmp_path / "Procfile"
    procfile.write_text("# fine\nworker celery\n")
    with pytest.raises(StackError, match=r"line 2: 'worker celery'"):
        Stack(home, procfile=procfile).up()
    assert not home.exists()


def test_postgres_of_another_version_is_refused(stack: Stack) -> None:
    """A cluster made by another major version is named, not started."""
    version = stack.folder.postgres / "PG_VERSION"
    assert version.read_text().strip() == "18"
    version.write_text("17\n")
    with pytest.raises(StackError, match="made by PostgreSQL 17"):
        stack.up()


def test_the_command_line_ends_a_stack_on_sigterm(home: Path, procfile: Path) -> None:
    """`fntx up` in the foreground prints every address, and SIGTERM ends the stack in order."""
    command = [sys.executable, "-c", FNTX, "up", "--home", str(home), "--procfile", str(procfile)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        printed = ""
        while "logs" not in printed:  # the last address; an empty line is the end of an `fntx` that failed
            printed += process.stdout.readline() or pytest.fail(printed)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert all(word in printed for word in (str(home), "host=", "redis://fntx:***@127.0.0.1"))
    assert (home / "ends").read_text().split() == ["beat", "worker"]
    assert not find_orphans(home)


def keeper(stack: Stack) -> str:
    """Return Redis's address for who may do what the desk's own user may not."""
    return Valkey.of(stack.folder).url()


def run_fntx(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", FNTX, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)


def test_status_and_doctor_of_a_running_stack(running: Stack) -> None:
    """Status has every process, version, queue and the migration state; doctor says what is wrong and what to run."""
    found = run_fntx("status", "--home", running.folder.home, "--json")
    assert found.returncode == 0, found.stderr
    status = json.loads(found.stdout)
    assert {process["name"] for process in status["processes"]} == {"postgres", "valkey", "worker", "beat"}
    assert status["database"]["revision"] == status["database"]["newest"]
    assert status["redis"]["queues"]["commands"] == 0
    assert status["versions"]["celery"]
    checks = {
        check["name"]: check for check in json.loads(run_fntx("doctor", "--home", running.folder.home, "--json").stdout)
    }
    assert {checks[name]["result"] for name in ("folder", "disk", "stack", "Postgres", "migrations", "Valkey")} == {
        "ok"
    }
    assert checks["beat"]["result"] == "ok" or checks["beat"]["fix"]


def test_status_counts_waiting_messages_of_every_priority(running: Stack) -> None:
    """A queue's depth is the sum over its four lists."""
    url = running.environment()["FNTX_REDIS_URL"]
    with redis.Redis.from_url(url) as client:
        client.rpush("agents", "a")
        client.rpush("agents\x06\x169", "b", "c")
        client.hset("unacked_slow", "tag", "message")
    found = read_redis(url)
    assert found.queues["agents"] == 3
    assert found.unacked == 1


def test_status_and_doctor_with_the_stack_down(home: Path) -> None:
    """Both say that nothing runs and how to start, and end with code 5."""
    for command in ("status", "doctor"):
        found = run_fntx(command, "--home", home)
        assert found.returncode == 5, found.stderr
        assert "fntx up" in found.stdout
    assert not home.exists()


def test_doctor_finds_a_store_that_is_down(stack: Stack, home: Path) -> None:
    """A store that was stopped is named as failed, and the code is 5."""
    stack.up()
    stack.supervisor.stop(stack.processes()["valkey"])
    found = run_fntx("doctor", "--home", home, "--json")
    failed = {check["name"] for check in json.loads(found.stdout) if check["result"] == "fail"}
    assert found.returncode == 5
    assert {"valkey", "Valkey"} <= failed


def test_a_second_up_never_starts_or_stops_anything_of_a_stack_without_its_store(
    stack: Stack, home: Path, procfile: Path
) -> None:
    """It is refused at once, saying what stands still and the way out; doctor says the same, and status since when."""
    stack.up()
    stack.supervisor.stop(stack.processes()["postgres"])
    pids = {process.name: process.pid for process in stack.processes().values()}
    refusal = f"the stack in {home} runs already; its supervisor has postgres as STOPPED since .*`fntx down`"
    with pytest.raises(StackError, match=refusal):
        Stack(home, procfile=procfile).up()
    checks = {check["name"]: check for check in json.loads(run_fntx("doctor", "--home", home, "--json").stdout)}
    for name in ("postgres", "Postgres"):
        assert checks[name]["fix"] == f"tail {home}/logs/postgres.log; then fntx down, then fntx up"
    assert "STOPPED since" in checks["Postgres"]["meaning"]
    assert "none in" in checks["backups"]["meaning"]
    told = " ".join(run_fntx("status", "--home", home).stdout.split())
    assert "postgres DOWN, seen from here" in told
    assert "unknown" in told  # the last beat: it is Postgres that knows
    assert {process.name: process.pid for process in stack.processes().values()} == pids


def test_a_second_up_that_is_interrupted_leaves_the_stack_as_it_is(stack: Stack, home: Path, procfile: Path) -> None:
    """Ctrl-C ends what waits, not what runs."""
    stack.up()
    valkey = stack.processes()["valkey"].pid
    pids = {process.name: process.pid for process in stack.processes().values()}
    os.kill(valkey, signal.SIGSTOP)  # so that the second one waits
    command = [sys.executable, "-c", FNTX, "up", "--home", str(home), "--procfile", str(procfile)]
    try:
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            while "waiting for valkey" not in (line := process.stderr.readline()):
                assert line
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=WAIT_S)
    finally:
        os.kill(valkey, signal.SIGCONT)
    assert process.returncode != 0
    assert {process.name: process.pid for process in stack.processes().values()} == pids


def test_status_and_doctor_find_a_full_redis_out(running: Stack) -> None:
    """It answers, and takes nothing: said with what stands still, what is safe and what to do."""
    with redis.Redis.from_url(keeper(running)) as client:
        client.config_set("maxmemory", 1)
        try:
            told = " ".join(run_fntx("status", "--home", running.folder.home).stdout.split())
            found = run_fntx("doctor", "--home", running.folder.home, "--json")
        finally:
            client.config_set("maxmemory", 0)
    assert "TAKES NOTHING NEW: its memory is full" in told
    checks = {check["name"]: check for check in json.loads(found.stdout)}
    assert found.returncode == 5
    assert checks["Valkey writes"]["result"] == checks["beat"]["result"] == "fail"
    assert "is safe" in checks["Valkey writes"]["meaning"]
    assert "maxmemory" in checks["Valkey writes"]["fix"]
    assert checks["Valkey"]["result"] == checks["saves"]["result"] == "ok"


def test_a_process_adopts_the_running_stack(running: Stack, home: Path) -> None:
    """Without addresses of its own a process uses the stack in FNTX_HOME; given ones win; none runs: unchanged."""
    environ = {"FNTX_HOME": str(home), "FNTX_DATABASE_URL": "postgresql://given/db"}
    assert not adopt_local_stack(environ)
    environ["FNTX_HOME"] = str(running.folder.home)
    assert adopt_local_stack(environ)
    assert environ["FNTX_REDIS_URL"] == running.environment()["FNTX_REDIS_URL"]
    assert environ["FNTX_DATABASE_URL"] == "postgresql://given/db"
