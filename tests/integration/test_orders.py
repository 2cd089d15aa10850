"""The order gate: what may be sent is in Postgres first, under the epoch, the status and the account's limit."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hosting import DAY, PUT, SYSTEM, Hosting, S, T, make_hosting, shared

from fntx_sessions.agents import actions
from fntx_sessions.exceptions import FntxError, NotFound, OrderRefused, StaleEpoch
from fntx_sessions.lifecycle import orders
from fntx_sessions.lifecycle.reconcile import reconcile
from fntx_sessions.trading.book import BookView
from fntx_sessions.trading.orders import Fill

STATUSES = {
    S.PAUSED: [T.PAUSE],
    S.SUSPENDED: [T.SUSPEND],
    S.CLOSING: [T.STOP],
    S.ERROR: [T.FAIL],
}


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def taken_to(hosting: Hosting, status: S) -> UUID:
    session_id = hosting.started()
    for trigger in STATUSES[status]:
        hosting.do(trigger, session_id, actor=SYSTEM)
    return session_id


def shared_account(hosting: Hosting, *, risk: float = 0.02) -> tuple[str, list[UUID]]:
    """An account that is not exclusive, and two started sessions on it."""
    account = f"desk-{uuid4().hex}"
    hosting.run("INSERT INTO accounts (account_id, exclusive, equity) VALUES (:id, false, 100000)", id=account)
    asked = {"config": {"account": account}, "risk_parameters": {"max_daily_risk": risk}}
    return account, [hosting.started(**asked) for _ in range(2)]


def a_fill(session_id, name: str, **changed) -> Fill:
    facts = {
        "fill_id": f"{name}:0", "session_id": session_id, "account_id": f"paper:{session_id}", "epoch": 1,
        "client_order_id": name, "trade_id": "t", "trade_date": DAY, "contract": PUT, "side": "sell", "quantity": 1,
        "price": Decimal("0.5"), "fee": Decimal("0.68"), "slippage": Decimal(0), "opening": True, "reason": "entry",
        "timestamp": datetime(2018, 1, 9, 15, 0, tzinfo=UTC),
    }  # fmt: skip
    return Fill(**facts | changed)


def test_an_intent_is_stored_before_it_may_be_sent(hosting):
    """An ACTIVE session's opening passes and stands as intended, named session/epoch/sequence."""
    session_id = hosting.started()
    intent = hosting.intent(session_id)
    assert intent.client_order_id == f"{session_id}/1/1"
    assert hosting.states(session_id) == {intent.client_order_id: "intended"}


@pytest.mark.parametrize("epoch", [0, 2])
def test_another_epoch_is_refused(hosting, epoch):
    """Only the session's own epoch passes: an older one was superseded, a newer one was never given out."""
    session_id = hosting.started()
    with pytest.raises(StaleEpoch):
        hosting.intent(session_id, epoch=epoch, opening=False)
    assert hosting.states(session_id) == {}


@pytest.mark.parametrize("status", STATUSES)
def test_only_what_reduces_passes_outside_active(hosting, status):
    """PAUSED, SUSPENDED, CLOSING and ERROR are reduce-only."""
    session_id = taken_to(hosting, status)
    with pytest.raises(OrderRefused, match="reduce-only"):
        hosting.intent(session_id)
    assert hosting.intent(session_id, 2, opening=False)
    assert len(hosting.states(session_id)) == 1


def test_nothing_passes_before_the_start_and_after_the_end(hosting):
    """INITIALIZING and CLOSED place nothing at all."""
    new, ended = hosting.create(), hosting.create()
    hosting.do(T.STOP, ended)
    hosting.finish()
    assert hosting.row(ended)["status"] == S.CLOSED
    for session_id in (new, ended):
        with pytest.raises(OrderRefused, match="refused by status"):
            hosting.intent(session_id, epoch=0, opening=False)


def test_an_unknown_session_is_not_found(hosting):
    """The gate names what is missing."""
    with pytest.raises(NotFound):
        hosting.intent(uuid4())


def test_a_latched_account_opens_nothing_and_still_closes(hosting):
    """A fired loss limit holds for its trade date until a risk manager clears it; exits never wait for it."""
    session_id = hosting.started()
    account = f"paper:{session_id}"
    assert orders.latch(hosting.desk.engine, account, DAY, "test", "lost enough")
    assert not orders.latch(hosting.desk.engine, account, DAY, "test", "again")
    with pytest.raises(OrderRefused, match="lost enough"):
        hosting.intent(session_id)
    assert hosting.intent(session_id, 2, opening=False)
    assert orders.unlatch(hosting.desk.engine, account, DAY, "risk", "looked at it")
    assert hosting.intent(session_id, 3)


def test_the_loss_to_the_stop_must_fit_into_what_remains(hosting):
    """Limit = max_daily_risk x equity at the roll ($2,000 here); what is in flight counts against it."""
    session_id = hosting.started(risk_parameters={"max_daily_risk": 0.02})
    with pytest.raises(OrderRefused, match=r"\$2000\.01.*\$2000\.00 remains of \$2000\.00"):
        hosting.intent(session_id, risk="2000.01")
    hosting.intent(session_id, 2, risk="1500")
    with pytest.raises(OrderRefused, match=r"\$500\.00 remains"):
        hosting.intent(session_id, 3, risk="500.01")
    hosting.intent(session_id, 4, risk="500")


