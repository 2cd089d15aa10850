"""Canaries: secrets planted in a real desk that lives through a day, failures and a crash, and found nowhere after."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from uuid import UUID, uuid4

import psutil
import pytest
import redis
from canaries import Canaries, search_files, search_postgres, search_processes, search_redis
from hosting import Hosting, S, T
from knowing_agents import NAME, known_with_ours
from pages_world import Person
from test_stack import short_directory, wait_for
from worker_process import raw_app

from fntx_sessions import AgentClient
from fntx_sessions.agents import registry
from fntx_sessions.database.engine import build_engine
from fntx_sessions.lifecycle import credentials
from fntx_sessions.lifecycle.credentials import Holder
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.tokens import issue
from fntx_sessions.settings import get_settings
from fntx_sessions.stack import Stack
from fntx_sessions.stack.orphans import find_orphans
from fntx_sessions.state.redis_client import build_redis

# A stack of its own, on a machine that does other things beside.
pytestmark = pytest.mark.timeout(300)
TESTS = Path(__file__).parents[1]
WATCHER = "EnvironmentWatcherAgent"
QUEUES = "commands,queries,celery,sweeps,checkpoints,maintenance"
PROCESSES = f"""\
worker_agents: celery -A canary_app -q worker -n agents@%h -Q agents -c 1 --without-gossip --without-mingle
worker_rest: celery -A canary_app -q worker -n rest@%h -Q {QUEUES} -c 2 --without-gossip --without-mingle
beat: celery -A tasks -q beat --pidfile=
flower: celery -A tasks -q flower
"""
REMOTE = "canary-remote-2b2b90"
RITA = Actor("rita", frozenset({"risk_manager"}))
FLOWER = "looker:canary-flower-9d1c44"
# Half an hour of it passes in a moment.
DAY = {"kind": "synthetic", "seed": 7, "trade_date": "2018-02-06", "step_s": 900}
# Where each of the planted may be: the files that keep it for its owner alone; and what is sent, tokens and whatever
# strangers put into arguments, is on its way in Redis, whose own file has it until that is rewritten.
KEPT = {
    "keys/ring.json": {"ring"},
    "keys/admin.token": {"admin token"},
    "keys/": {"signing key", "system key"},
    "stack.json": {"redis password", "redis desk password", "flower password"},
    "valkey/": {"redis password", "redis desk password", "admin token", "agent token", "argument"},
}
ON_THE_WAY = {"messages": {"admin token", "agent token"}}


class Day:
    """A desk on its day: what is asked of it over the command line, and what its pub/sub said."""

    def __init__(self, stack: Stack, canaries: Canaries, hosting: Hosting) -> None:
        self.stack, self.canaries, self.hosting = stack, canaries, hosting
        self.sessions: list[UUID] = []
        self.said: list[bytes] = []
        self._over = threading.Event()
        self._hears = threading.Thread(target=self._hear)

    @property
    def redis_url(self) -> str:
        """For who may do everything there."""
        return str(self.stack._plan.valkey.url())

    def fntx(self, *arguments: str, stdin: str = "", code: int | None = 0) -> str:
        """Run `fntx` beside the stack; what it says is searched as well."""
        program = [sys.executable, "-c", "from fntx_sessions.cli import main; main()", *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FNTX_")}
        done = subprocess.run(
            program, env=environment | {"FNTX_HOME": str(self.stack.folder.home)}, input=stdin, text=True,
            capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        assert code in (None, done.returncode), done.stdout + done.stderr
        self.canaries.search(f"fntx {' '.join(arguments[:2])}", done.stdout + done.stderr)
        return done.stdout

    def create(self, *agents: str) -> UUID:
        config = {"agents": list(agents), "feed": DAY, "step_interval_s": 0.1}
        return self.hosting.create(config=config)

    def status(self, session_id: UUID) -> str:
        return str(self.hosting.row(session_id)["status"])

    def keep(self, holder: Holder, value: str) -> None:
        desk = self.hosting.desk
        credentials.set_credential(desk.engine, desk.settings, RITA, holder, NAME, value)

    def __enter__(self) -> Self:
        self._hears.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._hears.join()

    def _hear(self) -> None:
        """Listen to all that is published: events of workers, answers, remote control."""
        with redis.Redis.from_url(self.redis_url) as client, client.pubsub() as listening:
            listening.psubscribe("*")
            while not self._over.is_set():
                told = listening.get_message(ignore_subscribe_messages=True, timeout=0.2)
                if told is not None:
                    self.said.append(told["data"])


@pytest.fixture(scope="module")
def day() -> Iterator[Day]:
    with short_directory() as folder, pytest.MonkeyPatch.context() as patch:
        # The desk makes a ring of its own.
        patch.delenv("FNTX_KEY_RING")
        home, procfile = folder / "home", folder / "Procfile"
        procfile.write_text(PROCESSES)
        canaries = Canaries()
        env = {
            "PYTHONPATH": str(TESTS), "FNTX_FLOWER_BASIC_AUTH": FLOWER,
            "FNTX_LOG_LEVEL": "DEBUG", "FNTX_LEASE_S": "4", "FNTX_LEASE_RENEW_S": "1", "FNTX_LIVENESS_INTERVAL_S": "1",
        }  # fmt: skip
        with Stack(home, env=env, procfile=procfile) as stack, beside(stack) as hosting:
            plant_the_desk_s(canaries, stack)
            with Day(stack, canaries, hosting) as made:
                live_through(made)
                yield made


@contextmanager
def beside(stack: Stack) -> Iterator[Hosting]:
    """Yield a desk in this process over the stack's stores and with its keys."""
    environment = stack.environment()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("FNTX_HOME", "FNTX_DATABASE_URL", "FNTX_REDIS_URL"):
            patch.setenv(name, environment[name])
        # Who steps a session is settled when it is made.
        agents = known_with_ours()
        patch.setattr(registry, "_found", lambda: agents)
        get_settings.cache_clear()
        settings = get_settings()
        engine = build_engine(environment["FNTX_DATABASE_URL"], settings)
        client = build_redis(environment["FNTX_REDIS_URL"], settings)
        yield Hosting(Desk(engine, client, settings))
        client.close()
        engine.dispose()
    get_settings.cache_clear()


