"""A day through the five agents: entries, exits in their order, limits, hours, and no look into the future."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
import trading_harness
from trading_harness import DAY, PREVIOUS, Run, flat_path, path_with

from fntx_sessions.agents.base import Proposal
from fntx_sessions.agents.registry import ROSTER_ORDER, get_agent, known_agents, step_order
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.people import HandOrder
from fntx_sessions.schemas import RiskParameters, SessionConfig, SessionStatus, SessionType
from fntx_sessions.trading.calendars import get_calendar
from fntx_sessions.trading.days import backtest_days, read_days
from fntx_sessions.trading.matching import package_price
from fntx_sessions.trading.orders import Contract, Leg, OrderRequest
from fntx_sessions.trading.strategies import check_strategies

SEED_PATH_BARS = 78
PATIENT = RiskParameters(stop_loss_multiplier=20, take_profit_multiplier=0.99)
BOTH = ["sell_put", "sell_call"]


def day_of(**changes):
    return replace(DAY, **changes)


# Entries


def test_an_entry_is_at_ten_at_the_bid():
    """The first order comes at 10:00 exchange time, sells at the bid, and pays $0.68 a contract."""
    run = Run(path=flat_path()).go(bars=7)
    [(moment, request)] = run.requests
    [fill] = run.book.fills
    assert run.at(moment) == "10:00"
    assert fill.price == request.limit == run.board.quote(fill.contract).bid
    assert fill.fee == Decimal("0.68")
    assert fill.contract.expiry == DAY.date


def test_a_bid_under_ten_cents_is_skipped_and_said():
    """With so little premium nothing is sold that day, and an event says why."""
    run = Run(previous=replace(PREVIOUS, vix=9.0)).go()
    assert run.requests == []
    assert [event[1] for event in run.desk.events] == ["entry_skipped"]


@pytest.mark.parametrize(
    ("strategy", "shape"),
    [
        ("sell_put", [("put", "sell")]),
        ("sell_call", [("call", "sell")]),
        ("sell_strangle", [("put", "sell"), ("call", "sell")]),
        ("sell_put_spread", [("put", "sell"), ("put", "buy")]),
        ("sell_call_spread", [("call", "sell"), ("call", "buy")]),
    ],
)
def test_each_strategy_sells_its_structure(strategy, shape):
    """A strategy's legs are what its name says, all filled at once; a spread's wing is `width` further out."""
    run = Run(strategies=[strategy], parameters={strategy: {"width": 3}}, path=flat_path()).go(bars=7)
    [(_, request)] = run.requests
    assert [(leg.contract.right, leg.side) for leg in request.legs] == shape
    assert len(run.book.fills) == len(shape)
    if strategy.endswith("spread"):
        short, wing = request.legs
        assert abs(short.contract.strike - wing.contract.strike) == 3


def test_nothing_is_sold_without_an_enabled_strategy():
    """No strategy, no order."""
    assert Run(strategies=[]).go().requests == []


def test_entries_are_counted_from_the_book_not_from_memory():
    """An agent whose memory was restored from before its entry does not enter again."""
    run = Run(path=flat_path(), risk=PATIENT).go(bars=8)
    run.states["StrategicPlannerAgent"] = {}
    run.go(bars=12)
    assert run.reasons == ["entry"]


def test_more_entries_a_day_wait_for_the_one_before():
    """With max_entries_per_day 2 the second entry comes only once the first trade is closed."""
    run = Run(parameters={"sell_put": {"max_entries_per_day": 2}}).go()
    assert run.reasons[:3] == ["entry", "profit", "entry"]
    assert run.reasons.count("entry") == 2


@pytest.mark.parametrize(
    ("config", "kind"),
    [(SessionConfig(require_confirmation=True), SessionType.BACKTEST), (SessionConfig(), SessionType.MANUAL_OVERRIDE)],
)
def test_an_entry_may_need_a_person(config, kind):
    """With require_confirmation, and always in Manual Override, an opening is asked for once and then waits."""
    run = Run(config=config.model_copy(update={"approval_drift_min_usd": 1}), session_type=kind).go(bars=12)
    assert run.requests == []
    assert (len(run.desk.asked), run.desk.settled) == (1, [])
    request, reference, reasons = run.desk.asked[0]
    assert Decimal(reasons["credit_usd"]) == request.limit * 100
    assert Decimal(reasons["remaining_usd"]) - Decimal(reasons["remaining_after_usd"]) == request.risk
    assert reference > request.limit
    assert reasons["delta"] > 0  # a put sold
    [waiting] = run.states["TacticalExecutorAgent"]["waiting"].values()
    assert Decimal(waiting["price"]) > 0


def test_what_was_approved_is_opened_once():
    """What a person agreed to is sent with its own legs and limit, and never asked for or sent again."""
    run = Run(config=SessionConfig(require_confirmation=True), path=flat_path(), risk=PATIENT).go(bars=7)
    run.desk.approve()
    [(asked, _, _)] = run.desk.asked
    run.go(bars=20)
    assert [request for _, request in run.requests] == [asked]
    assert len(run.desk.asked) == 1
    assert "approval_executed" in {kind for _, kind, _, _ in run.desk.events}


def test_an_approval_whose_price_ran_away_is_not_carried_out():
    """Approved at one price, it is stale once the market pays too much less."""
    run = Run(config=SessionConfig(require_confirmation=True), path=path_with({7: 2790.0}), day=day_of(high=2800))
    run.go(bars=7)
    run.desk.approve()
    run.go(bars=8)
    assert run.requests == []
    [(_, state, why)] = run.desk.settled
    assert state == "stale"
    assert ", -" in why


def test_an_approval_is_stale_when_its_price_multiplied():
    """The market ran towards the strike: it would bring far more, and lose far more, than a person agreed to."""
    run = Run(config=SessionConfig(require_confirmation=True), path=path_with({7: 2725.0}), day=day_of(low=2700))
    run.go(bars=7)
    run.desk.approve()
    [(asked, _, _)] = run.desk.asked
    run.go(bars=8)
    assert run.requests == []
    [(_, state, why)] = run.desk.settled
    assert state == "stale"
    assert f"went from ${asked.limit} to" in why
    assert ", +" in why


def test_an_approval_is_stale_when_it_would_risk_more():
    """The price stands, but its stop was put further off since: what a person agreed to risk is not what it would."""
    run = Run(config=SessionConfig(require_confirmation=True), path=flat_path(), risk=PATIENT).go(bars=7)
    run.desk.approve()
    run.risk = PATIENT.model_copy(update={"stop_loss_multiplier": 40})
    run.go(bars=8)
    assert run.requests == []
    [(_, state, why)] = run.desk.settled
    assert (state, "it would risk $" in why) == ("stale", True)


def test_cents_are_no_drift_and_what_went_stale_rests():
    """A few cents of a cheap option end nothing within the floor; past it, ended once, it is not asked for at once."""
    for floor, ended in ((1, []), (0, ["stale"])):
        run = Run(config=SessionConfig(require_confirmation=True, approval_drift_min_usd=floor)).go(bars=12)
        assert [state for _, state, _ in run.desk.settled] == ended
        assert len(run.desk.asked) == 1


def test_a_waiting_approval_shows_what_it_would_risk_now():
    """Beside the price of now stand the risk and delta that go with it, and the planner says why it wants it."""
    run = Run(config=SessionConfig(require_confirmation=True, approval_drift_max=10), path=path_with({7: 2735.0}),
              day=day_of(low=2700)).go(bars=8)  # fmt: skip
    [(asked, _, reasons)] = run.desk.asked
    [note] = run.states["TacticalExecutorAgent"]["waiting"].values()
    assert Decimal(note["price"]) > asked.limit
    assert Decimal(note["risk"]) > asked.risk
    assert note["delta"] > reasons["delta"]
    assert "sell_put, entry 1 of 1 from 10:00:00 on: put 27" in reasons["why"]


def test_what_was_approved_waits_for_a_quote():
    """No quote for its package: nobody knows what it would risk, so it is neither sent nor ended."""
    blind = {7: {"vix": None}}
    run = Run(
        config=SessionConfig(require_confirmation=True),
        path=flat_path(),
        change=lambda bar, tick: replace(tick, **blind.get(bar, {})),
    ).go(bars=7)
    run.desk.approve()
    run.go(bars=8)
    assert (run.requests, run.desk.settled) == ([], [])


def test_an_approval_does_not_outlive_the_loss_limit():
    """Approved, but the loss limit fired meanwhile: nothing is sent."""
    run = Run(config=SessionConfig(require_confirmation=True), path=flat_path()).go(bars=7)
    run.desk.approve()
    run.desk.latched.append("the loss limit fired elsewhere")
    run.go(bars=10)
    assert run.requests == []


def test_what_was_approved_passes_the_risk_manager_again():
    """Limits that were lowered since hold for what was approved before: refused, with the reason, to whoever agreed."""
    run = Run(config=SessionConfig(require_confirmation=True), path=flat_path()).go(bars=7)
    run.desk.approve()
    run.risk = RiskParameters(max_daily_risk=0.0004)
    run.go(bars=8)
    assert run.requests == []
    [(_, state, why)] = run.desk.settled
    assert (state, "exceeds what remains" in why) == ("refused", True)


def test_what_a_person_said_no_to_is_not_asked_again():
    """A rejected trade is spent: the strategy goes on with its next entry, if it has one."""
    run = Run(config=SessionConfig(require_confirmation=True), path=flat_path())
    run.people.spent.add(f"{DAY.date}/sell_put/1")
    assert run.go(bars=20).desk.asked == []


def test_where_nobody_can_be_asked_that_is_said_once():
    """The desk refuses to ask: one event a day, and no attempt at every step."""
    run = Run(config=SessionConfig(require_confirmation=True), path=flat_path())
    run.desk.unasked = "too many wait"
    run.go(bars=20)
    assert len(run.desk.asked) == 1
    assert [kind for _, kind, _, _ in run.desk.events] == ["approval_not_asked"]


def test_exits_wait_for_nobody():
    """In a session whose openings wait, what is open is closed by its rules, and no one is asked."""
    run = Run(config=SessionConfig(max_position_hold_time=60), path=flat_path(), risk=PATIENT).go(bars=8)
    run.config = SessionConfig(max_position_hold_time=60, require_confirmation=True)
    run.go(bars=25)
    assert (run.reasons, run.desk.asked) == (["entry", "hold_time"], [])
    assert run.book.flat


@pytest.mark.parametrize(
    ("enabled", "parameters", "message"),
    [
        (["sell_moon"], {}, "enabled_strategies: 'sell_moon' is not a strategy"),
        (["sell_put"], {"x": {}}, "strategy_parameters: 'x' is not a strategy"),
        (["sell_put"], {"sell_put": {"delta": 0.7}}, "strategy_parameters.sell_put.delta"),
        (["sell_put"], {"sell_put": {"wings": 1}}, "strategy_parameters.sell_put.wings"),
        (["sell_put_spread"], {"sell_put_spread": {"width": 2.5}}, "width: 2.5 is no whole number"),
        (["sell_put"], {"sell_put": {"delta": float("nan")}}, "strategy_parameters.sell_put.delta"),
    ],
)
def test_strategies_are_checked_by_field(enabled, parameters, message):
    """A strategy or parameter that makes no sense is refused by name."""
    with pytest.raises(InvalidArgument, match=message):
        check_strategies(enabled, parameters)


# Exits


def test_profit_is_taken_at_the_share_of_the_credit():
    """take_profit_multiplier 0.3 closes when the ask is at 0.7 x credit or below, at the ask."""
    run = Run(path=flat_path(), risk=RiskParameters(take_profit_multiplier=0.3)).go()
    credit, paid = (fill.price for fill in run.book.fills)
    assert run.reasons == ["entry", "profit"]
    assert paid <= Decimal("0.7") * credit
    earlier = [exits for moment, _, exits, _ in run.decisions if moment < run.requests[1][0]]
    assert all(exits == [] for exits in earlier)


def test_a_stop_fills_on_the_next_bar_at_the_ask_plus_a_nickel():
    """When the cost to close reaches multiplier x credit, the stop is sent and filled a bar later, $0.05 worse."""
    path = path_with({12: 2718.0})
    run = Run(path=path, day=day_of(low=2710, close=2718), risk=RiskParameters(max_daily_risk=0.25)).go(bars=13)
    [_, (moment, request)] = run.requests
    assert (run.at(moment), request.kind, request.reason) == ("10:30", "stop", "stop")
    assert len(run.book.fills) == 1
    run.go(bars=14)
    fill = run.book.fills[-1]
    assert run.at(fill.timestamp) == "10:35"
    assert fill.price == run.board.quote(fill.contract).ask + Decimal("0.05")
    assert run.board.stressed


def test_the_loss_limit_comes_before_the_stop_and_ends_the_day():
    """When the loss limit fires every position goes for that reason, and nothing is opened afterwards."""
    risk = RiskParameters(max_daily_risk=0.005, stop_loss_multiplier=2)
    run = Run(
        strategies=["sell_put"],
        parameters={"sell_put": {"contracts": 3, "max_entries_per_day": 9}},
        path=path_with({12: 2690.0, 20: 2751.0}),
        day=day_of(low=2680, close=2751),
        risk=risk,
    ).go()
    assert run.reasons == ["entry", "loss_limit"]
    assert len(run.desk.latched) == 1
    assert [kind for _, kind, _, _ in run.desk.events].count("loss_limit_fired") == 1


def test_eighty_percent_of_the_limit_warns_once():
    """A loss of 80 % of the limit is said once, and changes nothing else."""
    run = Run(path=path_with({12: 2676.0}), day=day_of(low=2670), risk=replace_risk(PATIENT, max_daily_risk=0.005))
    run.go(bars=30)
    assert [kind for _, kind, _, _ in run.desk.events] == ["loss_limit_near"]
    assert run.reasons == ["entry"]


def replace_risk(risk, **changes):
    return risk.model_copy(update=changes)


def test_hold_time_closes_by_the_clock():
    """A position older than max_position_hold_time goes, at the ask."""
    run = Run(path=flat_path(), risk=PATIENT, config=SessionConfig(max_position_hold_time=60)).go(bars=25)
    assert [(run.at(moment), request.reason) for moment, request in run.requests] == [
        ("10:00", "entry"),
        ("11:00", "hold_time"),
    ]
    assert run.book.flat


def test_flat_by_is_fifteen_minutes_before_the_stock_close():
    """What is still held goes at 15:45, long before the options themselves close at 16:15."""
    run = Run(path=flat_path(2746.0), day=day_of(low=2740), strategies=["sell_call"], risk=PATIENT)
    run.change = lambda _bar, tick: replace(tick, vix=80.0)  # premium enough to be left until the end
    run.go()
    assert (run.at(run.requests[-1][0]), run.reasons[-1]) == ("15:45", "flat_by")
    assert run.book.flat


def test_flat_by_knows_half_days():
    """On a half day flat-by is 12:45."""
    half = replace(DAY, date=date(2018, 12, 24))
    run = Run(day=half, previous=replace(PREVIOUS, date=date(2018, 12, 21), vix=60.0), path=flat_path(steps=42))
    run.risk = PATIENT
    run.go()
    assert (run.at(run.requests[-1][0]), run.reasons[-1]) == ("12:45", "flat_by")


def test_exit_reasons_have_an_order():
    """When several rules hold at once the earlier one names the exit: loss limit, stop, profit, hold time, flat-by."""
    # A bar after hold time with the price back: profit wins over hold time; with the price gone: stop wins over it.
    config = SessionConfig(max_position_hold_time=60)
    profit = Run(path=path_with({18: 2790.0}), day=day_of(high=2800), config=config, risk=PATIENT)
    profit.risk = RiskParameters(stop_loss_multiplier=20, take_profit_multiplier=0.8)
    assert profit.go(bars=25).reasons == ["entry", "profit"]
    stop = Run(path=path_with({18: 2715.0}), day=day_of(low=2700), config=config)
    assert stop.go(bars=25).reasons == ["entry", "stop"]


def held_overnight(delta):
    """A run that may carry positions, takes no profit and stops late, with its put sold."""
    risk = replace_risk(PATIENT, take_profit_multiplier=0.999)
    config = SessionConfig(allow_overnight_positions=True)
    parameters = {"sell_put": {"delta": delta}}
    run = Run(path=flat_path(), day=day_of(low=2600), config=config, risk=risk, parameters=parameters)
    run.change = lambda _bar, tick: replace(tick, vix=40.0)
    run.go(bars=8)
    return run, run.book.fills[0].contract.strike


@pytest.mark.parametrize("distance", ["-0.003", "0", "0.0049"])
def test_nothing_near_its_strike_is_carried_into_expiry(distance):
    """Where overnight positions are allowed, what is in the money or within 0.5 % of its strike goes at 15:45."""
    run, strike = held_overnight(0.15)
    run.feed.path[70:] = [float(strike * (1 + Decimal(distance))) * 10] * 9
    run.go()
    assert [(run.at(moment), request.reason) for moment, request in run.requests[1:]] == [("15:45", "expiry_guard")]
    assert run.book.flat


def test_what_is_far_from_its_strike_expires_without_a_fee():
    """Where overnight positions are allowed, an option far out of the money is left to expire at zero."""
    run, _ = held_overnight(0.05)
    run.go()
    assert run.reasons == ["entry"]
    sold, gone = run.book.fills
    assert (gone.reason, gone.price, gone.fee) == ("expiry", 0, 0)
    assert run.net == sold.price * 100 - Decimal("0.68")


def test_in_the_money_shorts_become_shares():
    """What could not be closed before expiry is assigned: 100 shares a contract at the strike, the option gone."""
    run = Run(path=path_with({60: 2700.0}), day=day_of(low=2690, close=2700), risk=PATIENT)
    run.config = SessionConfig(allow_overnight_positions=True)
    run.go(bars=8)
    run.desk.refuse = "the gate is shut for this test"
    run.go()
    strike = run.book.fills[0].contract.strike
    [stock] = [fill for fill in run.book.fills if not fill.contract.is_option]
    assert (stock.reason, stock.side, stock.quantity, stock.price) == ("assignment", "buy", 100, strike)
    [trade] = run.book.open_trades
    assert {contract.symbol: quantity for contract, quantity in trade.legs.items()} == {"SPY": 100}


# Status


@pytest.mark.parametrize("status", [SessionStatus.PAUSED, SessionStatus.SUSPENDED, SessionStatus.ERROR])
def test_anything_but_active_only_reduces(status):
    """Paused from the start nothing is opened; paused later the exits still run."""
    assert Run(status=lambda _bar: status).go().requests == []
    run = Run(path=flat_path(), status=lambda bar: SessionStatus.ACTIVE if bar < 8 else status).go()
    assert run.reasons == ["entry", "profit"]


def test_closing_climbs_from_mid_to_ask_and_ends_flat():
    """A stop that flattens tries the mid first and pays the ask on the next step."""
    run = Run(
        path=flat_path(),
        risk=PATIENT,
        status=lambda bar: SessionStatus.ACTIVE if bar < 8 else SessionStatus.CLOSING,
        flatten=lambda bar: bar >= 8,
    ).go(bars=11)
    first, second = run.requests[1][1], run.requests[2][1]
    assert run.reasons == ["entry", "session_stop", "session_stop"]
    assert first.limit < second.limit
    assert run.book.flat


def test_a_stop_that_cannot_trade_asks_for_a_person_once():
    """With no ask a closing session sends nothing, asks for a person once, and goes on when quotes return."""
    run = Run(
        path=flat_path(),
        risk=PATIENT,
        status=lambda bar: SessionStatus.ACTIVE if bar < 8 else SessionStatus.CLOSING,
        flatten=lambda bar: bar >= 8,
        change=lambda bar, tick: replace(tick, option_open=tick.option_open and not 8 <= bar < 12),
    ).go(bars=12)
    assert run.reasons == ["entry"]
    assert [(kind, action) for _, kind, _, action in run.desk.events] == [("exit_blocked", True)]
    run.go(bars=16)
    assert run.book.flat


def test_leaving_positions_leaves_them():
    """CLOSING without flatten keeps what is held; the exits of risk still run."""
    run = Run(
        path=flat_path(), risk=PATIENT, status=lambda bar: SessionStatus.ACTIVE if bar < 8 else SessionStatus.CLOSING
    ).go(bars=20)
    assert run.reasons == ["entry"]
    assert not run.book.flat


def test_a_refused_exit_asks_for_a_person_and_is_tried_again():
    """When the gate refuses an exit it is said once, and tried at every step until it passes."""
    run = Run(path=flat_path(), risk=PATIENT, config=SessionConfig(max_position_hold_time=60)).go(bars=8)
    run.desk.refuse = "closed for a test"
    run.go(bars=24)
    assert [kind for _, kind, _, _ in run.desk.events] == ["exit_blocked"]
    run.desk.refuse = None
    run.go(bars=25)
    assert run.book.flat


# Limits


def test_an_opening_whose_stop_would_break_the_limit_is_refused():
    """An opening is refused when the loss to its stop exceeds what remains of the day's limit."""
    run = Run(risk=RiskParameters(max_daily_risk=0.0004)).go()
    assert run.requests == []
    assert "exceeds what remains of the day's limit" in run.desk.events[0][2]


