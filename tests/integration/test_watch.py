"""`fntx watch`: the board and a session live in a terminal; keys that show, ask why, act, and tell what came of it."""

import os
import sys
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from running_desk import RunningDesk, frozen, quiet_desk
from scripted_desk import ONE, TWO, Scripted, row, text, until, watched
from sqlalchemy import text as sql
from terminal import screen
from textual.pilot import Pilot

from fntx_sessions.cli import asking, output
from fntx_sessions.cli.app import run
from fntx_sessions.cli.exits import Exit
from fntx_sessions.cli.watching.acts import ACTS
from fntx_sessions.cli.watching.asked import Asked
from fntx_sessions.cli.watching.columns import fitting
from fntx_sessions.database.engine import build_engine, transaction
from fntx_sessions.exceptions import Unavailable
from fntx_sessions.lifecycle.reads.board import BoardQuery
from tasks.foreseen import ForeseeArguments

__all__ = ["quiet_desk"]


@pytest.fixture(scope="module")
def worker(quiet_desk: RunningDesk) -> Iterator[Any]:
    """The one process that answers."""
    with quiet_desk.worker("-Q", "commands,queries,celery", "-c", "1") as process:
        yield process


@pytest.fixture
def at(quiet_desk: RunningDesk, worker: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningDesk]:
    """A desk that the command line of this process asks."""
    for name, value in quiet_desk._environment().items():
        monkeypatch.setenv(name, value)
    asking.line.cache_clear()
    try:
        yield quiet_desk
    finally:
        asking.hang_up()
        asking.get_settings.cache_clear()


def test_the_board_fits_80_columns_and_cuts_no_amount():
    """Over ssh, with amounts of any length: whole ones, or a column less; text of others is only text."""
    rows = [row(pnl_today="-1234567.89"), row(TWO, status_reason="[bold]\x1b[2Jgo[/nope]", requires_action="look")]

    async def scenario(pilot: Pilot[Any]) -> None:
        shown = await until(pilot, "2 sessions")
        assert all(len(line) == 80 for line in shown.splitlines())
        assert "-$1,234,567.89" in shown
        assert "needs a person" in shown
        await pilot.press("down")
        assert r"[bold]\x1b[2Jgo[/nope]" in await until(pilot, "by ann: [")

    watched(Scripted(*rows), scenario)
    assert [*fitting(rows, 250)][-1] == "to do"
    assert "limit" in fitting(rows, 250)


def test_what_is_to_do_never_takes_the_limits_place():
    """As soon as one row's is long it is cut, and told whole below; the bars stay."""
    recovered = row(status="paused", holds=["recovery"])

    async def scenario(pilot: Pilot[Any]) -> None:
        shown = await until(pilot, "1 session")
        assert all(told in shown for told in ("█", "5/5", "recovered: look, …"))
        assert "recovered: look, resume, held: recovery" in shown

    watched(Scripted(recovered), scenario)
    assert {"limit", "agents", "to do"} <= fitting([recovered, row(TWO)], 77).keys()


def test_every_filter_that_can_be_typed_is_one_the_desk_takes():
    """Words, named filters and the order become a question that its validation passes."""
    asked = Asked("status:paused,active type:paper_trading account:a ! lunch time").sorted_next().reversed()
    question = BoardQuery.model_validate(asked.arguments())
    assert (question.status, question.text, question.needs_attention) == (["paused", "active"], "lunch time", True)
    assert (question.sort, question.reverse, question.account_id) == ("status", True, "a")


def test_a_filter_and_an_order_are_asked_of_the_desk_and_escape_shows_all_again():
    """Ten thousand sessions are filtered and sorted where they are, not here."""
    scripted = Scripted(row())

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "1 session")
        await pilot.press("slash", *"lunch", "enter", "o")
        await until(pilot, "sorted by status; filter: lunch")
        assert (scripted.asked[-1][1]["text"], scripted.asked[-1][1]["sort"]) == ("lunch", "status")
        await pilot.press("escape")
        await pilot.pause(0.1)
        assert "text" not in scripted.asked[-1][1]

    watched(scripted, scenario)


