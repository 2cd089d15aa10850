"""Backtest runs: a unit per day and seed, handed out, played by the hosted agents, collected; killed and run again."""

from datetime import date
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hosting import ANN, Hosting, make_hosting

from fntx_sessions.automation import backtests
from fntx_sessions.automation.backtest_arguments import BacktestArguments
from fntx_sessions.exceptions import CommandConflict, Forbidden, InvalidArgument, NotFound
from fntx_sessions.lifecycle.arguments import ListArguments
from fntx_sessions.lifecycle.reads.sessions import list_sessions
from fntx_sessions.security.actor import Actor
from fntx_sessions.settings import get_settings
from fntx_sessions.testing import FailpointReached, failpoints_armed
from fntx_sessions.trading.backtest import LABEL
from fntx_sessions.trading.calendars import get_calendar
from fntx_sessions.trading.days import backtest_days, read_days

DATA = Path(__file__).parents[2] / "examples" / "data" / "spx_vix_daily_2017_2018.csv"


@pytest.fixture
def hosting(settings):
    with make_hosting(settings) as made:
        yield made


@pytest.fixture(scope="module")
def days():
    """Friday 2018-02-02, which only tells the previous day, and the Monday after it."""
    pairs = backtest_days(read_days(DATA, get_calendar("XNYS")), date(2018, 2, 5), date(2018, 2, 5))
    return [pairs[0][0].to_json(), pairs[0][1].to_json()]


def _ask(days, **more) -> BacktestArguments:
    return BacktestArguments.model_validate({"days": days, "seeds": 2} | more)


def _create(hosting: Hosting, days, **more) -> UUID:
    run_id = uuid4()
    backtests.create(hosting.desk.engine, ANN, _ask(days, **more), run_id)
    return run_id


def _play(hosting: Hosting, run_id: UUID) -> dict:
    """Sweep and step until the run is finished."""
    for _ in range(400):
        backtests.advance(hosting.desk)
        if backtests.status(hosting.desk.engine, run_id)["finished"]:
            return backtests.report(hosting.desk.engine, run_id)
        hosting.step()
        hosting.finish()
    raise AssertionError(backtests.status(hosting.desk.engine, run_id))


def test_a_run_ends_with_the_result_of_every_day_and_the_label(hosting, days):
    """Each unit is one closed Backtest session; results are its ledger's; 2018-02-05 and the label are shown."""
    report = _play(hosting, _create(hosting, days))
    assert report["counts"] == {"waiting": 0, "running": 0, "done": 2, "failed": 0}
    assert report["label"] == LABEL
    assert [row["day"] for row in report["shown"]] == ["2018-02-05"]
    booked = hosting.rows("""
        SELECT u.seed, (u.result ->> 'net_pnl')::numeric AS net, (SELECT coalesce(sum(
          (CASE side WHEN 'sell' THEN 1 ELSE -1 END) * quantity * price * 100 - fee), 0)
          FROM fills f WHERE f.session_id = u.session_id AND f."right" <> 'stock') AS ledger, s.status, s.session_type
        FROM backtest_units u JOIN sessions s USING (session_id)""")
    assert all((row["status"], row["session_type"]) == ("closed", "backtest") for row in booked)
    assert [float(row["net"]) for row in booked] == pytest.approx([float(row["ledger"]) for row in booked])


def test_a_sweep_that_died_half_way_is_simply_run_again(hosting, days):
    """A sweep killed between creating and starting a session leaves one session, which the next sweep starts."""
    run_id = _create(hosting, days, seeds=1)
    with failpoints_armed("command.before_commit:raise"), pytest.raises(FailpointReached):
        backtests.advance(hosting.desk)
    assert backtests.status(hosting.desk.engine, run_id)["counts"]["running"] == 1
    backtests.advance(hosting.desk)
    backtests.advance(hosting.desk)
    assert [row["status"] for row in hosting.rows("SELECT status FROM sessions")] == ["active"]
    starts = hosting.rows("SELECT count(*) AS n FROM commands WHERE trigger = 'start_session'")
    assert starts[0]["n"] == 1


def test_a_day_of_a_backtest_waits_for_no_second_person(hosting, days, monkeypatch):
    """Where creations and starts take two people: it moves nobody's money."""
    monkeypatch.setenv("FNTX_FOUR_EYES", "create_session,start_session")
    get_settings.cache_clear()
    try:
        _create(hosting, days, seeds=1)
        backtests.advance(hosting.desk)
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
    assert [row["status"] for row in hosting.rows("SELECT status FROM sessions")] == ["active"]


