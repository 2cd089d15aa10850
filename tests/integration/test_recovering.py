"""Recovery: a new epoch first, agents' memory put back, orders and money from the broker, PAUSED at the end."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import orjson
import pytest
from hosting import SYSTEM, Hosting, S, T, forget_runtimes, make_hosting, shared

from fntx_sessions.automation import hosts, pending
from fntx_sessions.exceptions import Forbidden, IllegalTransition, InvalidArgument, Unavailable
from fntx_sessions.lifecycle.reads.sessions import get_session
from fntx_sessions.lifecycle.recovery import restoring
from fntx_sessions.state.checkpoints import create_checkpoint
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.parts import agent_part
from fntx_sessions.state.saves import save_due
from fntx_sessions.testing import FailpointReached, failpoints_armed

EVALUATOR = agent_part("EvaluatorAgent")


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def live_of(hosting: Hosting, session_id):
    return LiveState(hosting.desk.redis, hosting.desk.settings).read([session_id])[0]


def steps_in(hosting: Hosting, session_id) -> int:
    return orjson.loads(live_of(hosting, session_id).parts[EVALUATOR])["internal_state"]["steps"]


def suspended(hosting: Hosting):
    """A session that holds a position, saved, and SUSPENDED."""
    session_id = hosting.holding(hosting.started())
    hosting.save(session_id)
    hosting.do(T.SUSPEND, session_id)
    return session_id


def test_live_state_that_is_whole_stays(hosting):
    """Where Redis lost nothing, nothing is put back and nothing is lost."""
    session_id = suspended(hosting)
    steps = steps_in(hosting, session_id)
    outcome = hosting.do(T.RECOVER, session_id)
    assert (outcome.extra["source"], outcome.extra["state_lost_s"]) == ("live", 0.0)
    row = hosting.row(session_id)
    assert (row["status"], row["epoch"], row["holds"], row["pending"]) == (S.PAUSED, 2, ["recovery"], None)
    assert steps_in(hosting, session_id) == steps
    hosting.do(T.RESUME, session_id)
    hosting.walk(session_id, lambda found: found["status"] == S.CLOSED)
    assert [fill["reason"] for fill in hosting.fills(session_id)] == ["entry", "profit"]


def test_lost_live_state_comes_from_the_save_and_the_loss_is_measured(hosting):
    """Agents' memory is that of the save; money is not: the broker holds it."""
    session_id = suspended(hosting)
    steps, held = steps_in(hosting, session_id), hosting.broker.positions(session_id)
    hosting.desk.redis.flushdb()
    outcome = hosting.do(T.RECOVER, session_id)
    assert outcome.extra["source"].startswith("latest save")
    assert outcome.extra["state_lost_s"] >= 0
    assert steps_in(hosting, session_id) == steps
    assert "trading" not in live_of(hosting, session_id).parts
    assert hosting.broker.positions(session_id) == held


def test_a_guard_that_reported_meanwhile_is_no_memory(hosting):
    """Redis lost the agents and a guard spoke since: the save is what is put back."""
    session_id = suspended(hosting)
    steps = steps_in(hosting, session_id)
    hosting.desk.redis.flushdb()
    forget_runtimes()
    hosting.step()
    assert agent_part("Guard.RiskManagerAgent") in live_of(hosting, session_id).parts
    assert hosting.do(T.RECOVER, session_id).extra["source"].startswith("latest save")
    assert steps_in(hosting, session_id) == steps


def test_an_empty_live_state_is_not_saved_over_a_good_save(hosting):
    """Between the new epoch and the memory put back, the save sweep leaves the last good save alone."""
    session_id = suspended(hosting)
    steps = steps_in(hosting, session_id)
    hosting.desk.redis.flushdb()
    with failpoints_armed("recovery.begun:raise"), pytest.raises(FailpointReached):
        hosting.ask(T.RECOVER, session_id)
    LiveState(hosting.desk.redis, hosting.desk.settings).raise_fence(session_id, hosting.row(session_id)["epoch"])
    hosting.run("UPDATE session_work SET next_save_at = now()")
    save_due(hosting.desk.engine, hosting.desk.redis, hosting.desk.settings)
    assert hosting.step() == 0, "nobody steps while memory is being put back"
    assert hosting.finish() == {"recover_done": 1}
    assert steps_in(hosting, session_id) == steps


def test_a_session_that_was_never_saved_says_so(hosting):
    """Nothing to put back: agents begin anew, and the recovery says that."""
    session_id = hosting.started()
    hosting.do(T.SUSPEND, session_id)
    hosting.desk.redis.flushdb()
    outcome = hosting.do(T.RECOVER, session_id)
    assert outcome.extra["source"].startswith("none")
    assert outcome.extra["state_lost_s"] is None


