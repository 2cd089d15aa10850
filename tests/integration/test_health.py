"""Health: what is wrong with which agent, what it does to its session, and when health distrusts itself."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest
from billiard import pool
from health_world import REMOTE, aged, checks, grade, remote, report, stands_still, swept
from hosting import SYSTEM, Hosting, S, T, failing, make_hosting, shared
from sqlalchemy import event
from state_world import World

from fntx_sessions.agents.note import own_note, under_way
from fntx_sessions.automation import alerts, hosts
from fntx_sessions.automation.health import healing
from fntx_sessions.automation.health import sweep as health
from fntx_sessions.automation.host_measures import Measuring
from fntx_sessions.exceptions import InvalidArgument, NotFound
from fntx_sessions.settings import get_settings
from fntx_sessions.state.redis_client import build_redis
from fntx_sessions.state.saves import save_sessions

RISK = "RiskManagerAgent"


@pytest.fixture
def hosting(
    tmp_path: Path, module_database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hosting]:
    monkeypatch.setenv("FNTX_HOME", str(tmp_path))  # where processes note what they step
    get_settings.cache_clear()
    own_note.cache_clear()
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made
        made.run("UPDATE session_work SET next_health_at = NULL; DELETE FROM session_health; DELETE FROM alerts")
    get_settings.cache_clear()
    own_note.cache_clear()


def alive(hosting: Hosting, host_id: str = "h1", **measures: object) -> None:
    hosts.renew(hosting.desk.engine, hosting.desk.settings, host_id, "agents", measures)


def hosted(hosting: Hosting, **asked: object):
    """A started session that h1 has stepped, begun an hour ago."""
    session_id = hosting.started(**asked)
    hosting.step()
    aged(hosting, session_id)
    return session_id


def test_a_session_that_does_well_is_ok_and_tells_nothing(hosting):
    """Every check is ok; the look is kept, due again within the interval, and no event is made."""
    session_id = hosted(hosting)
    assert {check["grade"] for check in checks(hosting, session_id).values()} == {"ok"}
    assert (swept(hosting).looked, swept(hosting).failed) == (1, 0)
    [row] = hosting.rows("SELECT * FROM session_health")
    assert (row["grade"], row["checks"], row["failures"]) == ("ok", [], 0)
    due = "SELECT next_health_at > now() AND next_health_at <= now() + interval '60 s' AS due FROM session_work"
    assert hosting.rows(due + " WHERE session_id = :id", id=session_id)[0]["due"]
    assert hosting.events(session_id, "health_changed") == []


def test_a_step_that_hangs_is_found_by_its_agents_name_and_suspends(hosting):
    """A real step that does not end: the host lives, the agent is named, the session is SUSPENDED with the reason.

    It is not recovered while that step goes on, and is once it has ended.
    """
    session_id, began, go_on = hosted(hosting), threading.Event(), threading.Event()
    at = hosting.with_settings(agent_hung_s=0.05)

    def hangs(_context: object) -> bool:
        began.set()
        go_on.wait(30)
        return False

    with failing(RISK, RuntimeError("never raised"), when=hangs), ThreadPoolExecutor(1) as pool:
        stepping = pool.submit(hosting.step)
        assert began.wait(30)
        alive(hosting, **measured_hang(hosting, session_id))
        done = swept(at)
        assert done.suspended.done == [session_id]
        row = hosting.row(session_id)
        assert row["status"] == S.SUSPENDED
        assert row["status_reason"].startswith(f"agent_hung: {RISK} for ")
        assert list(done.healed.waiting) == [session_id], "its cause remains"
        hosting.run("UPDATE session_work SET next_recovery_at = now() WHERE session_id = :id", id=session_id)
        assert list(swept(at).healed.waiting) == [session_id], "still"
        go_on.set()
        stepping.result(30)
    alive(hosting)
    hosting.run("UPDATE session_work SET next_recovery_at = now() WHERE session_id = :id", id=session_id)
    assert swept(at).healed.recovered == [session_id]
    assert hosting.row(session_id)["status"] == S.PAUSED
    [first, *_] = hosting.events(session_id, "health_changed")
    assert RISK in first["description"]


def measured_hang(hosting: Hosting, session_id) -> dict[str, object]:
    """What the lease's thread would say, once the step is long enough to be told of; it is not waited for."""
    [one] = under_way()
    assert (one.session_id, one.agent) == (str(session_id), RISK)
    return Measuring().measure() | {
        "stepping": [{"session_id": one.session_id, "agent": one.agent, "pid": one.pid, "for_s": one.for_s + 1}]
    }


