"""The one door to a session row, over a real Postgres: every move, every refusal, every repetition."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from lifecycle_harness import ANN, BOB, S, T, World, ask, check_session, decision
from sqlalchemy import event, text

from fntx_sessions.exceptions import (
    Busy,
    CommandConflict,
    FntxError,
    Forbidden,
    IllegalTransition,
    InvalidArgument,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    VersionConflict,
)
from fntx_sessions.lifecycle import commands, machine
from fntx_sessions.lifecycle.transitions import TABLE, allowed_from, target
from fntx_sessions.security.actor import system_actor

COMMANDS = [*(trigger for trigger in TABLE if trigger is not T.CREATE), T.UPDATE]
PAIRS = [(status, trigger) for status in S for trigger in COMMANDS if trigger is not T.UPDATE]
LEGAL = [pair for pair in PAIRS if target(pair[1], pair[0])]
ILLEGAL = [pair for pair in PAIRS if not target(pair[1], pair[0])]


@pytest.fixture(scope="module")
def world(module_database_url):
    made = World.over(module_database_url)
    yield made
    made.close()


def refusal(outcome) -> FntxError:
    """Return the error an outcome was refused with."""
    assert outcome.state == "refused", outcome
    return FntxError.from_dict(outcome.error)


@pytest.mark.parametrize(("status", "trigger"), LEGAL)
def test_a_legal_command_makes_exactly_the_tables_move(world, status, trigger):
    """One transition from, to and by what the table says, told whole: who, why, under which version and command."""
    session_id = world.in_status(status)
    before = world.row(session_id)
    outcome = world.do(trigger, session_id, reason="because", actor=ANN)
    after = world.row(session_id)
    assert (outcome.state, outcome.status) == ("done", TABLE[trigger][1])
    assert (after["status"], after["version"], after["epoch"]) == (outcome.status, outcome.version, outcome.epoch)
    assert (after["status_actor"], after["status_reason"]) == ("ann", "because")
    moves = world.transitions(session_id)
    step = moves[-1]
    assert (step["from_status"], step["to_status"], step["trigger"]) == (status, outcome.status, trigger)
    assert (step["actor"], step["reason"], step["command_id"]) == ("ann", "because", outcome.command_id)
    assert (step["version"], step["epoch"]) == (outcome.version, outcome.epoch)
    assert sum(one["version"] > before["version"] for one in moves) == 1
    assert outcome.epoch == before["epoch"] + (trigger in (T.START, T.RECOVER))
    check_session(world, session_id)


@pytest.mark.parametrize(("status", "trigger"), ILLEGAL)
def test_an_illegal_command_is_refused_and_the_refusal_kept(world, status, trigger):
    """It names the status found, who set it, why and what is possible; nothing moves, but the audit knows of it."""
    session_id = world.in_status(status)
    before, audited = world.row(session_id), len(world.audit(session_id))
    asked = ask(trigger, session_id, actor=BOB, reason="trying")
    error = refusal(world.run(asked))
    assert isinstance(error, IllegalTransition)
    allowed = ", ".join(allowed_from(status)) or "nothing, it has ended"
    reason = before["status_reason"] or "no reason given"
    assert error.args == (str(session_id), trigger, status, "ann", reason, allowed)
    unmoved = ("status", "version", "epoch", "holds", "pending", "config", "status_since", "status_actor")
    after = world.row(session_id)
    assert {name: after[name] for name in unmoved} == {name: before[name] for name in unmoved}
    entry = world.audit(session_id)[-1]
    assert after["audit_seq"] == audited + 1 == entry["seq"]
    assert (entry["actor"], entry["action"], entry["outcome"], entry["reason"]) == ("bob", trigger, "refused", "trying")
    assert world.run(asked).repeated
    check_session(world, session_id)


@pytest.mark.parametrize("status", S)
def test_an_update_moves_no_status(world, status):
    """Settings change in every status but CLOSING and CLOSED, and raise the version there and only there."""
    session_id = world.in_status(status)
    before = world.row(session_id)
    outcome = world.do(T.UPDATE, session_id, config={"tags": ["new"]})
    after = world.row(session_id)
    assert after["status"] == before["status"]
    if status in (S.CLOSING, S.CLOSED):
        assert isinstance(refusal(outcome), IllegalTransition)
    else:
        assert after["version"] == before["version"] + 1
        assert after["tags"] == after["config"]["tags"] == ["new"]
    check_session(world, session_id)


def test_an_unknown_session_is_refused_by_name(world):
    """A command on a session that is not there is NotFound, and stays so under its id."""
    asked = ask(T.PAUSE, uuid4())
    error = refusal(world.run(asked))
    assert isinstance(error, NotFound)
    assert str(asked.session_id) in str(error)
    assert world.run(asked).repeated


def test_a_command_repeated_answers_the_same_and_acts_once(world):
    """The stored outcome comes back word for word, marked as repeated, even when the session has moved on."""
    session_id = world.in_status(S.ACTIVE)
    asked = ask(T.PAUSE, session_id, reason="lunch")
    first = world.run(asked)
    world.do(T.RESUME, session_id)
    again = world.run(asked)
    assert again.repeated
    assert not first.repeated
    assert again == replace(first, repeated=True)
    assert world.row(session_id)["status"] == S.ACTIVE
    assert machine.stored_outcome(world.engine, asked.command_id) == again
    assert machine.stored_outcome(world.engine, uuid4()) is None


def test_a_refusal_stays_the_answer_when_the_command_would_be_legal_later(world):
    """The same id gets the same refusal; a new id is a new command."""
    session_id = world.in_status(S.ACTIVE)
    asked = ask(T.RESUME, session_id)
    first = world.run(asked)
    assert isinstance(refusal(first), IllegalTransition)
    world.do(T.PAUSE, session_id)
    assert world.run(asked) == replace(first, repeated=True)
    assert world.row(session_id)["status"] == S.PAUSED
    assert world.run(replace(asked, command_id=uuid4())).state == "done"


@pytest.mark.parametrize(
    "changed",
    [{"reason": "other"}, {"expected_version": 99}, {"arguments": {"hold": "rule"}}, {"trigger": T.STOP}],
    ids=lambda changed: next(iter(changed)),
)
def test_the_same_id_for_something_else_is_a_conflict(world, changed):
    """It names what the id first stood for, changes nothing, and leaves the first answer as it was."""
    session_id = world.in_status(S.ACTIVE)
    asked = ask(T.PAUSE, session_id)
    first = world.run(asked)
    audited = len(world.audit(session_id))
    error = refusal(world.run(replace(asked, **changed)))
    assert isinstance(error, CommandConflict)
    assert error.args == (str(asked.command_id), T.PAUSE)
    assert len(world.audit(session_id)) == audited
    assert world.run(asked) == replace(first, repeated=True)


def test_the_same_id_for_another_session_is_a_conflict(world):
    """An id belongs to one session."""
    one, other = world.in_status(S.ACTIVE), world.in_status(S.ACTIVE)
    asked = ask(T.PAUSE, one)
    world.run(asked)
    assert isinstance(refusal(world.run(replace(asked, session_id=other))), CommandConflict)
    assert world.row(other)["status"] == S.ACTIVE


def test_one_command_from_eight_sides_acts_once(world, module_database_url):
    """Delivered eight times at once, all answers are the same and one transition is there."""
    session_id = world.in_status(S.ACTIVE)
    asked = ask(T.PAUSE, session_id)
    together = threading.Barrier(8)
    wide = World.over(module_database_url, db_pool_size=8)
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda _: (together.wait(), wide.run(asked))[1], range(8)))
    wide.close()
    assert all(replace(outcome, repeated=True) == replace(outcomes[0], repeated=True) for outcome in outcomes)
    assert sum(not outcome.repeated for outcome in outcomes) == 1
    assert [step["trigger"] for step in world.transitions(session_id)].count(T.PAUSE) == 1
    check_session(world, session_id)


def test_two_ids_with_other_arguments_at_once(world):
    """One id asked at once for two things: one is done, the other is told that the id is taken."""
    session_id = world.in_status(S.ACTIVE)
    asked = ask(T.PAUSE, session_id)
    other = replace(asked, reason="another one")
    together = threading.Barrier(2)
    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(lambda one: (together.wait(), world.run(one))[1], [asked, other]))
    states = sorted(outcome.state for outcome in outcomes)
    assert states == ["done", "refused"]
    assert isinstance(refusal(next(o for o in outcomes if o.state == "refused")), CommandConflict)


def test_a_row_held_too_long_is_busy_and_nothing_is_stored(module_database_url):
    """The wait is bounded; no command row stays; the same id works once the row is free."""
    world = World.over(module_database_url, db_lock_timeout_ms=50)
    session_id = world.in_status(S.ACTIVE)
    asked = ask(T.PAUSE, session_id)
    with world.engine.begin() as holder:
        holder.execute(text("SELECT 1 FROM sessions WHERE session_id = :id FOR UPDATE"), {"id": session_id})
        with pytest.raises(Busy):
            world.run(asked)
    assert world.rows("SELECT 1 FROM commands WHERE command_id = :id", id=asked.command_id) == []
    outcome = world.run(asked)
    assert (outcome.state, outcome.repeated) == ("done", False)
    check_session(world, session_id)
    world.close()


def test_expected_version_makes_a_command_conditional(world):
    """It holds: done. It does not: refused, naming the version and whoever changed the session last."""
    session_id = world.in_status(S.ACTIVE)
    version = world.row(session_id)["version"]
    assert world.do(T.UPDATE, session_id, actor=BOB, expected_version=version, config={"tags": ["a"]}).state == "done"
    error = refusal(world.do(T.PAUSE, session_id, expected_version=version))
    assert isinstance(error, VersionConflict)
    assert error.args == (str(session_id), version, version + 1, "bob")
    assert world.do(T.PAUSE, session_id, expected_version=version + 1).state == "done"
    check_session(world, session_id)


@pytest.mark.parametrize("trigger", COMMANDS)
def test_a_command_is_two_round_trips(world, trigger):
    """Lock and facts in the first, everything else and the commit in the second; a repetition costs no more."""
    source = S.ACTIVE if trigger is T.UPDATE else next(status for status in S if target(trigger, status))
    session_id = world.in_status(source)
    asked = ask(trigger, session_id)
    seen = []

    def note(_connection, _cursor, statement, *_rest):
        seen.append(statement)

    world.do(T.PAUSE, running := world.in_status(S.ACTIVE))  # on a connection that is there, and has its plans, already
    world.do(T.PAUSE, running)
    event.listen(world.engine, "before_cursor_execute", note)
    try:
        machine.run(world.engine, asked, decision(trigger))
        assert len(seen) == 2
        assert seen[0].lstrip().startswith("BEGIN")
        assert seen[1].rstrip().endswith("COMMIT")
        machine.run(world.engine, replace(asked, command_id=uuid4(), expected_version=0), commands.fail)
        assert len(seen) == 4
    finally:
        event.remove(world.engine, "before_cursor_execute", note)


def test_a_pause_sees_the_order_it_waited_for(world):
    """An intent committed under FOR SHARE while the pause waits for the row is in the pause's answer."""
    session_id = world.in_status(S.ACTIVE)
    order_id = f"{session_id}/1/1"
    with ThreadPoolExecutor(1) as threads, world.engine.begin() as gate:
        assert machine.share(gate, session_id)["status"] == S.ACTIVE
        pausing = threads.submit(world.do, T.PAUSE, session_id)
        _until_somebody_waits(world)
        gate.execute(text(_INTENT), {"order": order_id, "session": session_id, "account": f"paper:{session_id}"})
        gate.commit()
        outcome = pausing.result()
    assert outcome.extra == {"in_flight": [order_id], "quiet": False}
    assert world.row(session_id)["quiesced_at"] is None
    world.execute("UPDATE order_intents SET state = 'cancelled' WHERE client_order_id = :id", id=order_id)
    machine.run(world.engine, ask(T.UPDATE, session_id), commands.quiesce)
    assert world.row(session_id)["quiesced_at"] is not None


