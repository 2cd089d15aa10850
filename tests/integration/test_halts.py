"""Halts: nothing in scope begins to trade while one stands; what ran is paused, whoever races, dies or asks twice."""

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from hosting import ANN, SYSTEM, Hosting, make_hosting, request, shared
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from worker_process import wait_until

from fntx_sessions.agents import joining
from fntx_sessions.agents.joining import AgentArguments
from fntx_sessions.automation import bulk, halt_rows, halts
from fntx_sessions.automation.halt_arguments import HaltArguments, ListArguments, ReleaseArguments, Scope
from fntx_sessions.cli import halt_way
from fntx_sessions.cli import halts as commands
from fntx_sessions.cli.app import run
from fntx_sessions.cli.exits import Exit
from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import (
    Busy,
    CommandConflict,
    FntxError,
    Forbidden,
    InvalidArgument,
    NotFound,
    OrderRefused,
    OutcomeUnknown,
    PreconditionFailed,
    StackError,
    Unavailable,
)
from fntx_sessions.lifecycle import machine, orders, owed
from fntx_sessions.lifecycle.desk_audit import Deed
from fntx_sessions.lifecycle.halting import SHARED
from fntx_sessions.schemas import SessionStatus, Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.settings import get_settings

S, T = SessionStatus, Trigger
BOB = Actor("bob", frozenset({"operator"}))
RITA = Actor("rita", frozenset({"risk_manager"}))


@pytest.fixture
def hosting(tmp_path, module_database_url, redis_url):
    """A desk without halts."""
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made
        made.run("UPDATE halts SET released_at = now(), released_by = 'test' WHERE released_at IS NULL")


def halt(hosting: Hosting, scope: str, *, actor: Actor = ANN, halt_id: UUID | None = None, **more):
    """Place a halt and let it do its work."""
    arguments = HaltArguments(**{"scope": scope, "reason": "exchange feed is wrong"} | more)
    return halts.halt(hosting.desk, actor, arguments, halt_id or uuid4(), within_s=30)


def release(hosting: Hosting, actor: Actor = ANN, **which):
    return halts.release(hosting.desk, actor, ReleaseArguments(reason="feed is right again", **which))


def refusal(outcome) -> FntxError:
    assert outcome.state == "refused", outcome
    return FntxError.from_dict(outcome.error)


def waiting_start(hosting: Hosting):
    """A start that waits for an agent of somebody else's; returns (session, command)."""
    session_id = hosting.create(config={"agents": ["TheirPlanner", "RiskManagerAgent"]})
    command_id = uuid4()
    assert hosting.ask(T.START, session_id, command_id=command_id).state == "pending"
    return session_id, command_id


def status(hosting, session_id):
    return hosting.row(session_id)["status"]


def test_a_halt_pauses_what_runs_and_holds_what_does_not(hosting):
    """Active sessions are paused, paused and suspended ones held once more, others left; the answer has each."""
    active, paused, suspended = (hosting.started() for _ in range(3))
    hosting.do(T.PAUSE, paused)
    hosting.do(T.SUSPEND, suspended)
    fresh = hosting.create()
    placed = halt(hosting, "all")
    ids = (active, paused, suspended, fresh)
    assert [hosting.row(one)["holds"] for one in ids] == [["halt"], ["halt", "person"], ["halt"], []]
    assert [status(hosting, one) for one in ids] == [S.PAUSED, S.PAUSED, S.SUSPENDED, S.INITIALIZING]
    assert placed.left == 0
    assert {active, paused, suspended} <= {item.session_id for item in placed.items if item.state == "done"}


def test_a_halt_refuses_starts_and_resumes_and_says_which(hosting):
    """A person, a rule and a recovery alike are told scope, who, why, since when and what to run."""
    fresh, paused = hosting.create(), hosting.started()
    hosting.do(T.PAUSE, paused, hold="rule")
    placed = halt(hosting, "all")
    for trigger, session_id, more in (
        (T.START, fresh, {}),
        (T.RESUME, paused, {}),
        (T.RESUME, paused, {"hold": "rule", "actor": SYSTEM}),
        (T.RESUME, paused, {"hold": "recovery", "actor": SYSTEM}),
    ):
        error = refusal(hosting.ask(trigger, session_id, **more))
        assert isinstance(error, PreconditionFailed)
        for part in ("all is halted by ann", "exchange feed is wrong", str(placed.halt.halt_id)[:8], "fntx halt ls"):
            assert part in str(error)


