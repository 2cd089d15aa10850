"""What is not done at once: starts that wait for agents, stops that wait for flat books. Finished or refused, once."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from hosting import DAY, FEED, PUT, SYSTEM, Hosting, S, T, make_hosting, shared

from fntx_sessions.agents import joining
from fntx_sessions.agents.joining import AgentArguments
from fntx_sessions.automation import pending
from fntx_sessions.exceptions import Forbidden, NotFound, PreconditionFailed, Unavailable
from fntx_sessions.lifecycle import machine, orders
from fntx_sessions.lifecycle.reads.history import get_outcome
from fntx_sessions.security.actor import Actor
from fntx_sessions.state import checkpoints
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.proving import verify_checkpoint
from fntx_sessions.state.redis_client import build_redis
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.trading.orders import Fill

THEIRS = {"config": {"agents": ["TheirPlanner", "RiskManagerAgent"]}}


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def stored(hosting: Hosting, command_id):
    return machine.stored_outcome(hosting.desk.engine, command_id)


def waiting_start(hosting: Hosting, **config):
    """A start that waits for an agent of somebody else's; returns (session, command)."""
    session_id = hosting.create(config=THEIRS["config"] | config)
    command_id = uuid4()
    outcome = hosting.ask(T.START, session_id, command_id=command_id)
    assert (outcome.state, outcome.extra["waiting_for"]) == ("pending", ["TheirPlanner"])
    return session_id, command_id


# Starts


def test_a_start_waits_for_remote_agents_and_the_same_command_is_answered(hosting):
    """Pending at first, asked again still pending; once the agent is ready that command is done."""
    session_id, command_id = waiting_start(hosting)
    assert hosting.finish() == {"waiting": 1}
    assert hosting.ask(T.START, session_id, command_id=command_id).state == "pending"
    assert hosting.row(session_id)["status"] == S.INITIALIZING
    agent = Actor("their-planner", frozenset({"agent"}))
    told = joining.ready(hosting.desk, agent, AgentArguments(session_id=session_id, agent="TheirPlanner"))
    assert (told["status"], told["epoch"]) == (S.ACTIVE, 1), "the last one ready, nobody waits for a sweep"
    assert stored(hosting, command_id).state == "done"
    row = hosting.row(session_id)
    assert (row["status"], row["pending"], row["epoch"], row["pending_due_at"]) == (S.ACTIVE, None, 1, None)
    assert hosting.finish() == {}


def test_only_an_agent_of_the_roster_can_be_ready_and_only_an_agent_may_say_so(hosting):
    """An unknown name is NotFound; an operator's token is not an agent's."""
    session_id, _ = waiting_start(hosting)
    agent = Actor("their-planner", frozenset({"agent"}))
    with pytest.raises(NotFound, match="Nobody"):
        joining.ready(hosting.desk, agent, AgentArguments(session_id=session_id, agent="Nobody"))
    operator = Actor("ann", frozenset({"operator"}))
    with pytest.raises(Forbidden, match="may not report"):
        joining.ready(hosting.desk, operator, AgentArguments(session_id=session_id, agent="TheirPlanner"))
    assert hosting.finish() == {"waiting": 1}


def test_a_start_whose_agents_do_not_come_is_refused_by_name(hosting):
    """Past its deadline the command is refused, naming who was not ready; the session may be started again."""
    session_id, command_id = waiting_start(hosting)
    past = '{"deadline": "2020-01-01T00:00:00+00:00"}'
    hosting.run("UPDATE sessions SET pending = pending || CAST(:past AS jsonb)", past=past)
    assert hosting.finish() == {"start_refused": 1}
    outcome = stored(hosting, command_id)
    with pytest.raises(PreconditionFailed, match="not ready after 30 s: TheirPlanner"):
        outcome.raise_for_refusal()
    row = hosting.row(session_id)
    assert (row["status"], row["pending"]) == (S.INITIALIZING, None)
    assert hosting.finish() == {}
    assert hosting.ask(T.START, session_id).state == "pending"


def test_a_start_that_may_not_wait_is_refused_at_once(hosting):
    """wait_ready_s 0."""
    session_id = hosting.create(config=THEIRS["config"] | {"wait_ready_s": 0})
    outcome = hosting.ask(T.START, session_id)
    with pytest.raises(PreconditionFailed, match="TheirPlanner"):
        outcome.raise_for_refusal()
    assert hosting.row(session_id)["pending"] is None


def test_a_stop_overtakes_a_start_that_waits(hosting):
    """The start is refused and says who came first."""
    session_id, command_id = waiting_start(hosting)
    hosting.do(T.STOP, session_id)
    assert stored(hosting, command_id).state == "refused"
    assert hosting.finish() == {"stop_done": 1}
    assert hosting.row(session_id)["status"] == S.CLOSED


# Stops


def test_a_session_that_never_started_stops_at_once(hosting):
    """No agent, no book, no checkpoint to wait for."""
    session_id = hosting.create()
    assert hosting.do(T.STOP, session_id).status == S.CLOSING
    assert hosting.finish() == {"stop_done": 1}
    row = hosting.row(session_id)
    assert (row["status"], row["pending_due_at"]) == (S.CLOSED, None)


