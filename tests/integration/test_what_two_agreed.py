"""Two people agree to one thing: what it is about is kept when it is asked, shown, and nothing else is done."""

import json
from typing import Any
from uuid import UUID, uuid4

from hosting import S, T
from test_four_eyes import OPERATOR, RISK, People, at, error, running, two_for

from tasks import second

__all__ = ["at", "running"]
REMOTE = {"agents": ["Theirs"], "wait_ready_s": 30}
RAISED = {"max_daily_risk": 0.25, "position_limit": 50}


def refused(settled: dict[str, Any]) -> str:
    """Return why what was confirmed was not done."""
    answer = settled["result"]["answer"]
    assert error(answer) == ("refused", "NotConfirmed"), answer
    message: str = answer["error"]["message"]
    return message


def only(at: People, command_id: UUID) -> dict[str, Any]:
    (found,) = at.listed(confirmation=str(command_id))
    return found


def change(at: People, session_id: UUID, name: str = "cy", **asked: Any) -> dict[str, Any]:
    answer: dict[str, Any] = at.ask(name, OPERATOR, "sessions.update", session_id=str(session_id), **asked)
    return answer


def test_the_halt_that_was_meant_is_ended_and_no_other(at, running):
    """By its scope a release means the halt that stood when it was asked: one placed since is not ended by it."""
    scope = {"scope": f"session:{running}"}
    place = {"reason": "a test halt", **scope}
    first, other = uuid4(), uuid4()
    at.ask("cy", OPERATOR, "halts.place", id=first, **place)
    late, soon = uuid4(), uuid4()
    for one in (late, soon):
        asked = at.ask("rita", RISK, "halts.release", id=one, reason="the test is over", **scope)
        assert error(asked) == ("pending", "NeedsSecond")
    assert "a test halt" in only(at, late)["told"]
    assert at.confirm(soon)["result"]["answer"]["state"] == "done"
    at.ask("bob", OPERATOR, "halts.place", id=other, **place | {"reason": "FRAUD, keep it"})
    answer = at.confirm(late)["result"]["answer"]
    assert answer["result"]["halt"]["halt_id"] == str(first)
    standing = at.hosting.rows(
        "SELECT halt_id FROM halts WHERE released_at IS NULL AND scope_name = :id", id=str(running)
    )
    assert standing == [{"halt_id": other}]


def test_a_start_is_of_the_session_as_it_was_when_it_was_asked(at):
    """Limits, rules and all that people decide: changed by one alone before the word, it is not started."""
    session_id, start = at.hosting.create(), uuid4()
    with two_for("start_session"):
        asked = at.ask("ann", OPERATOR, "sessions.start", id=start, session_id=str(session_id))
        assert error(asked) == ("pending", "NeedsSecond")
        shown = only(at, start)
        assert any("max_daily_risk" in line for line in shown["words"])
        assert change(at, session_id, "ann", risk_parameters=RAISED)["state"] == "done"
        told = refused(at.confirm(start, roles=OPERATOR))
        assert "risk_parameters.position_limit" in told
        assert "-> 50 changed since it was asked (update_session by ann at " in told
        assert at.hosting.row(session_id)["status"] == S.INITIALIZING
        again = uuid4()
        at.ask("ann", OPERATOR, "sessions.start", id=again, session_id=str(session_id))
        assert at.confirm(again, roles=OPERATOR)["result"]["answer"]["status"] == S.ACTIVE


def test_while_a_start_waits_limits_are_raised_and_rules_loosened_as_of_a_started_session(at):
    """Agreed to and waiting for its agents, it is raised by two or not at all; lowered at once, which stays so."""
    rules = {"auto_stop_conditions": [{"condition": "vix_above", "value": 40}]}
    session_id = at.hosting.create(config=REMOTE | rules)
    limits = at.hosting.row(session_id)["risk_parameters"]
    start = at.ask("ann", OPERATOR, "sessions.start", session_id=str(session_id), risk_parameters={"position_limit": 7})
    assert start["state"] == "pending"
    with two_for("raise_risk_limit,loosen_rules"):
        raised = at.ask("rita", RISK, "sessions.update", session_id=str(session_id), risk_parameters=RAISED)
        assert error(raised) == ("pending", "NeedsSecond")
        loose = at.ask("rita", RISK, "sessions.update", session_id=str(session_id), config={"auto_stop_conditions": []})
        assert error(loose) == ("pending", "NeedsSecond")
    assert error(change(at, session_id, risk_parameters=RAISED)) == ("refused", "Forbidden")
    assert change(at, session_id, risk_parameters={"position_limit": 3})["state"] == "done"
    at.run("UPDATE session_agents SET ready_at = now() WHERE session_id = :id", id=session_id)
    at.hosting.finish()
    row = at.hosting.row(session_id)
    assert (row["status"], row["risk_parameters"]) == (S.ACTIVE, limits | {"position_limit": 3})