def test_a_start_that_waits_is_refused_when_its_agent_comes(hosting):
    """Its agent comes while the halt stands: the command is refused, naming the halt; nothing waits any more."""
    session_id, command_id = waiting_start(hosting)
    agent = Actor("their-planner", frozenset({"agent"}))
    halt(hosting, "all")
    joining.ready(hosting.desk, agent, AgentArguments(session_id=session_id, agent="TheirPlanner"))
    with pytest.raises(PreconditionFailed, match="all is halted by ann"):
        machine.stored_outcome(hosting.desk.engine, command_id).raise_for_refusal()
    assert (status(hosting, session_id), hosting.row(session_id)["pending"]) == (S.INITIALIZING, None)


@pytest.mark.parametrize("scope", ["account", "template", "session"])
def test_a_halt_reaches_its_scope_and_no_other(hosting, scope):
    """Another account's, template's or session is started, resumed and left running."""
    inside, outside = hosting.started(), hosting.started("regular")
    row = hosting.row(inside)
    name = {"account": row["account_id"], "template": row["template_name"], "session": str(inside)[:13]}[scope]
    placed = halt(hosting, f"{scope}:{name}")
    assert placed.halt.where == f"{scope}:{inside if scope == 'session' else name}"
    assert (status(hosting, inside), status(hosting, outside)) == (S.PAUSED, S.ACTIVE)
    hosting.do(T.PAUSE, outside)
    hosting.do(T.RESUME, outside)
    assert refusal(hosting.ask(T.RESUME, inside))


def test_an_unknown_name_halts_nothing(hosting):
    """Account, template and session names are checked; an account without sessions may be halted."""
    before = len(halts.standing(hosting.desk.engine))
    for scope in ("account:nobody", "template:nothing", f"session:{uuid4()}"):
        with pytest.raises(NotFound, match="Nothing was halted"):
            halt(hosting, scope)
    for scope in ("everything", "all:x", "account:", "session:xyz", ""):
        with pytest.raises(InvalidArgument):
            halt(hosting, scope)
    with pytest.raises(InvalidArgument):
        halt(hosting, "all", reason="  ")
    assert len(halts.standing(hosting.desk.engine)) == before
    account = f"empty-{uuid4()}"
    hosting.run("INSERT INTO accounts (account_id, kind, equity) VALUES (:name, 'paper', 1)", name=account)
    assert halt(hosting, f"account:{account}").items == []


def test_all_leaves_out_what_plays_the_past(hosting):
    """Days of a backtest go on under a halt of everything; named by template, they are halted too."""
    session_id = hosting.started("backtest")
    halt(hosting, "all")
    assert status(hosting, session_id) == S.ACTIVE
    halt(hosting, f"template:{hosting.row(session_id)['template_name']}")
    assert status(hosting, session_id) == S.PAUSED


def test_openings_are_refused_at_the_gate_and_exits_are_not(hosting):
    """From the halt's commit on, even before its session is paused; what reduces passes."""
    session_id = hosting.started()
    halts.place(hosting.desk, ANN, HaltArguments(scope="all", reason="why"), uuid4())
    assert status(hosting, session_id) == S.ACTIVE
    with pytest.raises(OrderRefused, match="all is halted by ann"):
        hosting.intent(session_id)
    assert hosting.intent(session_id, opening=False).client_order_id


