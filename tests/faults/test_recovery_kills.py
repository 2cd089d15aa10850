"""A recovery killed at each step, raced and cut off: another finishes it; what stands is old or new, never mixed."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from hosting import Hosting, S, T, make_hosting, shared
from own_postgres import own_server
from recovery_world import flipped, layered, lose_redis, memory, run_of, steps_in

from fntx_sessions.exceptions import FntxError, Unavailable
from fntx_sessions.lifecycle.recovery import restoring
from fntx_sessions.settings import get_settings
from fntx_sessions.state.redis_client import build_redis
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.memory import get_memory
from fntx_sessions.testing import failpoints_armed

STEPS = (
    "recovery.begun", "recovery.fenced", "recovery.verified", "recovery.put_back", "recovery.compared",
    "recovery.cancelled", "recovery.asked", "recovery.reconciled", "recovery.restored",
)  # fmt: skip


@pytest.fixture
def hosting(
    tmp_path: Path, module_database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hosting]:
    monkeypatch.setenv("FNTX_HOME", str(tmp_path))
    get_settings.cache_clear()
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made
    get_settings.cache_clear()


def killed(hosting: Hosting, act: Callable[[Hosting], object], failpoint: str) -> None:
    """Do something in a process of its own, with connections of its own, that must end by SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            with make_hosting(hosting.desk.settings) as own, failpoints_armed(f"{failpoint}:kill"):
                act(own)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the process came through"
    assert os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize("point", STEPS)
def test_killed_at_a_step_it_is_finished_by_another(hosting, point):
    """Nothing or all of the save is in Redis after the kill; the next attempt ends PAUSED with it, told as it was."""
    session_id, _ = layered(hosting)
    saved, lost = memory(hosting, session_id), uuid4()
    lose_redis(hosting, session_id)
    killed(hosting, lambda own: own.ask(T.RECOVER, session_id, command_id=lost), point)
    assert memory(hosting, session_id) in ({}, saved)
    row = hosting.row(session_id)
    assert (row["status"], row["epoch"]) == (S.SUSPENDED, 2)
    hosting.save(session_id)  # what the sweep would do meanwhile: no half of it may become the save
    assert hosting.finish() == {"recover_done": 1}
    assert memory(hosting, session_id) == saved
    row = hosting.row(session_id)
    assert (row["status"], row["epoch"], row["pending"]) == (S.PAUSED, 3, None)
    assert row["recovery_data"]["source"].startswith("latest save, from redis")
    assert row["recovery_data"]["rto_s"] > 0
    assert run_of(hosting, lost)["state"] == "done"
    assert hosting.ask(T.RECOVER, session_id, command_id=lost).epoch == 3
    hosting.check_books(session_id)


def test_killed_after_the_answer_the_run_is_closed_by_the_next(hosting):
    """The command is done; only the note of its run is missing, and the next recovery sets it right."""
    session_id, _ = layered(hosting)
    lost = uuid4()
    killed(hosting, lambda own: own.ask(T.RECOVER, session_id, command_id=lost), "recovery.finished")
    assert hosting.row(session_id)["status"] == S.PAUSED
    assert hosting.ask(T.RECOVER, session_id, command_id=lost).state == "done"
    hosting.do(T.RECOVER, session_id)
    assert run_of(hosting, lost)["state"] == "done"


def test_killed_between_calling_a_person_and_the_refusal(hosting):
    """Nothing could be put back: asked again, it is refused with the same words, and the person stays called."""
    session_id, made = layered(hosting)
    lose_redis(hosting, session_id, hot=True)
    flipped(hosting, "saves", session_id)
    flipped(hosting, "checkpoints", made.checkpoint_id)
    lost = uuid4()
    killed(hosting, lambda own: own.ask(T.RECOVER, session_id, command_id=lost), "recovery.called")
    assert hosting.row(session_id)["requires_action"]
    assert hosting.finish() == {"recover_refused": 1}
    row = hosting.row(session_id)
    assert (row["status"], row["pending"]) == (S.SUSPENDED, None)
    assert str(made.checkpoint_id) in row["requires_action"]


def test_what_one_attempt_proved_bad_the_next_does_not_read(hosting, monkeypatch):
    """The damaged save is not opened a second time, and its reason is still told."""
    session_id, made = layered(hosting)
    lose_redis(hosting, session_id, hot=True)
    flipped(hosting, "saves", session_id)
    killed(hosting, lambda own: own.ask(T.RECOVER, session_id), "recovery.verified")
    judged, judge = [], restoring.judge

    def noting(stores, facts, candidate, accept):
        judged.append(candidate.key)
        return judge(stores, facts, candidate, accept)

    monkeypatch.setattr(restoring, "judge", noting)
    assert hosting.finish() == {"recover_done": 1}
    assert "postgres" not in judged
    data = hosting.row(session_id)["recovery_data"]
    assert data["source"] == f"checkpoint {made.checkpoint_id}"
    assert "latest save, from postgres" in [one["source"] for one in data["passed_over"]]


def test_two_recoveries_at_once_end_in_one_state(hosting):
    """Two commands by two workers: one ends done, the other is done or refused by name; one memory, one epoch."""
    session_id, _ = layered(hosting)
    saved = memory(hosting, session_id)
    lose_redis(hosting, session_id)
    barrier = threading.Barrier(2)

    def ask(command_id):
        barrier.wait()
        try:
            return hosting.ask(T.RECOVER, session_id, command_id=command_id).state
        except FntxError as error:
            return type(error).__name__

    ids = [uuid4(), uuid4()]
    with ThreadPoolExecutor(2) as pool:
        states = list(pool.map(ask, ids))
    while hosting.row(session_id)["pending"] is not None:
        hosting.finish()
    assert set(states) <= {"done", "refused", "pending", "Busy"}
    row = hosting.row(session_id)
    assert row["status"] == S.PAUSED
    assert memory(hosting, session_id) == saved
    final = [hosting.ask(T.RECOVER, session_id, command_id=one) for one in ids]
    assert "done" in {outcome.state for outcome in final}
    assert {run_of(hosting, one)["state"] for one in ids if one} <= {"done", "failed", "running"}


