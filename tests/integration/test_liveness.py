"""Liveness: a lost host's sessions are taken over once, under a new epoch, and only when the host is really lost."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hosting import SYSTEM, Hosting, S, T, forget_runtimes, make_hosting, shared

from fntx_sessions.agents.claims import StepResult, claim_steps, finish_steps
from fntx_sessions.automation import hosts, liveness
from fntx_sessions.exceptions import IntegrityError, StaleEpoch
from fntx_sessions.lifecycle.recovery import restoring
from fntx_sessions.state.live import LiveState, Report

AUTO = {"config": {"auto_resume_after_recovery": True}}


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def hosted(hosting: Hosting, host_id: str = "h1", **asked):
    """A started session that `host_id` has stepped once."""
    session_id = hosting.started(**asked)
    hosting.step(host_id)
    assert hosting.row(session_id)["host_id"] == host_id
    return session_id


def alive(hosting: Hosting, *host_ids: str) -> None:
    for host_id in host_ids:
        hosts.renew(hosting.desk.engine, hosting.desk.settings, host_id, "agents")


def test_a_lost_hosts_session_is_recovered_and_paused(hosting):
    """PAUSED, held by the recovery, one epoch on, nothing of its memory lost, free for any host."""
    session_id = hosted(hosting)
    alive(hosting, "h2")
    hosting.lose("h1")
    watch = hosting.watch()
    row = hosting.row(session_id)
    assert (watch.recovered, watch.waited) == ([session_id], False)
    assert (row["status"], row["epoch"], row["holds"], row["host_id"]) == (S.PAUSED, 2, ["recovery"], None)
    assert row["recovery_data"]["state_lost_s"] == 0.0
    path = "SELECT to_status, trigger FROM transitions WHERE session_id = :id ORDER BY version"
    assert [step["to_status"] for step in hosting.rows(path, id=session_id)][-2:] == [S.SUSPENDED, S.PAUSED]
    assert hosting.watch().recovered == []
    assert hosting.step("h2") == 1


def test_a_living_hosts_session_is_left_alone(hosting):
    """A lease that stands is no business of the sweep."""
    session_id = hosted(hosting)
    assert hosting.watch().recovered == []
    assert hosting.row(session_id)["epoch"] == 1


def test_it_resumes_by_itself_only_where_the_config_says_so(hosting):
    """auto_resume_after_recovery resumes what only the recovery holds; a person's hold stays."""
    asked, held = hosted(hosting, **AUTO), hosted(hosting, **AUTO)
    hosting.do(T.PAUSE, held)
    alive(hosting, "h2")
    hosting.lose("h1")
    assert set(hosting.watch().recovered) == {asked, held}
    assert hosting.row(asked)["status"] == S.ACTIVE
    row = hosting.row(held)
    assert (row["status"], row["holds"]) == (S.PAUSED, ["person", "recovery"])


def test_a_late_sweep_waits_one_lease_more(hosting):
    """Where this sweep itself stood still, Postgres away say, a lease that ran out meanwhile tells nothing.

    Its host gets one lease more; one that was lost before is taken over at once.
    """
    session_id = hosted(hosting)
    alive(hosting, "h2")
    hosting.watch()
    hosting.run("UPDATE sweep_runs SET last_run = now() - interval '10 minutes' WHERE name = 'liveness'")
    hosting.run("UPDATE hosts SET lease_until = now() - interval '9 minutes' WHERE host_id = 'h1'")
    watch = hosting.watch()
    assert (watch.waited, watch.recovered) == (True, [])
    assert hosting.watch().recovered == [], "one lease more"
    hosting.lose("h1")
    assert session_id in hosting.watch().recovered, "the host did not renew it"
    other = hosted(hosting, "h0")
    hosting.run("UPDATE sweep_runs SET last_run = now() - interval '10 minutes' WHERE name = 'liveness'")
    hosting.run("UPDATE hosts SET lease_until = now() - interval '11 minutes' WHERE host_id = 'h0'")
    assert other in hosting.watch().recovered, "it was lost before"


def test_most_hosts_vanishing_together_are_given_one_lease_more(hosting):
    """Two of three at once is more likely the network or a restart; a lease later they are lost."""
    first, second = hosted(hosting, "h1"), hosted(hosting, "h2")
    alive(hosting, "h1", "h2", "h3")
    hosting.lose("h1", "h2")
    watch = hosting.watch()
    assert (watch.waited, watch.recovered) == (True, [])
    hosting.run(
        "UPDATE hosts SET lease_until = now() - make_interval(secs => :s) WHERE host_id <> 'h3'",
        s=hosting.desk.settings.lease_s * 1.5,
    )
    assert set(hosting.watch().recovered) == {first, second}