_INTENT = """
INSERT INTO order_intents (client_order_id, session_id, epoch, seq, account_id, trade_date, opening)
VALUES (:order, :session, 1, 1, :account, '2018-01-02', true)
"""


def _until_somebody_waits(world):
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    while not world.rows(waiting):
        pass


def test_an_order_that_comes_after_the_pause_sees_the_pause(world):
    """The gate reads the row as it is once it holds it."""
    session_id = world.in_status(S.PAUSED)
    with world.engine.begin() as gate:
        assert machine.share(gate, session_id)["status"] == S.PAUSED
        assert machine.share(gate, uuid4()) is None


def test_a_saves_foreign_key_does_not_wait_for_a_command(world):
    """Whoever writes rows that hang on a session while a command holds it is not held up: no circle can close."""
    session_id = world.in_status(S.ACTIVE)
    account = f"paper:{session_id}"

    def slow(row, asked):
        with world.engine.begin() as other:
            other.execute(text("SET LOCAL lock_timeout = '200ms'"))
            other.execute(text("SELECT 1 FROM session_work WHERE session_id = :id FOR UPDATE"), {"id": session_id})
            other.execute(text(_INTENT), {"order": "fk", "session": session_id, "account": account})
            other.rollback()
        return commands.pause(row, asked)

    assert machine.run(world.engine, ask(T.PAUSE, session_id), slow).state == "done"