def test_while_the_desk_is_away_the_last_picture_stays_with_its_age_and_it_comes_back_by_itself():
    """Nobody takes an old picture for a live one, and nobody has to begin again."""
    scripted = Scripted(row())

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "1 session")
        scripted.down = Unavailable("Redis", "it does not answer", "Start it.")
        shown = await until(pilot, "NOT LIVE: what is shown is")
        assert "3f2a9c1d" in shown
        await until(pilot, "(still trying)")
        scripted.down, scripted.rows = None, [row(status="paused")]
        await until(pilot, "paused")
        assert "NOT LIVE" not in text(pilot)

    watched(scripted, scenario)


def test_every_act_is_one_the_desk_can_foresee():
    """A key never opens a screen that can say nothing."""
    for act in ACTS:
        ForeseeArguments(session_id=ONE, action=act.name, subject=TWO)


def _created(capsys: pytest.CaptureFixture[str]) -> str:
    assert run(["create", "paper_trading", "-q"]) == Exit.DONE
    return capsys.readouterr().out.strip()


def test_once_and_pipes_get_a_plain_table_and_show_and_metrics_a_curve(at, capsys):
    """What is not a terminal gets text, without a single control character."""
    made = _created(capsys)
    assert run(["watch", "--once", made[:8]]) == Exit.DONE
    shown = capsys.readouterr().out
    assert (made[:8] in shown, "initializing" in shown, "\x1b" in shown) == (True, True, False)
    _sampled(at, made)
    for asked in ("show", "metrics"):
        assert run([asked, made]) == Exit.DONE
        assert "▁" in capsys.readouterr().out


def test_what_a_stop_would_do_is_said_of_the_policy_that_is_chosen(at, capsys):
    """Close, or leave to whom: what is shown first is what will be sent; else the session's own, said to be its own."""
    made = UUID(_created(capsys))

    def told(**policy: Any) -> str:
        found = asking.line().query("sessions.foresee", session_id=made, action="stop", **policy)
        return " ".join(found["happens"])

    assert "this session's own policy closes them" in told()
    assert "As you chose, the stop closes them." in told(close_positions=True)
    assert "As you chose, the stop leaves them to eve." in told(close_positions=False, leave_positions_with="eve")
    assert "nobody is named who takes them over" in told(close_positions=False)


def test_a_pipe_is_as_wide_as_columns_says(monkeypatch):
    """COLUMNS is obeyed where there is no terminal; without it lines are long."""
    monkeypatch.setenv("COLUMNS", "80")
    assert output.console().width == 80
    monkeypatch.delenv("COLUMNS")
    assert output.console().width == output.PIPE_WIDTH


_SAMPLES = sql("""
INSERT INTO samples (session_id, timestamp, epoch, net_pnl)
SELECT CAST(:id AS uuid), now() - n * interval '1 minute', 1, n FROM generate_series(0, 9) n
""")


def _sampled(desk: RunningDesk, session_id: str) -> None:
    """Leave samples, as steps do."""
    engine = build_engine(desk.database_url, desk.settings)
    with transaction(engine) as connection:
        connection.execute(_SAMPLES, {"id": session_id})
    engine.dispose()


def test_in_a_real_terminal_somebody_opens_a_session_acts_on_it_and_leaves(at, worker, capsys):
    """80 x 24 without colours: board, session, an act, the worker lost and back; `q` leaves."""
    made = _created(capsys)
    environment = os.environ | {"TERM": "xterm-256color", "NO_COLOR": "1"}
    fntx = [sys.executable, "-c", "from fntx_sessions.cli.app import main; main()", "watch", made, "--every", "0.2"]
    with screen(fntx, environment) as terminal:
        terminal.wait_for("EnvironmentWatcherAgent")
        terminal.type("p")
        terminal.wait_for("would be refused")
        terminal.type("\x1b")
        with frozen(worker):
            terminal.wait_for("NOT LIVE")
        terminal.wait_for("UTC  session")
        terminal.type("s")
        terminal.wait_for("It becomes closing")
        terminal.type("done for today\r")
        terminal.wait_for("Done: the session is")
        terminal.type("\r")
        terminal.wait_for("done for today")
        terminal.type("q")
        assert terminal.ended() == 0
        coloured = [code for code in terminal.raw.split("\x1b[") if code.startswith(("38;", "48;"))]
        assert not coloured
