"""Tokens given out and taken back: on the chain, refused everywhere within moments, and while a command waits."""

import io
import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from owning import owner_engine
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from worker_process import raw_app, wait_until, worker

from fntx_sessions.cli.app import run
from fntx_sessions.cli.exits import Exit
from fntx_sessions.database.engine import build_engine, get_engine
from fntx_sessions.exceptions import Forbidden, InvalidArgument, Unauthenticated, Unavailable
from fntx_sessions.lifecycle import granting
from fntx_sessions.lifecycle.granting import RevokeArguments, TokensQuery
from fntx_sessions.security import revocations
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.binding import binding
from fntx_sessions.security.local import ensure_local_keys
from fntx_sessions.security.revocations import Revocations
from fntx_sessions.security.tokens import issue, read, verify
from fntx_sessions.settings import get_settings

ADMIN = Actor("root", frozenset({"admin"}))


@pytest.fixture
def home(settings):
    """Settings under which tokens are needed, with keys, and this process's knowledge of revocations fresh."""
    ensure_local_keys(settings.home)
    revocations._held.clear()
    yield settings.model_copy(update={"auth_mode": "required"})
    revocations._held.clear()


@pytest.fixture
def engine(home):
    engine = build_engine(home.database_url.get_secret_value(), home)
    yield engine
    engine.dispose()


def revoke(engine, home, command_id=None, **asked):
    return granting.revoke(engine, home, ADMIN, RevokeArguments(**asked), command_id or uuid4())


def chain(engine):
    with engine.connect() as connection:
        sql = "SELECT action, outcome, target, actor FROM audit WHERE session_id = :desk ORDER BY seq"
        return [tuple(row) for row in connection.execute(text(sql), {"desk": UUID(int=0)})]


def test_a_revoked_token_is_refused_with_who_and_why(home, engine):
    """That one, and no other of the same name; asked twice it is one row, of the table and of the chain."""
    token, other = (issue(home, "ann", ["operator"], 60) for _ in range(2))
    token_id, command_id = verify(token, home).token_id, uuid4()
    assert verify(other, home).name == "ann"
    found = revoke(engine, home, command_id, token_id=token_id, reason="lost")
    assert revoke(engine, home, command_id, token_id=token_id, reason="lost") == found
    with pytest.raises(Unauthenticated, match=r"revoked by root at .* UTC: lost"):
        verify(token, home)
    assert verify(other, home).name == "ann"
    assert chain(engine) == [("revoke_token", "done", token_id, "root")]


def test_the_row_of_a_revocation_has_the_hash_of_what_was_asked(home, engine):
    """So that two of the same token for different reasons are told apart, also where the reason is gone."""
    for reason in ("lost", "left"):
        revoke(engine, home, token_id="t-1", reason=reason)
    with engine.connect() as connection:
        hashes = [bytes(one) for one in connection.execute(text("SELECT args_hash FROM audit")).scalars()]
    assert (len(hashes), len(set(hashes)), {len(one) for one in hashes}) == (2, 2, {32})


def test_all_of_a_name_until_now_and_none_that_come_after(home, engine):
    """That is how a role is taken away: what was issued is refused, what is issued right after is good.

    Also what an issuer signed whose clock is ahead, as far as it may be.
    """
    ahead = time.time() + home.token_leeway_s - 1
    for name, after in (("ann", None), ("eve", ahead)):
        old = issue(home, name, ["admin"], 60, after=after)
        assert verify(old, home).name == name
        revoke(engine, home, name=name)
        with pytest.raises(Unauthenticated, match="revoked"):
            verify(old, home)
        new = issue(home, name, ["viewer"], 60, after=granting.refused_until(engine, name))
        assert verify(new, home).roles == {"viewer"}
    assert granting.refused_until(engine, "anna") is None
    assert verify(issue(home, "anna", ["viewer"], 60), home).name == "anna"


def test_only_an_administrator_revokes_and_nobody_the_system(home, engine):
    """Whoever else asks is refused, and the system's own tokens end by changing its key."""
    with pytest.raises(Forbidden):
        granting.revoke(engine, home, Actor("op", frozenset({"operator"})), RevokeArguments(name="ann"), uuid4())
    with pytest.raises(InvalidArgument, match="signing-keys rotate --system"):
        RevokeArguments(name="system")
    for both in ({}, {"name": "ann", "token_id": "x"}):
        with pytest.raises(InvalidArgument, match="exactly one"):
            RevokeArguments(**both)