def test_an_exclusive_account_has_one_started_session(world):
    """The second start is refused naming the account and the session that holds it, and works once that one closed."""
    account = f"desk-{uuid4().hex[:8]}"
    holder, other = world.create(config={"account": account}), world.create(config={"account": account})
    assert world.do(T.START, holder).state == "done"
    error = refusal(world.do(T.START, other))
    assert isinstance(error, PreconditionFailed)
    assert error.args[:3] == (str(other), T.START, "account_free")
    assert account in str(error)
    assert str(holder) in str(error)
    world.do(T.STOP, holder)
    assert isinstance(refusal(world.do(T.START, other)), PreconditionFailed)
    world.do(T.FINALIZE, holder)
    assert world.do(T.START, other).state == "done"


def test_two_starts_at_once_on_one_account(world):
    """One wins; the other lost the race at the index itself, and is still told by whom, as a stored refusal."""
    account = f"desk-{uuid4().hex[:8]}"
    first, second = world.create(config={"account": account}), world.create(config={"account": account})
    asked = ask(T.START, second)
    looks = []

    def overtaken(row, waiting):
        looks.append(row["account_holder"])
        changes = commands.start(row, waiting)
        if len(looks) == 1:
            assert world.do(T.START, first).state == "done"
        return changes

    error = refusal(machine.run(world.engine, asked, overtaken))
    assert looks == [None, first]
    assert isinstance(error, PreconditionFailed)
    assert str(first) in str(error)
    assert account in str(error)
    assert world.run(asked).repeated
    assert world.row(second)["status"] == S.INITIALIZING
    check_session(world, second)


