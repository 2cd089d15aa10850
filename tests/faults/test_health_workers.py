"""Health over a real worker: it measures itself, and a step that hangs in one of its processes is found and healed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from health_world import swept
from hosting import FEED, Hosting, S, make_hosting
from running_desk import RunningDesk, quiet_desk, wait_until
from worker_process import raw_app

from fntx_sessions.settings import get_settings

__all__ = ["quiet_desk"]
ENTERS_AT_ONCE = {"strategy_parameters": {"sell_put": {"entry_time": "09:30:00"}}}


@pytest.fixture
def hosting(quiet_desk: RunningDesk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosting]:
    monkeypatch.setenv("FNTX_HOME", str(quiet_desk.folder))
    get_settings.cache_clear()
    with make_hosting(quiet_desk.settings) as made:
        yield made.with_settings(agent_hung_s=2, recovery_backoff_s=1e-3, recovery_attempts_max=1000)
    get_settings.cache_clear()


def test_a_step_that_hangs_in_a_real_worker(quiet_desk: RunningDesk, hosting: Hosting, tmp_path: Path):
    """The executor's step hangs while its worker's lease stands: SUSPENDED by its name, PAUSED once the step ended.

    Until then nothing is recovered, and afterwards the books agree. The worker has measured itself all the while, and
    runs health when beat asks for it.
    """
    held, app = tmp_path / "held", raw_app(quiet_desk.redis_url)
    session_id = hosting.started(config={"step_interval_s": 0.1, "feed": FEED}, **ENTERS_AT_ONCE)
    environment = {
        "FNTX_LEASE_RENEW_S": "0.2",
        "FNTX_STEP_TIME_LIMIT_S": "120",
        "FNTX_FAILPOINTS": f"order.before_commit:hold@{held}",
    }

    def status() -> S:
        swept(hosting)
        return hosting.row(session_id)["status"]

    def ticked() -> bool:
        app.send_task("fntx.sweeps.step", queue="agents", expires=2)
        return held.exists()

    with quiet_desk.worker("-Q", "agents,sweeps", "-c", "1", **environment):
        wait_until(ticked, "the executor's step hangs")
        wait_until(lambda: status() == S.SUSPENDED, "health finds it")
        row = hosting.row(session_id)
        assert row["status_reason"].startswith("agent_hung: TacticalExecutorAgent for ")
        assert (status(), row["epoch"]) == (S.SUSPENDED, 1), "nothing is recovered while the step goes on"
        [measured] = hosting.rows("SELECT measures FROM hosts WHERE measures <> '{}'")
        held.write_text("go on")
        wait_until(lambda: status() == S.PAUSED, "it is recovered")
        hosting.run("DELETE FROM sweep_runs WHERE name = 'health'")
        app.send_task("fntx.sweeps.health", queue="sweeps")
        wait_until(lambda: hosting.rows("SELECT 1 FROM sweep_runs WHERE name = 'health'"), "the worker looks at health")
    assert hosting.row(session_id)["epoch"] == 2
    assert measured["measures"]["memory_bytes"] > 30_000_000
    assert measured["measures"]["cpu_fraction"] >= 0
    hosting.check_books(session_id)
