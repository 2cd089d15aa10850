"""What is refused is counted where it can be held to nobody, and written down where it can: bounded, and not lost."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

import pytest
from hosting import make_hosting
from redis import Redis

from fntx_sessions.automation import halts
from fntx_sessions.automation.halt_arguments import HaltArguments, ReleaseArguments
from fntx_sessions.exceptions import FntxError, Forbidden, Unauthenticated, Unavailable
from fntx_sessions.lifecycle import commands, denying, execute, machine
from fntx_sessions.lifecycle.arguments import HoldArguments
from fntx_sessions.lifecycle.desk_audit import Deed
from fntx_sessions.lifecycle.templates import edits
from fntx_sessions.lifecycle.templates.edits import RetireArguments
from fntx_sessions.monitoring.flower import page_denied
from fntx_sessions.monitoring.flower.who import Viewer
from fntx_sessions.schemas import Trigger
from fntx_sessions.security import tokens
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.denials import Allowance, allowance
from fntx_sessions.security.refusals import OTHER, RefusedCallers, forget_old, kind_of, read_lately, read_minutes
from fntx_sessions.stack.refused_status import refused_sentence, worrying

RITA = Actor("rita", frozenset({"risk_manager"}), token_id="t1")
VIC = Actor("vic", frozenset({"viewer"}), token_id="t2")
DESK = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def hosting(settings):
    allowance.forget()
    with make_hosting(settings.model_copy(update={"audit_denials_per_minute": 3})) as made:
        yield made
    allowance.forget()


def rows(hosting, actor):
    return hosting.rows(
        "SELECT action, outcome, target, reason FROM audit WHERE actor = :actor ORDER BY seq", actor=actor
    )


def deny(hosting, actor=VIC, session_id=None, action="halt"):
    denying.denied(hosting.desk, actor, Deed(action, "denied", reason="no"), session_id)


def test_a_callers_denials_have_so_many_rows_a_minute_and_the_others_a_number(hosting, monkeypatch):
    """Three a minute have a row, whichever process asks; what each process counted beyond is told when it is over."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    for _ in range(7):
        deny(hosting)
    other = Allowance()
    assert not other.take(VIC.name, 3, hosting.desk.redis, "halt")  # another process: the desk shares the number
    assert other.take("ann", 3, hosting.desk.redis, "halt")
    denying.note_counted(hosting.desk.engine, "w@here")
    assert [row["action"] for row in rows(hosting, "vic")] == ["halt"] * 3
    assert rows(hosting, "system") == []
    monkeypatch.setattr(time, "time", lambda: now + 60)
    denying.note_counted(hosting.desk.engine, "w@here")
    [found] = rows(hosting, "system")
    assert (found["action"], found["target"]) == (denying.COUNTED, "vic")
    assert found["reason"].startswith("4 more")
    deny(hosting)
    assert len(rows(hosting, "vic")) == 4


def test_what_pages_deny_beyond_the_allowance_is_written_down_as_a_number(hosting, monkeypatch):
    """Flower does so by itself once the minute is over; who only looks, and what is allowed, leaves nothing."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    later: list[Callable[[], None]] = []
    monkeypatch.setattr(page_denied, "_count_later", lambda desk: later.append(partial(written, desk)))
    written = page_denied._write_counted
    vera, rita = Viewer(VIC, "a token"), Viewer(RITA, "a token")
    for viewer in (Viewer(VIC), rita, *[vera] * 6):
        found = page_denied.PageDenied("no", viewer, "halt", None)
        page_denied.audit(hosting.desk, found, {"command_id": str(uuid4())}, "halts/place")
    assert [(row["action"], row["target"]) for row in rows(hosting, "vic")] == [("halt", "halts/place")] * 3
    assert rows(hosting, "rita") == []
    [write] = later
    monkeypatch.setattr(time, "time", lambda: now + 60)
    write()
    assert [row["reason"].split(" of")[0] for row in rows(hosting, "system")] == ["3 more"]


def test_harmless_denials_do_not_use_up_the_row_of_a_grave_one(hosting, monkeypatch):
    """Of each action the first in a minute has a row, whichever process asks and however many others came before."""
    monkeypatch.setattr(time, "time", lambda: 6e9)
    for action in ["view"] * 5 + ["shred", "shred"]:
        deny(hosting, action=action)
    assert [row["action"] for row in rows(hosting, "vic")] == ["view"] * 3 + ["shred"]
    assert not Allowance().take(VIC.name, 3, hosting.desk.redis, "shred")


def test_a_denial_whose_message_comes_twice_is_one_row(hosting):
    """By its id, in the session's chain as in the desk's; what has no id, or another's, has a row of its own."""
    session_id, command_id = hosting.create(), uuid4()
    for about in (session_id, None):
        for told in (command_id, command_id, uuid4()):
            denying.write(hosting.desk.engine, VIC, Deed("halt", "denied", command_id=told), about)
    found = hosting.rows("SELECT session_id FROM audit WHERE actor = 'vic'")
    assert sorted(str(row["session_id"]) for row in found) == sorted([DESK] * 2 + [str(session_id)] * 2)