def by_hand(run, limit, quantity=12):
    """Leave a person's opening to the executor: the put the planner would sell."""
    leg = {"side": "sell", "right": "put", "strike": "272"}
    order = {"legs": [leg], "quantity": quantity, "limit": str(limit)}
    run.people.orders.append(HandOrder(uuid4(), "place", "waiting", "ann", opening=True, order=order))


ROOM = RiskParameters(max_daily_risk=0.002, position_limit=60)  # $200


@pytest.mark.parametrize("limit", ["0.01", "0.20", "the bid"])
def test_an_opening_by_hand_is_judged_at_what_it_would_bring(limit):
    """A low limit is no low risk: it fills at the bid, and its stop follows the credit. Refused as the bid is."""
    run = Run(strategies=[], path=flat_path(), risk=ROOM).go(bars=7)
    bid = package_price([Leg(Contract("put", Decimal(272), DAY.date), "sell", 1)], run.board, "sell")
    by_hand(run, bid if limit == "the bid" else limit)
    run.go(bars=8)
    assert run.requests == []
    [(_, state, why)] = run.desk.settled
    assert state == "refused"
    assert float(re.search(r"loss to its stop \$([\d.]+) exceeds", why)[1]) > 12 * 100 * float(bid)


def test_an_opening_by_hand_at_a_high_limit_is_judged_at_it():
    """It rests until the market pays as much: what it would lose then is what counts, and the margin it would take."""
    run = Run(strategies=[], path=flat_path(), risk=ROOM)
    by_hand(run, "9.00", quantity=1)
    run.go(bars=8)
    assert run.requests == []
    assert "loss to its stop $1806.36" in run.desk.settled[0][2]
    dear = Run(strategies=[], path=flat_path(), risk=RiskParameters(max_daily_risk=0.2), equity=Decimal(5300))
    by_hand(dear, "2.00", quantity=1)
    dear.go(bars=8)
    assert "Reg-T estimate" in dear.desk.settled[0][2]


