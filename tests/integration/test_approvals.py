"""People in the loop: an opening waits for one of them, is decided once, and is carried out once or not at all."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from hosting import ANN, DAY, SYSTEM, Hosting, S, T, forget_runtimes, make_hosting, shared

from fntx_sessions.agents import approving
from fntx_sessions.exceptions import Forbidden, InvalidArgument, NotFound, OrderRefused, PreconditionFailed
from fntx_sessions.lifecycle import approvals, commands, machine
from fntx_sessions.lifecycle.change import Ask, Outcome
from fntx_sessions.lifecycle.people_arguments import (
    ApprovalAnswerArguments,
    ApprovalsQuery,
    DecisionArguments,
    RequestArguments,
)
from fntx_sessions.lifecycle.reads.approvals import ApprovalRecord, list_approvals
from fntx_sessions.lifecycle.reads.history import get_events
from fntx_sessions.security.actor import Actor
from fntx_sessions.state.redis_client import key
from fntx_sessions.testing import FailpointReached, failpoints_armed

BOB = Actor("bob", frozenset({"operator"}))
VIC = Actor("vic", frozenset({"viewer"}))
BOT = Actor("bot", frozenset({"agent"}))
WAITS = {"require_confirmation": True, "approval_drift_max": 10.0}
EXECUTOR = "TacticalExecutorAgent"


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def listed(hosting: Hosting, session_id: UUID, *states: str) -> list[ApprovalRecord]:
    asked = ApprovalsQuery(session_id=session_id, states=list(states) or None)
    return list_approvals(hosting.desk.engine, hosting.desk.redis, asked)


def states(hosting: Hosting, session_id: UUID) -> list[str]:
    every = ["waiting", "approved", "rejected", "expired", "stale", "executed", "refused", "withdrawn"]
    return [one.state for one in reversed(listed(hosting, session_id, *every))]


def decide(hosting: Hosting, approval: ApprovalRecord, actor: Actor = ANN, **more: Any) -> Outcome:
    command_id, approve = more.pop("command_id", uuid4()), more.pop("approve", True)
    arguments = DecisionArguments(approval_id=approval.approval_id, **more)
    return approvals.decide(hosting.desk, actor, arguments, command_id, approve=approve)


def refused(outcome: Outcome) -> str:
    assert outcome.state == "refused", outcome
    assert outcome.error
    return str(outcome.error["message"])


def asking(hosting: Hosting, kind: str = "paper_trading", **config: Any) -> tuple[UUID, ApprovalRecord]:
    """A session whose first opening waits for a person."""
    session_id = hosting.started(kind, config=WAITS | config)
    hosting.walk(session_id, lambda _: listed(hosting, session_id))
    [approval] = listed(hosting, session_id)
    return session_id, approval


def told(hosting: Hosting, session_id: UUID) -> list[str]:
    return [event.event_type for event in get_events(hosting.desk.engine, session_id, 500)]


def test_an_opening_waits_with_its_reasons_and_is_carried_out_once(hosting):
    """What is asked for shows what a person needs; approved, it is sent once, and its wait is in no latency."""
    session_id, approval = asking(hosting)
    assert (approval.state, approval.agent, approval.strategy) == ("waiting", EXECUTOR, "sell_put")
    assert approval.credit_usd == approval.limit * 100
    assert approval.risk_usd > 0
    assert approval.remaining_after_usd == Decimal(str(approval.reasons["limit_usd"])) - approval.risk_usd
    assert approval.delta > 0
    assert approval.price_now is not None
    assert (approval.drift, approval.risk_now_usd) == (0, approval.risk_usd)
    assert approval.delta_now == approval.delta
    assert approval.reasons["why"].startswith("sell_put, entry 1 of 1")
    assert 0 < approval.expires_in_s <= 300
    assert [leg.side for leg in approval.legs] == ["sell"]
    assert hosting.states(session_id) == {}
    outcome = decide(hosting, approval, reason="looks right")
    assert outcome.extra["approval_state"] == "approved"
    hosting.walk(session_id, lambda _: hosting.states(session_id))
    for _ in range(3):
        hosting.step()
    [row] = hosting.rows("SELECT * FROM order_intents WHERE session_id = :id AND opening", id=session_id)
    assert (row["payload"]["trade_id"], row["decision_latency_ms"]) == (approval.trade_id, None)
    [done] = listed(hosting, session_id, "executed")
    assert (done.decided_by, done.reason, done.result) == ("ann", "looks right", row["client_order_id"])
    assert {"approval_requested", "approval_approved", "approval_executed"} <= set(told(hosting, session_id))
    inbox = b"".join(entry[b"event"] for _, entry in hosting.desk.redis.xrange(key(session_id, "inbox")))
    assert b"approval_requested" in inbox
    assert b"approval_decided" in inbox


def test_manual_override_always_waits(hosting):
    """A Manual Override session opens nothing without a person, whatever its config says: the gate sees to it."""
    session_id = hosting.started("manual_override", config={"require_confirmation": False})
    with pytest.raises(OrderRefused, match="waits for a person"):
        hosting.intent(session_id)
    assert hosting.intent(session_id, 2, opening=False)


def test_decided_twice_is_decided_once(hosting):
    """The same command answers the same; another person is told who decided, when and how."""
    session_id, approval = asking(hosting)
    command_id = uuid4()
    first = decide(hosting, approval, command_id=command_id)
    again = decide(hosting, approval, command_id=command_id)
    assert (again.extra, again.version, again.repeated) == (first.extra, first.version, True)
    assert "decided by ann" in refused(decide(hosting, approval, BOB))
    assert "decided by ann" in refused(decide(hosting, approval, BOB, approve=False))
    assert states(hosting, session_id) == ["approved"]


def test_of_many_who_decide_at_once_one_does(hosting):
    """Ten approve and reject at the same moment: one is done, nine are told who was first."""
    session_id, approval = asking(hosting)
    with ThreadPoolExecutor(10) as threads:
        found = list(threads.map(lambda n: decide(hosting, approval, approve=n % 2 == 0), range(10)))
    assert sorted(outcome.state for outcome in found) == ["done"] + ["refused"] * 9
    assert len(states(hosting, session_id)) == 1


def test_a_no_is_a_no(hosting):
    """Rejected with a reason: it is not opened, and that entry is not asked for again."""
    session_id, approval = asking(hosting)
    decide(hosting, approval, approve=False, reason="no")
    for _ in range(4):
        hosting.step()
    assert states(hosting, session_id) == ["rejected"]
    assert hosting.states(session_id) == {}


def test_only_the_desk_decides(hosting):
    """A viewer and an agent are refused, which is kept; an approval nobody knows is not found."""
    session_id, approval = asking(hosting)
    for actor in (VIC, BOT):
        outcome = decide(hosting, approval, actor)
        assert outcome.error
        assert outcome.error["error"] == Forbidden.__name__
    assert states(hosting, session_id) == ["waiting"]
    with pytest.raises(NotFound):
        approvals.decide(hosting.desk, ANN, DecisionArguments(approval_id=uuid4()), uuid4(), approve=True)
    with pytest.raises(NotFound):
        decide(hosting, approval, session_id=uuid4())


def expire(hosting: Hosting, session_id: UUID) -> None:
    hosting.run("UPDATE approvals SET expires_at = now() - interval '1 s' WHERE session_id = :id", id=session_id)


def test_late_is_too_late(hosting):
    """Past its time it is refused by the clock of Postgres, closed by the sweep, once; then asked for anew."""
    session_id, approval = asking(hosting)
    expire(hosting, session_id)
    assert "expired at" in refused(decide(hosting, approval))
    assert hosting.finish()["expired"] == 1
    assert "expired" not in hosting.finish()
    assert states(hosting, session_id) == ["expired"]
    hosting.step()
    assert states(hosting, session_id) == ["expired", "waiting"]


def test_approved_and_expired_before_it_was_carried_out(hosting):
    """The order gate asks the clock too: what is approved and late is not sent."""
    session_id, approval = asking(hosting)
    decide(hosting, approval)
    expire(hosting, session_id)
    hosting.step()
    assert hosting.states(session_id) == {}
    hosting.finish()
    assert states(hosting, session_id)[0] == "expired"


@pytest.mark.parametrize("approved", [False, True])
def test_a_price_that_ran_away_ends_it(hosting, approved, monkeypatch):
    """Stale while it waits or once approved: not opened, whoever approves is told, and asked for anew after a rest."""
    session_id, approval = asking(hosting)
    if approved:
        decide(hosting, approval)
    with monkeypatch.context() as patch:
        patch.setattr(approving, "package_price", lambda *_: approval.limit * 20)
        for _ in range(3):
            hosting.step()
    assert states(hosting, session_id) == ["stale"]
    assert hosting.states(session_id) == {}
    assert "is stale" in refused(decide(hosting, approval, BOB))
    hosting.run("UPDATE approvals SET closed_at = closed_at - interval '1 hour' WHERE session_id = :id", id=session_id)
    hosting.step()
    assert states(hosting, session_id) == ["stale", "waiting"]


def test_a_fast_clock_leaves_a_person_time(hosting):
    """The shipped limits on a simulated day: its clock is no faster than the wall while it waits; then it is sent."""
    session_id = hosting.started("manual_override", config={"step_interval_s": 1})
    hosting.walk(session_id, lambda _: listed(hosting, session_id))
    asked_at = hosting.row(session_id)["clock_at"]
    for _ in range(10):
        hosting.step()
    assert hosting.row(session_id)["clock_at"] - asked_at <= timedelta(seconds=11)
    [approval] = listed(hosting, session_id)
    decide(hosting, approval)
    hosting.step()
    assert states(hosting, session_id) == ["executed"]
    hosting.step()
    hosting.step()
    assert hosting.row(session_id)["clock_at"] - asked_at > timedelta(seconds=300)


@pytest.mark.parametrize("trigger", [T.PAUSE, T.SUSPEND, T.STOP, T.FAIL])
@pytest.mark.parametrize("approved", [False, True])
def test_what_ends_trading_withdraws_it(hosting, trigger, approved):
    """Paused, suspended, stopped or failed: what waits is withdrawn in that commit, with an event that names it."""
    session_id, approval = asking(hosting)
    if approved:
        decide(hosting, approval)
    hosting.do(trigger, session_id, actor=SYSTEM)
    assert states(hosting, session_id) == ["withdrawn"]
    assert "withdrawn" in told(hosting, session_id)
    assert "is withdrawn" in refused(decide(hosting, approval))


def test_an_older_epoch_is_withdrawn_with_it(hosting):
    """A recovery raises the epoch: what was approved under the older one is never carried out under the new one."""
    session_id, approval = asking(hosting)
    decide(hosting, approval)
    hosting.save(session_id)
    hosting.do(T.PAUSE, session_id)
    hosting.do(T.RECOVER, session_id)
    hosting.do(T.RESUME, session_id)
    hosting.step()
    assert states(hosting, session_id) == ["withdrawn", "waiting"]
    [new] = listed(hosting, session_id)
    assert new.approval_id != approval.approval_id
    assert hosting.states(session_id) == {}


def test_a_new_epoch_alone_withdraws_it(hosting):
    """Its host is lost and the session is freed under a new epoch, ACTIVE all along: the older epoch's word is void."""
    session_id, approval = asking(hosting)
    decide(hosting, approval)
    machine.run(hosting.desk.engine, Ask(T.UPDATE, session_id, SYSTEM, "its host is lost"), commands.rehome)
    assert hosting.row(session_id)["status"] == S.ACTIVE
    assert states(hosting, session_id) == ["withdrawn"]


