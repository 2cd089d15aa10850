"""The tabs of a session's pages: agents, rules, checkpoints with the recovery plan, and the records."""

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import unquote
from uuid import uuid4

import pytest
from drawing import Handler, drawn
from health_world import REMOTE, remote
from hosting import ANN, Hosting, S, T, failing, make_hosting, shared
from recovery_world import checkpoint, flipped, layered, lose_redis

from fntx_sessions.cli.details import POSITION_COLUMNS
from fntx_sessions.exceptions import InvalidArgument, NotFound
from fntx_sessions.lifecycle.reads.audit import audit_page, verify_whole
from fntx_sessions.lifecycle.reads.cursors import Cursor
from fntx_sessions.lifecycle.reads.recorded import list_transitions
from fntx_sessions.lifecycle.reads.sessions import get_session
from fntx_sessions.lifecycle.recovery.plan import create_recovery_plan
from fntx_sessions.monitoring.flower import checkpoints as checkpoints_page
from fntx_sessions.monitoring.flower.act import Target
from fntx_sessions.monitoring.flower.act_session import SESSION_ACTS
from fntx_sessions.monitoring.flower.actions import ActPage
from fntx_sessions.monitoring.flower.agents import Agents
from fntx_sessions.monitoring.flower.board import Board
from fntx_sessions.monitoring.flower.checkpoints import Checkpoints
from fntx_sessions.monitoring.flower.history import History
from fntx_sessions.monitoring.flower.overview import Overview
from fntx_sessions.monitoring.flower.page import Asked, Draw
from fntx_sessions.monitoring.flower.rules import Rules
from fntx_sessions.monitoring.flower.views import Part, Parts, difference
from fntx_sessions.monitoring.flower.who import Viewer, looking
from fntx_sessions.monitoring.flower.words import NONE
from fntx_sessions.security.actor import Actor
from fntx_sessions.state.redis_client import build_redis

RISK = "RiskManagerAgent"
SCRIPT = "<script>alert('\u202e')</script>"


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def told(part: Part | str) -> str:
    """Return what people read of a part, its words one space apart."""
    source = part if isinstance(part, str) else part.html
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", source)))


def row_of(part: Part, words: str) -> str:
    """Return the one row in which some words stand."""
    found = [told(row) for row in part.children.values() if words in told(row)]
    assert len(found) == 1, (words, [told(row) for row in part.children.values()])
    return found[0]


def rows_of(part: Part) -> list[str]:
    return [told(row) for row in part.children.values()]


def whole(parts: Parts) -> Parts:
    """Return parts that a browser can put in place: each is one element of its id, and so is each row."""
    for name, part in parts.items():
        for id_, source in {name: part.html, **part.children}.items():
            assert re.match(rf'\s*<\w+ id="{id_}"', source), (id_, source[:80])
            assert source.count(f' id="{id_}"') == 1
        assert "<!--row-->" not in part.html
    return parts


# Agents


def test_an_agent_is_shown_with_all_that_is_known_of_it(hosting):
    """Its heartbeat as a time, latency, errors, memory; who steps it; and every check of the session's health."""
    session_id = hosting.started()
    hosting.step()
    parts = whole(drawn(Agents(), hosting.desk, session_id))
    row = next(html_ for html_ in parts["agents"].children.values() if RISK in html_)
    assert re.search(r'<time class="ago" datetime="20', row)
    shown = r"hosted ready ok .* [\d,]+\.\d ms processor .* 0 0 [\d,]+\.\d MB [\d.,]+ kB"
    assert re.search(shown, told(row)), told(row)
    assert "h1" in told(parts["agents-worker"])
    assert "its lease stands" in told(parts["agents-worker"]).lower()
    assert "Health: ok" in told(parts["health"])
    assert "agent_quarantined ok" in row_of(parts["health"], "agent_quarantined")


def test_what_is_not_known_of_an_agent_is_a_dash(hosting):
    """Before its first step nothing is: no zeros."""
    session_id = hosting.create()
    row = row_of(drawn(Agents(), hosting.desk, session_id)["agents"], RISK)
    assert "agents do not step while it is initializing" in row
    assert NONE * 8 in re.sub(r"processor|0|[ ,]", "", row), row


