"""Beside the desk: who works on files and stores themselves, and what of it stands in the audit."""

import socket
import time
from dataclasses import replace
from uuid import UUID

import pytest
from archiving import make_desk
from door_world import AGENT, PLANNER, invited
from hosting import make_hosting
from sqlalchemy import text

from fntx_sessions.agents import joining
from fntx_sessions.agents.joining import JoinArguments
from fntx_sessions.automation.hosts import Lease
from fntx_sessions.cli.app import run
from fntx_sessions.cli.exits import Exit
from fntx_sessions.database.engine import build_engine, get_engine
from fntx_sessions.exceptions import Unauthenticated
from fntx_sessions.lifecycle import granting
from fntx_sessions.lifecycle.granting import RevokeArguments, TokensQuery
from fntx_sessions.security import desk_auth, local, revocations, signing_keys
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.desk_auth import Taking, straight_actor
from fntx_sessions.security.keys import LocalKeys
from fntx_sessions.security.local import ensure_local_keys, renew_admin_token
from fntx_sessions.security.machine_user import machine_user
from fntx_sessions.security.tokens import issue, verify
from fntx_sessions.settings import Settings, get_settings
from fntx_sessions.state.archive import archive_due

ROOT = Actor("root", frozenset({"admin"}))
ROWS = text("""
SELECT action, outcome, target, actor, host, task, command_id, reason FROM audit WHERE session_id = :desk ORDER BY seq
""")


@pytest.fixture
def shell(settings, monkeypatch):
    """The command line over a desk that asks for tokens; its ring and keys are the home's."""
    ensure_local_keys(settings.home)
    monkeypatch.delenv("FNTX_KEY_RING")
    for name, value in {
        "FNTX_HOME": str(settings.home),
        "FNTX_DATABASE_URL": settings.database_url.get_secret_value(),
        "FNTX_REDIS_URL": "redis://127.0.0.1:1/0",
        "FNTX_AUTH_MODE": "required",
    }.items():
        monkeypatch.setenv(name, value)
    revocations._held.clear()
    get_settings.cache_clear()
    get_engine.cache_clear()
    assert run(["keys", "init"]) == Exit.DONE
    yield monkeypatch
    if get_engine.cache_info().currsize:
        get_engine().dispose()
    get_engine.cache_clear()
    get_settings.cache_clear()
    revocations._held.clear()


@pytest.fixture
def here(shell):
    return Settings()


@pytest.fixture
def engine(here):
    made = build_engine(here.database_url.get_secret_value(), here)
    yield made
    made.dispose()


def chain(engine):
    with engine.connect() as connection:
        found = connection.execute(ROWS, {"desk": UUID(int=0)}).all()
    return [row for row in found if not (row.target or "").startswith("key ring: ma")]


def deeds(engine):
    return [(row.action, row.outcome) for row in chain(engine)]