def test_a_stop_flattens_then_closes_with_a_verified_final_checkpoint(hosting):
    """Flat by the stop's own policy; CLOSED names its final checkpoint, which verifies."""
    session_id = hosting.holding(hosting.started())
    hosting.do(T.STOP, session_id, close_positions=True)
    assert hosting.finish() == {"waiting": 1}
    hosting.walk(session_id, lambda row: row["status"] == S.CLOSED, limit=5)
    assert hosting.broker.positions(session_id) == []
    hosting.check_books(session_id)
    final = checkpoints.list_checkpoints(hosting.desk.engine, session_id)[0]
    assert (final.checkpoint_type, final.verified) == ("final", True)
    ref = Ref(final.session_id, final.checkpoint_id)
    assert verify_checkpoint(*hosting.desk.parts(), ref).problem is None
    command = "SELECT command_id FROM commands WHERE session_id = :id AND trigger = 'finalization_complete'"
    [done] = hosting.rows(command, id=session_id)
    assert get_outcome(hosting.desk.engine, done["command_id"]).extra["checkpoint_id"] == str(final.checkpoint_id)


def test_a_stop_may_leave_positions_with_somebody(hosting):
    """The policy of the stop, not of the config: positions stay at the broker, and the stop says with whom."""
    session_id = hosting.holding(hosting.started())
    hosting.do(T.STOP, session_id, close_positions=False, leave_positions_with="night desk")
    assert hosting.row(session_id)["pending"]["leave_positions_with"] == "night desk"
    hosting.finish()
    assert hosting.row(session_id)["status"] == S.CLOSED
    assert len(hosting.broker.positions(session_id)) == 1


def test_a_stop_does_not_close_over_an_order_in_flight(hosting):
    """Nothing is CLOSED while an order's fate is unknown; once it is known, the next attempt closes."""
    session_id = hosting.started()
    hosting.step()
    intent = hosting.intent(session_id, 9, opening=False)
    hosting.do(T.STOP, session_id)
    assert hosting.finish() == {"waiting": 1}
    orders.settle(hosting.desk.engine, {intent.client_order_id: "rejected"})
    assert hosting.finish() == {"stop_done": 1}


def test_a_finalization_that_was_refused_once_is_asked_anew(hosting, monkeypatch):
    """An order that came in between refuses one attempt; that refusal does not answer the next."""
    session_id = hosting.started()
    hosting.step()
    hosting.do(T.STOP, session_id)
    made = pending.create_checkpoint
    late = []

    def in_between(*args, **more):
        if not late:
            late.append(hosting.intent(session_id, 9, opening=False))
        return made(*args, **more)

    monkeypatch.setattr(pending, "create_checkpoint", in_between)
    assert hosting.finish() == {"stop_refused": 1}
    orders.settle(hosting.desk.engine, {late[0].client_order_id: "rejected"})
    agent = Report(session_id, 1, "EvaluatorAgent", {"metrics": b'{"one": 2}'})
    LiveState(hosting.desk.redis, hosting.desk.settings).report(agent)
    assert hosting.finish() == {"stop_done": 1}
    kept = checkpoints.list_checkpoints(hosting.desk.engine, session_id)
    assert [one.checkpoint_type for one in kept].count("final") == 1, "what went on since makes another one the final"
    assert kept[0].checkpoint_type == "final"


def test_a_final_checkpoint_is_made_once(hosting, monkeypatch):
    """Killed between the checkpoint and the command: the next attempt takes the checkpoint that is there."""
    session_id = hosting.started()
    hosting.step()
    hosting.do(T.STOP, session_id)
    with monkeypatch.context() as patched:
        patched.setattr(pending, "_close", failing_close)
        assert hosting.finish() == {"failed": 1}
    assert hosting.finish() == {"stop_done": 1}
    kept = checkpoints.list_checkpoints(hosting.desk.engine, session_id)
    assert [one.checkpoint_type for one in kept].count("final") == 1


def failing_close(*_):
    raise Unavailable("Postgres", "it went away", "")


def test_a_final_checkpoint_after_a_flush_is_made_of_the_last_save(hosting):
    """Redis lost what was live while the session was closing: the last good save is kept, and it says so."""
    session_id = hosting.started()
    hosting.step()
    hosting.save(session_id)
    hosting.do(T.STOP, session_id)
    saved = hosting.rows("SELECT revision FROM saves WHERE session_id = :id", id=session_id)[0]["revision"]
    live = LiveState(hosting.desk.redis, hosting.desk.settings)
    hosting.desk.redis.flushdb()
    live.raise_fence(session_id, 1)
    live.report(Report(session_id, 1, "EvaluatorAgent", {"metrics": b"{}"}))
    assert hosting.finish() == {"stop_done": 1}
    final = checkpoints.list_checkpoints(hosting.desk.engine, session_id)[0]
    assert (final.checkpoint_type, final.revision) == ("final", saved)
    assert "made of the save of" in (final.note or "")


