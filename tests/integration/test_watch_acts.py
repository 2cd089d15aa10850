"""Acting from the live screens of `fntx watch`: shown first, asked why, sent once; however fast somebody types."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from scripted_desk import ONE, Scripted, row, typed, until, watched
from textual.pilot import Pilot

from fntx_sessions.cli.watching import command
from fntx_sessions.cli.watching.acts import ACTS
from fntx_sessions.cli.watching.asked import HINT
from fntx_sessions.cli.watching.columns import cell, fitting
from fntx_sessions.cli.watching.keys import MOVING
from fntx_sessions.exceptions import FntxError, Forbidden, IllegalTransition, NotFound, OutcomeUnknown, Unavailable
from tasks.foreseen import ForeseeArguments


def test_an_act_shows_what_happens_first_wants_a_reason_and_shows_the_outcome():
    """Nothing is sent without a reason; what came of it is on the screen until somebody leaves it."""
    scripted = Scripted(row())

    async def scenario(pilot: Pilot[Any]) -> None:
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

    async def scenario(pilot: Pilot[Any]) -> None:
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

    async def scenario(pilot: Pilot[Any]) -> None:
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

    async def scenario(pilot: Pilot[Any]) -> None:
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

    async def scenario(pilot: Pilot[Any]) -> None:
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

    async def scenario(pilot: Pilot[Any]) -> None:
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


def test_what_is_typed_right_after_a_key_is_its_reason_and_never_further_keys():
    """However long the desk takes, and however fast somebody types: one screen, and nothing but what was meant."""
    scripted = Scripted(row())
    approval = {"approval_id": str(uuid4()), "strategy": "put", "trade_id": "t", "risk_usd": "100"}
    scripted.answers["approvals.list"] = [approval]

    async def scenario(pilot: Pilot[Any]) -> None:
        scripted.held["approvals.list"] = asyncio.Event()
        await until(pilot, "1 session")
        typed(pilot, "a", *"small risk, quote/spot?", "enter")
        await until(pilot, "It is not known yet which approval is meant.")
        assert (len(pilot.app.screen_stack), scripted.commands) == (3, [])
        scripted.held["approvals.list"].set()
        await until(pilot, "It becomes paused.")
        typed(pilot, "enter")
        await until(pilot, "Done:")
        typed(pilot, "escape")
        await until(pilot, "1 session")

    watched(scripted, scenario)
    [(task, arguments, _)] = scripted.commands
    assert (task, arguments["reason"]) == ("approvals.approve", "small risk, quote/spot?")


def test_a_filter_that_is_typed_fast_acts_on_nothing():
    """Its letters are text from the key on."""
    scripted = Scripted(row())

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "1 session")
        typed(pilot, "slash", *"spark?", "enter")
        await until(pilot, "filter: spark?")
        assert len(pilot.app.screen_stack) == 2

    watched(scripted, scenario)


def test_what_does_not_end_risk_is_sent_as_it_was_shown_or_knowingly_unseen():
    """Enter before there is a preview waits for it; where it is not to be had, a second Enter is wanted."""
    scripted = Scripted(row(status="paused"))
    scripted.answers["sessions.foresee"] = {"happens": ["It trades."], "refused": None, "expected_version": 7}

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "1 session")
        scripted.held["sessions.foresee"] = asyncio.Event()
        typed(pilot, "r", *"go", "enter")
        await until(pilot, "Still looking what it would do")
        scripted.held["sessions.foresee"].set()
        await until(pilot, "It trades.")
        assert not scripted.commands
        typed(pilot, "enter")
        await until(pilot, "Done:")
        typed(pilot, "escape")
        await until(pilot, "1 session")
        scripted.answers["sessions.foresee"] = Unavailable("a worker", "none answers", "Ask again.")
        typed(pilot, "r", *"go")
        await until(pilot, "What it would do is not known: a worker is out of reach")
        typed(pilot, "enter")
        await until(pilot, "Enter once more does it all the same")
        assert len(scripted.commands) == 1
        typed(pilot, "enter")
        await until(pilot, "Done:")

    watched(scripted, scenario)
    assert [arguments.get("expected_version") for _, arguments, _ in scripted.commands] == [7, None]


def test_what_nobody_answered_is_asked_again_as_it_was_sent():
    """A reason that is edited meanwhile would make it another command, and act twice."""
    scripted = Scripted(row())
    scripted.outcomes = [OutcomeUnknown("c", "pause_session", 30.0)]

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "1 session")
        typed(pilot, "p", *"go", "enter")
        await until(pilot, "It may have been done.")
        typed(pilot, *"ing home", "enter")
        await until(pilot, "Done:")

    watched(scripted, scenario)
    first, second = scripted.commands
    assert first == second


def test_a_stop_shows_what_the_policy_that_is_chosen_would_do():
    """What is read is of what will be sent, not of the session's own policy; the mark tells it without colours."""
    scripted = Scripted(row())

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "1 session")
        await pilot.press("s")
        await until(pilot, "[x] as the session's own policy")
        await pilot.press("shift+tab", "down", "enter")
        shown = await until(pilot, "[x] close the positions")
        assert (shown.count("[x]"), "●" in shown) == (1, False)
        await pilot.press("down", "enter", "tab", "tab", *"eve", "shift+tab")
        await until(pilot, "It becomes paused.")

    watched(scripted, scenario)
    asked = [arguments for task, arguments in scripted.asked if task == "sessions.foresee"]
    assert [one.get("close_positions") for one in asked] == [None, True, False, False]
    assert asked[-1]["leave_positions_with"] == "eve"
    assert [ForeseeArguments.model_validate(one).form().get("policy") for one in asked[1:]] == [
        "close",
        "leave",
        "leave",
    ]


