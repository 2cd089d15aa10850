"""kill -9 of a process in the middle of a step or a recovery: nothing lost, nothing twice, the right one charged."""

import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from hosting import Hosting, S, T, forget_runtimes, make_hosting, shared

from fntx_sessions.agents import claims, host
from fntx_sessions.agents.registry import get_agent
from fntx_sessions.automation import hosts
from fntx_sessions.settings import get_settings
from fntx_sessions.testing import failpoints_armed

EXECUTOR, PLANNER, EVALUATOR = "TacticalExecutorAgent", "StrategicPlannerAgent", "EvaluatorAgent"
ENTRY = datetime(2018, 1, 9, 15, 0, tzinfo=UTC)
WHOLE_DAY = ["entry", "profit"]


@pytest.fixture
def hosting(
    tmp_path: Path, module_database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hosting]:
    monkeypatch.setenv("FNTX_HOME", str(tmp_path))  # where processes leave their last words
    get_settings.cache_clear()
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made
    get_settings.cache_clear()


def killed(hosting: Hosting, act: Callable[[Hosting], object], failpoint: str = "") -> None:
    """Do something in a process of its own, with connections of its own, that must end by SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            with make_hosting(hosting.desk.settings) as own, failpoints_armed(failpoint):
                act(own)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the process came through"
    assert os.WTERMSIG(status) == signal.SIGKILL


def step(hosting: Hosting) -> int:
    return hosting.step()


def before_entry(hosting: Hosting):
    """A session whose next bar enters its trade."""
    session_id = hosting.started()
    hosting.walk(session_id, lambda row: row["clock_at"] == ENTRY)
    return session_id


def ends_as_if_nothing_happened(hosting: Hosting, session_id, host_id: str = "h1") -> None:
    hosting.walk(session_id, lambda row: row["status"] == S.CLOSED, host_id)
    hosting.check_books(session_id)
    assert [fill["reason"] for fill in hosting.fills(session_id)] == WHOLE_DAY
    assert hosting.broker.positions(session_id) == []


def test_killed_before_the_intent_is_committed(hosting):
    """Neither an order nor a trace of one: the next step enters as if it were the first."""
    session_id = before_entry(hosting)
    killed(hosting, step, "order.before_commit:kill")
    assert hosting.states(session_id) == {}
    assert hosting.broker.open_orders(session_id) == []
    ends_as_if_nothing_happened(hosting, session_id)


def test_killed_between_intent_and_send(hosting):
    """The intent stands, nothing is at the broker: the next step says never sent, and enters once."""
    session_id = before_entry(hosting)
    killed(hosting, step, "order.committed:kill")
    [name] = hosting.states(session_id)
    assert hosting.broker.order_status(name) is None
    hosting.step()
    assert hosting.states(session_id)[name] == "rejected"
    row = hosting.row(session_id)
    assert (row["epoch"], row["agent_failures"]) == (1, {EXECUTOR: 1, claims.HUNG: 1})
    ends_as_if_nothing_happened(hosting, session_id)


def test_killed_between_broker_and_ledger(hosting):
    """The broker holds a fill the ledger never saw: the next step takes it in, and does not enter again."""
    session_id = before_entry(hosting)
    killed(hosting, step, "order.placed:kill")
    assert hosting.fills(session_id) == []
    assert len(hosting.broker.positions(session_id)) == 1
    hosting.step()
    hosting.check_books(session_id)
    ends_as_if_nothing_happened(hosting, session_id)


def test_killed_while_it_closes(hosting):
    """The exit reached the broker and nobody wrote it down: it is not sent a second time."""
    session_id = hosting.holding(hosting.started())

    def until_exit(own: Hosting) -> None:
        own.walk(session_id, lambda row: row["status"] == S.CLOSED)

    killed(hosting, until_exit, "order.placed:kill")
    assert hosting.broker.positions(session_id) == []
    assert len(hosting.fills(session_id)) == 1
    ends_as_if_nothing_happened(hosting, session_id)


@pytest.mark.parametrize("point", ["order.committed", "order.placed"])
def test_killed_with_its_host(hosting, point):
    """The whole host gone: recovery finds the order's fate under a new epoch and says so."""
    session_id = before_entry(hosting)
    hosting.save(session_id)
    killed(hosting, step, f"{point}:kill")
    hosts.renew(hosting.desk.engine, hosting.desk.settings, "h2", "agents")
    hosting.lose("h1")
    assert hosting.watch().recovered == [session_id]
    found = hosting.row(session_id)["recovery_data"]["reconciled"]
    [name] = hosting.states(session_id)
    sent = point == "order.placed"
    assert found == {"cancelled": [], "never_sent": [] if sent else [name], "late_fills": [f"{name}:0"] if sent else []}
    hosting.do(T.RESUME, session_id)
    forget_runtimes()
    ends_as_if_nothing_happened(hosting, session_id, "h2")