def test_a_halt_waits_for_an_opening_that_is_under_way_and_the_pause_tells_of_it(hosting):
    """An intent whose transaction began before is committed before the halt, and so is seen in flight."""
    session_id, placed = hosting.started(), []
    thread = threading.Thread(target=lambda: placed.append(halt(hosting, "all")))
    with hosting.desk.engine.begin() as gate:
        machine.share(gate, session_id)
        thread.start()
        wait_for_waiter(hosting)
        orders._insert(
            gate,
            {"client_order_id": f"{session_id}/1/1", "session_id": session_id, "epoch": 1, "seq": 1,
             "account_id": hosting.row(session_id)["account_id"], "trade_date": "2018-01-09", "decision_latency_ms": 1},
            request(),
        )  # fmt: skip
        assert placed == []
    thread.join()
    assert placed[0].left == 0
    [told] = hosting.events(session_id, "session_paused")
    assert told["data"]["in_flight"] == [f"{session_id}/1/1"]


def wait_for_waiter(hosting) -> None:
    """Return once somebody waits for the halts' lock."""
    while not hosting.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
        pass


def test_a_halt_that_cannot_be_placed_says_so_and_may_be_asked_again(hosting):
    """Who holds the lock too long is named; nothing was halted, and nobody waits behind it any more."""
    session_id = hosting.create()
    with hosting.desk.engine.begin() as gate:
        gate.execute(text(SHARED))
        with pytest.raises(Busy, match="a start, resume or opening that is under way was busy for 100 ms"):
            halt(hosting.with_settings(halt_lock_timeout_ms=100), "all")
        hosting.do(T.START, session_id)
    assert halt(hosting, "all").left == 0
    assert status(hosting, session_id) == S.PAUSED


def test_twenty_racing_starts_and_resumes_never_outrun_a_halt(hosting):
    """After the halt is placed nobody in scope becomes active, ever: replayed from what the sessions' history says."""
    fresh, paused = [hosting.create() for _ in range(10)], [hosting.started() for _ in range(10)]
    for session_id in paused:
        hosting.do(T.PAUSE, session_id)
    ids, go = fresh + paused, threading.Barrier(21)

    def begin(trigger, session_id):
        go.wait()
        for _ in range(3):
            hosting.ask(trigger, session_id)

    asks = [(T.START, one) for one in fresh] + [(T.RESUME, one) for one in paused]
    threads = [threading.Thread(target=begin, args=ask) for ask in asks]
    for thread in threads:
        thread.start()
    go.wait()
    placed = halt(hosting, "all")
    for thread in threads:
        thread.join()
    assert placed.left == 0
    assert {status(hosting, one) for one in ids} <= {S.PAUSED, S.INITIALIZING}
    late = hosting.rows(
        "SELECT t.* FROM transitions t, halts x WHERE x.halt_id = :halt_id AND t.session_id = ANY(:ids) "
        "AND t.to_status = 'active' AND t.timestamp > x.created_at",
        halt_id=placed.halt.halt_id, ids=ids,
    )  # fmt: skip
    assert late == []


def test_asked_twice_it_is_one_halt_that_goes_on_with_what_is_left(hosting):
    """The one that stands answers, with whose it is; --flatten asked later makes it close positions."""
    session_id = hosting.started()
    first, stood = halts.place(hosting.desk, BOB, HaltArguments(scope="all", reason="first"), uuid4())
    assert not stood
    second = halt(hosting, "all")
    assert second.standing
    assert (second.halt.halt_id, second.halt.actor, second.halt.reason) == (first.halt_id, "bob", "first")
    assert status(hosting, session_id) == S.PAUSED
    assert halt(hosting, "all", flatten=True).halt.flatten
    assert status(hosting, session_id) == S.CLOSING
    assert hosting.row(session_id)["pending"]["close_positions"] is True
    again = halt(hosting, "all", halt_id=first.halt_id)
    assert not again.standing
    with pytest.raises(CommandConflict):
        halt(hosting, f"session:{session_id}", halt_id=first.halt_id)