def paused(hosting, actor, session_id, command_id, reason=""):
    arguments = HoldArguments(session_id=session_id, reason=reason)
    return execute.command(hosting.desk, Trigger.PAUSE, actor, arguments, command_id)


def test_who_may_not_ask_is_never_told_what_another_got_under_the_same_id(hosting):
    """Role or scope: their attempt is a denial with a row, and nothing is told of the session.

    A denial takes no id: whoever may has it done under the same one, and asks again.
    """
    session_id, command_id = hosting.create(), uuid4()
    eve = Actor("eve", frozenset({"operator"}), sessions=frozenset({str(uuid4())}))
    denied_first = paused(hosting, VIC, session_id, command_id)
    done = paused(hosting, RITA, session_id, command_id)
    for actor in (VIC, eve):
        for reason in ("", "other"):
            found = paused(hosting, actor, session_id, command_id, reason)
            told = (found.state, found.error["error"], found.status, found.version, found.extra)
            assert told == ("refused", "Forbidden", None, None, {})
    assert denied_first.error["error"] == "Forbidden"
    assert paused(hosting, RITA, session_id, command_id) == replace(done, repeated=True)
    query = "SELECT actor, outcome, reason FROM audit WHERE session_id = :id AND command_id = :command ORDER BY seq"
    found = hosting.rows(query, id=session_id, command=command_id)
    assert [(row["actor"], row["outcome"]) for row in found] == [
        ("vic", "denied"), ("rita", done.state), ("vic", "denied"), ("eve", "denied"), ("eve", "denied"),
    ]  # fmt: skip
    assert found[0]["reason"] == str(FntxError.from_dict(denied_first.error))


def test_what_is_stored_of_a_session_that_left_the_scope_is_not_told(hosting):
    """Its row decides, as it is locked: not what was known of it a moment before."""
    session_id, command_id = hosting.create(), uuid4()
    arguments = HoldArguments(session_id=session_id)
    paused(hosting, RITA, session_id, command_id)
    late = replace(RITA, tags=frozenset({"gone"}), admitted=frozenset({str(session_id)}))
    ask = execute._ask(Trigger.PAUSE, late, arguments, command_id)
    with pytest.raises(Forbidden, match="scope"):
        machine.run(hosting.desk.engine, ask, commands.DECISIONS[Trigger.PAUSE])


def test_with_redis_away_each_process_has_the_allowance_to_itself(monkeypatch):
    """Nobody's denial fails for it."""
    monkeypatch.setattr(time, "time", lambda: 6e9)
    away, alone = Redis(host="127.0.0.1", port=1, retry=None), Allowance()
    assert [alone.take("vic", 2, away, "halt") for _ in range(4)] == [True, True, False, False]


def test_what_could_not_be_written_is_told_later(hosting, monkeypatch):
    """Postgres away: the denial is answered all the same, and counted until it can be told."""

    def away(*_):
        raise Unavailable("Postgres", "gone", "Wait.")

    with monkeypatch.context() as gone:
        gone.setattr("fntx_sessions.lifecycle.denying.desk_audit.record", away)
        gone.setattr("fntx_sessions.lifecycle.denying.desk_audit.record_once", away)
        deny(hosting)
        with pytest.raises(Unavailable):
            denying.note_counted(hosting.desk.engine, "w@here", whole=True)
    denying.note_counted(hosting.desk.engine, "w@here", whole=True)
    [found] = rows(hosting, "system")
    assert found["reason"].startswith("1 more")