def test_a_shared_account_may_hold_several(world):
    """An account that is not exclusive holds as many started sessions as wanted."""
    account = f"shared-{uuid4().hex[:8]}"
    world.execute("INSERT INTO accounts (account_id, exclusive, equity) VALUES (:id, false, 1000)", id=account)
    for session_id in (world.create(config={"account": account}), world.create(config={"account": account})):
        assert world.do(T.START, session_id).state == "done"


def test_a_start_waits_for_agents_and_is_finished_under_its_own_id(world):
    """Pending at first; asked again it stays pending and moves nothing; taken up once they are ready it is done."""
    session_id = world.create(hosted=False)
    asked = ask(T.START, session_id, reason="go")
    first = world.run(asked)
    assert first.state == "pending"
    assert len(first.extra["waiting_for"]) == 5
    assert world.run(asked) == replace(first, repeated=True)
    assert machine.run(world.engine, asked, commands.start, finishing=True).state == "pending"
    assert world.row(session_id)["version"] == first.version
    world.execute("UPDATE session_agents SET ready_at = now() WHERE session_id = :id", id=session_id)
    done = machine.run(world.engine, asked, commands.start, finishing=True)
    assert (done.state, done.status) == ("done", S.ACTIVE)
    assert world.run(asked) == replace(done, repeated=True)
    assert world.row(session_id)["pending"] is None
    check_session(world, session_id)


def test_a_start_whose_agents_never_come_is_refused_and_waits_no_more(world):
    """Past its deadline it is refused by the agents' names, the row holds no pending work, and a new start may wait."""
    session_id = world.create(hosted=False)
    asked = ask(T.START, session_id)
    world.run(asked)
    world.execute(
        "UPDATE sessions SET pending = jsonb_set(pending, '{deadline}', '\"2020-01-01T00:00:00+00:00\"')"
        " WHERE session_id = :id",
        id=session_id,
    )
    error = refusal(machine.run(world.engine, asked, commands.start, finishing=True))
    assert "RiskManagerAgent" in str(error)
    assert world.row(session_id)["pending"] is None
    assert world.run(asked).state == "refused"
    assert world.do(T.START, session_id).state == "pending"
    check_session(world, session_id)


