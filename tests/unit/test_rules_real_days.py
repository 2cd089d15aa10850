"""Rules on days that were: the VIX spike, half days, both turns of the clock, and a day the exchange was shut."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from fntx_sessions.automation.rules import rehearsals
from fntx_sessions.automation.rules.compile import as_text, compile_rules
from fntx_sessions.automation.rules.editing import checked, rule_lists
from fntx_sessions.automation.rules.engine import evaluate
from fntx_sessions.automation.rules.model import Action, Facts, MarketFacts, Memory
from fntx_sessions.automation.rules.moments import Moment
from fntx_sessions.automation.rules.rehearsal_report import report
from fntx_sessions.automation.rules.rehearse import NOBODY, Course, rehearse_day
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import SessionStatus, SessionType
from fntx_sessions.settings import Settings
from fntx_sessions.trading.calendars import get_calendar

DAYS = Path(__file__).parents[2] / "fntx_sessions" / "cli" / "data" / "spx_vix_daily_2017_2018.csv"
XNYS = get_calendar("XNYS")
SETTINGS = Settings()
# The template Regular Trading.
REGULAR = {
    "start": [
        {"condition": "market_open", "value": True},
        {"condition": "vix_below", "value": 30},
        {"condition": "time_after", "value": "09:35:00"},
    ],
    "stop": [{"condition": "daily_loss_exceeded", "value": True}, {"condition": "market_close", "value": True}],
}
ANY_VIX = REGULAR | {"start": [REGULAR["start"][0], REGULAR["start"][2]]}


def over(first: str, last: str | None = None, rules=REGULAR, **more):
    """Rehearse over days of the file and return the report."""
    span = {"first": date.fromisoformat(first), "last": date.fromisoformat(last or first)}
    return rehearsals.over_days(DAYS, rules, SETTINGS, **span, **more)


def fired(day) -> list[tuple[str, str, str]]:
    """Return what fired on a day: the action, its time in UTC and at the exchange."""
    return [(one["action"], one["at"][11:16], one["clock"]) for one in day["firings"]]


def judged(rules, at: datetime, status=SessionStatus.INITIALIZING, *, vix=15.0, age_s=1.0, started_at=None):
    """Evaluate rules at one moment of a controlled clock, with a market of that age."""
    sets = compile_rules(as_text(checked(rule_lists(rules, "rules"))), SETTINGS)
    market = MarketFacts(age_s=age_s, spot=270.0, previous_close=270.0, vix=vix, regime="normal", liquidity="normal")
    facts = Facts(NOBODY, at, status, XNYS, market=market, started_at=started_at)
    return evaluate(sets, facts, Memory(), SETTINGS, holds=frozenset(), positions=False)


REAL_DAYS = {
    # day: (what fires, at which minute in UTC and by the exchange's clock)
    "2018-02-02": [("start", "14:35", "09:35:00 EST"), ("stop", "21:00", "16:00:00 EST")],
    # The VIX known that morning is Friday's 17.31; its 37.32 of the close is nobody's to know yet.
    "2018-02-05": [("start", "14:35", "09:35:00 EST"), ("stop", "21:00", "16:00:00 EST")],
    "2018-02-06": [],
    # 29.98 is below 30.
    "2018-02-07": [("start", "14:35", "09:35:00 EST"), ("stop", "21:00", "16:00:00 EST")],
    # The exchange's 09:35 is another moment in UTC once its clocks have changed.
    "2018-03-09": [("start", "14:35", "09:35:00 EST"), ("stop", "21:00", "16:00:00 EST")],
    "2018-03-12": [("start", "13:35", "09:35:00 EDT"), ("stop", "20:00", "16:00:00 EDT")],
    "2018-07-03": [("start", "13:35", "09:35:00 EDT"), ("stop", "17:00", "13:00:00 EDT")],
    "2018-11-02": [("start", "13:35", "09:35:00 EDT"), ("stop", "20:00", "16:00:00 EDT")],
    "2018-11-05": [("start", "14:35", "09:35:00 EST"), ("stop", "21:00", "16:00:00 EST")],
    "2018-11-23": [("start", "14:35", "09:35:00 EST"), ("stop", "18:00", "13:00:00 EST")],
    "2018-12-04": [("start", "14:35", "09:35:00 EST"), ("stop", "21:00", "16:00:00 EST")],
    "2018-12-06": [("start", "14:35", "09:35:00 EST"), ("stop", "21:00", "16:00:00 EST")],
    # Its VIX was 30.11 the day before.
    "2018-12-24": [],
}
HALF_DAYS = ("2018-07-03", "2018-11-23", "2018-12-24")


@pytest.mark.parametrize("day", REAL_DAYS)
def test_a_regular_session_starts_and_stops_on_a_real_day_when_its_rules_say(day):
    """Start at 09:35 exchange time where the VIX known then allows it, stop at that very day's close."""
    [found] = over(day)["days"]
    assert fired(found) == REAL_DAYS[day]
    assert found["half_day"] == (day in HALF_DAYS)
    assert found["status"] == ("closed" if REAL_DAYS[day] else "initializing")