class Understating:
    """A planner of another package that says its openings risk nothing."""

    def step(self, state, context):
        leg = Leg(Contract("put", Decimal(272), context.book.trade_date), "sell", 12)
        request = OrderRequest(
            f"{DAY.date}/mine/1", "mine", "sell", (leg,), opening=True, limit=Decimal("0.01"), reason="entry"
        )
        context.outputs.plan.append(Proposal(request))
        return state


def test_what_an_agent_says_of_its_risk_is_a_floor(monkeypatch):
    """An opening that claims to risk nothing is judged by its legs and the quotes of now."""
    own = Understating()
    monkeypatch.setattr(
        trading_harness, "get_agent", lambda name: own if name == "StrategicPlannerAgent" else get_agent(name)
    )
    run = Run(strategies=[], path=flat_path(), risk=ROOM).go(bars=7)
    assert run.requests == []
    assert "exceeds what remains of the day's limit" in run.desk.events[0][2]


def test_what_is_open_counts_against_what_remains():
    """Two openings that each fit, but not both: the second is refused."""
    alone = Run(strategies=["sell_put"], path=flat_path()).go(bars=7).requests[0][1].risk
    limit = float(alone * Decimal("1.5") / 100_000)
    run = Run(strategies=BOTH, path=flat_path(), risk=RiskParameters(max_daily_risk=limit)).go(bars=7)
    assert [request.strategy for _, request in run.requests] == ["sell_put"]