def test_a_waiting_command_is_taken_up_as_what_it_was(world):
    """By its caller, expected version and all; by a sweep, from its row alone; with other arguments by nobody."""
    session_id = world.in_status(S.SUSPENDED)
    asked = ask(T.RECOVER, session_id, reason="why", expected_version=world.row(session_id)["version"])
    begun = machine.run(world.engine, asked, commands.begin_recovery)
    other = replace(asked, arguments={"checkpoint_id": str(uuid4())})
    conflict = machine.run(world.engine, other, commands.begin_recovery, finishing=True)
    assert isinstance(refusal(conflict), CommandConflict)
    again = machine.run(world.engine, asked, commands.begin_recovery, finishing=True)
    assert (again.state, again.epoch) == ("pending", begun.epoch + 1)
    rebuilt = replace(asked, reason="", expected_version=None)
    done = machine.run(world.engine, rebuilt, commands.finish_recovery({"epoch": again.epoch}), finishing=True)
    assert done.state == "done"
    assert machine.run(world.engine, rebuilt, commands.begin_recovery, finishing=True) == replace(done, repeated=True)
    assert world.run(asked) == replace(done, repeated=True)
    check_session(world, session_id)


def test_a_second_start_is_told_of_the_one_that_waits(world):
    """It names the command whose outcome to ask for."""
    session_id = world.create(hosted=False)
    first = world.do(T.START, session_id)
    assert str(first.command_id) in str(refusal(world.do(T.START, session_id)))
    assert world.row(session_id)["pending"]["command_id"] == str(first.command_id)


@pytest.mark.parametrize("trigger", [T.STOP, T.FAIL])
def test_a_waiting_start_that_is_overtaken_gets_its_answer(world, trigger):
    """No command stays pending for ever: whoever asked learns what came first; the audit holds both."""
    session_id = world.create(hosted=False)
    asked = ask(T.START, session_id)
    world.run(asked)
    assert world.do(trigger, session_id, actor=BOB).state == "done"
    error = refusal(world.run(asked))
    assert isinstance(error, PreconditionFailed)
    assert error.args[1] == T.START
    assert trigger in str(error)
    assert "bob" in str(error)
    assert [entry["action"] for entry in world.audit(session_id)][-2:] == [trigger, T.START]
    check_session(world, session_id)


def test_an_overtaken_recovery_gets_its_answer(world):
    """A newer attempt under a newer epoch answers the older one; the older one's end changes nothing."""
    session_id = world.in_status(S.SUSPENDED)
    older, newer = ask(T.RECOVER, session_id), ask(T.RECOVER, session_id)
    begun = machine.run(world.engine, older, commands.begin_recovery)
    after = machine.run(world.engine, newer, commands.begin_recovery)
    assert after.epoch == begun.epoch + 1
    late = machine.run(world.engine, older, commands.finish_recovery({"epoch": begun.epoch}), finishing=True)
    assert isinstance(refusal(late), PreconditionFailed)
    assert world.row(session_id)["status"] == S.SUSPENDED
    done = machine.run(world.engine, newer, commands.finish_recovery({"epoch": after.epoch}), finishing=True)
    assert (done.state, done.status) == ("done", S.PAUSED)
    check_session(world, session_id)


def test_nobody_resumes_while_a_recovery_is_under_way(world):
    """The agents' memory is not put back under agents that trade."""
    session_id = world.in_status(S.PAUSED)
    begun = machine.run(world.engine, ask(T.RECOVER, session_id), commands.begin_recovery)
    assert str(begun.command_id) in str(refusal(world.do(T.RESUME, session_id)))
    check_session(world, session_id)


def test_an_active_session_is_recovered_only_when_its_host_is_lost(world):
    """With a live host it is refused; without, it is suspended first, in the same transaction, under a new epoch."""
    session_id = world.in_status(S.ACTIVE)
    world.execute(
        "INSERT INTO hosts (host_id, pid, node, lease_until) VALUES (:h, 1, 'n', now() + interval '1 hour')",
        h=str(session_id),
    )
    world.execute("UPDATE session_work SET host_id = :h WHERE session_id = :id", h=str(session_id), id=session_id)
    assert isinstance(refusal(world.do(T.RECOVER, session_id)), IllegalTransition)
    world.execute("UPDATE hosts SET lease_until = now() - interval '1 s' WHERE host_id = :h", h=str(session_id))
    epoch = world.row(session_id)["epoch"]
    outcome = world.do(T.RECOVER, session_id)
    assert (outcome.state, outcome.status, outcome.epoch) == ("done", S.PAUSED, epoch + 1)
    steps = [(step["to_status"], step["trigger"], step["epoch"]) for step in world.transitions(session_id)]
    assert steps[-2:] == [(S.SUSPENDED, T.SUSPEND, epoch + 1), (S.PAUSED, T.RECOVER, epoch + 1)]
    check_session(world, session_id)