def test_the_loss_limit_comes_between(hosting):
    """Latched while it waits: approving is refused; latched once approved: the gate refuses, and says so."""
    session_id, approval = asking(hosting)
    day = "UPDATE account_days SET latched_at = now(), latch_reason = 'it fired' WHERE account_id = :id"
    hosting.run(day, id=approval.account_id)
    assert "loss limit" in refused(decide(hosting, approval))
    hosting.run(day.replace("now()", "NULL"), id=approval.account_id)
    decide(hosting, approval)
    hosting.run(day, id=approval.account_id)
    hosting.step()
    [done] = listed(hosting, session_id, "refused")
    assert "it fired" in str(done.result)
    assert hosting.states(session_id) == {}


@pytest.mark.parametrize("place", ["order.before_commit", "order.committed", "order.placed"])
def test_killed_between_approval_and_execution(hosting, place):
    """Wherever its process dies, what was approved is opened at most once, and nobody asks for it twice."""
    session_id, approval = asking(hosting)
    decide(hosting, approval)
    with failpoints_armed(f"{place}:raise"), contextlib.suppress(FailpointReached):
        hosting.step()
    forget_runtimes()
    hosting.run(
        "UPDATE session_work SET step_claimed_until = NULL, step_claimed_by = 'interrupted' WHERE session_id = :id",
        id=session_id,
    )
    for _ in range(3):
        hosting.step()
    opened = hosting.rows("SELECT * FROM order_intents WHERE session_id = :id AND opening", id=session_id)
    assert len([row for row in opened if row["payload"]["trade_id"] == approval.trade_id]) == 1
    assert states(hosting, session_id) == ["executed"]
    hosting.check_books(session_id)


