"""No agents worker lives: another worker runs the manager's guard of what holds positions, and gives it back."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from hosting import SYSTEM, Hosting, S, T, forget_runtimes, make_hosting, shared

from fntx_sessions.agents import guarding, host
from fntx_sessions.automation import hosts

# A position whose profit is soon enough, whoever steps it.
READY = {"risk_parameters": {"take_profit_multiplier": 0.05}}
AUTO = {"config": {"auto_resume_after_recovery": True}}


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def alone(hosting: Hosting) -> None:
    """Leave the desk with one worker, which sweeps; what the lost one had is fenced off."""
    hosting.lose("h1")
    hosts.renew(hosting.desk.engine, hosting.desk.settings, "s1", "sweeps,commands")
    hosting.watch()
    forget_runtimes()


def guard(hosting: Hosting) -> int:
    """Step every guard that is to be stepped, once, in a process that knows nothing of the step before."""
    hosting.run("UPDATE session_work SET next_step_at = now() WHERE next_step_at IS NOT NULL")
    forget_runtimes()
    return guarding.guard_due(hosting.desk, "s1")


def guard_until_flat(hosting: Hosting, session_id: UUID) -> None:
    for _ in range(80):
        if not hosting.broker.positions(session_id):
            return
        assert guard(hosting) > 0
    pytest.fail("still open")


def openings(hosting: Hosting, session_id: UUID) -> int:
    return hosting.rows(
        "SELECT count(*) AS n FROM order_intents WHERE session_id = :id AND opening",
        id=session_id,
    )[0]["n"]


@pytest.mark.parametrize(
    ("asked", "left", "then"),
    [
        (T.STOP, S.CLOSING, S.CLOSED),
        (T.SUSPEND, S.SUSPENDED, S.SUSPENDED),
        (T.FAIL, S.ERROR, S.ERROR),
        (None, S.PAUSED, S.PAUSED),
        ("auto", S.ACTIVE, S.ACTIVE),
    ],
)
def test_exits_run_in_every_status_and_nothing_is_opened(hosting, asked, left, then):
    """A stop is finished, the others end flat as they are; told once; the broker and the ledger agree."""
    session_id = hosting.holding(hosting.started(**READY, **(AUTO if asked == "auto" else {})))
    if isinstance(asked, T):
        hosting.do(asked, session_id, actor=SYSTEM)
    alone(hosting)
    row, opened = hosting.row(session_id), openings(hosting, session_id)
    assert (row["status"], row["epoch"], row["host_id"]) == (left, 2, None)
    guard_until_flat(hosting, session_id)
    row = hosting.row(session_id)
    assert (row["status"], row["epoch"], row["host_id"]) == (then, 2, None)
    assert openings(hosting, session_id) == opened
    hosting.check_books(session_id)
    [told] = hosting.events(session_id, guarding.STANDS_IN)
    assert "s1 runs the manager's guard" in told["description"]
    assert guard(hosting) == 0, "what is flat waits for its agents"


def test_nobody_is_guarded_by_two(hosting):
    """Not while an agents worker lives; not before its lost host is fenced off; no backtest; not what is flat."""
    session_id, flat = hosting.holding(hosting.started()), hosting.started()
    backtest = hosting.started("backtest")
    hosting.do(T.STOP, session_id)
    assert guard(hosting) == 0
    hosting.lose("h1")
    hosts.renew(hosting.desk.engine, hosting.desk.settings, "s1", "sweeps")
    assert guard(hosting) == 0
    hosting.watch()
    assert guard(hosting) == 1
    assert hosting.events(session_id, guarding.STANDS_IN)
    assert not hosting.events(flat, guarding.STANDS_IN) + hosting.events(backtest, guarding.STANDS_IN)


def test_an_agents_worker_that_comes_back_goes_on_at_once(hosting):
    """Under the same epoch, with its agents' memory, in the process of the guard too."""
    session_id = hosting.holding(hosting.started(**AUTO))
    alone(hosting)
    assert guard(hosting) == 1
    assert host._runtimes[session_id].guarded
    epoch = hosting.row(session_id)["epoch"]
    hosting.step("h2")
    row = hosting.row(session_id)
    assert (row["status"], row["epoch"], row["host_id"]) == (S.ACTIVE, epoch, "h2")
    runtime = host._runtimes[session_id]
    assert not runtime.guarded
    assert runtime.slots["StrategicPlannerAgent"].state
    assert guard(hosting) == 0


def test_a_guard_that_was_killed_is_followed_by_another(hosting):
    """What its step left in flight is settled with the broker first; liveness need not come."""
    session_id = hosting.holding(hosting.started(**READY))
    alone(hosting)
    hosting.run(
        "UPDATE session_work SET host_id = 's1', step_claimed_by = '4194305', "
        "step_claimed_until = now() - interval '1 s' WHERE session_id = :id",
        id=session_id,
    )
    guard_until_flat(hosting, session_id)
    hosting.check_books(session_id)


def test_a_person_is_told_who_runs_the_exits(hosting):
    """The guard and where; nobody, where none has come to it; and the direct way out, for that session."""
    guarded, closing = hosting.holding(hosting.started()), hosting.holding(hosting.started())
    alone(hosting)
    guard(hosting)
    hosting.run("UPDATE hosts SET lease_until = now() - interval '40 s' WHERE host_id = 'h1'")
    hosting.run("UPDATE session_work SET measures = '{}' WHERE session_id = :id", id=closing)
    hosting.watch()
    [told], [nobody] = hosting.events(guarded, "no_host"), hosting.events(closing, "no_host")
    assert "its exits are run by the manager's guard, in s1" in told["description"]
    assert "nobody has run its exits since" in nobody["description"]
    assert f"fntx halt --scope session:{closing} --flatten --reason" in nobody["description"]