def test_an_agent_that_fails_is_told_from_those_that_do_not(hosting):
    """How often, and from when on it is quarantined."""
    session_id = hosting.started()
    with failing(RISK, RuntimeError("no")):
        hosting.step()
    parts = drawn(Agents(), hosting.desk, session_id)
    assert "degraded" in row_of(parts["agents"], RISK)
    assert "quarantined at" in row_of(parts["agents"], RISK)
    assert " ok " in row_of(parts["agents"], "EvaluatorAgent")
    assert "degraded" in rows_of(parts["health"])[0]


def test_an_agent_of_another_service_is_shown_at_its_door(hosting):
    """Not joined, and how far it has read."""
    session_id = remote(hosting)
    row = row_of(drawn(Agents(), hosting.desk, session_id)["agents"], REMOTE)
    assert "elsewhere, not joined ready" in row
    assert "unread" in row


def test_agents_are_not_seen_while_redis_is_away(hosting):
    """The page stands, and says so; nothing is called well that nobody saw."""
    session_id = hosting.started()
    hosting.step()
    nowhere = build_redis("unix:///nowhere/redis.sock", hosting.desk.settings)
    parts = drawn(Agents(), Hosting(replace(hosting.desk, redis=nowhere)).desk, session_id)
    assert "Redis is out of reach" in told(parts["agents"])
    assert all("not seen" in row and " ok " not in row for row in rows_of(parts["agents"]))


@pytest.mark.parametrize("page", [Agents(), Board(), Overview()], ids=["a tab", "the board", "a session"])
def test_every_page_says_that_redis_is_away(hosting, page):
    """Above all else, with why and with what ends risk all the same; nothing is said while it answers."""
    session_id = None if isinstance(page, Board) else hosting.started()
    nowhere = build_redis("unix:///nowhere/redis.sock", hosting.desk.settings)
    asked, draw = Asked(looking("looker"), session_id, {}), Draw(Handler(looking("looker")))
    there = page.whole(hosting.desk, asked, draw)["redis-away"].html
    assert ("hidden" in there, told(there).strip()) == (True, "")
    away = page.whole(replace(hosting.desk, redis=nowhere), asked, draw)["redis-away"].html
    assert ("hidden" in away, "Redis is out of reach" in told(away)) == (False, True)
    assert "fntx halt --scope ... --flatten" in told(away)


def test_a_position_without_a_mark_has_no_gain_where_it_is_decided_upon(hosting):
    """What is not known is not 0: the page of a stop says so, and `fntx show` has a dash."""
    session_id = hosting.holding(hosting.started())
    lost = replace(hosting.desk, redis=build_redis("unix:///nowhere/redis.sock", hosting.desk.settings))
    ann = Viewer(ANN)
    parts = drawn(ActPage(SESSION_ACTS["stop"], Target(session_id), None, ann), lost, session_id, ann)
    shown = told(parts["act-shown"])
    assert "of which not all have a mark: what they gained or lost is not known" in shown
    assert "$0.00" not in shown
    held = get_session(*lost.parts(), session_id).trading_state.open_positions
    assert [POSITION_COLUMNS["unrealised"](one.model_dump()) for one in held] == ["-"] * len(held)


def test_what_agents_said_last_is_shown_of_a_session_that_is_not_live(hosting):
    """As it was saved, and it says so."""
    session_id = hosting.started()
    hosting.step()
    hosting.save(session_id)
    lose_redis(hosting, session_id)
    part = drawn(Agents(), hosting.desk, session_id)["agents"]
    assert "as it was saved" in told(part)
    assert re.search(r"\d\.\d ms", row_of(part, RISK))


# Rules

STOP = [
    {"condition": "any_of", "value": [{"condition": "vix_above", "value": 1}, {"condition": "vix_above", "value": 90}]},
    {"condition": "error_rate_above", "value": 0.1},
]


def ruled(hosting: Hosting, **rules: object):
    return hosting.started(config={f"auto_{name}_conditions": value for name, value in rules.items()})


def test_each_condition_is_true_false_or_unknown_with_its_reason(hosting):
    """With those inside it, one below the other; in words, not in colour alone."""
    session_id = ruled(hosting, stop=STOP[1:], pause=STOP[:1])
    hosting.step()
    parts = whole(drawn(Rules(), hosting.desk, session_id))
    pauses = rows_of(parts["rules-pause"])
    assert [re.search(r" (true|false|unknown) ", row)[1] for row in pauses] == ["true", "true", "false"]
    assert 'class="depth-1"' in parts["rules-pause"].children["rule-pause-1"]
    assert " unknown " in rows_of(parts["rules-stop"])[0]
    assert "any is enough" in told(parts["rules-stop"])
    assert "No rules: nothing makes it start by itself" in told(parts["rules-start"])