@pytest.mark.parametrize("point", ["order.committed", "order.placed"])
def test_killed_with_its_host_and_restarted_before_its_lease_ran_out(hosting, point):
    """The next host adopts the session under the same epoch, settles the order's fate first, and says so once."""
    session_id = before_entry(hosting)
    killed(hosting, step, f"{point}:kill")
    # Its claim lapses and it is overdue, while the dead host's lease still stands.
    hosting.run(
        "UPDATE session_work SET next_step_at = now() - interval '6 s', step_claimed_until = now() - interval '1 s' "
        "WHERE session_id = :id",
        id=session_id,
    )
    forget_runtimes()
    hosts.renew(hosting.desk.engine, hosting.desk.settings, "h2", "agents")
    assert host.step_due(hosting.desk, "h2") == 1
    [name] = [name for name in hosting.states(session_id) if name.endswith("/1")]
    assert hosting.states(session_id)[name] == ("filled" if point == "order.placed" else "rejected")
    hosting.check_books(session_id)
    row = hosting.row(session_id)
    assert (row["epoch"], row["host_id"], row["status"]) == (1, "h2", S.ACTIVE)
    ends_as_if_nothing_happened(hosting, session_id, "h2")
    [told] = hosting.events(session_id, "host_changed")
    assert "host h1 did not step it" in told["description"]
    assert "h2 goes on with it under epoch 1, after settling" in told["description"]


def test_only_the_agent_that_took_its_process_down_is_charged(hosting):
    """Three sessions in one batch, one agent of one kills: that agent is charged once, the rest go on beside it."""
    sessions = [hosting.started() for _ in range(3)]
    hosting.step()
    guilty = sessions[1]

    def poisoned(own: Hosting) -> None:
        planner = get_agent(PLANNER)
        honest = planner.step

        def step(state, context):
            if context.session_id == guilty:
                os.kill(os.getpid(), signal.SIGKILL)
            return honest(state, context)

        planner.step = step
        own.step()

    killed(hosting, poisoned)
    assert len(claims.claimants(hosting.desk.engine, "h1")) == 1
    hosting.step()
    charged = {session_id: hosting.row(session_id)["agent_failures"] for session_id in sessions}
    guilt = {PLANNER: 1, claims.HUNG: 1}
    assert charged == {session_id: guilt if session_id == guilty else {} for session_id in sessions}
    assert all(hosting.row(session_id)["epoch"] == 1 for session_id in sessions)


def test_an_agent_that_keeps_killing_is_set_aside(hosting):
    """It cannot take the host down for ever: after the cap its session is suspended."""
    session_id = hosting.started()
    for _ in range(3):
        killed(hosting, step, "step.bar:kill")
    hosting.step()
    row = hosting.row(session_id)
    assert (row["status"], row["agent_failures"]) == (S.SUSPENDED, {EVALUATOR: 3, claims.HUNG: 3})


@pytest.mark.parametrize("point", ["step.reported", "step.finished"])
def test_killed_after_its_agents_were_done(hosting, point):
    """Between report and record, or after it: no agent is charged, and the day ends as it would have."""
    session_id = before_entry(hosting)
    killed(hosting, step, f"{point}:kill")
    hosting.step()
    assert hosting.row(session_id)["agent_failures"] == {}
    ends_as_if_nothing_happened(hosting, session_id)


@pytest.mark.parametrize("point", ["recovery.begun", "recovery.restored"])
def test_a_killed_recoverer_is_followed_by_another(hosting, point):
    """The command waits in Postgres; a sweep finishes it under an epoch of its own, from the save."""
    session_id = hosting.holding(hosting.started())
    hosting.save(session_id)
    hosting.do(T.SUSPEND, session_id)
    hosting.desk.redis.flushdb()
    command_id = uuid4()
    killed(hosting, lambda own: own.ask(T.RECOVER, session_id, command_id=command_id), f"{point}:kill")
    assert hosting.row(session_id)["epoch"] == 2
    assert hosting.finish() == {"recover_done": 1}
    row = hosting.row(session_id)
    assert (row["status"], row["epoch"]) == (S.PAUSED, 3)
    again = hosting.ask(T.RECOVER, session_id, command_id=command_id)
    assert (again.state, again.epoch) == ("done", 3)
    hosting.do(T.RESUME, session_id)
    ends_as_if_nothing_happened(hosting, session_id)