def template(at: People) -> str:
    name = f"agreed {uuid4().hex[:8]}"
    with two_for("shred_session"):
        added = at.ask("cy", OPERATOR, "templates.add", template_name=name, copy_of="Paper Trading")
    assert added["state"] == "done"
    return name


def edit(at: People, name: str, who: str = "ann", **limits: Any) -> None:
    changes = {"default_risk_parameters": limits}
    assert at.ask(who, OPERATOR, "templates.edit", template_name=name, changes=changes)["state"] == "done"


def test_a_session_is_made_of_the_template_as_it_was_when_it_was_asked(at):
    """Edited before the word, nothing is made of it; edited after, what was done is answered as ever."""
    name = template(at)
    with two_for("create_session"):
        made, late = uuid4(), uuid4()
        for one in (made, late):
            asked = at.ask("ann", OPERATOR, "sessions.create_from_template", id=one, template_name=name)
            assert error(asked) == ("pending", "NeedsSecond")
        assert f"template {name}, at version 1" in only(at, made)["words"]
        done = at.confirm(made, roles=OPERATOR)["result"]["answer"]
        edit(at, name, max_daily_risk=0.25, position_limit=90)
        told = refused(at.confirm(late, roles=OPERATOR))
        assert "version 1 -> 2" in told
        assert "edit_template by ann" in told
        assert at.confirm(made, roles=OPERATOR)["result"]["answer"]["session_id"] == done["session_id"]
    rows = at.hosting.rows("SELECT session_id FROM sessions WHERE template_name = :name", name=name)
    assert [str(row["session_id"]) for row in rows] == [done["session_id"]]


def test_an_edit_and_a_copy_are_of_the_version_that_was_looked_at(at):
    """A template that somebody edited meanwhile is neither edited nor copied by what was agreed to before."""
    name, edits, copy = template(at), uuid4(), uuid4()
    changes = {"description": "ours"}
    at.ask("ann", OPERATOR, "templates.edit", id=edits, template_name=name, changes=changes)
    at.ask("ann", OPERATOR, "templates.add", id=copy, template_name=f"{name} too", copy_of=name)
    with two_for("shred_session"):
        edit(at, name, position_limit=90)
    for one in (edits, copy):
        assert "changed since it was asked (edit_template by ann" in refused(at.confirm(one, roles=OPERATOR))


def test_a_fork_is_of_its_parent_as_it_was_when_it_was_asked(at, running):
    """What a fork takes over is what was there when the second person looked."""
    at.hosting.save(running)
    with two_for("create_session"):
        fork = uuid4()
        asked = {"session_id": str(running), "session_type": "paper_trading"}
        assert error(at.ask("cy", OPERATOR, "sessions.fork", id=fork, **asked)) == ("pending", "NeedsSecond")
        assert change(at, running, risk_parameters={"position_limit": 1})["state"] == "done"
        assert "position_limit" in refused(at.confirm(fork, roles=OPERATOR))


def test_another_pause_is_not_ended_by_what_was_agreed_of_the_one_before(at, running):
    """A resume is of the hold that was looked at: who paused it, when and why."""
    at.hosting.do(T.PAUSE, running)
    resume, other = uuid4(), uuid4()
    for one in (resume, other):
        at.ask("ann", OPERATOR, "sessions.resume", id=one, session_id=str(running))
    assert at.confirm(other, roles=OPERATOR)["result"]["answer"]["state"] == "done"
    at.hosting.do(T.PAUSE, running, reason="FRAUD, keep it")
    assert "status_since" in refused(at.confirm(resume, roles=OPERATOR))
    assert at.hosting.row(running)["status"] == S.PAUSED


