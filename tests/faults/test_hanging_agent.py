"""One agent's step hangs for good in a real worker: the other sessions wait behind it once, and never again."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from uuid import UUID

import pytest
from health_world import swept
from hosting import FEED, Hosting, S, T, make_hosting
from running_desk import RunningDesk, quiet_desk
from worker_process import raw_app, wait_until, worker

from fntx_sessions.settings import get_settings

__all__ = ["quiet_desk"]
# No entries: nothing but steps is looked at here.
IDLE = {"strategy_parameters": {"sell_put": {"entry_time": "15:59:00"}}}


@pytest.fixture
def hosting(quiet_desk: RunningDesk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosting]:
    monkeypatch.setenv("FNTX_HOME", str(quiet_desk.folder))
    get_settings.cache_clear()
    with make_hosting(quiet_desk.settings) as made:
        yield made
    get_settings.cache_clear()


@pytest.fixture
def ticking(quiet_desk: RunningDesk) -> Iterator[None]:
    """Ask for steps as beat does."""
    ended, app = Event(), raw_app(quiet_desk.redis_url)

    def tick() -> None:
        while not ended.wait(0.2):
            with suppress(OSError):
                app.send_task("fntx.sweeps.step", queue="agents", expires=1)

    thread = Thread(target=tick)
    thread.start()
    yield
    ended.set()
    thread.join()


def hangs(hosting: Hosting, session_id: UUID) -> int:
    return hosting.row(session_id)["agent_failures"].get("hung", 0)


def hangs_again(hosting: Hosting, session_id: UUID, times: int) -> bool:
    """Tell whether a process is in the step of a session that has hung so often."""
    row = hosting.row(session_id)
    return row["agent_failures"].get("hung") == times and row["step_claimed_by"] not in (None, "interrupted")


def beside(hosting: Hosting, session_id: UUID) -> list[UUID]:
    """Return the sessions that the process which steps this one has claimed, too."""
    found = hosting.rows(
        "SELECT o.session_id FROM session_work w JOIN session_work o ON o.step_claimed_by = w.step_claimed_by "
        "WHERE w.session_id = :id AND w.step_claimed_by <> 'interrupted' AND o.session_id <> :id",
        id=session_id,
    )
    return [row["session_id"] for row in found]


def all_go_on(hosting: Hosting, session_ids: list[UUID]) -> None:
    """Wait until each of the sessions was stepped from here."""
    before = {one: hosting.row(one)["clock_at"] for one in session_ids}
    wait_until(
        lambda: all(hosting.row(one)["clock_at"] != clock for one, clock in before.items()), "the others are stepped"
    )


def test_a_step_that_hangs_starves_nobody_twice(quiet_desk: RunningDesk, hosting: Hosting, ticking: None):
    """Killed, charged, then stepped alone by one process while the other steps the rest; after the cap, a person's.

    Health brings it back neither when its agent is set aside nor afterwards; a person's recovery begins a new count.
    """
    config = {"step_interval_s": 0.2, "feed": FEED}
    sessions = [hosting.started(config=config, **IDLE) for _ in range(5)]
    faulty, others = sessions[2], [*sessions[:2], *sessions[3:]]
    environment = quiet_desk._environment() | {"FNTX_STEP_TIME_LIMIT_S": "4", "FNTX_LEASE_RENEW_S": "0.2"}
    log = Path(quiet_desk.folder) / "hanging.log"
    with worker(environment, log, "-Q", "agents", "-c", "2", "-n", "hanging@test", app="hanging_app"):
        all_go_on(hosting, sessions)
        (quiet_desk.folder / "hangs").write_text(str(faulty))
        wait_until(lambda: hangs(hosting, faulty) == 1, "its process is killed, and it is charged")
        for times in (1, 2):
            wait_until(lambda times=times: hangs_again(hosting, faulty, times), f"it hangs after {times} kills")
            assert beside(hosting, faulty) == []
            all_go_on(hosting, others)
            assert hangs(hosting, faulty) == times, "they went on while it hung"
        wait_until(lambda: hangs(hosting, faulty) == 3, "it was killed three times")
        (quiet_desk.folder / "hangs").unlink()
        wait_until(lambda: hosting.row(faulty)["status"] == S.SUSPENDED, "its agent is set aside")
        swept(hosting)
        row = hosting.row(faulty)
        assert (row["status"], row["epoch"], row["agent_failures"]["EvaluatorAgent"]) == (S.SUSPENDED, 1, 3)
        assert f"fntx recover {faulty}" in row["requires_action"]
        assert all(hosting.row(one)["agent_failures"] == {} for one in others)
        hosting.do(T.RECOVER, faulty)
        assert (hosting.row(faulty)["agent_failures"], hosting.row(faulty)["requires_action"]) == ({}, None)
