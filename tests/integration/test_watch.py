"""`fntx watch`: the board and a session live in a terminal; keys that show, ask why, act, and tell what came of it."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from running_desk import RunningDesk, frozen, quiet_desk
from sqlalchemy import text as sql
from terminal import screen
from textual.pilot import Pilot

from fntx_sessions.cli import asking
from fntx_sessions.cli.app import run
from fntx_sessions.cli.exits import Exit
from fntx_sessions.cli.watching.acts import ACTS
from fntx_sessions.cli.watching.app import Watch
from fntx_sessions.cli.watching.asked import Asked
from fntx_sessions.cli.watching.columns import fitting
from fntx_sessions.database.engine import build_engine, transaction
from fntx_sessions.exceptions import IllegalTransition, OutcomeUnknown, Unavailable
from fntx_sessions.lifecycle.reads.board import BoardQuery
from tasks.foreseen import ForeseeArguments

__all__ = ["quiet_desk"]
NOW = datetime.now(UTC)
ONE, TWO = UUID(int=0x3F2A9C1D << 96), UUID(int=0x4F2A9C1E << 96)


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


def row(session_id: UUID = ONE, **changed: Any) -> dict[str, Any]:
    """Return a row of the board."""
    usual = {
        "session_id": str(session_id), "session_type": "paper_trading", "status": "active", "version": 3, "epoch": 1,
        "template_name": "Paper Trading", "account_id": "paper:one", "broker": "paper", "status_actor": "ann",
        "status_since": (NOW - timedelta(minutes=5)).isoformat(), "status_reason": "go", "requires_action": None,
        "holds": [], "halted": False, "pending": None, "health": "well", "approvals": 0, "unattended": False,
        "pnl_today": "-120.50", "drawdown": "-180.25", "positions": 2, "figures_old": False, "agents": 5,
        "limits": [{"name": "loss", "used": "120.5", "limit": "300", "share": 0.4, "fired": False}],
        "agents_ready": 5, "agents_not_ready": [], "last_saved_at": NOW.isoformat(), "save_overdue": False,
        "checkpoint": None, "next_rule": {"action": None, "what": "nothing would"},
    }  # fmt: skip
    return usual | changed


class Scripted:
    """A desk that answers from a script and notes what was asked."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows = list(rows)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.commands: list[tuple[str, dict[str, Any], UUID]] = []
        self.answers: dict[str, Any] = {
            "sessions.foresee": {"happens": ["It becomes paused."], "refused": None, "expected_version": None},
        }
        self.outcomes: list[Any] = []
        self.down: Exception | None = None

    async def query(self, task: str, arguments: dict[str, Any], _deadline_s: float = 3.0) -> Any:
        self.asked.append((task, arguments))
        if self.down is not None:
            raise self.down
        return self._board() if task == "sessions.board" else self.answers[task]

    async def command(self, task: str, arguments: dict[str, Any], command_id: UUID) -> dict[str, Any]:
        self.commands.append((task, arguments, command_id))
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return {"status": "paused", "version": 4, "state": "done", "extra": {"in_flight": ["o1"]}, "warnings": []}

    async def close(self) -> None:
        pass

    def _board(self) -> dict[str, Any]:
        return {
            "rows": self.rows, "total": len(self.rows), "page": 1, "pages": 1, "counts": {"active": len(self.rows)},
            "halts": [], "now": NOW.isoformat(),
        }  # fmt: skip


def watched(scripted: Scripted, scenario: Callable[[Pilot[None]], Awaitable[None]], *wanted: UUID) -> None:
    """Run the live screens at 80 x 24, over a script."""

    async def live() -> None:
        async with Watch(scripted, wanted, 0.05).run_test(size=(80, 24)) as pilot:  # type: ignore[arg-type]
            await scenario(pilot)

    asyncio.run(live())


def text(pilot: Pilot[None]) -> str:
    """Return what is on the screen."""
    lines = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in line) for line in lines)


async def until(pilot: Pilot[None], shown: str) -> str:
    """Return the screen once `shown` is on it, over however many lines."""
    for _ in range(400):
        if shown in " ".join(text(pilot).replace("│", " ").split()):
            return text(pilot)
        await pilot.pause(0.02)
    raise AssertionError(f"{shown!r} is not on:\n{text(pilot)}")