@pytest.mark.parametrize(("day", "vix"), [("2018-02-06", "37.32"), ("2018-12-24", "30.11")])
def test_a_day_without_a_start_says_why(day, vix):
    """The reason kept is that of trading hours, not that the exchange is shut in the evening."""
    [found] = over(day)["days"]
    assert f"VIX {vix} >= 30" in found["idle_why"]


@pytest.mark.parametrize("day", HALF_DAYS)
def test_a_half_day_is_stopped_at_its_own_close(day):
    """Rules of the close mean 13:00 on a half day, and so do minutes before it."""
    early = {"stop": [{"condition": "minutes_to_close_below", "value": 16}]}
    [found] = over(day, rules=ANY_VIX | early)["days"]
    assert [clock[:8] for _, _, clock in fired(found)] == ["09:35:00", "12:45:00"]


def test_a_special_closure_is_no_day_of_a_rehearsal():
    """2018-12-05, a day of mourning: the file has no row, the calendar no hours, and 12-06 follows 12-04."""
    assert [day["day"] for day in over("2018-12-04", "2018-12-07")["days"]] == [
        "2018-12-04", "2018-12-06", "2018-12-07"
    ]  # fmt: skip


def test_on_a_special_closure_no_moment_of_the_day_starts_a_session():
    """With fresh quotes all day long nothing starts on 2018-12-05, though the clock passes 09:35."""
    rules = compile_rules(as_text(checked(rule_lists(REGULAR, "rules"))), SETTINGS)
    midnight = datetime.combine(date(2018, 12, 5), time(), XNYS.zone).astimezone(UTC)
    market = MarketFacts(age_s=0.0, spot=270.0, previous_close=270.0, vix=20.0)
    moments = [Moment(midnight + timedelta(minutes=minute), market) for minute in range(0, 24 * 60, 5)]
    found = rehearse_day(Course(rules, XNYS, SETTINGS), date(2018, 12, 5), moments)
    assert (found.status, found.firings) == (SessionStatus.INITIALIZING, ())
    assert found.moments == len(moments)
    assert "no trading today" in found.idle_why


TURNS = [
    # moment in UTC, exchange time, whether a session of REGULAR starts
    ("2018-03-09T14:34:59Z", "09:34:59 EST", False),
    ("2018-03-09T14:35:00Z", "09:35:00 EST", True),
    ("2018-03-12T13:34:59Z", "09:34:59 EDT", False),
    ("2018-03-12T13:35:00Z", "09:35:00 EDT", True),
    ("2018-03-12T14:35:00Z", "10:35:00 EDT", True),
    ("2018-11-02T13:35:00Z", "09:35:00 EDT", True),
    ("2018-11-05T13:35:00Z", "08:35:00 EST", False),
    ("2018-11-05T14:34:59Z", "09:34:59 EST", False),
    ("2018-11-05T14:35:00Z", "09:35:00 EST", True),
    ("2018-07-03T16:59:59Z", "12:59:59 EDT", True),
    ("2018-07-03T17:00:00Z", "13:00:00 EDT", False),
    ("2018-12-05T15:00:00Z", "10:00:00 EST", False),
    ("2018-12-24T17:59:59Z", "12:59:59 EST", True),
    ("2018-12-24T18:00:00Z", "13:00:00 EST", False),
]


@pytest.mark.parametrize(("at", "clock", "starts"), TURNS, ids=[at for at, _, _ in TURNS])
def test_the_exchanges_clock_decides_to_the_second(at, clock, starts):
    """09:35 and the close are exchange time: one second before and at it, in both weeks around each turn."""
    moment = datetime.fromisoformat(at)
    assert f"{moment.astimezone(XNYS.zone):%H:%M:%S %Z}" == clock
    assert judged(REGULAR, moment).action is (Action.START if starts else None)


@pytest.mark.parametrize(("vix", "age_s"), [(None, 1.0), (float("nan"), 1.0), (15.0, 3600.0)])
def test_without_good_data_nothing_starts_on_a_day_like_any_other(vix, age_s):
    """A VIX that is missing, not a number or an hour old starts nothing at 10:00, and the reason names the VIX."""
    found = judged(REGULAR, datetime(2018, 2, 5, 15, 0, tzinfo=UTC), vix=vix, age_s=age_s)
    assert found.action is None
    assert "not known" in found.why


