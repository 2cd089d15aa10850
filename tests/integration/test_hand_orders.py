"""Orders of people: placed, changed and cancelled by the executor, within the limits, never two of one at work."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hosting import ANN, SYSTEM, Hosting, T, make_hosting, shared

from fntx_sessions.exceptions import Forbidden, InvalidArgument, NotFound
from fntx_sessions.lifecycle import manual_orders
from fntx_sessions.lifecycle.change import Outcome
from fntx_sessions.lifecycle.people_arguments import (
    CancelArguments,
    ChangeArguments,
    OrderAnswerArguments,
    OrdersQuery,
    PlaceArguments,
)
from fntx_sessions.lifecycle.reads.history import get_events
from fntx_sessions.lifecycle.reads.manual_orders import HandOrderRecord, list_orders
from fntx_sessions.parsing import parse
from fntx_sessions.security.actor import Actor
from fntx_sessions.state.redis_client import key

BOT = Actor("bot", frozenset({"agent"}))
RITA = Actor("rita", frozenset({"risk_manager"}))
VIC = Actor("vic", frozenset({"viewer"}))
PUT = {"side": "sell", "right": "put", "strike": 273}
# Nothing of the planner's own comes in between.
QUIET = {"enabled_strategies": []}


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def started(hosting: Hosting, **asked: Any) -> UUID:
    """A session that has had its first step: the market is open."""
    session_id = hosting.started(**QUIET | asked)
    hosting.step()
    return session_id


def place(hosting: Hosting, session_id: UUID, actor: Actor = ANN, **order: Any) -> Outcome:
    command_id = order.pop("command_id", uuid4())
    arguments = parse(PlaceArguments, {"session_id": session_id, "limit": 0.01} | order)
    return manual_orders.place(hosting.desk, actor, arguments, command_id)


def opened(hosting: Hosting, session_id: UUID, limit: float = 0.01) -> UUID:
    return UUID(place(hosting, session_id, legs=[PUT], limit=limit).raise_for_refusal().extra["order_id"])


def change(hosting: Hosting, order_id: UUID, limit: float, actor: Actor = ANN) -> Outcome:
    return manual_orders.change(hosting.desk, actor, ChangeArguments(order_id=order_id, limit=limit), uuid4())


def cancel(hosting: Hosting, order_id: UUID, actor: Actor = ANN) -> Outcome:
    return manual_orders.cancel(hosting.desk, actor, CancelArguments(order_id=order_id), uuid4())


def orders(hosting: Hosting, session_id: UUID) -> list[HandOrderRecord]:
    return list_orders(hosting.desk.engine, OrdersQuery(session_id=session_id))[::-1]


def states(hosting: Hosting, session_id: UUID) -> list[tuple[str, str]]:
    return [(one.action, one.state) for one in orders(hosting, session_id)]


def refused(outcome: Outcome) -> str:
    assert outcome.error, outcome
    return str(outcome.error["message"])


def held(hosting: Hosting, session_id: UUID) -> str:
    """Open a trade by hand and return its id."""
    opened(hosting, session_id)
    hosting.step()
    [holding] = hosting.broker.positions(session_id)
    return holding.trade_id


def working(hosting: Hosting, session_id: UUID) -> list[str]:
    return [order.intent.client_order_id for order in hosting.broker.open_orders(session_id)]


def test_an_opening_is_placed_by_the_executor(hosting):
    """Asked once however often it is delivered; filled at the session's market, with the person's name on it."""
    session_id, command_id = started(hosting), uuid4()
    first = place(hosting, session_id, legs=[PUT], command_id=command_id, reason="it is time")
    assert place(hosting, session_id, legs=[PUT], command_id=command_id, reason="it is time").extra == first.extra
    assert states(hosting, session_id) == [("place", "waiting")]
    hosting.step()
    [order] = orders(hosting, session_id)
    assert (order.state, order.actor, order.reason) == ("filled", "ann", "it is time")
    assert hosting.states(session_id) == {order.client_order_id: "filled"}
    [row] = hosting.rows("SELECT * FROM order_intents WHERE session_id = :id", id=session_id)
    assert (row["decision_latency_ms"], row["payload"]["reason"], row["stop_loss_usd"] > 0) == (None, "by_hand", True)
    told = [event.event_type for event in get_events(hosting.desk.engine, session_id, 100)]
    assert {"order_requested", "order_filled"} <= set(told)
    hosting.check_books(session_id)


def test_a_persons_own_opening_needs_no_approval(hosting):
    """In a session whose openings wait for a person, a person's own does not wait for another."""
    session_id = started(hosting, kind="manual_override")
    held(hosting, session_id)
    assert states(hosting, session_id) == [("place", "filled")]