def test_a_step_that_hangs_in_an_old_host_is_nobodys(hosting):
    """Stopped, taken over and woken: what that process still steps is not the session's step, nor is another's claim.

    Only the process that claimed the session's step under its epoch counts.
    """
    session_id = hosted(hosting)
    hang = {"session_id": str(session_id), "agent": RISK, "pid": 7, "for_s": 500.0}
    take = (
        "UPDATE session_work SET host_id = :host, step_claimed_by = :pid, step_claimed_until = now() + interval '30 s'"
    )
    alive(hosting, "h1", stepping=[hang])
    alive(hosting, "h2")
    for host, pid in (("h2", "8"), ("h2", "7"), ("h1", "8")):
        hosting.run(take, host=host, pid=pid)
        assert checks(hosting, session_id)["agent_hung"]["grade"] == "ok", (host, pid)
        assert swept(hosting).suspended.done == []
    hosting.run(take, host="h1", pid="7")
    found = checks(hosting, session_id)
    assert (found["agent_hung"]["grade"], found["agent_hung"]["subject"]) == ("failed", RISK)
    assert found["agent_quiet"]["grade"] == "ok", "the one that hangs is named, not those behind it"


def test_dead_quiet_and_hung_are_told_apart(hosting):
    """No heartbeat for long is dead, for a while quiet; heartbeats without movement are hung."""
    dead, quiet, hung, well = (remote(hosting) for _ in range(4))
    for session_id in (dead, quiet, hung, well):
        aged(hosting, session_id)
    report(hosting, dead, ago_s=200)
    report(hosting, quiet, ago_s=60)
    stands_still(hosting, hung, 100)
    report(hosting, hung, moves=False)
    names = ("agent_dead", "agent_quiet", "agent_hung")
    found = {one: [grade(hosting, one, name) for name in names] for one in (dead, quiet, hung, well)}
    assert found[dead] == ["failed", "ok", "ok"]
    assert found[quiet] == ["ok", "degraded", "ok"]
    assert found[hung] == ["ok", "ok", "failed"]
    assert found[well] == ["ok", "ok", "ok"]
    assert checks(hosting, dead)["agent_dead"]["subject"] == REMOTE


def test_a_lost_worker_is_dead_and_left_to_liveness(hosting):
    """Hosted agents are dead with their worker; health says so and suspends nothing, liveness takes over."""
    session_id = hosted(hosting)
    alive(hosting, "h2")
    hosting.lose("h1")
    done = swept(hosting)
    assert (done.failed, done.suspended.done) == (1, [])
    assert checks(hosting, session_id)["agent_dead"]["subject"] == "h1"
    assert hosting.watch().recovered == [session_id]


def test_hosted_agents_are_quiet_while_their_worker_lives(hosting):
    """No step for three intervals with a lease that stands: degraded, nobody is dead."""
    session_id = hosted(hosting)
    hosting.run("UPDATE session_work SET step_interval_s = 1 WHERE session_id = :id", id=session_id)
    live = f"fntx:{{{session_id}}}:live"
    hosting.desk.redis.hset(live, f"beat:{RISK}", 1)
    found = checks(hosting, session_id)
    assert (found["agent_quiet"]["grade"], found["agent_quiet"]["subject"]) == ("degraded", RISK)
    assert found["agent_dead"]["grade"] == "ok"


def test_a_remote_agent_that_says_it_gave_up_suspends(hosting):
    """`quarantined` in its own part is enough; a failing hosted agent only degrades until the limit."""
    session_id, other = remote(hosting), hosted(hosting)
    part = f"fntx:{{{session_id}}}:live"
    hosting.desk.redis.hset(part, f"part:agent/{REMOTE}", b'{"agent_id":"x","status":"quarantined"}')
    hosting.run("UPDATE session_work SET agent_failures = '{\"RiskManagerAgent\": 1}' WHERE session_id = :id", id=other)
    assert grade(hosting, other, "agent_quarantined") == "degraded"
    assert swept(hosting).suspended.done == [session_id]