def test_what_happens_next_is_said_and_why_nothing_does(hosting):
    """Of a session whom only a person starts, and of one whose rules look no more."""
    session_id = hosting.create()
    assert "Nothing by itself: " in told(drawn(Rules(), hosting.desk, session_id)["rules-next"])
    hosting.do(T.STOP, session_id)
    assert "its rules are not looked at any more" in told(drawn(Rules(), hosting.desk, session_id)["rules-next"])


def test_the_last_decisions_are_listed_with_what_they_looked_at(hosting):
    """The newest first."""
    session_id = ruled(hosting, pause=STOP[:1])
    hosting.step()
    hosting.step()
    assert hosting.row(session_id)["status"] == S.PAUSED
    part = whole(drawn(Rules(), hosting.desk, session_id))["rules-decisions"]
    after, fired = rows_of(part)
    assert "pause done" in fired
    assert "What it looked at pause.0 any_of true" in fired
    assert "not resumed" in after
    assert len(drawn(Rules(), hosting.desk, session_id, decisions="1")["rules-decisions"].children) == 1


def test_a_decision_that_kept_less_is_still_shown(hosting):
    """What was stored of a condition may be less than what is stored today: a dash, never an error."""
    session_id = ruled(hosting, pause=STOP[:1])
    hosting.step()
    hosting.run(
        "UPDATE rule_decisions SET truths = CAST(:truths AS jsonb) WHERE session_id = :id", id=session_id,
        truths='{"stop": [{"path": "stop.0", "condition": "vix_above", "limit": 30, "children": []}]}',
    )  # fmt: skip
    shown = rows_of(whole(drawn(Rules(), hosting.desk, session_id))["rules-decisions"])[0]
    assert "stop.0 vix_above unknown" in shown


# Checkpoints


def test_checkpoints_are_listed_with_tier_size_and_whether_they_verified(hosting):
    """A damaged one is told from those that are sound; by whom, and what for."""
    session_id, made = layered(hosting)
    hosting.run("UPDATE checkpoints SET note = :note, pinned = true WHERE checkpoint_id = :id", note=SCRIPT,
                id=made.checkpoint_id)  # fmt: skip
    part = whole(drawn(Checkpoints(), hosting.desk, session_id))["checkpoints"]
    row = row_of(part, str(made.checkpoint_id)[:8])
    assert f"{made.size_bytes:,} bytes verified pinned" in row
    assert "postgres" in row
    assert "<script" not in part.html
    assert "\u202e" not in part.html
    hosting.run("UPDATE checkpoints SET damage = 'a bit flipped' WHERE checkpoint_id = :id", id=made.checkpoint_id)
    part = drawn(Checkpoints(), hosting.desk, session_id)["checkpoints"]
    assert "damaged a bit flipped" in row_of(part, str(made.checkpoint_id)[:8])


def test_checkpoints_are_paged_without_losing_one(hosting):
    """From the newest to the oldest, each once, by the page's own links."""
    session_id = hosting.started()
    hosting.step()
    made = [str(checkpoint(hosting, session_id).checkpoint_id) for _ in range(5)]
    paged, seen, asked = hosting.with_settings(pages_rows=2), [], {}
    while True:
        part = drawn(Checkpoints(), paged.desk, session_id, **asked)["checkpoints"]
        seen += [name.removeprefix("checkpoint-") for name in part.children]
        older = re.search(r'before=([^"]*)', part.html)
        if older is None:
            break
        asked = {"before": unquote(older[1])}
    assert [one for one in seen if one in made] == made[::-1]
    assert len(seen) == len(set(seen))


def test_a_plan_is_made_where_it_is_asked_for_and_not_each_second(hosting, monkeypatch):
    """It reads bytes: one look is shown to all for a while."""
    session_id, _ = layered(hosting)
    made = []

    def making(*arguments, **more):
        made.append(arguments)
        return create_recovery_plan(*arguments, **more)

    monkeypatch.setattr(checkpoints_page, "create_recovery_plan", making)
    page = Checkpoints()
    assert "Make the plan" in told(drawn(page, hosting.desk, session_id)["recovery-plan"])
    assert not made
    first = whole(drawn(page, hosting.desk, session_id, plan="newest"))
    again = drawn(page, hosting.desk, session_id, plan="newest")
    assert len(made) == 1
    assert difference(first, again) == {}
    now = hosting.with_settings(pages_look_kept_s=1e-9)
    drawn(page, now.desk, session_id, plan="newest")
    assert len(made) == 2


