"""The desk's own health: what is down is a finding, from the command line with anything down, and an alert."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from health_world import REMOTE, aged, remote, report, swept
from hosting import SYSTEM, Hosting, S, make_hosting, shared

from fntx_sessions.automation import alerts, hosts
from fntx_sessions.automation.health import sweep as health
from fntx_sessions.automation.health.model import Grade
from fntx_sessions.cli.app import run
from fntx_sessions.cli.exits import Exit
from fntx_sessions.settings import Settings, get_settings
from fntx_sessions.stack.desk_health import ALERTED, alert_desk, check_desk
from fntx_sessions.testing import failpoints_armed
from tasks.health import desk_health, session_health
from tasks.routes import queue_for

NOWHERE = {"FNTX_REDIS_URL": "redis://127.0.0.1:1", "FNTX_DATABASE_URL": "postgresql://127.0.0.1:1/nothing"}


@pytest.fixture
def hosting(
    tmp_path: Path, module_database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hosting]:
    monkeypatch.setenv("FNTX_HOME", str(tmp_path))
    monkeypatch.setenv("FNTX_DATABASE_URL", module_database_url)
    monkeypatch.setenv("FNTX_REDIS_URL", redis_url)
    get_settings.cache_clear()
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made
        made.run("UPDATE session_work SET next_health_at = NULL; DELETE FROM session_health; DELETE FROM alerts")
    get_settings.cache_clear()


def told(settings: Settings) -> dict[str, str]:
    return {check.name: check.grade.value for check in check_desk(settings)[0]}


def sick(hosting: Hosting):
    """A session whose agent is dead."""
    session_id = remote(hosting)
    aged(hosting, session_id)
    report(hosting, session_id, ago_s=200)
    return session_id


def test_the_desk_is_told_worst_first(hosting, capsys):
    """Sessions by grade and the worst by name, halts, workers; the exit code says that something failed."""
    session_id = sick(hosting)
    hosts.renew(hosting.desk.engine, hosting.desk.settings, "h1", "agents", {"memory_bytes": 3_000_000_000})
    hosting.run("INSERT INTO halts (halt_id, scope, reason, actor) VALUES (gen_random_uuid(), 'all', 'storm', 'ann')")
    swept(hosting.with_settings(health_suspensions_per_sweep=0))
    assert run(["health", "--json"]) == Exit.UNHEALTHY
    found = json.loads(capsys.readouterr().out)
    grades = [check["grade"] for check in found["checks"]]
    assert grades == sorted(grades, key=["failed", "degraded", "ok"].index)
    by_name = {check["name"]: check for check in found["checks"]}
    assert by_name["sessions"]["grade"] == "failed"
    assert "h1: 3000 MB" in by_name["worker_load"]["reason"]
    assert by_name["halts"]["reason"].startswith("all since ")
    assert [one["session_id"] for one in found["sessions"]] == [str(session_id)]
    assert run(["health"]) == Exit.UNHEALTHY
    assert f"no heartbeat from {REMOTE}" in " ".join(capsys.readouterr().out.split())
    hosting.run("UPDATE halts SET released_at = now(), released_by = 'ann'")


def test_one_session_is_told_by_its_first_characters(hosting, capsys):
    """Every check with its limit and what to do; 6 where one failed, 4 and 2 where there is no such session."""
    session_id = sick(hosting)
    assert run(["health", str(session_id)[:13], "--json"]) == Exit.UNHEALTHY
    found = json.loads(capsys.readouterr().out)
    [dead] = [check for check in found["checks"] if check["name"] == "agent_dead"]
    assert (dead["grade"], dead["limit"], dead["subject"]) == ("failed", 120.0, REMOTE)
    assert dead["fix"]
    report(hosting, session_id)
    assert run(["health", str(session_id)]) == Exit.DONE
    assert REMOTE in capsys.readouterr().out
    assert run(["health", "0123456789"]) == Exit.NOT_FOUND
    assert run(["health", "xyz"]) == Exit.USAGE


def test_with_redis_down_it_says_what_it_could_not_see(hosting, capsys, monkeypatch):
    """The desk: Redis failed, the rest as it is. A session: what only Redis knows is not seen, and never ok."""
    session_id = remote(hosting)
    monkeypatch.setenv("FNTX_REDIS_URL", NOWHERE["FNTX_REDIS_URL"])
    assert run(["health", "--json"]) == Exit.UNHEALTHY
    by_name = {check["name"]: check["grade"] for check in json.loads(capsys.readouterr().out)["checks"]}
    assert (by_name["redis"], by_name["queues"], by_name["postgres"]) == ("failed", "degraded", "ok")
    assert run(["health", str(session_id)]) == Exit.UNHEALTHY
    assert "Redis is out of reach: its agents and the market were not seen" in capsys.readouterr().err
    assert run(["health", str(session_id), "--json"]) == Exit.UNHEALTHY
    by_name = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    for name in ("agent_dead", "agent_hung", "agent_quiet", "agent_memory", "market_data"):
        assert by_name[name]["grade"] == "degraded"
        assert by_name[name]["reason"].startswith("not seen")


def test_with_postgres_down_it_says_what_it_could_not_see(hosting, capsys, monkeypatch):
    """The desk is told as far as it can be seen; one session cannot be, and that is exit code 5."""
    monkeypatch.setenv("FNTX_DATABASE_URL", NOWHERE["FNTX_DATABASE_URL"])
    assert run(["health", "--json"]) == Exit.UNHEALTHY
    by_name = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert (by_name["postgres"]["grade"], by_name["redis"]["grade"]) == ("failed", "ok")
    assert by_name["sessions"]["reason"] == "not seen: Postgres is out of reach"
    assert run(["health", "0123456789"]) == Exit.UNAVAILABLE


def test_without_any_address_it_says_how_to_start(hosting, capsys, monkeypatch):
    """No stack, no address: both stores failed, with what to run."""
    monkeypatch.delenv("FNTX_DATABASE_URL")
    monkeypatch.delenv("FNTX_REDIS_URL")
    assert run(["health"]) == Exit.UNHEALTHY
    assert "no stack runs here" in " ".join(capsys.readouterr().out.split())


def test_what_fails_on_the_desk_is_an_alert_until_it_does_not(hosting):
    """No agents worker while sessions wait to be stepped: raised once, cleared when one lives again."""
    hosting.started()
    hosting.run("DELETE FROM hosts")
    alert_desk(hosting.desk)
    assert [one.name for one in alert_desk(hosting.desk).raised] == []
    assert [one.name for one in alerts.standing(hosting.desk.engine)] == ["desk_workers"]
    hosts.renew(hosting.desk.engine, hosting.desk.settings, "h1", "agents")
    assert [one.name for one in alert_desk(hosting.desk).cleared] == ["desk_workers"]
    assert set(ALERTED) <= set(told(hosting.desk.settings))


def test_a_key_ring_that_cannot_be_read_fails(hosting, monkeypatch):
    """Nothing could be sealed or opened; it is said at the desk."""
    broken = hosting.desk.settings.model_copy(update={"key_ring": None, "key_ring_file": Path("/nonexistent")})
    assert told(broken)["key_ring"] == Grade.FAILED


def test_the_tasks_answer_what_the_command_line_does(hosting, monkeypatch):
    """fntx.health.desk and fntx.health.session are questions, and answered by whoever answers questions."""
    session_id = sick(hosting)
    monkeypatch.setattr("tasks.health.desk", lambda: hosting.desk)
    assert {check["name"] for check in desk_health()["checks"]} == set(told(hosting.desk.settings))
    from fntx_sessions.lifecycle.arguments import QueryArguments  # noqa: PLC0415

    assert session_health(QueryArguments(session_id=session_id))["grade"] == "failed"
    assert {queue_for(name) for name in ("fntx.health.desk", "fntx.health.session")} == {"queries"}
    assert queue_for("fntx.sweeps.health") == "sweeps"


def test_killed_between_suspension_and_recovery_it_is_recovered_by_the_next(hosting):
    """The mark is in the suspension's own commit: whoever sweeps next heals the session."""
    session_id = remote(hosting)
    hosting.save(session_id)
    hosting.run(
        "UPDATE session_work SET last_saved_at = now() - interval '400 s', next_health_at = now() "
        "WHERE session_id = :id",
        id=session_id,
    )
    hosting.run("UPDATE sessions SET started_at = now() - interval '1 hour' WHERE session_id = :id", id=session_id)
    child = os.fork()
    if child == 0:
        try:
            with make_hosting(hosting.desk.settings) as own, failpoints_armed("health.suspended:kill"):
                health.sweep(own.desk, SYSTEM)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert hosting.row(session_id)["status"] == S.SUSPENDED
    assert health.sweep(hosting.desk, SYSTEM).healed.recovered == [session_id]
    assert hosting.row(session_id)["status"] == S.PAUSED