def test_the_position_limit_counts_contracts():
    """More contracts than position_limit are refused, by name."""
    run = Run(parameters={"sell_put": {"contracts": 4}}).go()
    assert run.requests == []
    assert "4 contracts exceed the 3 left" in run.desk.events[0][2]


def test_margin_beyond_equity_is_refused():
    """An opening whose Reg-T estimate exceeds the buying power is refused."""
    run = Run(equity=Decimal(2000), risk=RiskParameters(max_daily_risk=0.25)).go()
    assert run.requests == []
    assert "Reg-T estimate" in run.desk.events[0][2]


# Hours and data


def test_extended_hours_only_watch_while_options_are_shut():
    """An Extended Hours session sees the market from 04:00 and trades only while options do."""
    run = Run(session_type=SessionType.EXTENDED_HOURS).go()
    assert run.at(run.decisions[0][0]) == "04:00"
    assert run.at(run.decisions[-1][0]) == "20:00"
    assert all("09:30" <= run.at(moment) < "16:15" for moment, _ in run.requests)


def stale_from(bar, age=40.0):
    return lambda at, tick: replace(tick, stale=True, age_s=age, market_open=False) if at >= bar else tick


def test_stale_data_opens_nothing():
    """With stale data nothing is opened."""
    assert Run(change=stale_from(0)).go().requests == []