@pytest.mark.parametrize(
    ("trigger", "point"),
    [
        (T.STOP, "recovery.begun"),
        (T.STOP, "recovery.verified"),
        (T.STOP, "recovery.reconciled"),
        (T.PAUSE, "recovery.verified"),
        (T.RESUME, "recovery.reconciled"),
        (T.UPDATE, "recovery.verified"),
    ],
)
def test_a_command_in_the_middle_of_a_recovery(hosting, monkeypatch, trigger, point):
    """A stop overtakes it and closes; what needs the session whole is refused; an edit goes through beside it."""
    session_id, _ = layered(hosting)
    saved = memory(hosting, session_id)
    lose_redis(hosting, session_id)
    command_id, answers = uuid4(), []
    more = {"config": {"tags": ["meanwhile"]}} if trigger is T.UPDATE else {}

    def meanwhile(name):
        if name == point and not answers:
            answers.append(hosting.ask(trigger, session_id, **more))

    for module in ("run", "restoring", "settling"):
        monkeypatch.setattr(f"fntx_sessions.lifecycle.recovery.{module}.failpoint", meanwhile)
    outcome = hosting.ask(T.RECOVER, session_id, command_id=command_id)
    row = hosting.row(session_id)
    if trigger is T.STOP:
        assert (outcome.state, row["status"]) == ("refused", S.CLOSING)
        assert hosting.ask(T.RECOVER, session_id, command_id=command_id).state == "refused"
        return
    assert answers[0].state == ("done" if trigger is T.UPDATE else "refused")
    assert (outcome.state, row["status"]) == ("done", S.PAUSED)
    assert memory(hosting, session_id) == saved


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["crashed", "stopped"])
def test_postgres_gone_in_mid_restore(tmp_path, redis_url, monkeypatch, number):
    """Answered as out of reach, nothing lost: when it runs again the same command is finished."""
    monkeypatch.setenv("FNTX_HOME", str(tmp_path))
    get_settings.cache_clear()
    with own_server() as own, make_hosting(shared(tmp_path, own.server.url(), redis_url)) as hosting:
        session_id, _ = layered(hosting)
        saved, command_id = memory(hosting, session_id), uuid4()
        lose_redis(hosting, session_id)
        with monkeypatch.context() as patched:
            patched.setattr(restoring, "failpoint", lambda name: name == "recovery.put_back" and own.end(number))
            with pytest.raises(Unavailable, match="Postgres"):
                hosting.ask(T.RECOVER, session_id, command_id=command_id)
            with pytest.raises(Unavailable, match="Postgres"):
                hosting.ask(T.RECOVER, session_id, command_id=command_id)
        own.start()
        assert hosting.row(session_id)["status"] == S.SUSPENDED
        assert hosting.finish() == {"recover_done": 1}
        assert memory(hosting, session_id) == saved
        assert hosting.ask(T.RECOVER, session_id, command_id=command_id).state == "done"
        hosting.check_books(session_id)
    get_settings.cache_clear()


def test_redis_gone_in_mid_recovery(hosting):
    """Nothing can be put back without it: the command waits, and is finished when it is there again."""
    session_id, _ = layered(hosting)
    saved, command_id = memory(hosting, session_id), uuid4()
    away = build_redis("redis://127.0.0.1:1/0", hosting.desk.settings)
    without = Hosting(type(hosting.desk)(hosting.desk.engine, away, hosting.desk.settings))
    with pytest.raises(Unavailable, match="Redis"):
        without.ask(T.RECOVER, session_id, command_id=command_id)
    away.close()
    assert hosting.finish() == {"recover_done": 1}
    assert memory(hosting, session_id) == saved
    assert steps_in(hosting, session_id) > 1


def test_redis_flushed_under_a_running_session(hosting):
    """The next step finds out: suspended, recovered from the save, PAUSED, the loss told in seconds."""
    session_id, _ = layered(hosting, suspend=False)
    saved = memory(hosting, session_id)
    hosting.desk.redis.flushdb()
    hosting.step()
    row = hosting.row(session_id)
    assert (row["status"], row["holds"]) == (S.PAUSED, ["recovery"])
    assert memory(hosting, session_id) == saved
    assert row["recovery_data"]["state_lost_s"] >= 0


def test_health_falls_back_and_then_calls_a_person(hosting):
    """A lost host's session whose every copy is damaged: SUSPENDED, guarded, and a person told what was tried."""
    session_id, made = layered(hosting, suspend=False)
    lose_redis(hosting, session_id, hot=True)
    flipped(hosting, "saves", session_id)
    flipped(hosting, "checkpoints", made.checkpoint_id)
    get_memory().delete(Ref(session_id, made.checkpoint_id))
    hosting.run("INSERT INTO hosts (host_id, pid, node, lease_until) VALUES ('h9', 1, 'n', now() + interval '1 day')")
    hosting.lose("h1")
    watch = hosting.watch()
    assert list(watch.failed) == [session_id]
    row = hosting.row(session_id)
    assert (row["status"], row["pending"]) == (S.SUSPENDED, None)
    assert "latest save, from postgres" in row["requires_action"]
    assert f"fntx recover {session_id}" in row["requires_action"]