def test_the_plan_says_what_would_be_tried_in_order_and_how_sure_it_is(hosting):
    """Candidates with what each would lose; what cannot be used comes last, with why."""
    session_id, made = layered(hosting)
    flipped(hosting, "checkpoints", made.checkpoint_id)
    plan = told(drawn(Checkpoints(), hosting.desk, session_id, plan="newest")["recovery-plan"])
    assert re.search(r"1 live redis .* proven the live state is whole", plan), plan
    assert "Confidence: " in plan
    assert "raise the epoch" in plan
    lose_redis(hosting, session_id, hot=True)
    named = told(drawn(Checkpoints(), hosting.desk, session_id, plan=str(made.checkpoint_id))["recovery-plan"])
    assert "A recovery would be refused now" in named


def test_a_plan_that_cannot_be_says_why(hosting):
    """Of a checkpoint that is not there; the rest of the page stands. What is no id is refused."""
    session_id = hosting.started()
    unknown = str(uuid4())
    assert unknown in told(drawn(Checkpoints(), hosting.desk, session_id, plan=unknown)["recovery-plan"])
    for asked in ({"plan": SCRIPT}, {"before": "yesterday"}):
        with pytest.raises(InvalidArgument):
            drawn(Checkpoints(), hosting.desk, session_id, **asked)


def test_the_last_recovery_is_shown_step_by_step_with_what_was_measured(hosting):
    """RTO and RPO, and what was passed over."""
    session_id, _ = layered(hosting)
    assert "never recovered" in told(drawn(Checkpoints(), hosting.desk, session_id)["last-recovery"])
    hosting.do(T.RECOVER, session_id)
    hosting.finish()
    shown = told(drawn(Checkpoints(), hosting.desk, session_id)["last-recovery"])
    assert "Done" in shown
    assert "(RTO)" in shown
    assert "finish: done" in shown


def test_recovering_from_one_is_offered_to_those_who_may(hosting):
    """Not to who only looks."""
    session_id, _ = layered(hosting)
    may = Viewer(Actor("ann", frozenset({"operator"})), "token")
    assert "act/recover" not in drawn(Checkpoints(), hosting.desk, session_id)["checkpoints"].html
    assert "act/recover?checkpoint_id=" in drawn(Checkpoints(), hosting.desk, session_id, may)["checkpoints"].html


# Records


def test_what_was_asked_and_what_came_of_it_stands_beside_why(hosting):
    """Done and refused, each with its task; a reason is text, whatever it holds."""
    session_id = hosting.started()
    paused = hosting.do(T.PAUSE, session_id, reason=SCRIPT).command_id
    hosting.ask(T.PAUSE, session_id, reason="again")
    parts = whole(drawn(History(), hosting.desk, session_id))
    assert "refused" in rows_of(parts["commands"])[0]
    assert "is paused" in rows_of(parts["commands"])[0]
    assert "<script>" in rows_of(parts["commands"])[1]
    assert f"/task/{paused}" in parts["commands"].html
    assert not any("<script" in part.html or "\u202e" in part.html for part in parts.values())
    assert "paused" in rows_of(parts["transitions"])[0]


def test_who_sees_some_sessions_alone_gets_no_links_to_flowers_tasks(hosting):
    """Flower's own pages are not for them."""
    session_id = hosting.started()
    some = Viewer(Actor("ann", frozenset({"viewer"}), sessions=frozenset({str(session_id)})), "token")
    assert "/task/" not in drawn(History(), hosting.desk, session_id, some)["commands"].html


def test_records_are_paged_without_losing_one(hosting):
    """Each of the three lists on its own, the newest first."""
    session_id = hosting.started()
    for trigger in (T.PAUSE, T.RESUME) * 3:
        hosting.do(trigger, session_id)
    paged = hosting.with_settings(pages_rows=2)
    for name in ("transitions", "commands", "audit"):
        complete = drawn(History(), hosting.desk, session_id)[name].children
        seen, asked = [], {}
        while True:
            part = drawn(History(), paged.desk, session_id, **asked)[name]
            seen += part.children
            older = re.search(rf'\?{name}=([^"#]*)', part.html)
            if older is None:
                break
            asked = {name: unquote(older[1])}
        assert seen == list(complete), name