def test_a_denial_stands_in_the_chain_of_the_session_it_was_about(hosting):
    """Which stays whole, its version too; about a session there is not, it stands in the desk's."""
    session_id = hosting.create()
    before = hosting.row(session_id)["version"]
    deny(hosting, session_id=session_id)
    deny(hosting, session_id=uuid4())
    found = hosting.rows("SELECT session_id, version_before FROM audit WHERE actor = 'vic' ORDER BY timestamp")
    assert [(str(row["session_id"]), row["version_before"]) for row in found] == [
        (str(session_id), before),
        (DESK, None),
    ]
    assert hosting.row(session_id)["version"] == before


def test_deeds_about_the_desk_are_written_down_once(hosting):
    """A halt, its release, an edit of a template: who, what, why; asked twice under one id, one row."""
    halt_id, command_id = uuid4(), uuid4()
    for _ in range(2):
        halts.place(hosting.desk, RITA, HaltArguments(scope="template:Backtest", reason="storm"), halt_id)
    for _ in range(2):
        halts.release(hosting.desk, RITA, ReleaseArguments(halt_id=str(halt_id), reason="over"))
    for _ in range(2):
        edits.retire(hosting.desk.engine, RITA, RetireArguments(template_name="Backtest", reason="old"), command_id)
    found = [(row["action"], row["outcome"], row["reason"]) for row in rows(hosting, "rita")]
    assert found == [
        ("halt", "done", "placed: storm"),
        ("release_halt", "done", "over"),
        ("edit_template", "done", "old"),
    ]
    assert "Backtest: retired" in rows(hosting, "rita")[2]["target"]


def test_refused_callers_are_summed_by_minute_worker_and_kind(hosting):
    """However many came, a row each minute, worker and kind; what Postgres did not take is kept; old rows go."""
    engine, counts = hosting.desk.engine, RefusedCallers()
    for number in range(2000):
        counts.note("forged", f"number {number}")
    counts.note("expired", "over")
    counts.write(engine, "w@here")
    counts.note("forged", "later")
    counts.write(engine, "w@here")
    assert counts.waiting() == 0
    with engine.connect() as connection:
        found = read_lately(connection, 3600)
        minutes = list(read_minutes(connection, 3600, 10))
    assert {one.kind: one.number for one in found} == {"forged": 2001, "expired": 1}
    assert len(minutes) <= 4  # two kinds, and perhaps a minute's end between
    assert worrying(found)
    assert "2,001 forged" in refused_sentence(found)
    assert "later" in refused_sentence(found)
    counts.note("forged", "old", minute=datetime(2020, 1, 1, tzinfo=UTC))
    counts.write(engine, "w@here")
    assert forget_old(engine, 3600) == 1


def test_counts_that_cannot_be_written_are_bounded_and_lose_no_number(hosting, monkeypatch):
    """A store that is away for days fills no process; the sum is kept."""
    counts = RefusedCallers()
    for number in range(3000):
        counts.note("forged", "x", minute=datetime.fromtimestamp(60 * number, UTC))

    def away(*_):
        raise Unavailable("Postgres", "gone", "Wait.")

    with monkeypatch.context() as gone:
        gone.setattr("fntx_sessions.security.refusals.transaction", away)
        with pytest.raises(Unavailable):
            counts.write(hosting.desk.engine, "w@here")
    assert counts.waiting() == 3000
    assert len(counts._counts) <= 2000


def test_every_refusal_of_a_token_has_a_kind():
    """What tokens are refused with is counted under a name that tells; none of it by chance under the rest."""
    for detail in [*tokens._DETAILS.values(), "there is no token", "the token was revoked by ann"]:
        assert kind_of(Unauthenticated(detail, "")) != OTHER
    assert kind_of(Unauthenticated("something new", "")) == OTHER


def test_a_denials_row_names_the_action_and_what_it_was_about():
    """The action as the table of roles has it; of a message's keywords ids and names alone, and those cut."""
    error = Forbidden("vic", "viewer", "view session 1", "operator")
    deed = denying.deed_of(error, "sessions.get", {"session_id": "x" * 500, "reason": "secret"})
    assert (deed.action, deed.outcome, deed.target) == ("view", "denied", f"session {'x' * 100}")
    assert "secret" not in str(deed)