def test_a_named_checkpoint_is_what_is_restored(hosting):
    """And one of another session, or none at all, is refused by name; the session stays as it was, guarded."""
    session_id = hosting.started()
    hosting.step()
    made = create_checkpoint(hosting.desk.engine, hosting.desk.redis, hosting.desk.settings, session_id, "manual")
    hosting.holding(session_id)
    other = hosting.started()
    hosting.do(T.SUSPEND, session_id)
    hosting.do(T.SUSPEND, other)
    outcome = hosting.ask(T.RECOVER, other, checkpoint_id=made.checkpoint_id)
    with pytest.raises(InvalidArgument, match="another session"):
        outcome.raise_for_refusal()
    row = hosting.row(other)
    assert (row["status"], row["pending"]) == (S.SUSPENDED, None)
    assert row["next_step_at"] is not None
    hosting.do(T.RECOVER, session_id, checkpoint_id=made.checkpoint_id)
    assert steps_in(hosting, session_id) == 1
    hosting.do(T.RESUME, session_id)
    hosting.walk(session_id, lambda found: found["status"] == S.CLOSED)
    assert [fill["reason"] for fill in hosting.fills(session_id)] == ["entry", "profit"], "it did not enter again"


def test_error_is_left_only_by_a_person_naming_a_checkpoint(hosting):
    """The system may not, and a person has to say what to restore."""
    session_id = hosting.started()
    hosting.step()
    made = create_checkpoint(hosting.desk.engine, hosting.desk.redis, hosting.desk.settings, session_id, "manual")
    hosting.do(T.FAIL, session_id, actor=SYSTEM, error="bad")
    with pytest.raises(Forbidden):
        hosting.ask(T.RECOVER, session_id, actor=SYSTEM, checkpoint_id=made.checkpoint_id).raise_for_refusal()
    with pytest.raises(InvalidArgument):
        hosting.do(T.RECOVER, session_id)
    hosting.do(T.RECOVER, session_id, checkpoint_id=made.checkpoint_id)
    row = hosting.row(session_id)
    assert (row["status"], row["requires_action"]) == (S.PAUSED, None)


def test_an_active_session_of_a_living_host_is_not_recovered(hosting):
    """Two hosts at one session is what epochs are there against."""
    session_id = hosting.started()
    hosting.step()
    with pytest.raises(IllegalTransition):
        hosting.do(T.RECOVER, session_id)


@pytest.mark.parametrize("point", ["recovery.begun", "recovery.restored"])
def test_a_recovery_that_broke_off_is_finished_by_the_sweep(hosting, point):
    """The same command, a new attempt, a new epoch; asked again it answers done."""
    session_id = suspended(hosting)
    command_id = uuid4()
    with failpoints_armed(f"{point}:raise"), pytest.raises(FailpointReached):
        hosting.ask(T.RECOVER, session_id, command_id=command_id)
    row = hosting.row(session_id)
    assert (row["status"], row["epoch"], row["recovery_attempts"]) == (S.SUSPENDED, 2, 1)
    assert hosting.finish() == {"recover_done": 1}
    row = hosting.row(session_id)
    assert (row["status"], row["epoch"]) == (S.PAUSED, 3)
    again = hosting.ask(T.RECOVER, session_id, command_id=command_id)
    assert (again.state, again.repeated, hosting.row(session_id)["epoch"]) == ("done", True, 3)


def test_an_overtaken_attempt_writes_nothing(hosting, monkeypatch):
    """A recoverer that wakes after a newer attempt finished changes neither live state nor session."""
    session_id = suspended(hosting)
    restore, once = restoring.Restoring.newest, []

    def slow(*args):
        restored = restore(*args)
        if not once:
            once.append(True)
            assert hosting.finish() == {"recover_done": 1}
        return restored

    monkeypatch.setattr(restoring.Restoring, "newest", slow)
    hosting.ask(T.RECOVER, session_id)
    row = hosting.row(session_id)
    assert (row["status"], row["epoch"], live_of(hosting, session_id).epoch) == (S.PAUSED, 3, 3)