def test_a_run_cut_short_is_gone_on_with(hosting):
    """Killed after the halt was placed, or in the middle of its pauses, whoever asks again pauses the rest."""
    ids = [hosting.started() for _ in range(3)]
    found, _ = halts.place(hosting.desk, ANN, HaltArguments(scope="all", reason="why"), uuid4())
    run = halts._begin(hosting.desk.engine, ANN, found, halt_rows.left(hosting.desk.engine, found.halt_id))
    hosting.run("UPDATE bulk_runs SET claimed_until = now() + interval '1 hour' WHERE bulk_id = :id", id=run)
    hosting.do(T.PAUSE, ids[0])
    placed = halt(hosting, "all", actor=BOB)
    assert placed.left == 0
    assert {status(hosting, one) for one in ids} == {S.PAUSED}
    assert all("halt" in hosting.row(one)["holds"] for one in ids)
    assert bulk.report(hosting.desk.engine, run).state == "cancelled"


def test_only_who_may_end_halts_cancels_what_a_halt_began(hosting):
    """No service, no operator and no token with a scope holds a halt up; who did it stands in the audit."""
    session_id = hosting.started()
    found, _ = halts.place(hosting.desk, ANN, HaltArguments(scope="all", reason="why"), uuid4())
    run = halts._begin(hosting.desk.engine, ANN, found, [session_id])
    for actor in (
        Actor("svc", frozenset({"service"})),
        BOB,
        Actor(ANN.name, frozenset({"admin"}), sessions=frozenset({str(session_id)})),
    ):
        with pytest.raises((Forbidden, NotFound)):
            bulk.cancel(hosting.desk.engine, actor, run)
    assert bulk.report(hosting.desk.engine, run).state == "running"
    assert bulk.cancel(hosting.desk.engine, RITA, run).cancelled_by == "rita"
    [row] = hosting.rows("SELECT * FROM audit WHERE command_id = :id", id=run)
    assert (row["actor"], row["target"]) == ("rita", f"bulk pause {run} of halt {found.halt_id}: cancelled")


def test_a_halt_outlives_everything_but_its_release(hosting, tmp_path):
    """Another process with other connections finds it, and refuses."""
    session_id = hosting.create()
    halt(hosting, "all")
    hosting.desk.engine.dispose()
    with make_hosting(hosting.desk.settings) as other:
        assert "halted" in str(refusal(other.ask(T.START, session_id)))


def test_a_release_needs_the_role_and_resumes_nothing(hosting):
    """It says which sessions stay as they are; a person's resume lifts the halt's hold then, a rule's does not."""
    session_id, suspended = hosting.started(), hosting.started()
    hosting.do(T.SUSPEND, suspended)
    placed = halt(hosting, "all")
    halt(hosting, f"session:{session_id}")
    with pytest.raises(Forbidden):
        release(hosting, BOB, scope="all")
    released = release(hosting, scope="all")
    told = {one.session_id: one for one in released.sessions}
    assert told[session_id].holds == ["halt"]
    assert [one["scope_name"] for one in told[session_id].halts] == [str(session_id)]
    assert told[suspended].status == S.SUSPENDED
    assert released.halt.released_by == "ann"
    assert refusal(hosting.ask(T.RESUME, session_id))
    assert release(hosting, halt_id=str(placed.halt.halt_id)[:8]).halt.release_reason == "feed is right again"
    release(hosting, scope=f"session:{str(session_id)[:8]}")
    assert status(hosting, session_id) == S.PAUSED
    assert "halt" in str(refusal(hosting.ask(T.RESUME, session_id, hold="rule", actor=SYSTEM)))
    hosting.do(T.RESUME, session_id)
    assert hosting.row(session_id)["holds"] == []
    with pytest.raises(NotFound):
        release(hosting, scope="all")


def test_who_may_halt(hosting):
    """Operators and risk managers; a viewer and an agent not; a token of one session halts that one alone."""
    session_id = hosting.started()
    for role in ("viewer", "agent"):
        with pytest.raises(Forbidden):
            halt(hosting, "all", actor=Actor("eve", frozenset({role})))
    scoped = Actor("sam", frozenset({"operator"}), sessions=frozenset({str(session_id)}))
    with pytest.raises(Forbidden):
        halt(hosting, "all", actor=scoped)
    halt(hosting, f"session:{str(session_id)[:8]}", actor=scoped)
    assert status(hosting, session_id) == S.PAUSED