def test_an_invalid_state_newer_than_the_last_save_suspends_and_is_healed(hosting):
    """State that cannot be saved: SUSPENDED, recovered from the last good save, resumed where the config says so."""
    session_id = remote(hosting, auto_resume_after_recovery=True)
    hosting.save(session_id)
    hosting.desk.redis.hset(f"fntx:{{{session_id}}}:live", f"part:agent/{REMOTE}", b"{")
    hosting.desk.redis.hincrby(f"fntx:{{{session_id}}}:live", "revision", 1)
    save_badly(hosting, session_id)
    assert grade(hosting, session_id, "state_valid") == "failed"
    done = swept(hosting)
    assert (done.suspended.done, done.healed.recovered) == ([session_id], [session_id])
    row = hosting.row(session_id)
    assert (row["status"], row["epoch"], row["recovery_attempts"]) == (S.ACTIVE, 2, 1)
    assert grade(hosting, session_id, "state_valid") == "ok"


def save_badly(hosting: Hosting, session_id) -> None:
    report = save_sessions(*hosting.desk.parts(), [session_id])
    assert report.failed or report.invalid


def test_a_save_that_stands_still_degrades_then_suspends(hosting):
    """By its own interval: 3 missed are degraded, save_overdue_s more is a failure."""
    session_id = remote(hosting)
    hosting.run(LATE, id=session_id, s=35)
    assert grade(hosting, session_id, "save_age") == "degraded"
    hosting.run("UPDATE session_work SET save_interval_s = 30 WHERE session_id = :id", id=session_id)
    assert grade(hosting, session_id, "save_age") == "ok", "its own interval counts"
    hosting.run(LATE, id=session_id, s=400)
    assert swept(hosting).suspended.done == [session_id]


LATE = """UPDATE session_work SET last_saved_at = now() - make_interval(secs => :s) WHERE session_id = :id;
UPDATE sessions SET started_at = now() - interval '1 hour' WHERE session_id = :id"""


def test_an_error_rate_suspends_only_when_it_fails_twice(hosting):
    """Once is told, twice in a row suspends; a rate that was better in between begins anew."""
    session_id = remote(hosting)

    def rate(value: str) -> None:
        hosting.run(f"UPDATE session_work SET measures = '{{\"error_rate\": {value}}}'")

    rate("0.9")
    assert swept(hosting).suspended.done == []
    rate("0.0")
    assert swept(hosting).failed == 0
    rate("0.9")
    assert swept(hosting).suspended.done == []
    assert swept(hosting).suspended.done == [session_id]
    grades = [one["description"].split(":")[0] for one in hosting.events(session_id, "health_changed")]
    assert grades[:3] == ["health ok -> failed", "health failed -> ok", "health ok -> failed"]


def test_rules_without_data_and_late_steps_are_told(hosting):
    """A stop rule that is blind fails after its time; a step that is late fails after its own."""
    session_id = hosted(hosting)
    hosting.run(
        "INSERT INTO rule_states (session_id, missing_since) VALUES (:id, now() - interval '10 s')", id=session_id
    )
    assert grade(hosting, session_id, "rules_data") == "degraded"
    hosting.run("UPDATE rule_states SET missing_since = now() - interval '10 minutes'")
    hosting.run("UPDATE session_work SET next_step_at = now() - interval '61 s' WHERE session_id = :id", id=session_id)
    found = checks(hosting, session_id)
    assert (found["rules_data"]["grade"], found["step_overdue"]["grade"]) == ("failed", "failed")
    assert swept(hosting).suspended.done == [session_id]
    assert "rules_data" in hosting.row(session_id)["status_reason"]
    assert "step_overdue" not in hosting.row(session_id)["status_reason"], "it is told, it does not suspend"


def test_a_worker_over_its_memory_degrades_what_it_steps(hosting):
    """The worker is named in the session's check, with what it takes."""
    session_id = hosted(hosting)
    alive(hosting, memory_bytes=3_000_000_000, cpu_fraction=0.5)
    found = checks(hosting, session_id)["worker"]
    assert (found["grade"], found["subject"], found["value"]) == ("degraded", "h1", 3_000_000_000)