def test_the_gate_takes_an_approval_once_and_as_it_was_given(hosting):
    """The same approval a second time, another limit, another trade: refused at the gate."""
    from datetime import UTC, datetime  # noqa: PLC0415

    from hosting import request  # noqa: PLC0415

    from fntx_sessions.lifecycle.orders import commit_intent  # noqa: PLC0415
    from fntx_sessions.lifecycle.people import Warrant  # noqa: PLC0415

    session_id, approval = asking(hosting)
    decide(hosting, approval)
    warrant = Warrant("approval", approval.approval_id)

    def pass_gate(sequence: int, **order: Any) -> Any:
        more = {"trade_date": DAY, "now": datetime(2018, 1, 9, 15, tzinfo=UTC), "latency_ms": None, "warrant": warrant}
        return commit_intent(
            hosting.desk.engine, request(**order), session_id=session_id, epoch=1, sequence=sequence, **more
        )

    for wrong in ({"trade": "another"}, {"trade": approval.trade_id, "limit": "9.99"}):
        with pytest.raises(OrderRefused, match="does not stand"):
            pass_gate(1, **wrong)
    right = {"trade": approval.trade_id, "limit": str(approval.limit)}
    assert pass_gate(1, **right)
    with pytest.raises(OrderRefused, match="does not stand"):
        pass_gate(2, **right)


