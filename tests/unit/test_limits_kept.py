"""Limits that hosted sessions keep, over real days: flat-by, expiry, hold time, approvals, limits alone."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from trading_harness import DAY, PREVIOUS, Run, flat_path, path_with

from fntx_sessions.agents.registry import ROSTER_ORDER
from fntx_sessions.schemas import RiskParameters, SessionConfig, SessionStatus
from fntx_sessions.trading.exits import ExitContext, decide_exit
from fntx_sessions.trading.market import Board
from fntx_sessions.trading.rules import DEFAULT_RULES

PATIENT = RiskParameters(stop_loss_multiplier=20, take_profit_multiplier=0.999)
ACTIVE, PAUSED, SUSPENDED, ERROR, CLOSING = (
    SessionStatus.ACTIVE,
    SessionStatus.PAUSED,
    SessionStatus.SUSPENDED,
    SessionStatus.ERROR,
    SessionStatus.CLOSING,
)
# Day, the exchange's open and close, and when everything has to go.
DAYS = [
    ("2018-01-09", 78, "15:45"),
    ("2018-03-12", 78, "15:45"),  # the first day of daylight saving
    ("2018-07-03", 42, "12:45"),
    ("2018-11-23", 42, "12:45"),
    ("2018-12-24", 42, "12:45"),
    ("1996-01-08", 36, "13:45"),  # snow: 11:00 to 14:00
    ("1994-02-11", 60, "14:15"),  # snow: shut at 14:30
]


def run_on(day="2018-01-09", steps=78, **changes):
    """A day on which the premium is rich and the price stands still, so that only the clock closes anything."""
    on = date.fromisoformat(day)
    values = {
        "day": replace(DAY, date=on),
        "previous": replace(PREVIOUS, date=on - timedelta(days=3), vix=60.0),
        "path": flat_path(steps=steps),
        "risk": PATIENT,
        "strategies": ["sell_put"],
        "change": lambda _bar, tick: replace(tick, vix=80.0),
        "parameters": {"sell_put": {"entry_time": "11:05:00"}},
    }
    return Run(**(values | changes))


def orders_of(run):
    return [(run.at(moment), request.reason) for moment, request in run.requests]


@pytest.mark.parametrize(("day", "steps", "flat_by"), DAYS)
@pytest.mark.parametrize("status", [ACTIVE, PAUSED, SUSPENDED, ERROR])
def test_flat_by_holds_on_every_kind_of_day_and_in_every_status(day, steps, flat_by, status):
    """A quarter of an hour before that day's own close everything goes, whoever is stepping."""
    run = run_on(day, steps)
    run.status = lambda _bar: status if run.book.open_trades else ACTIVE
    run.go()
    assert orders_of(run) == [("11:05", "entry"), (flat_by, "flat_by")]
    assert run.book.flat


@pytest.mark.parametrize("back_at", ["15:50", "15:59", "16:05"])
def test_a_session_taken_over_after_flat_by_goes_flat_at_once(back_at):
    """Its host died before flat-by; the next one, whose agents remember nothing, closes at its first step."""
    run = run_on(day="2018-01-09")
    while run.at(run.clock.now) < "15:40":
        run.go(bars=run.bar + 1)
    run.states = {name: {} for name in ROSTER_ORDER}
    run.clock._now = datetime.fromisoformat(f"2018-01-09 {back_at}").replace(tzinfo=run.calendar.zone)
    run.go(bars=run.bar + 1)
    assert orders_of(run)[1:] == [(back_at, "flat_by")]


def test_what_was_carried_over_against_the_rules_goes_the_next_morning():
    """Nobody stepped at flat-by: a position of an earlier trade date goes at the first step."""
    run = run_on().go(bars=25)
    [trade] = run.book.open_trades
    morning = replace(run.board.tick, trade_date=date(2018, 1, 10))
    run.board.tick = morning
    found = decide_exit(trade, ExitContext(morning.now, PATIENT, SessionConfig(), run.board))
    kept = decide_exit(
        trade, ExitContext(morning.now, PATIENT, SessionConfig(allow_overnight_positions=True), run.board)
    )
    assert found.reason == "flat_by"
    assert kept is None


@pytest.mark.parametrize("status", [PAUSED, SUSPENDED, ERROR, CLOSING])
def test_hold_time_runs_on_through_a_pause_and_a_recovery(status):
    """The time is the position's own: no pause stops it, and agents that remember nothing know it from the book."""
    run = run_on(config=SessionConfig(max_position_hold_time=60))
    run.status = lambda bar: ACTIVE if bar < 20 else status
    run.go(bars=22)
    run.states = {name: {} for name in ROSTER_ORDER}
    run.go(bars=40)
    assert orders_of(run) == [("11:05", "entry"), ("12:05", "hold_time")]