def test_the_board_fits_80_columns_and_cuts_no_amount():
    """Over ssh, with amounts of any length: whole ones, or a column less; text of others is only text."""
    rows = [row(pnl_today="-1234567.89"), row(TWO, status_reason="[bold]\x1b[2Jgo[/nope]", requires_action="look")]

    async def scenario(pilot: Pilot[None]) -> None:
        shown = await until(pilot, "2 sessions")
        assert all(len(line) == 80 for line in shown.splitlines())
        assert "-$1,234,567.89" in shown
        assert "needs a person" in shown
        await pilot.press("down")
        assert r"[bold]\x1b[2Jgo[/nope]" in await until(pilot, "by ann: [")

    watched(Scripted(*rows), scenario)
    assert [*fitting(rows, 250)][-1] == "to do"
    assert "limit" in fitting(rows, 250)


def test_every_filter_that_can_be_typed_is_one_the_desk_takes():
    """Words, named filters and the order become a question that its validation passes."""
    asked = Asked("status:paused,active type:paper_trading account:a ! lunch time").sorted_next().reversed()
    question = BoardQuery.model_validate(asked.arguments())
    assert (question.status, question.text, question.needs_attention) == (["paused", "active"], "lunch time", True)
    assert (question.sort, question.reverse, question.account_id) == ("status", True, "a")


def test_a_filter_and_an_order_are_asked_of_the_desk_and_escape_shows_all_again():
    """Ten thousand sessions are filtered and sorted where they are, not here."""
    scripted = Scripted(row())

    async def scenario(pilot: Pilot[None]) -> None:
        await until(pilot, "1 session")
        await pilot.press("slash", *"lunch", "enter", "o")
        await until(pilot, "sorted by status; filter: lunch")
        assert (scripted.asked[-1][1]["text"], scripted.asked[-1][1]["sort"]) == ("lunch", "status")
        await pilot.press("escape")
        await pilot.pause(0.1)
        assert "text" not in scripted.asked[-1][1]

    watched(scripted, scenario)


def test_an_act_shows_what_happens_first_wants_a_reason_and_shows_the_outcome():
    """Nothing is sent without a reason; what came of it is on the screen until somebody leaves it."""
    scripted = Scripted(row())

    async def scenario(pilot: Pilot[None]) -> None:
        await until(pilot, "1 session")
        await pilot.press("p")
        await until(pilot, "It becomes paused.")
        await pilot.press("enter")
        await until(pilot, "Say why")
        assert not scripted.commands
        await pilot.press(*"go", "enter")
        await until(pilot, "Done: the session is paused, at version 4.")
        await until(pilot, "Still in flight: o1.")
        await pilot.press("enter")
        await until(pilot, "1 session")

    watched(scripted, scenario)
    [(task, arguments, _)] = scripted.commands
    assert (task, arguments) == ("sessions.pause", {"session_id": str(ONE), "reason": "go"})


def test_a_command_that_nobody_answered_is_asked_again_under_its_id_and_a_halt_is_named():
    """Asking often acts once; where it ends risk, the way that needs no worker is there to be pasted."""
    scripted = Scripted(row())
    scripted.outcomes = [OutcomeUnknown("c", "pause_session", 30.0), Unavailable("Redis", "is away", "Start it.")]

    async def scenario(pilot: Pilot[None]) -> None:
        await until(pilot, "1 session")
        await pilot.press("p", *"go", "enter")
        await until(pilot, "It may have been done.")
        await until(pilot, "fntx halt --scope session:")
        await pilot.press("enter")
        await until(pilot, "Nothing was done.")
        await pilot.press("enter")
        await until(pilot, "Done:")

    watched(scripted, scenario)
    assert len(scripted.commands) == 3
    assert len({command_id for *_, command_id in scripted.commands}) == 1