def test_the_fall_of_2018_02_05_stops_what_looks_at_it_on_that_day_alone():
    """SPY 3 % below its last close: of the week around the spike, only Monday and Thursday stop early."""
    rules = ANY_VIX | {"stop": [{"condition": "spy_change_below", "value": -3}, *REGULAR["stop"]]}
    found = over("2018-02-02", "2018-02-08", rules=rules)
    early = [day["day"] for day in found["days"] if "stop.0" in day["firings"][-1]["rules"]]
    assert early == ["2018-02-05", "2018-02-08"]
    [rule] = [one for one in found["rules"] if one["path"] == "stop.0"]
    assert (rule["days_looked"], rule["days_met"]) == (5, 2)
    assert [one["day"] for one in rule["met"]] == early


def test_what_a_rule_paused_a_rule_resumes_and_the_close_stops():
    """A day that falls 1 % and comes back: paused, resumed once it is back, stopped at the close."""
    rules = ANY_VIX | {
        "pause": [{"condition": "spy_change_below", "value": -1.0}],
        "resume": [{"condition": "spy_change_above", "value": -0.5}],
    }
    [found] = over("2018-02-06", rules=rules)["days"]
    actions = [action for action, _, _ in fired(found)]
    assert (actions[0], actions[-1]) == ("start", "stop")
    moves = actions[1:-1]
    assert moves[:2] == ["pause", "resume"]
    assert all(one != after for one, after in pairwise(moves))
    assert found["counts"] == {name: actions.count(name) for name in ("start", "stop", "pause", "resume")}


def test_a_file_of_days_knows_no_pnl_and_says_so():
    """Conditions on money read unknown all day: they stop nothing, and the report names them and why."""
    found = over("2018-02-05")
    assert found["days"][0]["never_known"] == ["stop.0"]
    [rule] = [one for one in found["rules"] if one["path"] == "stop.0"]
    assert (rule["days_met"], rule["days_never_known"]) == (0, 1)
    assert "not known" in rule["unknown_why"]
    assert any("records no P&L" in note for note in found["notes"])


def test_without_a_start_rule_a_person_is_taken_to_have_started_it():
    """Stop rules can be rehearsed alone: the day begins at the open, said to be by hand."""
    [found] = over("2018-07-03", rules={"stop": REGULAR["stop"]})["days"]
    assert fired(found) == [("start", "13:30", "09:30:00 EDT"), ("stop", "17:00", "13:00:00 EDT")]
    assert found["firings"][0]["by"] == "hand"


@pytest.mark.parametrize(
    ("day", "stops"), [("2018-02-05", "20:00:00 EST"), ("2018-07-03", "17:00:00 EDT"), ("2018-03-12", "20:00:00 EDT")]
)
def test_an_extended_hours_session_goes_by_the_extended_close(day, stops):
    """The same rules, judged as an Extended Hours session: from the pre-market on to the post-market close."""
    [found] = over(day, rules={"stop": REGULAR["stop"]}, session_type=SessionType.EXTENDED_HOURS)["days"]
    assert [clock for _, _, clock in fired(found)][1:] == [stops]
    assert fired(found)[0][2].startswith("04:00:00")


def test_a_day_that_nothing_stops_is_told_as_such():
    """A rule set without a stop leaves the session active at the day's end; every day begins anew."""
    found = over("2018-02-01", "2018-02-02", rules={"start": ANY_VIX["start"]})
    assert [day["status"] for day in found["days"]] == ["active", "active"]
    assert [day["counts"]["start"] for day in found["days"]] == [1, 1]


def test_a_rehearsal_knows_nothing_of_what_comes_after():
    """Whatever the rest of a day brings, what fired before it stays: the path's future changes no firing."""
    rules = ANY_VIX | {"stop": [{"condition": "spy_change_below", "value": -1}]}
    course = Course(compile_rules(as_text(checked(rule_lists(rules, "rules"))), SETTINGS), XNYS, SETTINGS)
    at = datetime(2018, 2, 5, 14, 30, tzinfo=UTC)
    known = [Moment(at + timedelta(minutes=5 * bar), MarketFacts(0.0, 270.0, 270.0, 15.0)) for bar in range(10)]
    futures = (200.0, 270.0, 400.0)
    found = [
        rehearse_day(
            course, date(2018, 2, 5), [*known, Moment(at + timedelta(minutes=50), MarketFacts(0.0, spot, 270.0, 15.0))]
        ).firings[:1]
        for spot in futures
    ]
    assert len(set(found)) == 1