def test_stale_data_with_positions_is_said_and_marked_at_the_worse():
    """Past the limit shorts are marked at the worse of last ask and model, and a person is told once."""
    run = Run(path=path_with({10: 2730.0}), day=day_of(low=2700), risk=PATIENT, change=stale_from(10)).go(bars=12)
    [trade] = run.book.open_trades
    [contract] = trade.legs
    assert run.book.marks[contract.symbol] == run.board.model(contract) > run.book.last_asks[contract.symbol]
    assert [kind for _, kind, _, _ in run.desk.events].count("market_data_stale") == 2  # two episodes: two moments
    assert run.desk.suspends == []


def test_data_gone_for_long_suspends():
    """Past quote_stale_suspend_s with positions open the session asks to be suspended."""
    run = Run(path=flat_path(), risk=PATIENT, change=stale_from(10, age=61)).go(bars=11)
    assert len(run.desk.suspends) == 1


def test_the_watcher_knows_only_the_day_so_far():
    """Levels are those of bars seen, and the regime follows the VIX."""
    run = Run(path=path_with({5: 2760.0, 9: 2740.0}), day=day_of(low=2730, high=2770)).go(bars=8)
    market = run.decisions[-1][3]
    assert (market["key_levels"]["high"], market["key_levels"]["low"]) == (276.0, 275.115)
    assert market["market_regime"] == "normal"
    assert market["support_levels"][0] <= market["spy_price"] <= market["resistance_levels"][-1]