def plant_the_desk_s(canaries: Canaries, stack: Stack) -> None:
    """Take the secrets the desk made for itself."""
    keys = stack.folder.home / "keys"
    [ring] = json.loads((keys / "ring.json").read_text())["keys"].values()
    canaries.plant("ring", base64.b64decode(ring["key"]))
    canaries.plant("admin token", (keys / "admin.token").read_text().strip())
    for name in ("signing", "system"):
        pem = (keys / f"{name}.pem").read_text().splitlines()
        canaries.plant(f"{name} key", base64.b64decode("".join(pem[1:-1])))
    for name, url in (("redis", stack._plan.valkey.url()), ("redis desk", stack.environment()["FNTX_REDIS_URL"])):
        canaries.plant(f"{name} password", redis.connection.parse_url(url)["password"])
    canaries.plant("flower password", FLOWER.split(":")[1])


def live_through(day: Day) -> None:
    """Plant credentials, then let agents use, keep, tell and lose them, a worker die, and strangers send secrets."""
    plant, hosting = day.canaries.plant, day.hosting
    good = day.create(WATCHER, "Knows", "NeverLooks", "EvaluatorAgent")
    bad = [day.create(WATCHER, name) for name in ("Raises", "Emits", "Keeps", "Hoards")]
    remote = day.create("TheirPlanner")
    template = Holder(template_name=hosting.row(good)["template_name"])
    day.keep(template, plant("template credential", "canary-template-77aa31"))
    day.keep(Holder(remote), plant("remote credential", REMOTE))
    for session_id in bad:
        day.keep(Holder(session_id), plant(f"told {session_id}", f"canary-told-{session_id.hex[:10]}"))
    value = plant("hosted credential", "canary-hosted-5e0f11")
    day.fntx("credentials", "set", NAME, "--session", str(good), stdin=value)
    for session_id in (good, *bad):
        hosting.do(T.START, session_id)
    take_part(day, remote)
    crash(day)
    value = plant("rotated credential", "canary-rotated-a9c3")
    day.fntx("credentials", "rotate", NAME, "--session", str(good), stdin=value)
    send_secrets(day)
    wait_for(lambda: day.status(good) == S.CLOSED)
    wait_for(lambda: S.ACTIVE not in {day.status(one) for one in bad})
    day.sessions = [good, *bad, remote]


def take_part(day: Day, session_id: UUID) -> None:
    """Join as an agent elsewhere, use its credential, try to report it."""
    settings = day.hosting.desk.settings
    token = day.canaries.plant("agent token", issue(settings, "their-service", ["agent"], 600))
    with AgentClient(session_id, "TheirPlanner", token=token, settings=settings) as client:
        client.join()
        known = client.credentials()
        assert known[NAME].get_secret_value() == REMOTE
        assert "canary" not in repr(known)
        with pytest.raises(Exception, match=f"credential {NAME}"):
            client.report(state={"internal_state": {"key": known[NAME].get_secret_value()}})
        client.report(state={"internal_state": {"n": 1}})