@pytest.mark.parametrize("status", [PAUSED, SUSPENDED])
@pytest.mark.parametrize(("away", "goes"), [("-0.003", True), ("0.0049", True), ("0.0051", False), ("0.02", False)])
def test_only_what_is_well_out_of_the_money_is_carried_into_expiry(status, away, goes):
    """Where overnight is allowed: in the money or within 0.5 % of the strike goes at flat-by, paused or not."""
    run = run_on(config=SessionConfig(allow_overnight_positions=True))
    run.go(bars=21)
    strike = run.book.fills[0].contract.strike
    run.feed.path[70:] = [float(strike * (1 + Decimal(away))) * 10] * 9
    run.status = lambda _bar: status
    run.go()
    assert orders_of(run)[1:] == ([("15:45", "expiry_guard")] if goes else [])
    assert run.book.flat


def test_an_opening_nobody_approved_is_never_placed():
    """Where a person has to agree, nothing is placed without: one thing waits at a time, asked for anew once stale."""
    run = run_on(config=SessionConfig(require_confirmation=True)).go()
    assert run.requests == []
    assert len(run.desk.asked) - len(run.desk.settled) == len(run.people.approvals) <= 1
    assert {state for _, state, _ in run.desk.settled} <= {"stale"}


def test_an_opening_to_be_approved_that_risk_refuses_is_said_once():
    """What waits for a person is planned at every step; that a limit forbids it is news only once."""
    config, risk = SessionConfig(require_confirmation=True), RiskParameters(max_daily_risk=0.0001)
    run = run_on(config=config, risk=risk).go()
    assert [event[1] for event in run.desk.events] == ["entry_refused"]


def crash(run, price=2600.0, bar=30):
    """Let the price fall so that the stop has to fire."""
    run.feed.path[bar:] = [price] * (len(run.feed.path) - bar)
    return run


def stopping(**config):
    risk = RiskParameters(stop_loss_multiplier=2, max_daily_risk=0.25)
    return run_on(risk=risk, config=SessionConfig(**config), path=path_with({}))


def test_a_stop_carries_a_limit_by_default():
    """A stop may pay the ask + half a spread + $0.25; it fills a bar later, $0.05 above the doubled spread."""
    run = crash(stopping()).go(bars=31)
    [_, (_, request)] = run.requests
    quote = Board(run.board.tick, run.board.rules).quote(request.legs[0].contract)
    assert request.kind == "stop"
    assert abs(request.limit - (2 * quote.ask - quote.mid + DEFAULT_RULES.flatten_cap)) < Decimal("0.01")
    run.go(bars=32)
    fill = run.book.fills[-1]
    assert fill.price == run.board.quote(fill.contract).ask + DEFAULT_RULES.stop_slippage <= request.limit


def test_a_stop_that_the_market_jumped_over_follows_it():
    """Beyond its limit it is cancelled and sent anew with a new one at each step; from the third a person is called."""
    run = crash(stopping())
    for bar in range(31, 35):
        run.feed.path[bar:] = [2600.0 - 20 * (bar - 30)] * (len(run.feed.path) - bar)
    run.go(bars=34)
    limits = [request.limit for _, request in run.requests[1:]]
    assert len(limits) == 4
    assert limits == sorted(limits)
    assert [event[1] for event in run.desk.events if event[3]] == ["exit_blocked"]
    run.go(bars=37)
    assert run.book.flat
    assert run.book.fills[-1].price <= run.requests[-1][1].limit


def test_a_market_stop_takes_the_next_bars_price_where_that_is_allowed():
    """With `use_limit_orders_only` false a stop has no limit and is filled however far the market has moved."""
    run = crash(stopping(use_limit_orders_only=False))
    run.feed.path[31:] = [2500.0] * (len(run.feed.path) - 31)
    run.go(bars=32)
    assert run.requests[-1][1].limit is None
    assert run.book.flat


def test_a_stop_slips_no_further_than_its_limit():
    """Where less than $0.05 is left up to the limit, the fill is at the limit."""
    run = crash(stopping()).go(bars=31)
    order = next(iter(run.book.working.values()))
    contract = order.intent.request.legs[0].contract
    following = replace(run.feed.tick(run.clock.now), vix=80.0)
    ask = Board(following, run.board.rules, stressed=True).quote(contract).ask
    tight = replace(order.intent.request, limit=ask + Decimal("0.02"))
    run.book.working[order.intent.client_order_id] = replace(order, intent=replace(order.intent, request=tight))
    run.go(bars=32)
    assert run.book.fills[-1].price == tight.limit