def test_error_is_left_only_with_a_checkpoint_named_by_somebody_entitled(world):
    """Without the checkpoint, and for the system, it is refused by name; a session that never ran has nothing."""
    session_id = world.in_status(S.ERROR)
    bare = replace(ask(T.RECOVER, session_id), arguments={})
    assert isinstance(refusal(world.run(bare)), InvalidArgument)
    assert isinstance(refusal(world.do(T.RECOVER, session_id, actor=system_actor("node"))), Forbidden)
    fresh = world.create()
    world.do(T.FAIL, fresh)
    assert "never ran" in str(refusal(world.do(T.RECOVER, fresh)))
    assert world.do(T.RECOVER, session_id).status == S.PAUSED


def test_a_rule_lifts_only_its_own_hold(world):
    """A rule resumes what only a rule holds; a person lifts every hold, that of a halt that is over too."""
    session_id = world.in_status(S.ACTIVE)
    world.do(T.PAUSE, session_id, hold="rule")
    assert world.do(T.RESUME, session_id, hold="rule").state == "done"
    world.do(T.PAUSE, session_id, hold="person")
    assert "person" in str(refusal(world.do(T.RESUME, session_id, hold="rule")))
    assert world.do(T.RESUME, session_id).state == "done"
    world.do(T.PAUSE, session_id, hold="halt")
    assert "halt" in str(refusal(world.do(T.RESUME, session_id, hold="rule")))
    assert world.do(T.RESUME, session_id).state == "done"
    check_session(world, session_id)


def test_holds_survive_a_suspension_and_recovery_adds_its_own(world):
    """A person's pause is still a person's after a fault."""
    session_id = world.in_status(S.PAUSED)
    world.do(T.SUSPEND, session_id)
    assert world.row(session_id)["holds"] == ["person"]
    world.do(T.RECOVER, session_id)
    assert world.row(session_id)["holds"] == ["person", "recovery"]


def test_an_update_leaves_a_planned_recovery_where_it_is(world):
    """Changing settings of a suspended session does not cancel its next recovery attempt."""
    session_id = world.in_status(S.SUSPENDED)
    world.execute(
        "UPDATE session_work SET next_recovery_at = now() + interval '1 hour' WHERE session_id = :id", id=session_id
    )
    world.do(T.UPDATE, session_id)
    planned = "SELECT next_recovery_at FROM session_work WHERE session_id = :id"
    assert world.rows(planned, id=session_id)[0]["next_recovery_at"] is not None


def test_a_latched_loss_limit_holds_for_its_trade_date(world):
    """Whoever is no risk manager cannot start or resume on that date, whatever later dates have latched too."""
    session_id = world.create()
    account = world.row(session_id)["account_id"]
    for day in ("2018-02-05", "2018-02-07"):
        world.execute(
            "INSERT INTO account_days (account_id, trade_date, equity_at_roll, latched_at) VALUES (:a, :d, 1, now())",
            a=account, d=day,
        )  # fmt: skip
    clock = "UPDATE session_work SET clock_at = :at WHERE session_id = :id"
    world.execute(clock, at="2018-02-05 16:00+00", id=session_id)
    assert "2018-02-05" in str(refusal(world.do(T.START, session_id, actor=BOB)))
    world.execute(clock, at="2018-02-06 16:00+00", id=session_id)
    assert world.do(T.START, session_id, actor=BOB).state == "done"


def test_a_connection_lost_at_the_commit_leaves_the_outcome_open(database_template, postgres_server):
    """Nobody says "nothing was changed" then; asking again with the same id acts once."""
    with postgres_server.database(database_template) as name:
        world = World.over(postgres_server.url(name))
        session_id = world.in_status(S.ACTIVE)
        world.execute(
            "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$"
        )
        world.execute("CREATE TRIGGER die BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION die()")
        asked = ask(T.PAUSE, session_id)
        with pytest.raises(OutcomeUnknown) as caught:
            world.run(asked)
        assert UUID(caught.value.args[0]) == asked.command_id
        world.execute("DROP TRIGGER die ON audit")
        assert world.run(asked).state == "done"
        check_session(world, session_id)
        world.close()


def test_a_bug_in_a_decision_rolls_back_and_frees_the_row(world):
    """Nothing is stored, nothing stays locked, and the connection can be used again."""
    session_id = world.in_status(S.ACTIVE)
    asked = ask(T.PAUSE, session_id)

    def broken(_row, _ask):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        machine.run(world.engine, asked, broken)
    assert world.run(asked).state == "done"
    check_session(world, session_id)