def test_limits_hold_for_people_too(hosting):
    """More contracts than the position limit: refused by the risk manager, and whoever asked can read why."""
    session_id = started(hosting, risk_parameters={"position_limit": 1})
    place(hosting, session_id, legs=[PUT], quantity=2)
    hosting.step()
    [order] = orders(hosting, session_id)
    assert (order.state, "contracts exceed" in str(order.result)) == ("refused", True)
    assert hosting.states(session_id) == {}


def test_what_has_no_quote_is_refused(hosting):
    """An option of another day has no price here: refused by name, not left hanging."""
    session_id = started(hosting)
    place(hosting, session_id, legs=[PUT | {"expiry": "2018-02-16"}])
    hosting.step()
    [order] = orders(hosting, session_id)
    assert (order.state, "no quote for SPY180216P00273000" in str(order.result)) == ("refused", True)


@pytest.mark.parametrize(
    ("order", "field", "problem"),
    [
        ({}, "legs", "one of the two"),
        ({"legs": [PUT], "trade_id": "t"}, "legs", "one of the two"),
        ({"legs": []}, "legs", "at least 1"),
        ({"legs": [PUT | {"strike": 273.5}]}, "legs.strike", "no whole dollar"),
        ({"legs": [PUT | {"strike": float("nan")}]}, "legs.0.strike", "finite"),
        ({"legs": [PUT | {"right": "stock"}]}, "legs.0.right", "'put' or 'call'"),
        ({"legs": [PUT | {"side": "buy"}]}, "legs.0.side", "so are all others"),
        ({"legs": [PUT, PUT]}, "legs", "twice"),
        ({"legs": [PUT], "limit": 0.015}, "limit", "no whole cent"),
        ({"legs": [PUT], "limit": 0}, "limit", "greater than 0"),
        ({"legs": [PUT], "limit": -1}, "limit", "greater than 0"),
        ({"legs": [PUT], "quantity": 0}, "quantity", "greater than or equal to 1"),
        ({"trade_id": "nothing", "limit": 1}, "trade_id", "is not open"),
        ({"trade_id": "nothing", "quantity": 2}, "quantity", "closed whole"),
        ({"legs": [PUT], "kind": "market"}, "kind", "not a known key"),
    ],
)  # fmt: skip
def test_each_is_refused_by_path(hosting, order, field, problem):
    """What cannot be traded is refused at the edge, by the field that is wrong, and leaves nothing."""
    session_id = hosting.started(**QUIET)
    with pytest.raises(InvalidArgument) as refusal:
        place(hosting, session_id, **order)
    assert refusal.value.named()["field"] == field
    assert problem in str(refusal.value)
    assert orders(hosting, session_id) == []


def test_who_may(hosting):
    """Viewers and agents may not; a risk manager may close and cancel, and opens nothing."""
    session_id = started(hosting)
    for actor in (VIC, BOT, RITA):
        outcome = place(hosting, session_id, actor, legs=[PUT])
        assert outcome.error
        assert outcome.error["error"] == Forbidden.__name__
    trade = held(hosting, session_id)
    assert place(hosting, session_id, RITA, trade_id=trade, limit=9).state == "done"
    with pytest.raises(NotFound):
        cancel(hosting, uuid4())
    with pytest.raises(NotFound):
        place(hosting, uuid4(), legs=[PUT])