def test_recoveries_of_one_sweep_are_capped(hosting):
    """What is over the cap waits for the next sweep."""
    sessions = {hosted(hosting) for _ in range(3)}
    alive(hosting, "h2")
    hosting.lose("h1")
    capped = hosting.with_settings(recoveries_per_sweep=2)
    first = capped.watch().recovered
    assert len(first) == 2
    assert {*first, *capped.watch().recovered} == sessions


def test_two_sweeps_at_once_recover_once(hosting):
    """Two beats are harmless: one attempt, one epoch."""
    session_id = hosted(hosting)
    alive(hosting, "h2")
    hosting.lose("h1")
    barrier = threading.Barrier(2)

    def sweep(_):
        barrier.wait()
        return hosting.watch().recovered

    with ThreadPoolExecutor(2) as pool:
        found = [recovered for done in pool.map(sweep, range(2)) for recovered in done]
    assert found == [session_id]
    assert hosting.row(session_id)["epoch"] == 2


def test_a_host_that_leaves_in_order_keeps_the_epoch(hosting):
    """Given back, not lost: the next host goes on under the same epoch, and no sweep touches it."""
    session_id = hosted(hosting)
    hosts.leave(hosting.desk.engine, "h1")
    assert hosting.watch().recovered == []
    forget_runtimes()
    hosting.step("h2")
    row = hosting.row(session_id)
    assert (row["status"], row["epoch"], row["host_id"]) == (S.ACTIVE, 1, "h2")


@pytest.mark.parametrize("trigger", [T.STOP, T.FAIL])
def test_what_closes_or_is_in_error_moves_to_another_host_as_it_is(hosting, trigger):
    """CLOSING and ERROR keep their status under a new epoch; what the lost host left in flight is settled."""
    session_id = hosting.holding(hosting.started(risk_parameters={"take_profit_multiplier": 0.99}))
    hosting.do(trigger, session_id, actor=SYSTEM)
    intent = hosting.intent(session_id, 50, opening=False)
    hosting.run("UPDATE session_work SET step_claimed_by = '1', step_claimed_until = now() + interval '1 minute'")
    alive(hosting, "h2")
    hosting.lose("h1")
    assert hosting.watch().rehomed == [session_id]
    row = hosting.row(session_id)
    assert (row["epoch"], row["status"]) == (2, {T.STOP: S.CLOSING, T.FAIL: S.ERROR}[trigger])
    forget_runtimes()
    hosting.walk(session_id, lambda _: not hosting.broker.positions(session_id), "h2")
    assert hosting.states(session_id)[intent.client_order_id] == "rejected"
    hosting.check_books(session_id)
    if trigger is T.STOP:
        hosting.walk(session_id, lambda found: found["status"] == S.CLOSED, "h2", limit=3)


def test_after_too_many_attempts_a_person_is_called(hosting):
    """The cap: SUSPENDED, a new epoch, guarded, requires_action and an event that say what to do; no attempt more."""
    session_id = hosted(hosting)
    hosting.run("UPDATE session_work SET recovery_attempts = 5")
    alive(hosting, "h2")
    hosting.lose("h1")
    assert hosting.watch().failed.keys() == {session_id}
    row = hosting.row(session_id)
    assert (row["status"], row["epoch"], row["host_id"]) == (S.SUSPENDED, 2, None)
    assert f"recoveries failed. Recover it by hand: `fntx recover {session_id}`" in row["requires_action"]
    [event] = hosting.events(session_id, "recovery_given_up")
    assert event["requires_action"]
    hosting.do(T.RECOVER, session_id)
    hosting.do(T.RESUME, session_id)
    row = hosting.row(session_id)
    assert (row["status"], row["requires_action"], row["recovery_attempts"]) == (S.ACTIVE, None, 0)


def test_a_session_that_loses_host_after_host_reaches_the_cap_though_it_resumes_itself(hosting):
    """Resuming by itself does not clear the count; only a person, or a recovery that held, ends the series."""
    session_id = hosted(hosting, **AUTO)
    alive(hosting, "h9")
    for number in range(2, 8):
        hosting.run("UPDATE hosts SET lease_until = now() - interval '1 hour' WHERE host_id <> 'h9'")
        hosting.run("UPDATE session_work SET next_recovery_at = NULL")
        hosting.watch()
        if hosting.row(session_id)["status"] == S.SUSPENDED:
            break
        hosting.step(f"h{number}")
    assert hosting.row(session_id)["requires_action"]
    assert hosting.row(session_id)["recovery_attempts"] == 5