def test_a_final_checkpoint_that_does_not_verify_holds_the_stop(hosting, monkeypatch):
    """CLOSED is never said over bytes that read back differently."""
    session_id = hosting.started()
    hosting.step()
    hosting.do(T.STOP, session_id)
    made = pending.create_checkpoint
    with monkeypatch.context() as patched:
        patched.setattr(pending, "create_checkpoint", lambda *args, **more: _unverified(made(*args, **more)))
        assert hosting.finish() == {"failed": 1}
    assert hosting.row(session_id)["status"] == S.CLOSING
    assert hosting.finish() == {"stop_done": 1}


def _unverified(checkpoint):
    return checkpoint.model_copy(update={"verified": False})


def stopped_on_a_published_market(hosting: Hosting):
    """A session on the wall clock with a position and a stop to flatten it."""
    session_id = hosting.started(config={"feed": {"kind": "published"}})
    intent = hosting.intent(session_id)
    fill = Fill(
        f"{intent.client_order_id}:0", session_id, intent.account_id, 1, intent.client_order_id, "t", DAY, PUT, "sell",
        1, Decimal("0.5"), Decimal(0), Decimal(0), opening=True, reason="entry", timestamp=datetime.now(UTC),
    )  # fmt: skip
    hosting.broker.open_account(intent.account_id, Decimal(100_000))
    hosting.run(
        'INSERT INTO paper_positions (session_id, trade_id, symbol, account_id, "right", strike, expiry, quantity, '
        "average_price, opened_at) VALUES (:id, 't', :symbol, :account, 'put', 270, '2018-01-09', -1, 0.5, now())",
        id=session_id,
        symbol=PUT.symbol,
        account=intent.account_id,
    )
    orders.settle(hosting.desk.engine, {intent.client_order_id: "filled"}, [fill])
    hosting.do(T.STOP, session_id)
    return session_id


def since(hosting: Hosting, moment: str) -> None:
    hosting.run("UPDATE sessions SET pending = jsonb_set(pending, '{since}', to_jsonb(CAST(:at AS text)))", at=moment)


def test_a_stop_counts_option_hours_only_and_calls_a_person_once(hosting, monkeypatch):
    """Over a weekend no time passes; after `stop_deadline_s` of open hours a person is called, and only once."""
    session_id = stopped_on_a_published_market(hosting)
    read = pending.rows
    clock = {}
    monkeypatch.setattr(
        pending, "rows", lambda result: [row | {"now": clock["now"]} for row in read(result)], raising=True
    )
    since(hosting, "2018-01-05T21:14:00+00:00")  # Friday, a minute before options shut
    clock["now"] = datetime(2018, 1, 8, 14, 31, tzinfo=UTC)  # Monday, a minute after they open
    assert hosting.finish() == {"waiting": 1}
    assert hosting.row(session_id)["requires_action"] is None
    clock["now"] = datetime(2018, 1, 8, 14, 45, tzinfo=UTC)
    assert hosting.finish() == {"called_a_person": 1}
    row = hosting.row(session_id)
    assert row["status"] == S.CLOSING
    assert "open positions: -1 SPY180109P00270000" in row["requires_action"]
    assert hosting.finish() == {"waiting": 1}
    assert len(hosting.events(session_id, "stop_waiting")) == 1


def test_pending_work_is_claimed(hosting, monkeypatch):
    """Two sweeps at once never take up one session together."""
    session_id = hosting.create()
    hosting.do(T.STOP, session_id)
    finish_one, inner = pending.finish_one, []

    def nested(*args):
        inner.append(hosting.finish())
        return finish_one(*args)

    monkeypatch.setattr(pending, "finish_one", nested)
    assert hosting.finish() == {"stop_done": 1}
    assert inner == [{}]


def test_one_that_fails_stops_no_other(hosting, monkeypatch):
    """A session whose stop cannot be finished is tried again; its neighbour's is done."""
    broken, sound = hosting.create(), hosting.create()
    for session_id in (broken, sound):
        hosting.do(T.STOP, session_id)
    finish_one = pending.finish_one

    def failing(desk, actor, row):
        if row["session_id"] == broken:
            raise PreconditionFailed(str(broken), "x", "y", "z", "w")
        return finish_one(desk, actor, row)

    with monkeypatch.context() as patched:
        patched.setattr(pending, "finish_one", failing)
        assert hosting.finish() == {"failed": 1, "stop_done": 1}
    assert hosting.finish() == {"stop_done": 1}
    assert hosting.row(broken)["status"] == S.CLOSED


def test_commands_are_done_while_redis_is_away(hosting, settings):
    """Start, pause, resume and the end of a stop that holds nothing need Postgres alone; Redis is told later."""
    nowhere = build_redis("redis://127.0.0.1:1/0", settings)
    away = Hosting(type(hosting.desk)(hosting.desk.engine, nowhere, hosting.desk.settings))
    session_id = away.create(config={"feed": FEED})
    away.do(T.START, session_id)
    away.do(T.PAUSE, session_id, actor=SYSTEM)
    away.do(T.RESUME, session_id)
    away.do(T.STOP, session_id)
    assert away.finish() == {"failed": 1}, "the final checkpoint reads the live state"
    assert hosting.finish() == {"stop_done": 1}
    nowhere.close()