def test_two_transitions_of_one_version_are_never_torn_apart(hosting):
    """A page that begins between them has both."""
    session_id = hosting.started()
    hosting.do(T.PAUSE, session_id)
    hosting.run(
        "INSERT INTO transitions SELECT (jsonb_populate_record(t, jsonb_build_object('transition_id', "
        "gen_random_uuid(), 'to_status', 'suspended'))).* FROM transitions t "
        "WHERE session_id = :id ORDER BY version DESC LIMIT 1",
        id=session_id,
    )
    found, older = list_transitions(hosting.desk.engine, session_id, 1, None)
    assert len(found) == 2
    following, _ = list_transitions(hosting.desk.engine, session_id, 100, older)
    assert not {row["version"] for row in found} & {row["version"] for row in following}


def test_the_chain_is_checked_as_it_is_shown(hosting):
    """It holds over what is shown, page by page, and as a whole where that is asked for."""
    session_id = hosting.started()
    for trigger in (T.PAUSE, T.RESUME) * 3:
        hosting.do(trigger, session_id)
    assert "The chain holds over the rows shown here" in told(drawn(History(), hosting.desk, session_id)["audit"])
    assert audit_page(hosting.desk.engine, session_id, 2, 5).problems == []
    part = drawn(History(), hosting.desk, session_id, chain="whole")["audit"]
    assert f"The whole chain holds : {len(part.children)} rows" in told(part)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE audit SET reason = 'never said' WHERE session_id = :id AND seq = 2", "row 2 was changed"),
        ("DELETE FROM audit WHERE session_id = :id AND seq = 2", "rows were removed"),
        ("DELETE FROM audit WHERE session_id = :id AND seq = (SELECT max(seq) FROM audit WHERE session_id = :id)",
         "cut off the end"),
    ],
)  # fmt: skip
def test_a_record_that_somebody_changed_is_told(hosting, change, problem):
    """Whoever looks at the page sees it, and so does the check of the whole."""
    session_id = hosting.started()
    hosting.do(T.PAUSE, session_id)
    hosting.run(
        f"ALTER TABLE audit DISABLE TRIGGER USER; {change}; ALTER TABLE audit ENABLE TRIGGER USER", id=session_id
    )
    shown = told(drawn(History(), hosting.desk, session_id)["audit"])
    assert "The chain does not hold" in shown
    assert problem in shown
    assert any(problem in one for one in verify_whole(hosting.desk.engine, session_id).problems)


# All of them


@pytest.mark.parametrize("page", [Checkpoints, History])
def test_what_nobody_changed_is_not_sent_again(hosting, page):
    """A page that is left open costs nothing where nothing happens."""
    session_id, _ = layered(hosting)
    shown = page()
    assert difference(drawn(shown, hosting.desk, session_id), drawn(shown, hosting.desk, session_id)) == {}


@pytest.mark.parametrize("page", [Agents, Rules, Checkpoints, History])
def test_of_a_session_that_is_not_there_nothing_is_shown(hosting, page):
    """NotFound, which is answered with 404."""
    with pytest.raises(NotFound):
        drawn(page(), hosting.desk, uuid4())


@pytest.mark.parametrize(("page", "argument"), [(Rules, "decisions"), (History, "audit"), (History, "transitions")])
@pytest.mark.parametrize("given", ["0", "-1", "x", "1.5", "9" * 50, SCRIPT])
def test_an_argument_that_is_no_number_is_refused_by_name(hosting, page, argument, given):
    """Whatever somebody writes into the address."""
    session_id = hosting.create()
    with pytest.raises(InvalidArgument) as raised:
        drawn(page(), hosting.desk, session_id, **{argument: given})
    assert raised.value.args[0] == argument


def test_a_cursor_reads_what_it_wrote():
    """To the microsecond, in any zone."""
    cursor = Cursor(datetime(2026, 1, 5, 15, 58, 0, 123456, timezone(timedelta(hours=-5))), uuid4())
    assert Cursor.of("before", str(cursor)) == cursor