# The model's honesty


@pytest.mark.parametrize("strategy", ["sell_put", "sell_strangle", "sell_call_spread"])
@pytest.mark.parametrize("bar", [6, 20, 40, 70])
def test_changing_a_future_bar_changes_no_decision(strategy, bar):
    """Whatever comes after a bar, every decision up to it is the same."""
    whole = Run(strategies=[strategy], seed=3)
    path = list(whole.feed.path)
    changed = Run(strategies=[strategy], seed=3, path=path[: bar + 1] + [2000.0] * (SEED_PATH_BARS - bar))
    whole.go(bars=bar + 1)
    changed.go(bars=bar + 1)
    assert whole.decisions == changed.decisions
    assert whole.requests == changed.requests
    assert whole.states == changed.states


def test_the_same_seed_gives_the_same_day():
    """A day is reproducible to the last state; another seed is another day."""
    one, again, other = Run(seed=5).go(), Run(seed=5).go(), Run(seed=6).go()
    assert (one.decisions, one.requests, one.states) == (again.decisions, again.requests, again.states)
    assert one.decisions != other.decisions


def test_no_agent_reads_the_wall_clock():
    """A day stepped at any hour of the wall reads only its own clock: all moments are that day's."""
    run = Run().go()
    assert {moment.date() for moment, *_ in run.decisions} == {DAY.date}
    assert all(fill.timestamp.tzinfo is UTC for fill in run.book.fills)