def test_another_process_sees_it_when_it_looks_again(home, engine):
    """What was looked up holds for token_revocations_refresh_s, and is looked up anew by the first who asks after."""
    quick = home.model_copy(update={"token_revocations_refresh_s": 0.001})
    token = issue(home, "ann", ["viewer"], 60)
    assert verify(token, home).name == "ann"
    with engine.begin() as connection:
        connection.execute(granting._REVOKE, {
            "revocation_id": uuid4(), "token_id": read(token, home).actor.token_id, "name": None, "keep_s": 60,
            "leeway_s": 5, "by": "root", "reason": "",
        })  # fmt: skip
    assert verify(token, home).name == "ann"
    with pytest.raises(Unauthenticated, match="revoked"):
        verify(token, quick)


def test_while_postgres_is_away_the_last_known_list_holds(home, engine, monkeypatch):
    """What was refused stays refused, and what was good is not refused for that; Postgres is not asked each time."""
    token, good = issue(home, "ann", ["viewer"], 60), issue(home, "bob", ["viewer"], 60)
    revoke(engine, home, token_id=read(token, home).actor.token_id)
    known = Revocations(home.model_copy(update={"token_revocations_refresh_s": 3600.0}))
    assert known.look()
    asked = []

    def away(_settings):
        asked.append(1)
        return build_engine("postgresql+psycopg2://nobody@127.0.0.1:1/none", home)

    monkeypatch.setattr(revocations, "_engine", away)
    known._look_at = 0.0
    for _ in range(3):
        assert known.known(wait=True).about(read(token, home).actor)
        assert known.known(wait=True).about(read(good, home).actor) is None
    assert len(asked) == 1


def test_what_is_over_is_forgotten(home, engine):
    """A row is kept as long as what it refuses could be good, and goes with the next one; no sooner."""
    revoke(engine, home, token_id="old-token-id")
    with pytest.raises(DBAPIError, match="stays until"), engine.begin() as connection:
        connection.execute(text("DELETE FROM revoked_tokens"))
    with owner_engine(engine) as owner, owner.begin() as connection:
        connection.execute(text("UPDATE revoked_tokens SET forget_at = now() - interval '1 s'"))
    revoke(engine, home, name="ann")
    found = granting.list_tokens(engine, home, ADMIN, TokensQuery())
    assert [(one.token_id, one.name) for one in found.revoked] == [(None, "ann")]


@pytest.fixture
def shell(home, monkeypatch):
    """The command line over this desk, whose line ends at the tasks' own functions."""
    for name, value in {
        "FNTX_HOME": str(home.home),
        "FNTX_DATABASE_URL": home.database_url.get_secret_value(),
        "FNTX_REDIS_URL": home.redis_url.get_secret_value(),
    }.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    get_engine.cache_clear()
    yield monkeypatch
    get_engine().dispose()
    get_engine.cache_clear()
    get_settings.cache_clear()


def asked(capsys, *arguments):
    code = run([*arguments, "--json"])
    told = capsys.readouterr().out
    return code, json.loads(told[told.index("{\n") :])  # after what the log said, which a real command keeps on stderr


def test_what_is_issued_stands_on_the_chain_and_never_the_token(shell, home, engine, capsys):
    """To whom, with which roles and scope, until when, by whom; the list tells it, with what was revoked since."""
    code, found = asked(
        capsys, "token", "issue", "ann", "--role", "operator", "--template", "iron", "--ttl", "15m"
    )  # fmt: skip
    assert code == Exit.DONE
    actor = verify(found["token"], home)
    assert (actor.name, actor.roles, actor.templates) == ("ann", {"operator"}, {"iron"})
    assert chain(engine) == [("issue_token", "done", actor.token_id, "admin")]
    listed = granting.list_tokens(engine, home, ADMIN, TokensQuery()).issued
    assert [(one.token_id, one.revoked) for one in listed] == [(actor.token_id, False)]
    assert listed[0].told.startswith("ann; roles operator; templates iron; until ")
    revoke(engine, home, name="ann")
    assert granting.list_tokens(engine, home, ADMIN, TokensQuery()).issued[0].revoked
    new = asked(capsys, "token", "issue", "ann", "--role", "viewer")[1]["token"]
    assert verify(new, home).roles == {"viewer"}
    assert not granting.list_tokens(engine, home, ADMIN, TokensQuery()).issued[0].revoked
    with engine.connect() as connection:
        assert found["token"] not in str(connection.execute(text("SELECT a::text FROM audit a")).all())