def remote(hosting: Hosting) -> UUID:
    """A started session whose executor is another service's."""
    session_id = hosting.started(config={"require_confirmation": True})
    joined(hosting, session_id, EXECUTOR)
    return session_id


def joined(hosting: Hosting, session_id: UUID, agent: str, by: str | None = "bot") -> None:
    """Make an agent another service's, who joined under this name of a token."""
    hosting.run(
        "UPDATE session_agents SET hosted = false, joined_at = now(), joined_by = :by "
        "WHERE session_id = :id AND agent = :agent",
        id=session_id,
        agent=agent,
        by=by,
    )


def ask(hosting: Hosting, session_id: UUID, **changed: Any) -> Outcome:
    own = {
        "session_id": session_id, "agent": EXECUTOR, "trade_id": "mine/1", "strategy": "sell_put", "limit": "0.45",
        "legs": [{"side": "sell", "right": "put", "strike": 270}], "risk": 50, "reasons": {"signal": "calm"},
    }  # fmt: skip
    command_id, actor = changed.pop("command_id", uuid4()), changed.pop("actor", BOT)
    return approvals.request(hosting.desk, actor, RequestArguments.model_validate(own | changed), command_id)


def test_an_executor_of_another_service_asks_and_answers(hosting):
    """Asked once per command id and trade, decided by a person, answered once by who asked; its price nobody knows."""
    session_id, command_id = remote(hosting), uuid4()
    first = ask(hosting, session_id, command_id=command_id)
    assert ask(hosting, session_id, command_id=command_id).extra == first.extra
    assert "is waiting as approval" in refused(ask(hosting, session_id))
    [approval] = listed(hosting, session_id)
    assert (approval.price_now, approval.drift, approval.reasons) == (None, None, {"signal": "calm"})
    early = answer(hosting, approval)
    assert "is waiting" in refused(early)
    decide(hosting, approval)
    with pytest.raises(InvalidArgument, match="did not ask"):
        answer(hosting, approval, agent="EvaluatorAgent")
    assert answer(hosting, approval).extra["approval_state"] == "executed"
    assert "is executed" in refused(answer(hosting, approval))