def test_a_recovery_that_held_ends_its_series(hosting):
    """Losses weeks apart never add up to the cap."""
    session_id = hosted(hosting)
    long_ago = '{"finished_at": "2026-01-01T00:00:00+00:00"}'
    hosting.run("UPDATE session_work SET recovery_attempts = 5")
    hosting.run("UPDATE sessions SET recovery_data = CAST(:data AS jsonb)", data=long_ago)
    alive(hosting, "h2")
    hosting.lose("h1")
    assert hosting.watch().recovered == [session_id]
    assert hosting.row(session_id)["recovery_attempts"] == 1


def test_a_refused_take_over_is_not_the_answer_to_the_next_loss(hosting, monkeypatch):
    """The host came back just in time, once; when it is lost in earnest under the same epoch, it is taken over."""
    session_id = hosted(hosting)
    alive(hosting, "h2")
    hosting.lose("h1")
    take_over = liveness._take_over

    def late(*args):
        alive(hosting, "h1")
        take_over(*args)

    with monkeypatch.context() as patched:
        patched.setattr(liveness, "_take_over", late)
        hosting.watch()
    assert hosting.row(session_id)["epoch"] == 1
    hosting.lose("h1")
    hosting.run("UPDATE session_work SET next_recovery_at = NULL")
    hosting.watch()
    assert hosting.row(session_id)["status"] == S.PAUSED


def test_a_host_nobody_remembers_is_lost(hosting):
    """Dead hosts are forgotten after a day, but never while a session is theirs; and if so, it is recovered."""
    session_id = hosted(hosting)
    alive(hosting, "h2", "h3")
    hosting.run("UPDATE hosts SET lease_until = now() - interval '3 days' WHERE host_id = 'h1'")
    hosts.leave(hosting.desk.engine, "h2")
    assert hosting.rows("SELECT 1 FROM hosts WHERE host_id = 'h1'")
    hosting.run("DELETE FROM hosts WHERE host_id = 'h1'")
    assert hosting.watch().recovered == [session_id]


def test_an_old_host_that_wakes_up_writes_nothing(hosting):
    """Its report, its order and the end of its step are all refused; what the new epoch holds stands."""
    session_id = hosted(hosting)
    hosting.run("UPDATE session_work SET next_step_at = now() WHERE next_step_at IS NOT NULL")
    [claimed] = claim_steps(hosting.desk.engine, "h1", 1, 30)
    assert claimed["session_id"] == session_id
    alive(hosting, "h2")
    hosting.lose("h1")
    assert hosting.watch().recovered == [session_id]
    live = LiveState(hosting.desk.redis, hosting.desk.settings)
    before, revision = hosting.row(session_id), live.marks([session_id])[0].revision
    with pytest.raises(StaleEpoch):
        live.report(Report(session_id, 1, "RiskManagerAgent", {}))
    with pytest.raises(StaleEpoch):
        hosting.intent(session_id, 9, opening=False)
    sample = {"timestamp": datetime.now(UTC), "net_pnl": 1, "exposure": 0, "spot": 1.0, "steps": {}}
    late = StepResult(session_id, 1, "now", datetime.now(UTC), {"x": 1}, None, [sample], ())
    finish_steps(hosting.desk.engine, [late])
    assert hosting.row(session_id) == before
    assert live.marks([session_id])[0].revision == revision
    assert hosting.rows("SELECT 1 FROM samples WHERE net_pnl = 1") == []


def test_a_recovery_that_fails_is_reported_and_stops_no_other(hosting, monkeypatch):
    """One session's damaged save does not keep the others from being taken over."""
    broken, sound = hosted(hosting), hosted(hosting)
    alive(hosting, "h2")
    hosting.lose("h1")
    restore = restoring.Restoring.newest

    def damaged(restoring, *more):
        if restoring._facts.session_id == broken:
            raise IntegrityError("the save", "its checksum differs")
        return restore(restoring, *more)

    monkeypatch.setattr(restoring.Restoring, "newest", damaged)
    watch = hosting.watch()
    assert (watch.recovered, list(watch.failed)) == ([sound], [broken])
    row = hosting.row(broken)
    assert (row["status"], row["pending"]) == (S.SUSPENDED, None)
    assert "its checksum differs" in row["requires_action"]
    assert row["next_step_at"] is not None, "what is open is guarded"