def test_another_firing_of_the_loss_limit_is_not_cleared(at, running):
    """A latch is lifted as it was looked at: one that fired since stands."""
    account = at.hosting.row(running)["account_id"]
    fire = (
        "INSERT INTO account_days (account_id, trade_date, equity_at_roll, latched_at) "
        "VALUES (:account, '2018-01-09', 1, now()) "
        "ON CONFLICT (account_id, trade_date) DO UPDATE SET latched_at = now()"
    )
    at.run(fire, account=account)
    clear = uuid4()
    with two_for("clear_latch"):
        asked = {"session_id": str(running), "clear_latch": True, "reason": "a bad price"}
        assert error(at.ask("rita", RISK, "sessions.update", id=clear, **asked)) == ("pending", "NeedsSecond")
        assert "loss limit latch of 2018-01-09" in only(at, clear)["told"]
        at.run(fire, account=account)
        assert "latched.2018-01-09" in refused(at.confirm(clear))


def test_many_at_once_are_those_who_were_meant_as_they_were(at, running):
    """A bulk run that would mean others by now, or one that was held anew, is refused by name, and does nothing."""
    tag = uuid4().hex[:8]
    other = at.hosting.started(config={"tags": [tag]})
    at.hosting.do(T.UPDATE, running, config={"tags": [tag]})
    at.hosting.do(T.PAUSE, running)
    asked = {"action": "resume", "selector": {"tag": tag}, "reason": "morning"}
    first, second_ = uuid4(), uuid4()
    for one in (first, second_):
        assert error(at.ask("cy", OPERATOR, "bulk.begin", id=one, **asked)) == ("pending", "NeedsSecond")
    assert f"session {running}, paused" in " ".join(only(at, first)["words"])
    more = at.hosting.create(config={"tags": [tag]})
    told = refused(at.confirm(first, roles=OPERATOR))
    assert str(more) in told
    assert str(other) not in told
    at.hosting.do(T.UPDATE, more, config={"tags": []})
    at.hosting.do(T.UPDATE, running, config={"allow_overnight_positions": True})
    assert f"{running}.settings" in refused(at.confirm(second_, roles=OPERATOR))
    assert at.hosting.row(running)["status"] == S.PAUSED


def test_what_goes_on_by_itself_keeps_nothing_from_being_done(at, running):
    """Steps, saves and checkpoints between the asking and the word are no changes."""
    raised = uuid4()
    at.raise_limit(running, raised)
    at.hosting.step()
    at.hosting.save(running)
    at.hosting.do(T.CHECKPOINT, running)
    assert at.confirm(raised)["result"]["answer"]["state"] == "done"


def test_what_it_moves_is_said_first_and_what_is_cut_is_counted(at, running):
    """However much else is sent with it: limits from what to what come before all of that, and nothing is hidden."""
    command_id, before = uuid4(), at.hosting.row(running)["risk_parameters"]
    asked = {"config": {"tags": ["a" * 60 + str(number) for number in range(12)]}, "risk_parameters": RAISED}
    at.ask("rita", RISK, "sessions.update", id=command_id, session_id=str(running), **asked)
    shown = only(at, command_id)
    assert f"max_daily_risk {before['max_daily_risk']} -> 0.25" in shown["told"][:100]
    assert "more characters: `fntx confirmations show ID`)" in shown["told"]
    assert f"risk_parameters={RAISED}" in shown["words"]
    assert json.dumps(asked["config"]["tags"][-1])[1:-1] in " ".join(shown["words"])


# They end or lower risk, are programs', or say themselves all that they do.
ABOUT_NOTHING = {
    "agents": "credentials join leave ready",
    "approvals": "answer approve reject request",
    "backtests": "create resume stop",
    "bulk": "cancel list preview report resume",
    "confirmations": "confirm decline",
    "events": "acknowledge",
    "halts": "place",
    "market": "publish",
    "memory": "share store",
    "orders": "answer cancel change place",
    "sessions": "checkpoint fail pause pin stop suspend",
    "tokens": "revoke",
}


def test_every_command_that_may_wait_says_what_it_is_about(at):
    """A command that is new is one or the other: none waits for a second person bound to nothing by an oversight."""
    silent = {f"fntx.{kind}.{name}" for kind, names in ABOUT_NOTHING.items() for name in names.split()}
    known = {name for name in second._commands if not name.startswith("fntx.unit.")}  # those of other tests
    assert known - set(second._about) == silent