def reported(hosting: Hosting, approval: ApprovalRecord, **note: Any) -> None:
    """Let the agent's own part say what the package trades at now."""
    part = {"internal_state": {"waiting": {str(approval.approval_id): note}}}
    hosting.desk.redis.hset(key(approval.session_id, "live"), f"part:agent/{EXECUTOR}", orjson.dumps(part))


FAR = ({"price": "0.72"}, {"price": "0.20"}, {"price": "0.45", "risk": 9000})


@pytest.mark.parametrize("note", FAR)
def test_a_remote_price_that_ran_away_is_not_approved(hosting, note):
    """The desk judges what the agent reported: too far, up or down or in risk, and approving ends it as stale."""
    session_id = remote(hosting)
    ask(hosting, session_id)
    [approval] = listed(hosting, session_id)
    reported(hosting, approval, **note)
    decide(hosting, approval, VIC)
    assert states(hosting, session_id) == ["waiting"]
    command_id = uuid4()
    for _ in range(2):
        assert "is stale" in refused(decide(hosting, approval, command_id=command_id))
    assert states(hosting, session_id) == ["stale"]
    assert "went stale" in refused(ask(hosting, session_id))
    inbox = b"".join(entry[b"event"] for _, entry in hosting.desk.redis.xrange(key(session_id, "inbox")))
    assert b'"stale"' in inbox


def test_a_remote_price_that_ran_away_is_not_executed(hosting):
    """Approved at a price that was near or not known, which is said; far when it is to be sent: refused, and stale."""
    session_id = remote(hosting)
    ask(hosting, session_id)
    [approval] = listed(hosting, session_id)
    assert "is not known" in decide(hosting, approval).warnings[0]
    reported(hosting, approval, price="0.72", risk=100)
    assert "is stale" in refused(answer(hosting, approval))
    assert states(hosting, session_id) == ["stale"]
    ask(hosting, session_id, trade_id="cents", limit="0.10")
    [cheap] = listed(hosting, session_id)
    reported(hosting, cheap, price="0.14", risk=60)
    assert decide(hosting, cheap).warnings == ()
    assert answer(hosting, cheap).extra["approval_state"] == "executed"


def test_a_leg_names_its_contract(hosting):
    """Without an expiry it is the trade date's from the request on; one that is over is refused by path."""
    session_id = remote(hosting)
    leg = {"side": "sell", "right": "put", "strike": 270}
    over = ask(hosting, session_id, legs=[leg, leg | {"strike": 260, "expiry": "2018-01-08"}])
    assert "legs.1.expiry" in refused(over)
    ask(hosting, session_id, legs=[leg, leg | {"strike": 260, "expiry": "2018-02-16"}])
    [approval] = listed(hosting, session_id)
    named = [(one.symbol, one.right, one.strike, one.expiry) for one in approval.legs]
    assert named == [
        ("SPY180109P00270000", "put", 270, DAY),
        ("SPY180216P00260000", "put", 260, date(2018, 2, 16)),
    ]


def test_the_hosted_executor_leaves_what_others_asked_for_alone(hosting):
    """An agent of another service beside a hosted executor carries out its own: nothing is sent from here."""
    session_id = hosting.started(enabled_strategies=[])
    joined(hosting, session_id, "EvaluatorAgent")
    hosting.step()
    assert ask(hosting, session_id, agent="EvaluatorAgent", limit="0.01").state == "done"
    [approval] = listed(hosting, session_id)
    decide(hosting, approval)
    hosting.step()
    assert (states(hosting, session_id), hosting.states(session_id)) == (["approved"], {})