def test_closing_works_in_a_paused_session(hosting):
    """Reduce-only: an opening is refused, what closes goes through, and needs nobody's approval."""
    session_id = started(hosting, kind="manual_override")
    trade = held(hosting, session_id)
    hosting.do(T.PAUSE, session_id)
    assert "only an active session opens" in refused(place(hosting, session_id, legs=[PUT]))
    place(hosting, session_id, trade_id=trade, limit=9).raise_for_refusal()
    hosting.step()
    assert hosting.broker.positions(session_id) == []
    assert states(hosting, session_id) == [("place", "filled"), ("place", "filled")]


def test_a_pause_withdraws_what_opens_and_leaves_what_closes(hosting):
    """In the pause's own commit: the waiting opening is cancelled, the waiting closing goes on."""
    session_id = started(hosting)
    trade = held(hosting, session_id)
    opened(hosting, session_id)
    place(hosting, session_id, trade_id=trade, limit=9)
    hosting.do(T.PAUSE, session_id, actor=SYSTEM)
    assert states(hosting, session_id)[1:] == [("place", "cancelled"), ("place", "waiting")]
    hosting.step()
    assert states(hosting, session_id)[2] == ("place", "filled")


def test_a_working_order_is_changed_and_never_works_twice(hosting):
    """Cancelled first; the new one is placed once the old one can't trade any more."""
    session_id = started(hosting)
    first = opened(hosting, session_id, limit=9)
    hosting.step()
    [old] = working(hosting, session_id)
    assert change(hosting, first, 0.01).state == "done"
    assert "under way" in refused(change(hosting, first, 0.02))
    seen = []
    for _ in range(3):
        hosting.step()
        seen.append(working(hosting, session_id))
    assert all(len(names) <= 1 for names in seen)
    assert hosting.states(session_id)[old] == "cancelled"
    assert states(hosting, session_id) == [("place", "cancelled"), ("change", "filled")]
    hosting.check_books(session_id)


def test_what_nobody_took_up_yet_is_changed_at_once(hosting):
    """The waiting one is cancelled in the change's own commit; only the new one is ever sent."""
    session_id = started(hosting)
    change(hosting, opened(hosting, session_id, limit=9), 0.01)
    assert states(hosting, session_id) == [("place", "cancelled"), ("change", "waiting")]
    hosting.step()
    assert len(hosting.states(session_id)) == 1
    assert states(hosting, session_id)[1] == ("change", "filled")


@pytest.mark.parametrize("taken_up", [False, True])
def test_an_order_is_cancelled(hosting, taken_up):
    """At once while nobody took it up, else by the executor; what is over is not cancelled again."""
    session_id = started(hosting)
    first = opened(hosting, session_id, limit=9)
    if taken_up:
        hosting.step()
    cancel(hosting, first)
    hosting.step()
    hosting.step()
    assert states(hosting, session_id) == [("place", "cancelled"), ("cancel", "done")]
    assert working(hosting, session_id) == []
    assert "is cancelled" in refused(cancel(hosting, first))


def test_what_filled_is_neither_changed_nor_cancelled(hosting):
    """Filled between the request and the executor's step: the change is refused, and nothing is sent again."""
    session_id = started(hosting)
    first = opened(hosting, session_id, limit=9)
    hosting.step()
    change(hosting, first, 0.01)
    [name] = hosting.states(session_id)
    # The fill came in and is settled before the executor looks.
    hosting.run("UPDATE paper_orders SET status = 'filled' WHERE client_order_id = :name", name=name)
    hosting.run("UPDATE order_intents SET state = 'filled', closed_at = now() WHERE client_order_id = :name", name=name)
    hosting.step()
    assert states(hosting, session_id)[1] == ("change", "refused")
    assert len(hosting.states(session_id)) == 1


