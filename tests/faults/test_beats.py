"""Beat is only a clock: several at once, none for a while, and slow sweeps change nothing of what is due when."""

import itertools
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis
from conftest import DatabaseServer
from hosting import FEED, Hosting, S, make_hosting
from worker_process import beat, wait_until, worker

import beat_schedule
from fntx_sessions.settings import Settings
from tasks.routes import queue_for

REDIS_DATABASE = 9
PATH = "SELECT version, to_status FROM transitions WHERE session_id = :id ORDER BY version"
# What each save and checkpoint by the clock found due, and when the next one is; what each sweep did.
LOG = """
CREATE TABLE work_log (id bigserial, kind text, session_id uuid, due timestamptz, at timestamptz, next timestamptz);
CREATE FUNCTION log_work() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.last_saved_at IS DISTINCT FROM OLD.last_saved_at THEN INSERT INTO work_log (kind, session_id, due, at, next)
    VALUES ('save', NEW.session_id, OLD.next_save_at, clock_timestamp(), NEW.next_save_at); END IF;
  IF NEW.next_checkpoint_at > OLD.next_checkpoint_at THEN INSERT INTO work_log (kind, session_id, due, at, next)
    VALUES ('checkpoint', NEW.session_id, OLD.next_checkpoint_at, clock_timestamp(), NEW.next_checkpoint_at); END IF;
  RETURN NULL; END $$;
CREATE TRIGGER log_work AFTER UPDATE ON session_work FOR EACH ROW EXECUTE FUNCTION log_work();
CREATE TABLE run_log (id bigserial, name text, at timestamptz);
CREATE FUNCTION log_run() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO run_log (name, at) VALUES (NEW.name, NEW.last_run); RETURN NULL; END $$;
CREATE TRIGGER log_run AFTER INSERT OR UPDATE OF last_run ON sweep_runs FOR EACH ROW EXECUTE FUNCTION log_run();
"""


@dataclass
class Clockwork:
    """A desk whose beats and workers a test starts; `held` holds the first save that finds it away."""

    hosting: Hosting
    folder: Path
    environment: dict[str, str]
    held: Path
    client: redis.Redis
    number: int = 0
    stack: ExitStack = field(default_factory=ExitStack)

    def beat(self) -> subprocess.Popen:
        return self.stack.enter_context(beat(self.environment, self._log("beat")))

    def worker(self, queues: str, children: int = 1, **environment: str) -> subprocess.Popen:
        log = self._log(queues.replace(",", "-"))
        told = self.environment | environment
        arguments = ("-Q", queues, "-c", str(children), "-n", f"{log.stem}@test")
        return self.stack.enter_context(worker(told, log, *arguments, app="tasks"))

    def _log(self, name: str) -> Path:
        self.number += 1
        return self.folder / f"{name}{self.number}.log"

    def started(self, save_interval_s: float = 0.5, **config: Any) -> UUID:
        # Its simulated day must outlast the test, however slow the machine is.
        wanted = {"step_interval_s": 2, "feed": FEED, "save_interval_s": save_interval_s}
        return self.hosting.started(config=wanted | config)

    def logged(self, kind: str, session_id: UUID) -> list[dict[str, Any]]:
        found = "SELECT * FROM work_log WHERE kind = :kind AND session_id = :id ORDER BY id"
        return self.hosting.rows(found, kind=kind, id=session_id)

    def runs(self, name: str) -> int:
        return self.hosting.rows("SELECT count(*) AS n FROM run_log WHERE name = :name", name=name)[0]["n"]

    def runs_on(self, name: str, times: int) -> None:
        """Wait until a sweep has run so often from here."""
        before = self.runs(name)
        wait_until(lambda: self.runs(name) >= before + times, f"{name} runs {times} times")

    def waiting(self) -> Counter[str]:
        """How many messages of each sweep lie in the queues."""
        found: Counter[str] = Counter()
        for queue in {queue_for(entry.task) for entry in beat_schedule.ENTRIES}:
            for message in self.client.lrange(queue, 0, -1):
                found.update(entry.name for entry in beat_schedule.ENTRIES if f'"{entry.task}"'.encode() in message)
        return found

    def skipped(self, name: str) -> int:
        """How many ticks of a sweep beats have left out."""
        said = f'"sweep": "fntx.sweeps.{name}"'
        logs = [line for log in self.folder.glob("beat*.log") for line in log.read_text().splitlines()]
        return sum("sweep_still_waits" in line and said in line for line in logs)