COMMANDS = {
    "keys": ("keys", "rotate"),
    "keys remove": ("keys", "remove", "k"),
    "signing-keys": ("signing-keys", "rotate"),
    "tokens": ("token", "issue", "eve", "--role", "admin"),
    "archive": ("archive", "restore", "3f2a7c58-0000-4000-8000-000000000000"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_who_may_not_is_denied_and_it_is_written_down(shell, here, engine, name):
    """In their name, with the host and the machine's user: a viewer, and an administrator of some sessions alone."""
    for who, more in (("vic", {"roles": ["viewer"]}), ("sco", {"roles": ["admin"], "tags": ["iron"]})):
        shell.setenv("FNTX_TOKEN", issue(here, who, more.pop("roles"), 60, **more))
        assert run(COMMANDS[name]) == Exit.REFUSED
        row = chain(engine)[-1]
        assert (row.outcome, row.actor, row.host) == ("denied", who, socket.gethostname())
        assert row.action == {"signing-keys": "keys", "keys remove": "keys"}.get(name, name)
        assert row.task == f"beside the desk, as {machine_user().name}"


def test_a_token_that_is_over_or_revoked_is_refused_and_a_lost_key_is_not(shell, here, engine, monkeypatch, tmp_path):
    """Else whoever was revoked would issue themselves another; where its key is lost, or none is there, files rule."""
    revoked = issue(here, "ann", ["admin"], 600)
    granting.revoke(engine, here, ROOT, RevokeArguments(token_id=verify(revoked, here).token_id), UUID(int=7))
    with monkeypatch.context() as earlier:
        now = time.time()
        earlier.setattr(time, "time", lambda: now - 3600)
        expired = issue(here, "bob", ["admin"], 60)
    for bad in (revoked, expired, "rubbish"):
        shell.setenv("FNTX_TOKEN", bad)
        assert run(["token", "issue", "evil", "--role", "admin"]) == Exit.REFUSED
        row = chain(engine)[-1]
        assert (row.action, row.outcome, row.actor) == ("tokens", "denied", machine_user().name)
    other = Settings(home=tmp_path / "other", database_url=None)
    ensure_local_keys(other.home)
    shell.setenv("FNTX_TOKEN", issue(other, "lost", ["viewer"], 60))
    assert run(["token", "issue", "new", "--role", "viewer"]) == Exit.DONE
    assert (chain(engine)[-1].actor, chain(engine)[-1].outcome) == (machine_user().name, "done")


def test_what_is_done_to_files_is_pending_before_and_done_after(shell, here, engine, monkeypatch):
    """Both under one id, so that a kill in between leaves a trace; and what is refused says so."""
    seen = []
    rotate = signing_keys.rotate
    monkeypatch.setattr(signing_keys, "rotate", lambda pair: (seen.extend(deeds(engine)), rotate(pair))[1])
    assert run(["signing-keys", "rotate"]) == Exit.DONE
    assert seen == [("rotate_signing_key", "pending")]
    pending, done, issued = chain(engine)[-3:]
    assert (done.action, done.outcome, done.command_id) == ("rotate_signing_key", "done", pending.command_id)
    assert pending.command_id is not None
    assert (issued.action, issued.actor) == ("issue_token", machine_user().name)
    for command in (("signing-keys", "retire", "nosuch"), ("keys", "retire", "nosuch"), ("keys", "remove", "nosuch")):
        assert run(command) != Exit.DONE
        assert [row.outcome for row in chain(engine)[-2:]] == ["pending", "refused"]
        assert "nosuch" in chain(engine)[-1].reason


def test_a_busy_chain_is_waited_for_and_without_postgres_it_is_done_and_said(shell, engine, capsys):
    """Nobody may hold a leaked key's change up; the note says what is so, and nothing else."""
    shell.setenv("FNTX_DB_LOCK_TIMEOUT_MS", "50")
    shell.setenv("FNTX_AUDIT_PATIENCE_S", "0.3")
    get_engine.cache_clear()
    before = len(chain(engine))
    with engine.begin() as holding:
        holding.execute(text("SELECT 1 FROM desk_chain FOR UPDATE"))
        assert run(["signing-keys", "rotate", "--stage"]) == Exit.DONE
        told = capsys.readouterr().err
        assert "This ended (done), and it stands in no audit" in told
        assert "nothing was changed" not in told
    assert len(chain(engine)) == before
    shell.setenv("FNTX_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    get_engine.cache_clear()
    assert run(["signing-keys", "rotate", "--stage"]) == Exit.DONE
    told = capsys.readouterr().err
    assert "it stands in no audit: Postgres is out of reach" in told
    assert "othing was changed" not in told


def test_a_key_that_agents_speak_by_is_retired_by_force_alone(shell, here, engine, settings, capsys):
    """In peace it names them and changes nothing; where Postgres is away that is said, and it is done."""
    pair = LocalKeys.of(here.home).signing
    first = signing_keys.list_keys(pair)[0].key_id
    signing_keys.rotate(pair)
    shell.setattr(signing_keys, "_must_be_over", lambda *_: None)
    with make_hosting(here.model_copy(update={"redis_url": settings.redis_url})) as hosting:
        session_id = invited(hosting)
        asked = JoinArguments(session_id=session_id, agent=PLANNER)
        joining.join(hosting.desk, replace(AGENT, key_id=first), asked)
    assert run(["signing-keys", "retire", first]) == Exit.USAGE
    told = " ".join(capsys.readouterr().err.split())
    assert (
        f"1 agent of another service still speaks by a token of {first}: TheirPlanner of session {session_id}" in told
    )
    assert "--now" in told
    assert first in [one.key_id for one in signing_keys.list_keys(pair)]
    assert deeds(engine)[-1] == ("retire_signing_key", "refused")
    kept = pair.public.read_bytes()
    assert run(["signing-keys", "retire", first, "--now"]) == Exit.DONE
    pair.public.write_bytes(kept)
    shell.setenv("FNTX_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    get_engine.cache_clear()
    assert run(["signing-keys", "retire", first]) == Exit.DONE
    assert "is not known: they are shut out" in " ".join(capsys.readouterr().err.split())
    assert first not in [one.key_id for one in signing_keys.list_keys(pair)]


def test_a_row_is_written_as_soon_as_the_chain_is_free(shell, engine, monkeypatch):
    """What was busy a moment ago costs a moment."""
    shell.setenv("FNTX_DB_LOCK_TIMEOUT_MS", "50")
    get_engine.cache_clear()
    holding = engine.connect()
    holding.execute(text("SELECT 1 FROM desk_chain FOR UPDATE"))
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: holding.close())
    assert run(["signing-keys", "rotate", "--stage"]) == Exit.DONE
    assert [row.outcome for row in chain(engine)[-2:]] == ["pending", "done"]


def test_the_administrators_own_token_stands_on_the_chain_once(shell, here, engine):
    """However often it is looked at; the list of tokens knows it, and another has a row of its own."""
    for _ in range(2):
        granting.note_local(engine, here)
    renew_admin_token(here.home)
    granting.note_local(engine, here)
    found = granting.list_tokens(engine, here, ROOT, TokensQuery()).issued
    held = [verify(local.admin_token(here), here).token_id]
    assert len(found) == 2
    assert [one.token_id for one in found][:1] == held
    assert {one.issued_by for one in found} == {machine_user().name}


def test_a_restored_archive_has_its_row_in_the_same_transaction_in_its_actors_name(
    shell, here, engine, settings, monkeypatch
):
    """Killed before its end nothing was restored; after it, the row is there."""
    with make_desk(here.model_copy(update={"redis_url": settings.redis_url})) as desk:
        session_id = desk.closed(checkpoints=1)
        archive_due(desk.engine, here, desk.cold)
        desk.old(session_id)
        assert archive_due(desk.engine, here, desk.cold).dropped == [session_id]
    shell.setenv("FNTX_TOKEN", issue(here, "ada", ["admin"], 60))
    at_commit = []
    monkeypatch.setattr(
        "fntx_sessions.state.archive_restore.failpoint",
        lambda name: at_commit.append((name, [row.action for row in chain(engine)])),
    )
    assert run(["archive", "restore", str(session_id)]) == Exit.DONE
    seen = dict(at_commit)
    assert "restore_session" not in seen["restore.before_commit"]
    assert "restore_session" in seen["restore.committed"]
    row = chain(engine)[-1]
    assert (row.action, row.outcome, row.actor, row.host) == ("restore_session", "done", "ada", socket.gethostname())


def forger(tmp_path, here):
    """Return settings of a home with keys of its own, over the desk's database, and a token that it signed."""
    home = tmp_path / "forger"
    own = here.model_copy(update={"home": home})
    ensure_local_keys(home)
    return own, issue(own, "rita", ["admin"], 60)


def test_straight_ways_take_what_the_desks_workers_take(shell, here, engine, tmp_path):
    """No open door because a shell says so, no key of one's own, nobody else's name; a good token goes on."""
    Taking(engine, here).note()
    good = issue(here, "rick", ["risk_manager"], 60)
    own, forged = forger(tmp_path, here)
    opened = here.model_copy(update={"auth_mode": "open", "home": tmp_path / "empty"})
    assert straight_actor(engine, here).name == "admin"
    with pytest.raises(Unauthenticated, match="no token"):
        straight_actor(engine, opened)
    shell.setenv("FNTX_TOKEN", forged)
    with pytest.raises(Unauthenticated, match="do not know"):
        straight_actor(engine, Settings(home=own.home))
    shell.setenv("FNTX_HOME", str(own.home))
    assert run(["credentials", "rm", "brk", "--template", "any"]) == Exit.REFUSED
    row = chain(engine)[-1]
    assert (row.action, row.outcome, row.actor) == ("credentials", "denied", machine_user().name)
    shell.setenv("FNTX_HOME", str(here.home))
    shell.setenv("FNTX_TOKEN", good)
    assert straight_actor(engine, Settings()).name == "rick"


def test_a_straight_halt_is_never_refused_to_who_has_the_database_and_is_in_their_own_name(
    shell, here, engine, tmp_path, capsys
):
    """Without a token, with a self-made one: the row names the machine's user, nobody else."""
    Taking(engine, here).note()
    own, forged = forger(tmp_path, here)
    shell.setenv("FNTX_KEY_RING", (here.home / "keys" / "ring.json").read_text())
    shell.setenv("FNTX_HOME", str(own.home))
    for changed in ({"FNTX_TOKEN": forged}, {"FNTX_AUTH_MODE": "open"}):
        for name, value in changed.items():
            shell.setenv(name, value)
        assert run(["halt", "--scope", "all", "--reason", "drill"]) == Exit.DONE
        assert f"this is done as {machine_user().name}" in capsys.readouterr().err
        shell.delenv("FNTX_TOKEN", raising=False)
        LocalKeys.of(own.home).admin_token_file.unlink(missing_ok=True)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT actor FROM halts")).scalars().all() == [machine_user().name]
    row = next(row for row in chain(engine) if row.action == "halt")
    assert (row.actor, row.host) == (machine_user().name, socket.gethostname())
    assert row.task == f"beside the desk, as {machine_user().name}"


def test_workers_note_what_they_take_and_note_it_anew_only_where_it_changed(shell, here, engine):
    """With their lease: when they begin, and after a key was changed. Who cannot read keys says nothing of them."""
    lease = Lease("w1", "commands", here)
    lease._renew()
    assert desk_auth.noted(engine).auth_mode == "required"
    first = desk_auth.noted(engine).key_ids
    with engine.begin() as connection:
        connection.execute(text("UPDATE desk_auth SET auth_mode = 'theirs'"))
    lease._renew()
    assert desk_auth.noted(engine).auth_mode == "theirs"
    new = signing_keys.rotate(LocalKeys.of(here.home).signing)
    lease._renew()
    assert desk_auth.noted(engine).key_ids == tuple(sorted([*first, new]))
    Taking(engine, here.model_copy(update={"home": here.home / "none"})).note()
    assert desk_auth.noted(engine).auth_mode == "required"
    lease._engine.dispose()