def test_protective_exits_do_not_wait_for_a_persons_order(hosting):
    """A person's closing order rests far from the market: an exit that is due takes its place."""
    session_id = started(hosting, config={"max_position_hold_time": 20})
    trade = held(hosting, session_id)
    place(hosting, session_id, trade_id=trade, limit=0.01)
    hosting.step()
    assert len(working(hosting, session_id)) == 1
    hosting.walk(session_id, lambda _: not hosting.broker.positions(session_id))
    reasons = hosting.rows("SELECT payload ->> 'reason' AS why FROM order_intents WHERE session_id = :id ORDER BY seq",
                           id=session_id)  # fmt: skip
    assert [row["why"] for row in reasons] == ["by_hand", "by_hand", "hold_time"]
    hosting.step()
    assert states(hosting, session_id)[1] == ("place", "cancelled")


def test_what_nobody_takes_up_expires(hosting):
    """No executor steps it: closed by the sweep after manual_order_expires_s, once, and never sent later."""
    session_id = started(hosting)
    opened(hosting, session_id)
    hosting.run("UPDATE manual_orders SET expires_at = now() - interval '1 s' WHERE session_id = :id", id=session_id)
    hosting.step()
    assert hosting.states(session_id) == {}
    assert hosting.finish()["expired"] == 1
    hosting.step()
    assert states(hosting, session_id) == [("place", "expired")]
    assert hosting.states(session_id) == {}


def joined(hosting: Hosting, session_id: UUID, agent: str) -> None:
    """Make an agent another service's, who joined as bot."""
    hosting.run(
        "UPDATE session_agents SET hosted = false, joined_at = now(), joined_by = 'bot' "
        "WHERE session_id = :id AND agent = :agent",
        id=session_id,
        agent=agent,
    )


def answer(hosting: Hosting, session_id: UUID, order_id: UUID, **said: Any) -> Outcome:
    named = {"session_id": session_id, "order_id": order_id, "agent": "TacticalExecutorAgent", "client_order_id": "x1"}
    actor = said.pop("actor", BOT)
    return manual_orders.answer(hosting.desk, actor, OrderAnswerArguments.model_validate(named | said), uuid4())


def test_what_the_hosted_executor_does_no_other_agent_settles(hosting):
    """An order rests at the broker: no agent elsewhere says it filled, and a person can still cancel it."""
    session_id = started(hosting)
    joined(hosting, session_id, "EvaluatorAgent")
    order_id = opened(hosting, session_id, limit=9)
    hosting.step()
    for agent in ("EvaluatorAgent", "TacticalExecutorAgent"):
        with pytest.raises(InvalidArgument, match=r"carries out no orders here|is hosted"):
            answer(hosting, session_id, order_id, agent=agent, state="filled")
    assert states(hosting, session_id) == [("place", "working")]
    cancel(hosting, order_id)
    hosting.step()
    assert working(hosting, session_id) == []


def test_of_agents_elsewhere_the_executor_alone_answers(hosting):
    """Beside an executor of another service its other agents settle none of its orders."""
    session_id = hosting.started(**QUIET)
    for agent in ("TacticalExecutorAgent", "EvaluatorAgent"):
        joined(hosting, session_id, agent)
    order_id = opened(hosting, session_id)
    with pytest.raises(InvalidArgument, match="TacticalExecutorAgent does"):
        answer(hosting, session_id, order_id, agent="EvaluatorAgent", state="filled")