def test_an_opening_that_just_filled_still_counts(hosting):
    """Between its fill and the end of its step an opening is in no session's day yet, and yet its dollars are taken."""
    account, (first, second) = shared_account(hosting)
    intent = hosting.intent(first, risk="1500")
    orders.settle(hosting.desk.engine, {intent.client_order_id: "filled"}, [])
    with pytest.raises(OrderRefused, match=r"\$500\.00 remains"):
        hosting.intent(second, risk="600")
    hosting.run(
        "INSERT INTO session_days (session_id, trade_date, account_id, open_risk) VALUES (:id, :day, :account, 700)",
        id=first,
        day=DAY,
        account=account,
    )
    assert hosting.intent(second, 2, risk="1300"), "the session's day says now what is at risk"


def test_two_sessions_racing_for_the_last_dollars(hosting):
    """However many ask at once, no more passes than the account's limit holds: exactly one of four."""
    account, pair = shared_account(hosting)
    orders.account_day(hosting.desk.engine, account, DAY)
    barrier = threading.Barrier(4)

    def race(number: int) -> bool:
        barrier.wait()
        try:
            hosting.intent(pair[number % 2], sequence=number + 1, risk="1100")
        except OrderRefused:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(race, range(4))) == 1


def test_a_sequence_number_is_used_once(hosting):
    """The same sequence again is refused with a sentence, and the first order stands."""
    session_id = hosting.started()
    first = hosting.intent(session_id, 7)
    with pytest.raises(OrderRefused, match="was committed before") as refused:
        hosting.intent(session_id, 7, opening=False)
    assert isinstance(FntxError.from_dict(refused.value.to_dict()), OrderRefused)
    assert hosting.states(session_id) == {first.client_order_id: "intended"}
    assert orders.next_sequence(hosting.desk.engine, session_id, 1) == 8


def test_settling_twice_acts_once(hosting):
    """A fill is in the ledger once, and a closed order's state is final."""
    session_id = hosting.started()
    intent = hosting.intent(session_id)
    fill = a_fill(session_id, intent.client_order_id)
    for state in ("filled", "filled", "cancelled"):
        orders.settle(hosting.desk.engine, {intent.client_order_id: state}, [fill])
    assert hosting.states(session_id) == {intent.client_order_id: "filled"}
    assert [found["fill_id"] for found in hosting.fills(session_id)] == [fill.fill_id]


def test_equity_at_the_roll_carries_earlier_days(hosting):
    """Equity = what the account began with + each earlier day's result, also of a position held overnight.

    Sold for $100 on the 4th and marked at $40 that evening, bought back for $10 on the 5th: $90 less two fees of $2. A
    day's realised is its result less what is unrealised since the opening: 60 - 60 on the 4th, 30 - 0 on the 5th.
    """
    session_id = hosting.started()
    account = f"paper:{session_id}"
    add = (
        "INSERT INTO session_days (session_id, trade_date, account_id, realized, fees, unrealized) "
        "VALUES (:id, :day, :account, :realized, :fees, :unrealized)"
    )
    for day, realized, fees, unrealized in ((4, 0, 2, 60), (5, 30, 2, 0), (9, 999, 9, 9)):
        hosting.run(
            add, id=session_id, day=date(2018, 1, day), account=account, realized=realized, fees=fees,
            unrealized=unrealized,
        )  # fmt: skip
    found = orders.account_day(hosting.desk.engine, account, DAY)
    assert found.equity_at_roll == Decimal(100_000 + 90 - 4)
    assert found.pnl == Decimal(999 + 9 - 9)
    hosting.run("UPDATE session_days SET realized = 0 WHERE trade_date < :day", day=DAY)
    assert orders.account_day(hosting.desk.engine, account, DAY).equity_at_roll == found.equity_at_roll, "rolled once"


def test_a_fill_is_in_the_ledger_before_it_is_acknowledged(hosting, monkeypatch):
    """When the book learns of a fill, Postgres holds it already."""
    session_id = hosting.started()
    seen = []
    settle = orders.settle

    def note(engine, states, fills=(), risks=None):
        settle(engine, states, fills, risks)
        seen.extend((fill.fill_id, "ledger") for fill in fills)

    monkeypatch.setattr(actions.orders, "settle", note)
    apply = BookView.apply
    monkeypatch.setattr(
        BookView, "apply", lambda book, fills: (seen.extend((f.fill_id, "book") for f in fills), apply(book, fills))[1]
    )
    hosting.holding(session_id)
    name = hosting.fills(session_id)[0]["fill_id"]
    assert [place for fill_id, place in seen if fill_id == name][:2] == ["ledger", "book"]


def test_an_intent_that_was_never_sent_is_told_from_one_that_was(hosting):
    """Lost between commit and send: nothing is at the broker, and reconciling says so and closes the intent."""
    session_id = hosting.started()
    intent = hosting.intent(session_id)
    found = reconcile(hosting.desk.engine, hosting.broker, session_id, 2)
    assert (found.never_sent, found.late_fills) == ([intent.client_order_id], [])
    assert hosting.states(session_id) == {intent.client_order_id: "rejected"}
    assert hosting.broker.executions(session_id) == []
    again = reconcile(hosting.desk.engine, hosting.broker, session_id, 2)
    assert not any(again.to_dict().values())
