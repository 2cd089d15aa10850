"""A closed session is closed: no host steps it, and no step that still ran when it closed writes after it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hosting import SYSTEM, Hosting, S, T, make_hosting, shared

from fntx_sessions.agents.claims import StepResult, claim_steps, claimant, finish_steps, next_step_in
from fntx_sessions.lifecycle import execute
from fntx_sessions.lifecycle.arguments import FinalizeArguments

NOTHING_LEFT = {"next_step_at": None, "host_id": None, "step_claimed_by": None, "step_claimed_until": None}


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def stepping(hosting: Hosting):
    """A closing session that a step of this process has claimed, and what that step will leave behind."""
    session_id = hosting.started()
    hosting.step()
    hosting.do(T.STOP, session_id)
    hosting.run("UPDATE session_work SET next_step_at = now() WHERE session_id = :id", id=session_id)
    [claimed] = claim_steps(hosting.desk.engine, "h1", 10, 60)
    day = {"session_id": session_id, "trade_date": "2018-01-09", "account_id": f"paper:{session_id}"}
    day |= {"realized": 5, "fees": 0, "unrealized": 0, "open_risk": 0, "contracts": 0, "margin": 0}
    return session_id, StepResult(session_id, claimed["epoch"], "interval", None, {}, day, (), ())


def day_of(hosting: Hosting, session_id) -> list[dict]:
    return hosting.rows("SELECT * FROM session_days WHERE session_id = :id", id=session_id)


def close(hosting: Hosting, session_id) -> None:
    arguments = FinalizeArguments(session_id=session_id, reason="the book matches the stop's policy")
    execute.system_command(hosting.desk, T.FINALIZE, SYSTEM, arguments).raise_for_refusal()


def test_a_step_that_outlives_its_session_writes_nothing_and_schedules_nothing(hosting):
    """Closed while its step ran: no claim, no host, no next step; the step's day comes too late."""
    session_id, result = stepping(hosting)
    before = day_of(hosting, session_id)
    close(hosting, session_id)
    finish_steps(hosting.desk.engine, [result])
    row = hosting.row(session_id)
    assert {name: row[name] for name in NOTHING_LEFT} == NOTHING_LEFT
    assert day_of(hosting, session_id) == before


def test_a_stop_waits_for_the_step_that_runs(hosting):
    """The step that made the book flat has its day to write: only then the session closes."""
    session_id, result = stepping(hosting)
    assert hosting.finish() == {"waiting": 1}
    finish_steps(hosting.desk.engine, [result])
    assert hosting.finish() == {"stop_done": 1}
    assert [day["realized"] for day in day_of(hosting, session_id)] == [5]


def test_no_host_claims_a_closed_session(hosting):
    """Whatever its work row says: a closed session is due for nobody, and nobody waits for it."""
    session_id, _ = stepping(hosting)
    close(hosting, session_id)
    hosting.run(
        "UPDATE session_work SET next_step_at = now(), host_id = 'h1', step_claimed_by = :me WHERE session_id = :id",
        id=session_id, me=claimant(),
    )  # fmt: skip
    assert hosting.row(session_id)["status"] == S.CLOSED
    assert claim_steps(hosting.desk.engine, "h1", 10, 60) == []
    assert next_step_in(hosting.desk.engine, "h1", 60) is None


def test_a_step_unscheduled_while_it_ran_stays_so(hosting):
    """What a command unscheduled is not scheduled again by the step that was under way."""
    session_id, result = stepping(hosting)
    hosting.run("UPDATE session_work SET next_step_at = NULL WHERE session_id = :id", id=session_id)
    finish_steps(hosting.desk.engine, [result])
    assert hosting.row(session_id)["next_step_at"] is None