def crash(day: Day) -> None:
    """Kill the worker of the agents; its supervisor starts another."""
    before = day.stack.processes()["worker_agents"].pid
    for child in psutil.Process(before).children(recursive=True):
        child.kill()
    psutil.Process(before).kill()
    wait_for(lambda: day.stack.processes()["worker_agents"].pid not in (None, 0, before))


def send_secrets(day: Day) -> None:
    """Send secrets where none belong, as strangers' programs do: with their own words for the arguments."""
    secret = day.canaries.plant("argument", "canary-argument-1c9e")
    app = raw_app(day.redis_url)
    token = (day.stack.folder.home / "keys" / "admin.token").read_text().strip()
    for headers in ({"fntx_token": token}, {}):
        kwargs = {"session_id": str(uuid4()), "password": secret, "options": {"api_key": secret}}
        sent = app.send_task(
            "fntx.sessions.pause", kwargs=kwargs, queue="commands", headers=headers, task_id=str(uuid4()),
            argsrepr="()", kwargsrepr=repr(kwargs),
        )  # fmt: skip
        answer = sent.get(timeout=30)
        assert answer["state"] == "refused"
    app.close()


def test_no_table_holds_any(day):
    """Every column of every table, partitions and bytea included."""
    owner = day.stack._plan.postgres.url()
    search_postgres(day.canaries, owner, may_hold=())
    assert day.canaries.seen() == []


def test_redis_holds_none_but_messages_their_tokens(day):
    """Every key of every kind, as it is and as base64; and all that was published during the day."""
    search_redis(day.canaries, day.redis_url, ON_THE_WAY)
    day.canaries.search("published", b"\n".join(day.said))
    assert len(day.said) > 20
    assert day.canaries.seen() == []


def test_no_file_holds_any_but_those_that_keep_them(day):
    """Postgres' own files and its log of changes, the cold store, local backups, logs, the stack's notes."""
    search_files(day.canaries, day.stack.folder.home, KEPT)
    logs = "".join(path.read_text(errors="replace") for path in day.stack.folder.logs.iterdir())
    for line in ("agent_failed", "still connected with ***", "Authorization: ***"):
        assert line in logs
    assert "canary" not in logs.replace("canary_app", "")
    assert day.canaries.seen() == []


def test_no_command_line_holds_any_and_no_environment_a_key(day):
    """Passwords of the stores are told to the stack's own processes by environment; nothing else is."""
    processes = find_orphans(day.stack.folder.home)
    assert len(processes) > 6
    search_processes(day.canaries, processes, {"redis desk password", "flower password"})
    assert day.canaries.seen() == []
    for process in processes:
        if "worker" in " ".join(process.cmdline()):
            assert process.rlimit(psutil.RLIMIT_CORE)[0] == 0


def test_no_page_shows_any(day):
    """Flower's own pages, ours, the API and the figures."""
    person = Person(f"http://127.0.0.1:{day.stack.environment()['FNTX_FLOWER_PORT']}",
                    Authorization="Basic " + base64.b64encode(FLOWER.encode()).decode())  # fmt: skip
    own = [f"/sessions/{one}{tab}" for one in day.sessions for tab in ("", "/agents", "/events", "/history", "/state")]
    pages = ["/", "/workers", "/tasks", "/broker", "/sessions", "/metrics", "/api/tasks?limit=1000", "/api/workers"]
    shown = 0
    for page in pages + own:
        answer = person.get(page)
        shown += answer.status == 200
        day.canaries.search(f"page {page}", answer.text)
    assert shown > len(pages)
    assert day.canaries.seen() == []


def test_the_command_line_shows_none(day):
    """All of it was searched as it ran; these say most."""
    day.fntx("show", str(day.sessions[1]), "--json")
    day.fntx("doctor", "--json", code=None)
    assert day.canaries.seen() == []


def test_the_search_finds_what_is_there(tmp_path):
    """A canary is seen as it is, in hex, in base64 at any place, and in JSON: else finding none would mean nothing."""
    secret = "canary/with+odd?chars\u00e9"
    for written in (
        secret.encode(), secret.encode().hex().encode(), base64.b64encode(b"x" + secret.encode() + b"yz"),
        base64.b64encode(secret.encode()), base64.urlsafe_b64encode(b"xy" + secret.encode()),
    ):  # fmt: skip
        canaries = Canaries()
        canaries.plant("it", secret)
        (tmp_path / "file").write_bytes(b"before " + written + b" after")
        search_files(canaries, tmp_path, {})
        assert canaries.found == ["file file: it"], written