def test_the_keys_are_listed_whole_at_80_columns_and_the_foot_names_them():
    """All of them on one screen, that Escape closes; Ctrl-C leaves, as people over ssh expect."""
    scripted = Scripted(row())

    async def scenario(pilot: Pilot[Any]) -> None:
        assert "? Keys" in await until(pilot, "1 session")
        await pilot.press("slash")
        assert HINT in await until(pilot, "1 session")
        await pilot.press("escape", "question_mark")
        shown = await until(pilot, "quit")
        assert all(act.label in shown and f" {act.key} " in shown for act in ACTS)
        assert all(told in shown for told in MOVING.values())
        await pilot.press("p", "escape")
        await until(pilot, "1 session")
        await pilot.press("ctrl+c")

    assert watched(scripted, scenario) is None


def test_a_session_named_in_short_is_found_once_the_desk_answers():
    """The desk may be away at first; who is not there, or not for who asks, ends it."""
    scripted = Scripted(row())
    scripted.answers |= {"sessions.list": [{"session_id": str(ONE)}], "sessions.get": NotFound("session", "x", "Look.")}

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "NOT LIVE: nothing seen yet.")
        await pilot.press("p")
        assert not [task for task, _ in scripted.asked if task == "sessions.foresee"]
        scripted.down = None
        while pilot.app.return_value is None:
            await pilot.pause(0.02)

    scripted.answers["approvals.list"], scripted.down = [], Unavailable("Redis", "it does not answer", "Start it.")
    assert isinstance(watched(scripted, scenario, "3f2a"), NotFound)


def test_a_pipe_outlives_what_a_second_look_may_cure_and_ends_at_a_refusal(capsys, monkeypatch):
    """As the live screens: a fault is said and looked past, who is not allowed to look is sent away."""
    answers = iter([FntxError("it failed for a reason of its own"), Forbidden("eve", "viewer", "look", "a role")])

    def picture(_wanted: object) -> None:
        raise next(answers)

    monkeypatch.setattr(command, "picture", picture)
    with pytest.raises(Forbidden):
        command._over_and_over([], 0.0)
    assert "a reason of its own (still trying)" in capsys.readouterr().err


def test_a_cut_word_never_leaves_half_an_escape_behind():
    """Long names end in an ellipsis; markup in them is text, wherever it is cut."""
    for before in range(25):
        named = row(
            template_name="x" * before + "[bold]" * 9, next_rule={"action": "stop", "what": "y" * before + "[b]" * 20}
        )
        columns = fitting([named], 400)
        assert cell(columns["template"](named)).plain == ("x" * before + "[bold]" * 9)[:19] + "…"
        assert cell(columns["next"](named)).plain == ("y" * before + "[b]" * 20)[:33] + "…"