def test_the_one_who_comes_second_reads_who_was_first_and_why():
    """A refusal is the desk's own sentence; what is asked next is another command."""
    scripted = Scripted(row())
    scripted.outcomes = [IllegalTransition(str(ONE), "pause_session", "paused", "bob", "news", "resume_session")]

    async def scenario(pilot: Pilot[None]) -> None:
        await until(pilot, "1 session")
        await pilot.press("p", *"go", "enter")
        shown = " ".join((await until(pilot, "Refused:")).replace("│", " ").split())
        assert "is paused, set by bob (news)" in shown
        await pilot.press("enter")
        await until(pilot, "Done:")

    watched(scripted, scenario)
    assert len({command_id for *_, command_id in scripted.commands}) == 2


def test_a_stop_sends_the_policy_that_was_chosen_and_leaves_positions_to_nobody_unnamed():
    """Close, leave to somebody, or as the session says; a name is asked for before anything is sent."""
    scripted = Scripted(row())

    async def scenario(pilot: Pilot[None]) -> None:
        await until(pilot, "1 session")
        await pilot.press("s")
        await until(pilot, "close the positions")
        await pilot.press("shift+tab", "down", "down", "enter", "tab", *"day", "enter")
        await until(pilot, "names nobody")
        assert not scripted.commands
        await pilot.press("tab", *"eve", "enter")
        await until(pilot, "Done:")

    watched(scripted, scenario)
    [(task, arguments, _)] = scripted.commands
    assert (task, arguments["close_positions"], arguments["leave_positions_with"]) == ("sessions.stop", False, "eve")


def test_a_recovery_shows_its_plan_and_is_refused_where_the_session_moved_on_since():
    """What is restored, and how sure that is, is read before it is asked; the version that was shown goes along."""
    scripted = Scripted(row(status="suspended"))
    scripted.answers["sessions.foresee"] = {"happens": ["It ends paused."], "refused": None, "expected_version": 7}
    scripted.answers["sessions.plan"] = {
        "candidates": [{"name": "revision 12", "tier": "postgres"}], "data_loss_risk": "up to 4 s",
        "recovery_confidence": 0.9, "confidence_reasons": ["its bytes verify"],
    }  # fmt: skip

    async def scenario(pilot: Pilot[None]) -> None:
        await until(pilot, "1 session")
        await pilot.press("v")
        await until(pilot, "It would restore from revision 12 of postgres; loses: up to 4 s.")
        await until(pilot, "Confidence 0.9: its bytes verify.")
        await pilot.press(*"go", "enter")
        await until(pilot, "Done:")

    watched(scripted, scenario)
    [(task, arguments, _)] = scripted.commands
    assert (task, arguments["expected_version"]) == ("sessions.recover", 7)


def test_what_waits_for_a_word_is_chosen_where_there_are_several():
    """Approvals and events of a session: one is taken at once, of several somebody says which."""
    scripted = Scripted(row())
    waiting = [
        {"approval_id": str(uuid4()), "strategy": name, "trade_id": name, "risk_usd": "100"} for name in ("put", "call")
    ]
    event = {"event_id": str(uuid4()), "severity": "error", "description": "broker away"}
    scripted.answers |= {"approvals.list": waiting, "events.list": {"events": [event]}}

    async def scenario(pilot: Pilot[None]) -> None:
        await until(pilot, "1 session")
        await pilot.press("x")
        await until(pilot, "which approval?")
        await pilot.press("down", "enter")
        await until(pilot, "Reject approval")
        await pilot.press(*"dear", "enter")
        await until(pilot, "Done:")
        await pilot.press("escape")
        await until(pilot, "1 session")
        await pilot.press("k")
        await until(pilot, "broker away")
        await pilot.press(*"called", "enter")
        await until(pilot, "Done:")

    watched(scripted, scenario)
    (_, rejected, _), (_, seen, _) = scripted.commands
    assert (rejected["approval_id"], rejected["reason"]) == (waiting[1]["approval_id"], "dear")
    assert (seen["event_id"], seen["action_taken"]) == (event["event_id"], "called")


def test_while_the_desk_is_away_the_last_picture_stays_with_its_age_and_it_comes_back_by_itself():
    """Nobody takes an old picture for a live one, and nobody has to begin again."""
    scripted = Scripted(row())

    async def scenario(pilot: Pilot[None]) -> None:
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
    for command in ("show", "metrics"):
        assert run([command, made]) == Exit.DONE
        assert "▁" in capsys.readouterr().out


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