def test_what_an_agents_step_takes_of_the_processor_is_measured(hosting):
    """Each agent's last step is measured where it was made; one that takes too much is named."""
    session_id = hosted(hosting)
    assert set(hosting.row(session_id)["measures"]["cpu_ms"]) == set(hosting.row(session_id)["roster"])
    assert grade(hosting, session_id, "agent_cpu") == "ok"
    hosting.run('UPDATE session_work SET measures = \'{"cpu_ms": {"EvaluatorAgent": 900}}\'')
    found = checks(hosting, session_id)["agent_cpu"]
    assert (found["grade"], found["subject"], found["value"]) == ("degraded", "EvaluatorAgent", 900)


def test_what_an_agent_reports_of_its_memory_is_judged(hosting):
    """More than the limit degrades, by the agent's name; so does a state that is soon too large to be kept."""
    session_id = remote(hosting)
    live, part = f"fntx:{{{session_id}}}:live", f"part:agent/{REMOTE}"
    hosting.desk.redis.hset(live, part, b'{"agent_id":"x","memory_usage_mb":1500}')
    found = checks(hosting, session_id)["agent_memory"]
    assert (found["grade"], found["subject"], found["value"]) == ("degraded", REMOTE, 1.5e9)
    hosting.desk.redis.hset(live, part, b"x" * 90)
    small = hosting.with_settings(max_part_bytes=100)
    assert checks(small, session_id)["agent_memory"]["value"] == 90
    hosting.desk.redis.hset(live, part, b"x" * 100_000)
    assert grade(hosting, session_id, "agent_memory") == "ok", "a large part is measured, not read"


def test_a_calendar_that_cannot_be_read_fails(hosting, monkeypatch):
    """No clock rule can be relied on, and that is said; it is not the session's fault, so nothing is suspended."""
    session_id = hosted(hosting)

    def broken(_name: str) -> object:
        raise RuntimeError("its table is gone")

    monkeypatch.setattr("fntx_sessions.automation.health.facts.get_calendar", broken)
    found = checks(hosting, session_id)["calendar"]
    assert (found["grade"], "its table is gone" in found["reason"]) == ("failed", True)
    assert swept(hosting).suspended.done == []


def test_a_sweep_whose_time_is_up_says_nothing_of_the_calendar(hosting, monkeypatch):
    """The limit ends the sweep, as it is meant to; no session is called failed for it."""
    session_id = hosted(hosting)

    def slow(_name: str) -> object:
        pool.soft_timeout_sighandler(None, None)
        raise AssertionError

    monkeypatch.setattr("fntx_sessions.automation.health.facts.get_calendar", slow)
    with pytest.raises(pool.SoftTimeLimitExceeded):
        checks(hosting, session_id)


def test_the_published_market_is_judged_while_options_trade(hosting, monkeypatch):
    """Missing and old market data fail an ACTIVE session on the published feed, and none while options are shut."""
    session_id = hosting.started(config={"feed": {"kind": "published"}})
    calendar = type("Open", (), {"options_open": lambda _self, _now: True})
    monkeypatch.setattr("fntx_sessions.automation.health.facts.get_calendar", lambda _name: calendar())
    assert grade(hosting, session_id, "market_data") == "failed"
    now = hosting.rows("SELECT now() - interval '20 s' AS at")[0]["at"]
    hosting.desk.redis.set("fntx:market", orjson.dumps({"timestamp": now, "spy_price": 400.0}))
    assert grade(hosting, session_id, "market_data") == "degraded"
    publish(hosting, -600)
    found = checks(hosting, session_id)["market_data"]
    assert (found["grade"], "600 s in the future" in found["reason"]) == ("failed", True)
    publish(hosting, 0)
    assert grade(hosting, session_id, "market_data") == "ok"
    calendar.options_open = lambda _self, _now: False
    assert grade(hosting, session_id, "market_data") == "ok"


def publish(hosting: Hosting, ago_s: float) -> None:
    now = hosting.rows("SELECT now() - make_interval(secs => :s) AS at", s=ago_s)[0]["at"]
    state = {"timestamp": now, "spy_price": 400.0, "vix_level": 12.0, "key_levels": {"previous_close": 399.0}}
    hosting.desk.redis.set("fntx:market", orjson.dumps(state))