def test_rules_that_flap_are_counted_whole_and_listed_in_part():
    """A pause and a resume at every other bar: the counts hold all, the list ends, and says how many are left out."""
    flapping = {
        "pause": [{"condition": "vix_above", "value": 20}],
        "resume": [{"condition": "vix_below", "value": 20}],
    }
    course = Course(compile_rules(as_text(checked(rule_lists(flapping, "rules"))), SETTINGS), XNYS, SETTINGS)
    at = datetime(2018, 2, 5, 14, 30, tzinfo=UTC)
    moments = [
        Moment(at + timedelta(seconds=5 * bar), MarketFacts(0.0, 270.0, 270.0, 25.0 if bar % 2 else 15.0))
        for bar in range(1001)
    ]
    [day] = report(course, "x", [rehearse_day(course, date(2018, 2, 5), moments)])["days"]
    assert day["counts"] == {"start": 1, "stop": 0, "pause": 500, "resume": 500}
    assert (len(day["firings"]), day["more_firings"]) == (200, 801)


def test_another_seed_is_another_way_through_the_day_and_the_same_seed_the_same():
    """Rehearsals can be repeated exactly."""
    rules = ANY_VIX | {"stop": [{"condition": "spy_change_below", "value": -2}]}
    once, again = (over("2018-02-05", rules=rules, seed=7) for _ in range(2))
    assert once == again
    assert len({str(over("2018-02-05", rules=rules, seed=seed)["days"]) for seed in range(5)}) > 1


HEADER = "date,open,high,low,close,vix"
GOOD = "2018-02-02,2808.92,2808.92,2759.97,2762.13,17.31"
NEXT = "2018-02-05,2741.06,2763.39,2638.17,2648.94,37.32"


@pytest.mark.parametrize(
    ("lines", "where", "problem"),
    [
        ([HEADER, GOOD, NEXT.replace("2741.06", "n/a")], "line 3 column open", "'n/a' is not a number"),
        ([HEADER, GOOD, NEXT.replace("37.32", "")], "line 3 column vix", "is not a number"),
        ([HEADER, GOOD, NEXT.replace("02-05", "02-30")], "line 3 column date", "is not a date"),
        ([HEADER, GOOD, NEXT.replace("02-05", "02-04")], "line 3 column date", "is not a trading day"),
        ([HEADER, GOOD, NEXT.replace("02-05", "02-06")], "line 3 column date", "1 trading day(s) of XNYS before"),
        ([HEADER, GOOD, NEXT.replace("02-05", "02-06")], "line 3 column date", "name that one's calendar"),
        ([HEADER, NEXT, GOOD], "line 3 column date", "comes after"),
        ([HEADER, GOOD, "2018-02-05,1,2"], "line 3", "not as many values"),
        ([HEADER.replace("vix", "vx"), GOOD, NEXT], "line 1", "column vix missing"),
        ([HEADER, GOOD, NEXT.replace("2638.17", "2742")], "line 3 column high/low", "do not contain"),
        ([HEADER], "days.csv", "holds no days"),
        ([HEADER, GOOD], "days", "no day between"),
    ],
)
def test_a_bad_file_of_days_is_refused_by_row_and_field(tmp_path, lines, where, problem):
    """No rehearsal stands on a bad row: the error names the line, the column and what is wrong."""
    path = tmp_path / "days.csv"
    path.write_text("\n".join(lines))
    with pytest.raises(InvalidArgument) as refused:
        rehearsals.over_days(path, REGULAR, SETTINGS)
    assert where in str(refused.value)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("rules", "where"),
    [
        ([], "rules"),
        ({"begin": []}, "rules.begin"),
        ({"stop": {}}, "rules.stop"),
        ({"stop": [], "auto_stop_conditions": []}, "rules.auto_stop_conditions"),
        ({"stop": [{"condition": "vix_abve", "value": 1}]}, "config.auto_stop_conditions.0"),
        ({"stop": [{"condition": "vix_above", "value": "high"}]}, "config.auto_stop_conditions.0.value"),
    ],
)
def test_a_bad_rule_is_refused_by_its_path(rules, where):
    """An unknown set, one given twice, an unknown condition and a wrong value are named where they stand."""
    with pytest.raises(InvalidArgument) as refused:
        rehearsals.over_days(DAYS, rules, SETTINGS)
    assert refused.value.named()["field"].startswith(where)


@pytest.mark.parametrize("name", ["XNOWHERE", "Europe/Berlin"])
def test_an_unknown_calendar_is_refused(name):
    """A calendar is an exchange's code, not a time zone."""
    with pytest.raises(InvalidArgument, match="calendar"):
        rehearsals.over_days(DAYS, REGULAR, SETTINGS, calendar=name)