def kill(process: subprocess.Popen) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: DatabaseServer,
    module_database_url: str,
    valkey_server: str,
) -> Iterator[Clockwork]:
    url = valkey_server.rsplit("/", 1)[0] + f"/{REDIS_DATABASE}"
    folder = tmp_path_factory.mktemp("beats")
    held = folder / "held"
    environment = {
        "FNTX_HOME": str(folder), "FNTX_DATABASE_URL": module_database_url, "FNTX_REDIS_URL": url,
        "FNTX_AUTH_MODE": "open", "FNTX_KEY_RING": os.environ["FNTX_KEY_RING"], "FNTX_LOG_LEVEL": "DEBUG",
        "FNTX_SAVE_INTERVAL_S": "1000",  # no worker saves in beat's place
        "FNTX_FAILPOINTS": f"save.claimed:hold@{held}",
    }  # fmt: skip
    settings = Settings(home=folder, database_url=module_database_url, redis_url=url, auth_mode="open")
    with make_hosting(settings) as hosting, redis.Redis.from_url(url) as client:
        hosting.run(LOG)
        yield Clockwork(hosting, folder, environment, held, client)


@pytest.fixture
def clockwork(place: Clockwork) -> Iterator[Clockwork]:
    place.client.flushdb()
    place.held.write_text("let go")
    with place.stack:
        yield place
    place.hosting.run(
        "UPDATE session_work SET next_step_at = NULL, next_save_at = NULL, next_checkpoint_at = NULL, host_id = NULL, "
        "pending_due_at = NULL, next_rule_at = NULL, next_health_at = NULL, next_recovery_at = NULL;"
        "TRUNCATE work_log, run_log, sweep_runs, hosts"
    )


def check_chain(rows: list[dict[str, Any]], interval_s: float) -> None:
    """Check that each was done once it was due, once, and made the next due one interval later."""
    for before, row in itertools.pairwise(rows):
        assert row["due"] == before["next"]
    for row in rows:
        assert row["at"] >= row["due"]
        assert (row["next"] - row["due"]).total_seconds() >= interval_s


def test_three_beats_save_and_checkpoint_no_oftener_than_one(clockwork):
    """Each session at its own intervals, whoever sends how many ticks; a rule decides once; no beat is missed."""
    clockwork.worker("sweeps,checkpoints,agents", 3)
    always = [{"condition": "day_of_week", "value": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}]
    by_rule = clockwork.hosting.create(config={"feed": {"kind": "published"}, "auto_start_conditions": always})
    quick, slow = clockwork.started(0.5, checkpoint_interval_s=1), clockwork.started(3)
    beats = [clockwork.beat() for _ in range(3)]
    wait_until(lambda: len(clockwork.logged("save", quick)) >= 4, "it was saved some times")
    kill(beats[0])
    begun = len(clockwork.logged("save", slow))
    wait_until(lambda: len(clockwork.logged("save", slow)) >= begun + 2, "the slow one was saved twice more")
    wait_until(lambda: len(clockwork.logged("checkpoint", quick)) >= 3, "it was checkpointed some times")
    check_chain(clockwork.logged("save", quick), 0.5)
    check_chain(clockwork.logged("save", slow), 3)
    check_chain(clockwork.logged("checkpoint", quick), 1)
    *awaited, made = clockwork.logged("checkpoint", slow)
    check_chain([made], 900)
    # Until its first step there is nothing to keep: it is come back for soon.
    assert all(row["next"] - row["due"] < timedelta(seconds=900) for row in awaited)
    clockwork.runs_on("rules", 2)
    path = clockwork.hosting.rows(PATH, id=by_rule)
    assert [row["to_status"] for row in path] == [S.INITIALIZING, S.ACTIVE]
    decided = "SELECT outcome FROM rule_decisions WHERE session_id = :id AND action = 'start'"
    assert len(clockwork.hosting.rows(decided, id=by_rule)) == 1


def test_beats_that_were_dead_cost_one_catch_up(clockwork):
    """A minute without any: what was due twelve times is done once, and each sweep is sent once for it."""
    first = clockwork.beat()
    clockwork.worker("sweeps,checkpoints,maintenance", 2)
    session_id = clockwork.started(5)
    wait_until(lambda: clockwork.logged("save", session_id), "it is saved")
    wait_until(lambda: clockwork.runs("retention"), "what runs each minute ran as beat began")
    kill(first)
    clockwork.hosting.run(
        "UPDATE session_work SET next_save_at = next_save_at - interval '1 min' WHERE session_id = :id;"
        "UPDATE sweep_runs SET last_run = last_run - interval '1 min'; TRUNCATE work_log, run_log", id=session_id,
    )  # fmt: skip
    clockwork.beat()
    wait_until(lambda: clockwork.logged("save", session_id), "it is saved")
    clockwork.runs_on("save", 3)
    saves = clockwork.logged("save", session_id)
    assert [(row["at"] - row["due"]).total_seconds() > 50 for row in saves] == [True] + [False] * (len(saves) - 1)
    check_chain(saves, 5)
    assert clockwork.runs("retention") == 1