def test_the_list_has_what_stands_and_on_request_what_is_over(hosting):
    """Newest first, with how many sessions each holds."""
    session_id = hosting.started()
    halt(hosting, f"session:{session_id}")
    [found] = [one for one in halts.standing(hosting.desk.engine) if one.scope_name == str(session_id)]
    assert found.held == 1
    release(hosting, scope=f"session:{session_id}")
    over = halts.listed(hosting.desk.engine, ListArguments(released=True))
    assert over[0].halt_id == found.halt_id
    assert over[0].released_at is not None
    assert found.halt_id not in {one.halt_id for one in halts.standing(hosting.desk.engine)}


def test_a_guarded_session_is_flattened_by_any_worker_that_lives_under_a_halt(hosting):
    """A halt holds no exit up: a session suspended with positions past their exit is closed by the guard."""
    session_id = hosting.holding(hosting.started())
    hosting.do(T.SUSPEND, session_id)
    halt(hosting, "all")
    hosting.lose("h1")
    hosting.watch()
    hosting.walk(session_id, lambda _: not hosting.broker.positions(session_id), host_id="h2")
    assert status(hosting, session_id) == S.SUSPENDED
    hosting.check_books(session_id)


def test_scopes_are_written_as_they_are_read():
    """What a halt says of itself can be given to the next command."""
    for written in ("all", "account:a b", "template:Paper Trading", "session:3f2a9c1d"):
        assert str(Scope.parse(written)) == written


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["halt", "--reason", "x"], "scope: is missing. Give --scope all"),
        (["halt", "--scope", "all"], "reason: is missing. Say why"),
        (["halt", "--scope", "all", "--reason", " "], "reason: is missing"),
        (["halt", "release", "--scope", "all"], "reason: is missing"),
        (["halt", "release", "--reason", "x"], "is named by a scope or by an id"),
        (["halt", "release", "xyz", "--reason", "x"], "halt_id"),
        (["halt", "release", "--scope", "all", "--reason", "..."], "reason: says nothing. Say why"),
    ],
)
def test_what_the_command_line_lacks_is_asked_for(arguments, told, capsys):
    """Before anybody is asked: usage, one sentence, exit code 2."""
    assert run(arguments) == Exit.USAGE
    assert told in capsys.readouterr().err


def test_without_a_worker_no_halt_is_ended(hosting, monkeypatch, capsys):
    """Ending one is no safety: workers do it, and ask for the second person; nobody's own shell does beside them."""
    halt(hosting, "all")
    monkeypatch.setenv("FNTX_DATABASE_URL", hosting.desk.settings.database_url.get_secret_value())
    monkeypatch.setenv("FNTX_REDIS_URL", "unix:///nonexistent/fntx/redis.sock")
    monkeypatch.setattr(halt_way, "adopt_local_stack", lambda: True)
    get_settings.cache_clear()
    try:
        assert run(["halt", "release", "--scope", "all", "--reason", "over"]) == Exit.UNAVAILABLE
    finally:
        get_settings.cache_clear()
    said = capsys.readouterr().err
    assert "A halt is ended by a worker alone: it stands, nothing in it opens a position, exits go on." in said
    assert "straight" not in said
    assert len(halts.standing(hosting.desk.engine)) == 1


@pytest.mark.parametrize(
    ("silent", "told"),
    [
        (OutcomeUnknown("c", "place", 5.0), "it is not known whether all is halted: it may be, or may yet come about"),
        (Unavailable("Redis", "refused", "Start it."), "NOT halted: the desk is out of reach (Redis is out of reach"),
    ],
)
def test_from_where_only_workers_are_reached_their_silence_is_told_for_what_it_is(silent, told, monkeypatch, capsys):
    """Sent and unanswered, it may come about; not sent, it is not halted. Both name the broker and what to ask."""

    def nobody():
        raise silent

    monkeypatch.setattr(halt_way, "line", nobody)
    way = halt_way.Way(get_settings().model_copy(update={"database_url": None}), None, redis=True)
    monkeypatch.setattr(commands, "find_way", lambda: way)
    assert run(["halt", "--scope", "all", "--reason", "odd"]) == Exit.UNAVAILABLE
    said = capsys.readouterr().err
    for part in (told, "call the broker", "fntx halt --scope all --reason odd"):
        assert part in said
    assert "command id" not in said