def test_a_session_suspended_for_its_feed_comes_back_with_it(hosting):
    """Missing, old, of the future: it waits, however long, and says for what; right again, it is recovered, resumed."""
    config = {"feed": {"kind": "published"}, "calendar": "24/7", "auto_resume_after_recovery": True}
    session_id = hosting.started(config=config)
    publish(hosting, 0)
    hosting.step()
    hosting.save(session_id)

    def blind(context) -> bool:
        context.desk.request_suspend("market data is 61 s old with positions open", stale=True)
        return False

    with failing(RISK, RuntimeError("never raised"), when=blind):
        hosting.step()
    assert hosting.row(session_id)["recovery_data"]["healing"]["causes"] == ["market_data"]
    hosting.desk.redis.delete("fntx:market")
    for ago_s, told in ((None, "no market is published"), (40, "the market is 4"), (-600, "in the future")):
        if ago_s is not None:
            publish(hosting, ago_s)
        waited(hosting, session_id, 3600)
        assert list(swept(hosting).healed.waiting) == [session_id]
        found = checks(hosting, session_id)["standing"]
        assert told in found["reason"]
        assert "61 s old with positions open" in found["reason"]
        assert "publishes the market" in found["fix"]
    assert hosting.rows(WAIT, id=session_id)[0]["wait"] <= 30, "it is looked for as often"
    publish(hosting, 0)
    waited(hosting, session_id, 0)
    assert swept(hosting).healed.recovered == [session_id]
    assert hosting.row(session_id)["status"] == S.ACTIVE
    hosting.desk.redis.delete("fntx:market")


def test_what_redis_would_know_is_told_as_it_was(hosting):
    """A sweep without Redis makes nobody well: what the last look saw stays, without an event."""
    session_id = remote(hosting)
    aged(hosting, session_id)
    report(hosting, session_id, ago_s=200)
    none = hosting.with_settings(health_suspensions_per_sweep=0)
    assert swept(none).failed == 1
    client = build_redis("redis://127.0.0.1:1", hosting.desk.settings)
    away = Hosting(type(hosting.desk)(hosting.desk.engine, client, hosting.desk.settings))
    swept(away)
    client.close()
    [row] = hosting.rows("SELECT grade, checks FROM session_health")
    assert (row["grade"], [one["name"] for one in row["checks"]]) == ("failed", ["agent_dead"])
    assert len(hosting.events(session_id, "health_changed")) == 1


def test_what_a_worker_measures_is_its_own(hosting):
    """Memory and processes of this process's tree, the processor since the measure before."""
    measuring = Measuring()
    first, second = measuring.measure(), measuring.measure()
    assert first["memory_bytes"] > 1_000_000
    assert first["processes"] >= 1
    assert first["cpu_fraction"] is None
    assert second["cpu_fraction"] >= 0
    assert first["stepping"] == []


def test_one_fault_of_the_desk_suspends_nobody(hosting):
    """Most sessions failing at once: an alert instead, cleared when it is over."""
    sessions = [remote(hosting) for _ in range(6)]
    for session_id in sessions:
        aged(hosting, session_id)
        report(hosting, session_id, ago_s=200)
    done = swept(hosting)
    assert (done.failed, done.suspended.done) == (6, [])
    assert "6 of 6" in done.distrust
    [alert] = alerts.standing(hosting.desk.engine)
    assert (alert.name, "6 of 6 running sessions fail at once" in alert.description) == (health.HELD_BACK, True)
    for session_id in sessions[1:]:
        report(hosting, session_id)
    assert swept(hosting).suspended.done == [sessions[0]]
    assert alerts.standing(hosting.desk.engine) == []


def test_a_sweep_that_stood_still_suspends_nobody(hosting):
    """Whoever could not look for long cannot tell who was silent meanwhile."""
    session_id = remote(hosting)
    aged(hosting, session_id)
    report(hosting, session_id, ago_s=200)
    hosting.run("INSERT INTO sweep_runs (name, last_run) VALUES ('health', now() - interval '10 minutes')")
    assert "stood still" in swept(hosting).distrust
    assert swept(hosting).suspended.done == [session_id]