def test_a_stopped_run_hands_out_nothing_and_goes_on_where_it_was(hosting, days):
    """After stop no unit begins; resume hands out the rest; a limit in flight is kept. Asked twice, audited once."""
    small = hosting.with_settings(backtest_in_flight=1)
    run_id = _create(small, days, seeds=3)
    backtests.advance(small.desk)
    for _ in range(2):
        backtests.stop(small.desk.engine, ANN, run_id)
    hosting.run("UPDATE backtest_units SET state = 'done', result = '{}' WHERE state = 'running'")
    backtests.advance(small.desk)
    assert backtests.status(small.desk.engine, run_id)["counts"]["waiting"] == 2
    for _ in range(2):
        backtests.resume(small.desk.engine, ANN, run_id)
    backtests.advance(small.desk)
    assert backtests.status(small.desk.engine, run_id)["counts"] == {"waiting": 1, "running": 1, "done": 1, "failed": 0}
    hosting.run("UPDATE backtest_units SET state = 'done', result = '{}'")
    backtests.stop(small.desk.engine, ANN, run_id)  # it is over
    written = hosting.rows("SELECT target FROM audit WHERE command_id = :id ORDER BY seq", id=run_id)
    assert [row["target"].rpartition(" ")[2] for row in written] == ["begun", "stopped", "resumed"]


def test_a_unit_that_fails_says_why_and_does_not_hold_up_the_run(hosting, days):
    """A session that ends in ERROR is a failed unit with its reason in the report."""
    run_id = _create(hosting, days, seeds=1)
    backtests.advance(hosting.desk)
    session_id = hosting.rows("SELECT session_id FROM backtest_units")[0]["session_id"]
    admin = Actor("root", frozenset({"admin"}))
    hosting.do(backtests.Trigger.FAIL, session_id, actor=admin, error="disk on fire")
    backtests.advance(hosting.desk)
    report = backtests.report(hosting.desk.engine, run_id)
    assert report["counts"]["failed"] == 1
    assert "disk on fire" in report["failures"][0]["error"]


def test_asked_twice_a_run_is_there_once(hosting, days):
    """The same id with the same days is the same run; with others it is refused."""
    run_id = _create(hosting, days)
    again = backtests.create(hosting.desk.engine, ANN, _ask(days), run_id)
    assert again["units"] == 2
    with pytest.raises(CommandConflict):
        backtests.create(hosting.desk.engine, ANN, _ask(days, seeds=3), run_id)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"overrides": {"config": {"account": "mine"}}}, "overrides.account"),
        ({"overrides": {"config": {"feed": {"seed": 1}}}}, "overrides.feed.seed"),
        ({"overrides": {"no_such_key": 1}}, "overrides.no_such_key"),
        ({"overrides": {"max_daily_risk": 9}}, "risk_parameters.max_daily_risk"),
        ({"template_name": "Paper Trading"}, "template_name"),
    ],
)
def test_what_every_unit_would_be_refused_for_is_refused_at_once(hosting, days, more, field):
    """A bad override is refused by name, and no run is stored."""
    with pytest.raises(InvalidArgument) as refused:
        _create(hosting, days, **more)
    assert refused.value.named()["field"] == field
    assert backtests.recent(hosting.desk.engine, 10) == []


def test_days_out_of_order_are_refused_by_number(hosting, days):
    """The engine checks the days again, whoever sends them."""
    with pytest.raises(InvalidArgument, match=r"days\.1\.date"):
        _create(hosting, days[::-1])


def test_a_viewer_makes_no_runs_and_an_unknown_run_is_not_found(hosting, days):
    """Runs are for operators; a run nobody made is NotFound."""
    with pytest.raises(Forbidden):
        backtests.create(hosting.desk.engine, Actor("eve", frozenset({"viewer"})), _ask(days), uuid4())
    for ask in (backtests.status, backtests.report):
        with pytest.raises(NotFound):
            ask(hosting.desk.engine, uuid4())


def test_a_runs_sessions_are_listed_by_tag_only(hosting, days):
    """A backtest of a thousand days does not bury the desk's own sessions in the list."""
    run_id = _create(hosting, days)
    backtests.advance(hosting.desk)
    assert list_sessions(hosting.desk.engine, ListArguments()) == []
    tagged = list_sessions(hosting.desk.engine, ListArguments(tag=f"backtest:{run_id}", include_children=True))
    assert len(tagged) == 2