def test_a_recovery_that_never_succeeds_ends_with_a_person(hosting, monkeypatch):
    """Each attempt has an epoch of its own, and after the cap there is no further one."""
    session_id = suspended(hosting)
    command_id = uuid4()

    def away(*_):
        raise Unavailable("Redis", "gone", "Start it.")

    monkeypatch.setattr(restoring.Restoring, "newest", away)
    with pytest.raises(Unavailable):
        hosting.ask(T.RECOVER, session_id, command_id=command_id)
    for _ in range(4):
        assert hosting.finish() == {"failed": 1}
    assert hosting.finish() == {"gave_up": 1}
    row = hosting.row(session_id)
    assert (row["status"], row["pending"], row["recovery_attempts"]) == (S.SUSPENDED, None, 5)
    assert "fntx recover" in row["requires_action"]
    assert row["next_step_at"] is not None, "what is open is guarded"
    assert hosting.ask(T.RECOVER, session_id, command_id=command_id).state == "refused"


def test_openings_of_older_epochs_are_cancelled_and_late_fills_found(hosting):
    """What the lost host left at the broker is closed, what it never sent named, what filled in the ledger."""
    session_id = hosting.started()
    hosting.walk(session_id, lambda row: row["clock_at"] and row["clock_at"].hour == 15)
    with failpoints_armed("order.placed:raise"):
        hosting.step()
    unsent = hosting.intent(session_id, 77, opening=False)
    assert hosting.fills(session_id) == []
    hosts.renew(hosting.desk.engine, hosting.desk.settings, "h2", "agents")
    hosting.lose("h1")
    assert hosting.watch().recovered == [session_id]
    reconciled = hosting.row(session_id)["recovery_data"]["reconciled"]
    assert reconciled["never_sent"] == [unsent.client_order_id]
    assert reconciled["late_fills"] == [fill["fill_id"] for fill in hosting.fills(session_id)]
    assert len(reconciled["late_fills"]) == 1
    hosting.check_books(session_id)


def test_shown_after_redis_lost_the_memory_it_is_the_save(hosting):
    """What a guard reported since is not shown as the session's state; why is said."""
    session_id = suspended(hosting)
    hosting.desk.redis.flushdb()
    forget_runtimes()
    hosting.step()
    desk = hosting.desk
    shown = get_session(desk.engine, desk.redis, desk.settings, session_id).state_source
    assert shown.tier != "live"
    assert "no agent's memory" in shown.problems[0]


def test_a_refused_recovery_leaves_the_last_ones_figures(hosting):
    """What was measured then is told on, and that a later one came to nothing."""
    session_id = hosting.started()
    hosting.step()
    hosting.do(T.SUSPEND, session_id)
    hosting.do(T.RECOVER, session_id)
    before = hosting.row(session_id)["recovery_data"]
    assert hosting.ask(T.RECOVER, session_id, checkpoint_id=uuid4()).state == "refused"
    after = hosting.row(session_id)["recovery_data"]
    assert after.pop("failed_at")
    assert after == before


def test_events_say_what_a_recovery_came_to(hosting):
    """Source, memory lost, time down and what is open, in the words of the event; suspending names them too."""
    session_id = hosting.holding(hosting.started())
    hosting.do(T.SUSPEND, session_id)
    measured = hosting.do(T.RECOVER, session_id).extra
    assert measured["down_s"] >= measured["rto_s"] > 0
    [suspended] = hosting.events(session_id, "session_suspended")
    assert "1 open position" in suspended["description"]
    [told] = hosting.events(session_id, "session_recovered")
    assert "recovered from live; memory lost (RPO) 0 s; down " in told["description"]
    assert told["description"].endswith("(RTO); 1 open position")


def test_the_sweep_leaves_a_recovery_that_has_just_begun_to_whoever_asked(hosting):
    """An attempt under way is not overtaken by the sweep's next look."""
    session_id = hosting.started()
    hosting.step()
    hosting.do(T.SUSPEND, session_id)
    with failpoints_armed("recovery.begun:raise"), pytest.raises(FailpointReached):
        hosting.ask(T.RECOVER, session_id)
    assert pending.finish_pending(hosting.desk, SYSTEM) == {}
    assert hosting.finish() == {"recover_done": 1}


def test_down_counts_from_the_last_sign_of_the_agents(hosting):
    """An hour passed before anybody recovered it: the recovery took a moment, the session was down an hour."""
    session_id = suspended(hosting)
    hosting.run("UPDATE sessions SET status_since = now() - interval '1 hour' WHERE session_id = :id", id=session_id)
    hosting.desk.redis.flushdb()
    measured = hosting.do(T.RECOVER, session_id).extra
    assert measured["down_s"] > 3600 > measured["rto_s"]
    assert hosting.row(session_id)["recovery_data"]["down_s"] == measured["down_s"]