def test_without_redis_agents_are_not_judged(hosting):
    """What Postgres knows is told, nobody is suspended for what could not be seen, and that is said."""
    session_id = remote(hosting)
    hosting.run(LATE, id=session_id, s=400)
    client = build_redis("redis://127.0.0.1:1", hosting.desk.settings)
    away = Hosting(type(hosting.desk)(hosting.desk.engine, client, hosting.desk.settings))
    done = swept(away)
    client.close()
    assert (done.failed, done.suspended.done) == (1, [])
    assert done.distrust.startswith("Redis could not be asked")
    assert hosting.row(session_id)["status"] == S.ACTIVE


def test_suspensions_of_one_sweep_are_capped(hosting):
    """What is over the cap waits for the next sweep, and the desk is told."""
    at = hosting.with_settings(health_suspensions_per_sweep=1, health_storm_sessions=99)
    sessions = [remote(hosting) for _ in range(3)]
    for session_id in sessions:
        hosting.run(LATE, id=session_id, s=400)
    first = swept(at)
    assert (len(first.suspended.done), first.suspended.capped) == (1, 2)
    assert [one.name for one in alerts.standing(hosting.desk.engine)] == [health.HELD_BACK]
    assert len(swept(at).suspended.done) == 1


def test_a_cause_that_remains_backs_off_and_is_parked(hosting):
    """A dead agent's session is not recovered; each wait is twice as long; then a person is called, once."""
    session_id = remote(hosting)
    aged(hosting, session_id)
    report(hosting, session_id, ago_s=200)
    at = hosting.with_settings(recovery_attempts_max=3)
    assert swept(at).suspended.done == [session_id]
    waits = []
    for _ in range(3):
        waits.append(hosting.rows(WAIT, id=session_id)[0]["wait"])
        assert healing.heal_due(at.desk, SYSTEM).parked == [], "not before its time"
        told = checks(at, session_id)["standing"]
        assert f"{REMOTE} for" in told["reason"]
        assert "recovered 0 times" in told["reason"], "to wait is not to recover"
        assert told["fix"].startswith(f"restart the service of {REMOTE}")
        waited(hosting, session_id, waits[-1])
        healed = healing.heal_due(at.desk, SYSTEM)
    assert [round(wait / 30) for wait in waits] == [1, 2, 4]
    assert healed.parked == [session_id]
    row = hosting.row(session_id)
    assert (row["status"], f"fntx recover {session_id}" in row["requires_action"]) == (S.SUSPENDED, True)
    assert "its cause remains" in row["requires_action"]
    assert "recoveries" not in row["requires_action"], "none was tried"
    hosting.run("UPDATE session_work SET next_recovery_at = now() WHERE session_id = :id", id=session_id)
    assert healing.heal_due(at.desk, SYSTEM) == healing.Healed()
    assert grade(hosting, session_id, "standing") == "failed"


def waited(hosting: Hosting, session_id, seconds: float) -> None:
    """Let the session have waited so much longer, to the moment when it is looked at again."""
    hosting.run(
        "UPDATE sessions SET recovery_data = jsonb_set(recovery_data, '{healing,since}', to_jsonb("
        "(recovery_data #>> '{healing,since}')::timestamptz - make_interval(secs => :s))) WHERE session_id = :id",
        id=session_id,
        s=seconds,
    )
    hosting.run("UPDATE session_work SET next_recovery_at = now() WHERE session_id = :id", id=session_id)


WAIT = (
    """SELECT extract(epoch FROM next_recovery_at - now())::float8 AS wait FROM session_work WHERE session_id = :id"""
)


def test_a_silent_agent_that_comes_back_resumes_its_session(hosting):
    """Suspended and not recovered while it is silent; heard of again, it is recovered, and resumed by its config."""
    session_id = remote(hosting, auto_resume_after_recovery=True)
    hosting.save(session_id)
    aged(hosting, session_id)
    report(hosting, session_id, ago_s=200)
    done = swept(hosting)
    assert (done.suspended.done, list(done.healed.waiting)) == ([session_id], [session_id])
    report(hosting, session_id)
    hosting.run("UPDATE session_work SET next_recovery_at = now() WHERE session_id = :id", id=session_id)
    assert swept(hosting).healed.recovered == [session_id]
    row = hosting.row(session_id)
    assert (row["status"], row["epoch"], row["holds"]) == (S.ACTIVE, 2, [])
    assert "healing" not in row["recovery_data"]