def test_who_may_not_order_learns_nothing_of_what_there_is(hosting):
    """A viewer, and a token of another session: refused and audited, in the same words whether it is there or not."""
    session_id, elsewhere = started(hosting), frozenset({str(hosting.create())})
    order_id = opened(hosting, session_id)
    tagged = Actor("tess", frozenset({"operator"}), tags=frozenset({"another"}))
    sv, sam = (
        Actor(name, frozenset({role}), sessions=elsewhere) for name, role in (("sv", "viewer"), ("sam", "operator"))
    )
    for actor in (VIC, sv, sam):
        said = refused(place(hosting, session_id, actor, trade_id="x"))
        assert (" may not order" in said, "Open in this session" in said) == (True, False)
        assert " may not answer" in refused(answer(hosting, session_id, order_id, actor=actor, state="filled"))
    for actor in (sam, tagged):
        words = set()
        for name in (order_id, uuid4()):
            for ask in (lambda: change(hosting, name, 0.02, actor), lambda: cancel(hosting, name, actor)):  # noqa: B023
                with pytest.raises(Forbidden) as denied:
                    ask()
                words.add(str(denied.value).replace(str(name), "ID"))
        assert len(words) == 1
        asked = CancelArguments(order_id=order_id, session_id=session_id)
        with pytest.raises(Forbidden):
            manual_orders.cancel(hosting.desk, actor, asked, uuid4())
    assert " may not order" in refused(cancel(hosting, order_id, VIC))
    with pytest.raises(Forbidden):
        cancel(hosting, uuid4(), VIC)
    with pytest.raises(NotFound):
        cancel(hosting, uuid4())
    found = hosting.rows(
        "SELECT actor, action FROM audit WHERE session_id = :id AND outcome IN ('refused', 'denied') ORDER BY seq",
        id=session_id,
    )
    assert [(row["actor"], row["action"]) for row in found] == [
        *((name, action) for name in ("vic", "sv", "sam") for action in ("order", "answer")),
        ("vic", "order"),
    ]
    assert (
        cancel(hosting, order_id, Actor("sam", frozenset({"operator"}), sessions=frozenset({str(session_id)}))).state
        == "done"
    )


@pytest.mark.parametrize("limit", [0.01, 0.10])
def test_a_low_limit_is_no_way_around_the_loss_limit(hosting, limit):
    """Twelve puts fill at the bid whatever the limit: refused by the loss at that, not at the limit's few dollars."""
    session_id = started(hosting, risk_parameters={"position_limit": 60, "max_daily_risk": 0.005})
    place(hosting, session_id, legs=[PUT], quantity=12, limit=limit)
    hosting.step()
    [order] = orders(hosting, session_id)
    assert (order.state, "exceeds what remains of the day's limit" in str(order.result)) == ("refused", True)
    assert hosting.states(session_id) == {}


def test_what_counts_after_a_fill_is_the_fill(hosting):
    """The intent's risk is that of the credit that came in, not of the limit: what other openings leave room for."""
    session_id = started(hosting)
    opened(hosting, session_id)
    hosting.step()
    [row] = hosting.rows("SELECT stop_loss_usd FROM order_intents WHERE session_id = :id", id=session_id)
    [fill] = hosting.rows("SELECT price FROM fills WHERE session_id = :id", id=session_id)
    multiplier = hosting.row(session_id)["risk_parameters"]["stop_loss_multiplier"]
    assert fill["price"] > Decimal("0.01")
    credit = fill["price"] * 100
    assert row["stop_loss_usd"] == credit * (Decimal(str(multiplier)) - 1) + 5 + 2 * Decimal("0.68")


def test_an_executor_of_another_service_is_told_and_answers(hosting):
    """It hears order_requested with all it needs, and says what became of it; a hosted agent may not."""
    session_id = hosting.started(**QUIET)
    joined(hosting, session_id, "TacticalExecutorAgent")
    order_id = opened(hosting, session_id)
    inbox = b"".join(entry[b"event"] for _, entry in hosting.desk.redis.xrange(key(session_id, "inbox")))
    assert b"order_requested" in inbox
    assert str(order_id).encode() in inbox

    def told(state: str, **more: Any) -> Outcome:
        return answer(hosting, session_id, order_id, state=state, **more)

    with pytest.raises(InvalidArgument, match="is hosted"):
        told("filled", agent="EvaluatorAgent")
    assert "has time left" in refused(told("expired"))
    assert told("working").state == "done"
    assert "is out as x1" in refused(told("filled", client_order_id="x2"))
    assert told("filled").state == "done"
    assert "is filled" in refused(told("cancelled"))
    [order] = orders(hosting, session_id)
    assert (order.state, order.client_order_id) == ("filled", "x1")
