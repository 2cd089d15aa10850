"""An agents worker that hangs with positions in hand: one command closes them, and a stop is finished elsewhere."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest
from hosting import Hosting, S, T, make_hosting
from running_desk import RunningDesk, frozen, quiet_desk, wait_until
from worker_process import raw_app

from fntx_sessions.automation import hosts
from fntx_sessions.settings import Settings

FNTX = "import sys; from fntx_sessions.cli import main; main()"
__all__ = ["quiet_desk"]


@contextmanager
def held_by_a_worker(desk: RunningDesk, hosting: Hosting) -> Iterator[tuple[UUID, subprocess.Popen[bytes], str]]:
    """Yield a session with a position, the agents worker that steps it, and the worker's name as a host."""
    session_id = hosting.holding(hosting.started())
    hosts.leave(hosting.desk.engine, "h1")
    with desk.worker("-Q", "agents", "-c", "1") as worker:
        hosting.run("UPDATE session_work SET next_step_at = now() WHERE session_id = :id", id=session_id)
        raw_app(desk.redis_url).send_task("fntx.sweeps.step", queue="agents")
        host_id = lambda: hosting.row(session_id)["host_id"]  # noqa: E731
        wait_until(lambda: host_id() and not hosting.row(session_id)["step_claimed_by"], "the worker steps it")
        yield session_id, worker, host_id()


@contextmanager
def asking(settings: Settings, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command line without waiting for it; it is ended however the test ended."""
    own = {
        "FNTX_HOME": str(settings.home),
        "FNTX_DATABASE_URL": settings.database_url.get_secret_value(),
        "FNTX_REDIS_URL": settings.redis_url.get_secret_value(),
        "FNTX_AUTH_MODE": "open",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", FNTX, *arguments],
        env=os.environ | own,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until_said(process: subprocess.Popen[str], what: str) -> None:
    """Read what a command says up to a line with `what` in it."""
    said = []
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if what in line:
            return
    pytest.fail(f"never said: {what}: {said}")


def test_one_command_closes_what_a_worker_that_hangs_has_in_hand(quiet_desk: RunningDesk):
    """Its lease is young when the command begins, which goes on asking and takes over when the lease is over."""
    with make_hosting(quiet_desk.settings) as hosting, held_by_a_worker(quiet_desk, hosting) as held:
        session_id, worker, host_id = held
        with frozen(worker):
            hosting.run("UPDATE hosts SET lease_until = now() + interval '1 minute'")
            asked = ("halt", "--scope", f"session:{session_id}", "--reason", "x", "--flatten")
            with asking(quiet_desk.settings, *asked) as halt:
                until_said(halt, "agents workers close the positions")
                assert hosting.broker.positions(session_id)
                hosting.lose(host_id)
                until_said(halt, "no agents worker steps them: closing positions here")
                assert halt.wait(60) == 0
            assert hosting.broker.positions(session_id) == []
            assert hosting.row(session_id)["status"] == S.CLOSED
            fills = hosting.fills(session_id)
        raw_app(quiet_desk.redis_url).send_task("fntx.sweeps.step", queue="agents")
        wait_until(lambda: hosting.rows("SELECT 1 FROM hosts WHERE host_id = :id AND lease_until > now()", id=host_id),
                   "the worker is awake")  # fmt: skip
        assert hosting.fills(session_id) == fills
        hosting.check_books(session_id)


def test_a_stop_is_finished_by_another_worker_while_the_agents_worker_hangs(quiet_desk: RunningDesk):
    """Its sweeps fence the lost host off and step the manager's guard: flat, CLOSED; who wakes does no harm."""
    with make_hosting(quiet_desk.settings) as hosting, held_by_a_worker(quiet_desk, hosting) as held:
        session_id, worker, host_id = held
        with frozen(worker), quiet_desk.worker("-Q", "sweeps", "-c", "1"):
            hosting.do(T.STOP, session_id)
            hosting.lose(host_id)
            quiet_desk.sweep("liveness")

            def closed() -> bool:
                quiet_desk.sweep("guard")
                hosting.run("UPDATE session_work SET next_step_at = now() WHERE next_step_at IS NOT NULL")
                return bool(hosting.row(session_id)["status"] == S.CLOSED)

            wait_until(closed, "the guard closes it")
            assert hosting.broker.positions(session_id) == []
            [told] = hosting.events(session_id, "guard_stands_in")
            assert told["severity"] == "error"
            fills = hosting.fills(session_id)
        wait_until(lambda: hosting.rows("SELECT 1 FROM hosts WHERE host_id = :id AND lease_until > now()", id=host_id),
                   "the worker is awake")  # fmt: skip
        assert hosting.fills(session_id) == fills
        hosting.check_books(session_id)