def test_a_sweep_that_outlasts_its_interval_neither_overlaps_nor_piles_up(clockwork):
    """A save takes long: nobody else saves its session meanwhile, others are saved on time, few messages wait."""
    clockwork.worker("sweeps,agents", 3)
    held = clockwork.started(0.5)
    clockwork.beat()
    wait_until(lambda: clockwork.logged("save", held), "it is saved")
    clockwork.held.unlink()
    wait_until(clockwork.held.exists, "a save is held")
    claimed = "SELECT save_claimed_until FROM session_work WHERE session_id = :id AND save_claimed_until > now()"
    assert clockwork.hosting.rows(claimed, id=held)
    done, other = len(clockwork.logged("save", held)), clockwork.started(0.5)
    for _ in range(4):
        clockwork.runs_on("save", 1)
        assert clockwork.waiting()["save"] <= 1
    wait_until(lambda: len(clockwork.logged("save", other)) >= 2, "another session is saved meanwhile")
    assert len(clockwork.logged("save", held)) == done
    clockwork.held.write_text("let go")
    wait_until(lambda: len(clockwork.logged("save", held)) >= done + 2, "it is saved again")
    check_chain(clockwork.logged("save", held), 0.5)


def test_of_a_sweep_one_message_waits(clockwork):
    """Nobody is free to take any: two beats leave out what still waits; once somebody is, it is caught up once."""
    clockwork.worker("sweeps", 1)
    session_id = clockwork.started(0.5)
    for _ in range(2):
        clockwork.beat()
    clockwork.held.unlink()
    wait_until(clockwork.held.exists, "a save is held")
    left_out = clockwork.skipped("save")
    wait_until(lambda: clockwork.skipped("save") >= left_out + 4, "ticks are left out")
    assert max(clockwork.waiting().values()) <= 2  # two beats may look at the same moment
    clockwork.held.write_text("let go")
    clockwork.runs_on("save", 2)
    check_chain(clockwork.logged("save", session_id), 0.5)


def test_a_worker_tells_that_beat_is_dead_and_that_it_is_back(clockwork):
    """No sweep can say that none runs: a worker's own thread does, and takes it back."""
    clockwork.worker("sweeps", FNTX_BEAT_LATE_S="2")
    first = clockwork.beat()
    clockwork.runs_on("save", 1)
    kill(first)
    stands = "SELECT FROM alerts WHERE name = 'beat_late' AND cleared_at IS NULL"
    wait_until(lambda: clockwork.hosting.rows(stands), "the alert is raised")
    clockwork.beat()
    wait_until(lambda: not clockwork.hosting.rows(stands), "the alert is cleared")


def test_two_beats_and_three_workers_lose_one_of_each(clockwork):
    """A worker and a beat are killed: its sessions go on under a new epoch, all are saved on, nothing is done twice."""
    soon = {"FNTX_LEASE_S": "4", "FNTX_LEASE_RENEW_S": "0.5", "FNTX_LIVENESS_INTERVAL_S": "1"}
    place = replace(clockwork, environment=clockwork.environment | soon)
    workers = {f"{number}": place.worker("agents,sweeps,checkpoints", 2, **soon) for number in range(3)}
    beats = [place.beat() for _ in range(2)]
    ids = [place.started(0.5, auto_resume_after_recovery=True) for _ in range(6)]
    wait_until(lambda: all(place.hosting.row(one)["host_id"] for one in ids), "all are hosted")
    wait_until(lambda: all(place.logged("save", one) for one in ids), "all were saved")
    hosts = {row["host_id"]: row["pid"] for row in place.hosting.rows("SELECT host_id, pid FROM hosts")}
    lost_host = place.hosting.row(ids[0])["host_id"]
    [victim] = [process for process in workers.values() if process.pid == hosts[lost_host]]
    kill(beats[0])
    kill(victim)
    lost = place.hosting.rows("SELECT session_id FROM session_work WHERE host_id = :id", id=lost_host)
    lost = {row["session_id"] for row in lost}
    assert ids[0] in lost
    wait_until(lambda: all(is_back(place.hosting.row(one), lost_host) for one in ids), "all go on elsewhere")
    saved = {one: len(place.logged("save", one)) for one in ids}
    wait_until(lambda: all(len(place.logged("save", one)) > saved[one] + 1 for one in ids), "all are saved on")
    for one in ids:
        path = place.hosting.rows(PATH, id=one)
        assert [row["version"] for row in path] == sorted({row["version"] for row in path})
        recovered = [S.SUSPENDED, S.PAUSED, S.ACTIVE] if one in lost else []
        assert [row["to_status"] for row in path] == [S.INITIALIZING, S.ACTIVE, *recovered]
        assert place.hosting.row(one)["epoch"] == 1 + (one in lost)


def is_back(row: dict[str, Any], lost_host: str) -> bool:
    return row["status"] == S.ACTIVE and row["host_id"] not in {None, lost_host}