def test_a_revocation_says_how_many_tokens_end_by_it(shell, home, engine, capsys):
    """A slip of the pen ends none, and is told so, with the names that read like it; asked again it says the same."""
    _, found = asked(capsys, "token", "issue", "Ann", "--role", "viewer")
    asked(capsys, "token", "issue", "Ann", "--role", "operator")
    command_id = uuid4()
    ends = revoke(engine, home, command_id, name="ann")
    assert (ends.ends, ends.alike) == (0, ["Ann"])
    assert revoke(engine, home, command_id, name="ann") == ends
    assert revoke(engine, home, token_id=found["token_id"]).ends == 1
    assert revoke(engine, home, token_id=found["token_id"][:-1]).ends == 0
    told = revoke(engine, home, name="Ann")
    assert (told.ends, told.alike) == (2, [])
    assert revoke(engine, home, name="Ann").ends == 2
    for answer, warned in ((ends, True), (told, False)):
        answers = SimpleNamespace(ask=lambda *_, answer=answer: answer.model_dump(mode="json"))
        shell.setattr("fntx_sessions.cli.token.line", lambda answers=answers: answers)
        assert run(["token", "revoke", "--name", "ann"]) == Exit.DONE
        shown = capsys.readouterr()
        assert ("Ann reads like it" in shown.err and "knows of no token of ann" in shown.err) == warned
        assert f"that ends {answer.ends}" in shown.out


def test_no_token_is_given_out_that_the_chain_does_not_know(shell, capsys):
    """With Postgres out of reach nothing is printed but why."""
    shell.setenv("FNTX_DATABASE_URL", "postgresql+psycopg2://nobody@127.0.0.1:1/none")
    get_settings.cache_clear()
    get_engine.cache_clear()
    code, found = asked(capsys, "token", "issue", "ann", "--role", "viewer")
    assert (code, found["error"]) == (Exit.UNAVAILABLE, "Unavailable")


@pytest.mark.parametrize(
    "wrong",
    [
        ["ann"], ["ann", "--role", "god"], ["ann", "--role", "system"], ["\u0430nn", "--role", "viewer"],
        ["ann", "--role", "viewer", "--ttl", "99d"], ["ann", "--role", "viewer", "--ttl", "-1s"],
        ["ann", "--role", "viewer", "--ttl", "soon"], ["ann", "--role", "viewer", "--session", "abcd"],
        ["ann", "--role", "viewer", "--task", "t", "--arguments", "[1]"],
        ["ann", "--role", "viewer", "--task", "t", "--arguments", "{"],
    ],
)  # fmt: skip
def test_what_cannot_be_issued_is_told(shell, engine, capsys, wrong):
    """Each names what is wrong; nothing is signed and nothing is on the chain."""
    code, found = asked(capsys, "token", "issue", *wrong)
    assert (code, found["error"]) == (Exit.USAGE, "InvalidArgument")
    assert chain(engine) == []


def test_a_token_is_written_for_its_owner_alone(shell, home, capsys, tmp_path):
    """Into a new file of mode 0600, and not to the screen; an old file is left as it is."""
    out = tmp_path / "ann.token"
    code, found = asked(capsys, "token", "issue", "ann", "--role", "viewer", "--out", str(out))
    assert (code, found["token"]) == (Exit.DONE, None)
    assert out.stat().st_mode & 0o777 == 0o600
    assert verify(out.read_text().strip(), home).name == "ann"
    assert asked(capsys, "token", "issue", "bob", "--role", "viewer", "--out", str(out))[0] == Exit.USAGE


def test_a_token_is_shown_from_stdin_alone(shell, home, engine, capsys):
    """What it is good for, by which key, and whether it is revoked; on the command line others would see it."""
    token = issue(home, "ann", ["viewer"], 60, tags=["mine"])
    shell.setattr(sys, "stdin", io.StringIO(token))
    code, found = asked(capsys, "token", "show")
    assert (code, found["name"], found["tags"], found["revoked"]) == (Exit.DONE, "ann", ["mine"], False)
    assert asked(capsys, "token", "show", token)[0] == Exit.USAGE
    assert asked(capsys, "token", "revoke", token)[0] == Exit.USAGE
    revoke(engine, home, token_id=found["token_id"])
    shell.setattr(sys, "stdin", io.StringIO(token))
    assert run(["token", "show"]) == Exit.REFUSED


def test_whoami_works_without_a_worker(shell, capsys, monkeypatch):
    """Where no desk answers, the token is read with the keys of this machine, and Postgres tells what was revoked."""

    def nobody():
        raise Unavailable("Redis", "away", "x")

    monkeypatch.setattr("fntx_sessions.cli.whoami.line", nobody)
    code, found = asked(capsys, "whoami")
    assert (code, found["name"], found["roles"], found["revoked"]) == (Exit.DONE, "admin", ["admin"], False)