def test_a_recovery_that_does_not_mend_is_tried_less_often(hosting):
    """Recovered at once, failing again: the next recovery waits, the one after it twice as long."""
    session_id = remote(hosting, auto_resume_after_recovery=True)
    hosting.save(session_id)
    hosting.run(LATE, id=session_id, s=400)
    assert swept(hosting).healed.recovered == [session_id]
    for attempt in (1, 2):
        hosting.run(LATE, id=session_id, s=400)
        done = swept(hosting)
        assert (done.suspended.done, done.healed.recovered) == ([session_id], [])
        wait = hosting.rows(WAIT, id=session_id)[0]["wait"]
        assert round(wait / 30) == 2 ** (attempt - 1)
        hosting.run("UPDATE session_work SET next_recovery_at = now() WHERE session_id = :id", id=session_id)
        assert healing.heal_due(hosting.desk, SYSTEM).recovered == [session_id]
        assert hosting.row(session_id)["recovery_attempts"] == attempt + 1


def test_what_a_person_suspended_stays_theirs(hosting):
    """Nothing of it is recovered by itself, and its check says whose it is."""
    session_id = remote(hosting)
    hosting.do(T.SUSPEND, session_id, reason="something smells")
    hosting.run("UPDATE session_work SET next_recovery_at = now() WHERE session_id = :id", id=session_id)
    assert swept(hosting).healed == healing.Healed()
    assert hosting.row(session_id)["status"] == S.SUSPENDED
    told = checks(hosting, session_id)["standing"]["reason"]
    assert "something smells" in told
    assert "Nothing recovers it by itself" in told


def test_a_healing_session_is_rehomed_without_losing_its_back_off(hosting):
    """Its guard's worker lost: another takes it over at once, and the recovery stays as far off as it was."""
    session_id = hosting.holding(hosted(hosting))
    hosting.do(T.SUSPEND, session_id, actor=SYSTEM, heal_after_s=300, causes=["agent_hung"])
    hosting.step()
    assert hosting.row(session_id)["host_id"] == "h1"
    alive(hosting, "h2")
    hosting.lose("h1")
    assert hosting.watch().rehomed == [session_id]
    assert hosting.rows(WAIT, id=session_id)[0]["wait"] > 250


def test_two_sweeps_at_once_look_once(hosting):
    """Two beats: each session is looked at, suspended and healed once."""
    session_id = remote(hosting)
    hosting.run(LATE, id=session_id, s=400)
    hosting.run("UPDATE session_work SET next_health_at = now() WHERE next_health_at IS NOT NULL")
    barrier = threading.Barrier(2)

    def sweep(_: int) -> health.Swept:
        barrier.wait()
        return health.sweep(hosting.desk, SYSTEM)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(sweep, range(2)))
    assert sum(one.looked for one in found) == 1
    assert [one for done in found for one in done.suspended.done] == [session_id]
    assert hosting.row(session_id)["epoch"] == 2


def test_a_thousand_sessions_cost_as_many_statements_as_one(hosting):
    """One claim, one question, one write for a whole batch, however many sessions it holds."""
    remote(hosting)

    def statements() -> tuple[int, int]:
        asked: list[int] = []

        def count(*_: object) -> None:
            asked.append(1)

        event.listen(hosting.desk.engine, "before_cursor_execute", count)
        done = swept(hosting.with_settings(health_batch=2000))
        event.remove(hosting.desk.engine, "before_cursor_execute", count)
        return done.looked, len(asked)

    one, few = statements()
    ids = World(hosting.desk.engine, hosting.desk.redis, hosting.desk.settings).sessions(1000)
    hosting.run("UPDATE session_work SET next_health_at = now() WHERE session_id = ANY(:ids)", ids=ids)
    many, same = statements()
    assert (one, many) == (1, 1001)
    assert same <= few + 2


def test_a_check_that_is_none_is_refused_by_name(hosting):
    """A setting that names no check says so, with those there are."""
    session_id = remote(hosting)
    hosting.run(LATE, id=session_id, s=400)
    with pytest.raises(InvalidArgument, match=r"FNTX_HEALTH_SUSPENDS: .*agent_dead"):
        swept(hosting.with_settings(health_suspends="agent_sleepy"))
    with pytest.raises(NotFound):
        checks(hosting, session_id.__class__(int=1))
