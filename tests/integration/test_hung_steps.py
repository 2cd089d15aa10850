"""Sessions whose steps hang: stepped apart, counted over the system's own recoveries, and graded at the defaults."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from health_world import aged, checks, swept
from hosting import SYSTEM, Hosting, S, T, failing, make_hosting, shared

from fntx_sessions.agents import claims, host
from fntx_sessions.automation import hosts
from fntx_sessions.settings import Settings, get_settings

PLANNER = "StrategicPlannerAgent"
HANGS = 'UPDATE session_work SET agent_failures = \'{"StrategicPlannerAgent": 1, "hung": 1}\' WHERE session_id = :id'
CLAIM_S = 60


@pytest.fixture
def hosting(
    tmp_path: Path, module_database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hosting]:
    monkeypatch.setenv("FNTX_HOME", str(tmp_path))
    get_settings.cache_clear()
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made
        made.run("UPDATE session_work SET next_health_at = NULL; DELETE FROM session_health; DELETE FROM alerts")
    get_settings.cache_clear()


def due(hosting: Hosting, count: int) -> list[UUID]:
    """Started sessions that h1 has stepped once, due again."""
    sessions = [hosting.started() for _ in range(count)]
    hosting.step()
    hosting.run("UPDATE session_work SET next_step_at = now() WHERE next_step_at IS NOT NULL")
    return sessions


def ids(claimed: list[dict]) -> set[UUID]:
    return {row["session_id"] for row in claimed}


def test_who_hangs_is_claimed_alone_and_one_at_a_time(hosting):
    """The sound ones together, those that hung alone, and no second one of a host while one is under way."""
    sound, first, second = due(hosting, 3)
    for one in (first, second):
        hosting.run(HANGS, id=one)
    engine = hosting.desk.engine
    assert ids(claims.claim_steps(engine, "h1", 10, CLAIM_S)) == {sound}
    [alone] = claims.claim_suspect(engine, "h1", CLAIM_S)
    assert alone["session_id"] in {first, second}
    assert claims.claim_suspect(engine, "h1", CLAIM_S) == []
    assert claims.next_step_in(engine, "h1", 1) is None, "nobody spins for what waits for the one"
    claims.hand_back(engine, [alone])
    assert len(claims.claim_suspect(engine, "h1", CLAIM_S)) == 1


def test_a_claim_that_lapsed_is_taken_up_alone(hosting):
    """Nobody buried the process, so that any of its batch may hang."""
    sessions = due(hosting, 2)
    engine = hosting.desk.engine
    assert ids(claims.claim_steps(engine, "h1", 10, CLAIM_S)) == set(sessions)
    hosting.run("UPDATE session_work SET step_claimed_until = now() - interval '1 s' WHERE step_claimed_by IS NOT NULL")
    assert claims.claim_steps(engine, "h1", 10, CLAIM_S) == []
    assert len(claims.claim_suspect(engine, "h1", CLAIM_S)) == 1


def test_after_a_long_step_the_rest_is_left_to_others(hosting, monkeypatch):
    """What was not begun is given back as it was, not stepped by this process, and as due as before."""
    sessions = due(hosting, 3)
    slow = hosting.with_settings(step_slice_s=0.01)
    rows = claims.claim_steps(hosting.desk.engine, "h1", 10, CLAIM_S)
    stepped: list[UUID] = []
    honest = host._step_one

    def step_one(desk, row, mark, deadline):
        stepped.append(row["session_id"])
        time.sleep(0.02)
        return honest(desk, row, mark, deadline)

    monkeypatch.setattr(host, "_step_one", step_one)
    later = time.monotonic() + 1
    assert host.step_batch(slow.desk, SYSTEM, rows, later, later) == 1
    assert stepped == [rows[0]["session_id"]]
    left = {one: hosting.row(one) for one in sessions if one not in stepped}
    assert {(row["step_claimed_by"], row["step_claimed_until"]) for row in left.values()} == {(None, None)}
    assert ids(claims.claim_steps(hosting.desk.engine, "h1", 10, CLAIM_S)) == set(left)


def test_a_slow_step_counts_as_hung_though_it_ends(hosting):
    """It harmed nobody yet: it is not charged as a failure, and from now on nobody waits behind it."""
    session_id = hosting.started()
    at = hosting.with_settings(agent_hung_s=1e-6)
    at.step()
    row = hosting.row(session_id)
    assert row["agent_failures"].keys() == {claims.HUNG}
    at.step()
    assert hosting.row(session_id)["clock_at"] > row["clock_at"]


def test_failures_outlive_the_systems_recovery_and_end_with_a_persons(hosting):
    """What recovers by itself knows no better; a person vouches for the agents."""
    session_id = hosting.started()
    with failing(PLANNER, ZeroDivisionError("bad")):
        hosting.step()
    hosting.run(HANGS, id=session_id)
    hosting.save(session_id)
    hosting.do(T.SUSPEND, session_id, actor=SYSTEM)
    hosting.do(T.RECOVER, session_id, actor=SYSTEM)
    row = hosting.row(session_id)
    assert (row["epoch"], row["agent_failures"]) == (2, {PLANNER: 1, claims.HUNG: 1})
    hosting.do(T.SUSPEND, session_id, actor=SYSTEM)
    hosting.do(T.RECOVER, session_id)
    row = hosting.row(session_id)
    assert (row["epoch"], row["agent_failures"]) == (3, {})


def test_health_leaves_a_quarantine_to_a_person(hosting):
    """Whoever sees the third failure first: SUSPENDED, not recovered by itself, and told what to run."""
    session_id = hosting.started(config={"auto_resume_after_recovery": True})
    hosting.step()
    aged(hosting, session_id)
    hosting.run("UPDATE session_work SET agent_failures = '{\"StrategicPlannerAgent\": 3}' WHERE session_id = :id",
                id=session_id)  # fmt: skip
    assert swept(hosting).suspended.done == [session_id]
    for _ in range(2):
        healed = swept(hosting).healed
        assert (healed.recovered, healed.waiting) == ([], {})
    row = hosting.row(session_id)
    assert (row["status"], row["epoch"]) == (S.SUSPENDED, 1)
    assert PLANNER in row["requires_action"]
    assert f"fntx recover {session_id}" in row["requires_action"]
    hosting.do(T.RECOVER, session_id)
    assert hosting.row(session_id)["requires_action"] is None


def test_at_the_defaults_a_step_that_hangs_is_hung_before_its_process_is_killed(hosting):
    """And its name stays degraded afterwards; the waiting, the sweep's own end and the soft limit fit in between."""
    defaults = Settings(home=hosting.desk.settings.home)
    assert 2 * defaults.step_slice_s <= defaults.hosted_hung_s <= defaults.step_time_limit_s / 2
    assert defaults.step_sweep_s + defaults.step_slice_s < defaults.step_time_limit_s * 2 // 3
    session_id = hosting.started()
    hosting.step()
    aged(hosting, session_id)
    hosting.run("UPDATE session_work SET next_step_at = now() WHERE session_id = :id", id=session_id)
    claimed = claims.claim_steps(hosting.desk.engine, "h1", 10, CLAIM_S)
    step = {"session_id": str(session_id), "agent": PLANNER, "pid": os.getpid()}
    step["for_s"] = defaults.step_time_limit_s / 2
    hosts.renew(hosting.desk.engine, hosting.desk.settings, "h1", "agents", {"stepping": [step]})
    found = checks(hosting, session_id)["agent_hung"]
    assert (found["grade"], found["subject"]) == ("failed", PLANNER)
    hosts.renew(hosting.desk.engine, hosting.desk.settings, "h1", "agents", {})
    claims.hand_back(hosting.desk.engine, claimed)
    hosting.run(HANGS, id=session_id)
    found = checks(hosting, session_id)["agent_hung"]
    assert (found["grade"], found["subject"]) == ("degraded", PLANNER)