def test_the_signing_key_is_changed_from_the_command_line(shell, home, engine, capsys):
    """The administrator's own token is of the new key at once, others' stay good, and the chain tells who did it."""
    ann = issue(home, "ann", ["viewer"], 60)
    before = asked(capsys, "signing-keys", "list")[1]["keys"]
    code, found = asked(capsys, "signing-keys", "rotate")
    assert code == Exit.DONE
    assert read((home.home / "keys" / "admin.token").read_text(), home).key_id == found["key"]
    assert verify(ann, home).name == "ann"
    old = before[0]["key"]
    assert asked(capsys, "signing-keys", "retire", old)[0] == Exit.USAGE
    assert asked(capsys, "signing-keys", "retire", old, "--now")[0] == Exit.DONE
    with pytest.raises(Unauthenticated, match="does not know"):
        verify(ann, home)
    told = [(row[0].removesuffix("_signing_key"), row[1]) for row in chain(engine) if row[0].endswith("_signing_key")]
    once, refused = [("retire", "pending"), ("retire", "done")], [("retire", "pending"), ("retire", "refused")]
    assert told == [("rotate", "pending"), ("rotate", "done"), *refused, *once]


def test_roles_are_printed_as_they_are_looked_up(capsys):
    """The table of the command line is the table of the workers."""
    code, found = asked(capsys, "roles")
    assert code == Exit.DONE
    assert found["release_halt"] == ["admin", "risk_manager"]


@contextmanager
def halted(process):
    """A worker and its pool that do nothing meanwhile, as on a host without time to spare."""
    os.killpg(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGCONT)


def revoked_for_s(engine):
    with engine.connect() as connection:
        sql = "SELECT extract(epoch FROM clock_timestamp() - max(revoked_at)) FROM revoked_tokens"
        return connection.execute(text(sql)).scalar_one()


def test_who_was_downgraded_while_a_command_waited_is_refused_when_it_is_run(home, engine, redis_url, tmp_path):
    """Sent under a good token to a worker that knows it for one, revoked before the worker took it: refused.

    That is once the list it knows is older than it may be. What one is bound to that was not revoked is done, and
    nothing else with it.
    """
    stranger = raw_app(redis_url)
    session_id, command_id = str(uuid4()), str(uuid4())

    def send(token, name="fntx.tests.echo", task_id=None, **kwargs):
        return stranger.send_task(
            name, kwargs=kwargs, task_id=task_id or str(uuid4()), queue="commands", headers={"fntx_token": token}
        )

    ann = issue(home, "ann", ["admin"], 600)
    bound = issue(
        home, "bob", ["operator"], 600, args=binding("fntx.tests.echo", command_id, {"session_id": session_id})
    )
    other_id = command_id[:-1] + ("0" if command_id[-1] != "0" else "1")
    environment = {
        "FNTX_HOME": str(home.home), "FNTX_REDIS_URL": redis_url,
        "FNTX_DATABASE_URL": home.database_url.get_secret_value(),
        "FNTX_TOKEN_REVOCATIONS_REFRESH_S": "0.2",
    }  # fmt: skip
    with worker(environment, tmp_path / "worker.log", "-Q", "commands,queries", "-c", "1", "-n", "g@%h") as process:
        assert send(ann, session_id=session_id).get(timeout=30)["actor"] == "ann"
        with halted(process):
            waiting = send(ann, session_id=session_id)
            revoke(engine, home, name="ann")
            new = issue(home, "ann", ["viewer"], 600, after=granting.refused_until(engine, "ann"))
            after, own = send(new, session_id=session_id), send(bound, task_id=command_id, session_id=session_id)
            wait_until(lambda: revoked_for_s(engine) > 0.2, "the worker's list is too old")
        refused = waiting.get(timeout=30)
        assert (refused["state"], refused["error"]["error"]) == ("refused", "Unauthenticated")
        assert "revoked by root" in refused["error"]["message"]
        assert after.get(timeout=30)["actor"] == "ann"
        assert own.get(timeout=30)["actor"] == "bob"
        stolen = [
            send(bound, session_id=session_id),
            send(bound, task_id=str(uuid4()), session_id=str(uuid4())),
            send(bound, name="fntx.tests.look", task_id=other_id, session_id=session_id),
        ]
        for sent in stolen:
            answer = sent.get(timeout=30)
            assert (answer["state"], answer["error"]["error"]) == ("refused", "Unauthenticated")
            assert "one other command" in answer["error"]["message"]
    stranger.close()


@pytest.mark.parametrize(
    "command",
    [("keys", "rotate"), ("signing-keys", "rotate"), ("token", "issue", "eve", "--role", "admin")],
    ids=" ".join,
)
def test_keys_and_tokens_are_an_administrators(shell, home, engine, capsys, command):
    """Beside the desk too: whose token is here may do no more than by message, and nothing was changed."""
    shell.setenv("FNTX_TOKEN", issue(home, "ann", ["operator"], 60))
    before = {path: path.read_bytes() for path in (home.home / "keys").iterdir()}
    code, found = asked(capsys, *command)
    assert (code, found["error"]) == (Exit.REFUSED, "Forbidden")
    assert {path: path.read_bytes() for path in (home.home / "keys").iterdir()} == before
    assert [(row[1], row[3]) for row in chain(engine)] == [("denied", "ann")]