def test_february_fifth_2018_loses():
    """The day short volatility blew up costs money in the model too: no seed of ten hides it."""
    days = read_days(Path(__file__).parents[2] / "examples/data/spx_vix_daily_2017_2018.csv", get_calendar())
    [(previous, blown)] = backtest_days(days, date(2018, 2, 5), date(2018, 2, 5))
    nets = [Run(seed=seed, day=blown, previous=previous).go().net for seed in range(10)]
    assert sorted(nets)[5] < 0


def test_drawdown_is_never_positive_and_continues_over_a_recovery():
    """Drawdown includes the unrealised, never rises, and takes up a peak handed over from earlier samples."""
    run = Run(path=path_with({20: 2735.0}), day=day_of(low=2700), risk=PATIENT).go()
    falls = [sample["drawdown"] for sample in run.samples]
    assert all(value <= 0 for value in falls)
    assert falls == sorted(falls, reverse=True)
    context = run.context(run.feed.tick(datetime(2018, 1, 9, 21, 15, tzinfo=UTC)))
    context.peak = Decimal(500)
    get_agent("EvaluatorAgent").step({}, context)
    assert context.outputs.sample["drawdown"] <= context.outputs.sample["net_pnl"] - 500


# Registry


def test_agents_are_found_by_entry_point_and_stepped_in_order():
    """All five are found, in the order a step takes; an unknown one is refused with what there is."""
    assert known_agents()[:5] == list(ROSTER_ORDER)
    assert step_order(["Mine", "EvaluatorAgent", "RiskManagerAgent", "Mine"]) == [
        "RiskManagerAgent",
        "EvaluatorAgent",
        "Mine",
    ]
    with pytest.raises(InvalidArgument, match="'Ghost' is not a hosted agent"):
        get_agent("Ghost")