PLACED = "SELECT actor, host, reason, args_hash FROM audit WHERE action = 'halt' AND command_id = :id"


def test_a_halt_that_found_the_chain_busy_is_in_the_audit_soon_after_and_once(hosting):
    """Nobody who holds the chain's end keeps it from standing; who placed it cannot be denied for that."""
    halt_id, ann = uuid4(), Actor("ann", frozenset({"operator"}), host="desk-1", token_id="t1")
    with hosting.desk.engine.connect() as busy:
        busy.execute(text("SELECT * FROM desk_chain FOR UPDATE"))
        halt(hosting, "all", actor=ann, halt_id=halt_id, reason="fat finger")
        assert (len(halts.standing(hosting.desk.engine)), hosting.rows(PLACED, id=halt_id)) == (1, [])
    halt(hosting, "all", actor=ann, halt_id=halt_id, reason="fat finger")
    for _ in range(2):
        owed.pay_oldest(hosting.desk.engine, 10)
    [row] = hosting.rows(PLACED, id=halt_id)
    assert (row["actor"], row["host"], row["reason"]) == ("ann", "desk-1", "placed: fat finger")
    assert row["args_hash"] is not None


def test_a_halt_that_is_ended_while_it_is_made_to_flatten_is_placed_anew(hosting):
    """Who asked for it gets a halt that stands; the one that was ended stays so."""
    old = halt(hosting, "all").halt.halt_id
    waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%SET flatten%'"
    with ThreadPoolExecutor(1) as threads, hosting.desk.engine.connect() as ending:
        ending.execute(text("UPDATE halts SET released_at = now(), released_by = 'rita' WHERE released_at IS NULL"))
        asked = threads.submit(halt, hosting, "all", flatten=True)
        wait_until(lambda: hosting.rows(waits), "it waits for the row")
        ending.commit()
        placed = asked.result()
    assert placed.halt.halt_id != old
    [standing] = halts.standing(hosting.desk.engine)
    assert (standing.halt_id, standing.flatten) == (placed.halt.halt_id, True)
    assert len(hosting.rows(PLACED, id=placed.halt.halt_id)) == 1


def test_a_halt_stands_and_is_carried_out_where_the_audits_key_cannot_be_had(hosting, monkeypatch):
    """Its row is written once the key ring is back."""
    session_id, halt_id = hosting.started(), uuid4()
    with monkeypatch.context() as away:
        away.setattr(owed, "record_in", raising(StackError("the key ring is no key ring", "Put it back.")))
        halt(hosting, "all", halt_id=halt_id)
        assert hosting.row(session_id)["status"] == S.PAUSED
    owed.pay_oldest(hosting.desk.engine, 10)
    assert len(hosting.rows(PLACED, id=halt_id)) == 1


def raising(error):
    def fail(*_):
        raise error

    return fail


def test_what_is_owed_is_written_once_by_however_many(hosting):
    """Sweeps of several hosts may come at once."""
    with transaction(hosting.desk.engine) as connection:
        owed_id = owed.owe(connection, ANN, Deed("halt", "done", "halt of the desk", "odd", uuid4()))
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: owed.pay(hosting.desk.engine, owed_id), range(4)))
    assert len(hosting.rows("SELECT 1 FROM audit WHERE action = 'halt' AND reason = 'odd'")) == 1


@pytest.mark.parametrize("change", ["actor = 'mallory'", "reason = ''", "created_at = now()", "scope_name = 'x'"])
def test_who_placed_a_halt_and_on_what_is_nobodys_to_change(hosting, change):
    """Not by the login of workers, who may write its end; that once."""
    halt(hosting, "all")
    with pytest.raises(DBAPIError, match="stays as it was placed"):
        hosting.run(f"UPDATE halts SET {change} WHERE released_at IS NULL")
    release(hosting, scope="all")
    with pytest.raises(DBAPIError, match="ends once"):
        hosting.run("UPDATE halts SET released_by = 'mallory'")