def test_nobody_answers_for_another(hosting):
    """What a hosted executor asked is the desk's own; an agent elsewhere speaks under the token it joined with."""
    session_id, approval = asking(hosting)
    joined(hosting, session_id, "EvaluatorAgent")
    for agent in (EXECUTOR, "EvaluatorAgent"):
        with pytest.raises(InvalidArgument):
            answer(hosting, approval, agent=agent, state="refused")
    assert states(hosting, session_id) == ["waiting"]
    theirs = remote(hosting)
    with pytest.raises(Forbidden, match="the token that it joined with"):
        ask(hosting, theirs, actor=Actor("another", frozenset({"agent"})))
    ask(hosting, theirs)
    [waiting] = listed(hosting, theirs)
    for by, refusal in (("another", Forbidden), (None, InvalidArgument)):
        joined(hosting, theirs, EXECUTOR, by)
        with pytest.raises(refusal):
            answer(hosting, waiting, state="refused")
    assert states(hosting, theirs) == ["waiting"]


def answer(hosting: Hosting, approval: ApprovalRecord, actor: Actor = BOT, **changed: Any) -> Outcome:
    own = {
        "session_id": approval.session_id, "approval_id": approval.approval_id, "agent": EXECUTOR, "state": "executed"
    }  # fmt: skip
    arguments = ApprovalAnswerArguments.model_validate(own | changed)
    return approvals.answer(hosting.desk, actor, arguments, uuid4())


def test_who_may_not_decide_learns_nothing_of_what_waits(hosting):
    """A viewer, and tokens of other sessions: refused and audited, in the same words whether it is there or not."""
    session_id, elsewhere = remote(hosting), frozenset({str(hosting.create())})
    ask(hosting, session_id)
    [approval] = listed(hosting, session_id)
    scoped = [
        Actor("sv", frozenset({"viewer"}), sessions=elsewhere),
        Actor("sam", frozenset({"agent", "operator"}), sessions=elsewhere),
    ]
    for actor in (VIC, *scoped):
        assert " may not request_approval" in refused(ask(hosting, session_id, actor=actor, agent="Zzz"))
        assert " may not answer" in refused(answer(hosting, approval, actor=actor, agent="Zzz"))
    there, nowhere = approval, approval.model_copy(update={"approval_id": uuid4()})
    for actor in scoped:
        words = set()
        for one in (there, nowhere):
            with pytest.raises(Forbidden) as denied:
                decide(hosting, one, actor)
            words.add(str(denied.value).replace(str(one.approval_id), "ID"))
        assert len(words) == 1
    assert " may not decide_approval" in refused(decide(hosting, there, VIC))
    with pytest.raises(Forbidden):
        decide(hosting, nowhere, VIC)
    with pytest.raises(NotFound):
        decide(hosting, nowhere)
    found = hosting.rows(
        "SELECT actor FROM audit WHERE session_id = :id AND outcome IN ('refused', 'denied') ORDER BY seq",
        id=session_id,
    )
    assert [row["actor"] for row in found] == ["vic", "vic", "sv", "sv", "sam", "sam", "vic"]
    assert states(hosting, session_id) == ["waiting"]
    theirs = Actor("tess", frozenset({"operator"}), templates=frozenset({hosting.row(session_id)["template_name"]}))
    reported(hosting, approval, price="0.72")
    assert "is stale" in refused(decide(hosting, approval, theirs))


def test_who_may_ask(hosting):
    """Not for a session it is not in, not as a hosted agent, not without the role, not in a session that is paused."""
    session_id = remote(hosting)
    with pytest.raises(NotFound):
        ask(hosting, uuid4())
    with pytest.raises(InvalidArgument, match="is hosted by the desk"):
        ask(hosting, session_id, agent="EvaluatorAgent")
    with pytest.raises(InvalidArgument, match="is not in the session's roster"):
        ask(hosting, session_id, agent="Stranger")
    outcome = ask(hosting, session_id, actor=BOB)
    assert outcome.error
    assert outcome.error["error"] == Forbidden.__name__
    hosting.do(T.PAUSE, session_id)
    with pytest.raises(PreconditionFailed, match="nothing is opened"):
        ask(hosting, session_id).raise_for_refusal()


def test_a_flood_of_requests_is_bounded(hosting):
    """No more than people_open_max wait in one session."""
    session_id = remote(hosting)
    for number in range(50):
        assert ask(hosting, session_id, trade_id=f"mine/{number}").state == "done"
    assert "50 may be" in refused(ask(hosting, session_id, trade_id="mine/51"))
    assert hosting.row(session_id)["status"] == S.ACTIVE
