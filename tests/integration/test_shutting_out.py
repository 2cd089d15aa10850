"""A token that is taken back ends what came of it: the agent that joined with it speaks no more, and may come again."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from door_world import PLANNER, own, refused, report
from health_world import checks
from hosting import Hosting, S, T, make_hosting, shared

from fntx_sessions.agents import joining, shutting_out
from fntx_sessions.agents.joining import AgentArguments, JoinArguments
from fntx_sessions.agents.roster import RosterArguments, RosterEntry, list_agents
from fntx_sessions.automation import intake
from fntx_sessions.exceptions import Forbidden, InvalidArgument, NotJoined, Superseded
from fntx_sessions.lifecycle.granting import RevokeArguments
from fntx_sessions.security import key_files, signing_keys
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.keys import signing_pair
from fntx_sessions.security.local import ensure_local_keys
from fntx_sessions.state.agent_doors import Refusal
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.redis_client import build_redis
from tasks import tokens

ROOT = Actor("root", frozenset({"admin"}))
OTHER = "TheirExecutor"
NAMED: dict[str, str] = {}


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        made.run("UPDATE session_agents SET joined_at = NULL, ticket_hash = NULL")
        yield made


@pytest.fixture(autouse=True)
def mine(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of this test's own service: what is revoked stays so for the others that share its database."""
    name = f"remo-{uuid4().hex[:8]}"
    monkeypatch.setitem(NAMED, "mine", name)
    return name


def service(name: str = "", **changed: Any) -> Actor:
    """Who holds a fresh token of this name, or of this test's own."""
    told = {"token_id": uuid4().hex, "issued_at": time.time(), "ends_at": time.time() + 60, "key_id": "k1"}
    return Actor(name or NAMED["mine"], frozenset({"agent"}), **told | changed)


def session(hosting: Hosting) -> UUID:
    return hosting.create(config={"agents": [PLANNER, OTHER]})


def joined(hosting: Hosting, session_id: UUID, actor: Actor, agent: str = PLANNER) -> dict[str, Any]:
    return joining.join(hosting.desk, actor, JoinArguments(session_id=session_id, agent=agent))


def revoke(hosting: Hosting, **asked: str) -> dict[str, Any]:
    """Have a worker do the command of an administrator."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "desk", lambda: hosting.desk)
        return tokens.revoke(ROOT, uuid4(), RevokeArguments(**asked))


def seat(hosting: Hosting, session_id: UUID, agent: str = PLANNER) -> RosterEntry:
    found = list_agents(hosting.desk, RosterArguments(session_id=session_id))
    return next(one for one in found if one.agent == agent)


def is_out(hosting: Hosting, told: dict[str, Any]) -> bool:
    """Tell whether the old ticket is void in Redis and the seat is empty in Postgres; both or neither."""
    answer = report(hosting, told, own(told["agent"]), epoch=hosting.row(told["session_id"])["epoch"])
    held = seat(hosting, told["session_id"], told["agent"])
    out = answer[0] == 0 and refused(answer)[0] is Refusal.NOT_JOINED
    assert out == (held.ready_at is None) == (held.joined_by is None) == (held.joined_at is None), (answer, held)
    return out


@pytest.mark.parametrize("which", ["token_id", "name"])
def test_a_revoked_token_s_agent_is_shut_out_at_once_and_comes_again_with_a_fresh_one(hosting, which):
    """Its ticket is void as the revocation is done, by an event that says what to run; other agents report on."""
    session_id, actor = session(hosting), service()
    told, other = joined(hosting, session_id, actor), joined(hosting, session_id, service("bob"), OTHER)
    assert revoke(hosting, **{which: getattr(actor, which)})["state"] == "done"
    assert is_out(hosting, told)
    assert not is_out(hosting, other)
    [event] = hosting.events(session_id, "agent_shut_out")
    assert (event["severity"], event["source_agent"], event["requires_action"]) == ("error", PLANNER, True)
    for words in (
        f"of '{actor.name}'",
        "revoked by root",
        f"fntx token issue {actor.name} --role agent",
        f"fntx agents ls {session_id}",
    ):
        assert words in event["description"]
    assert hosting.ask(T.START, session_id).state == "pending"  # for want of it
    back = joined(hosting, session_id, service(issued_at=time.time() + hosting.desk.settings.token_leeway_s + 1))
    assert back["status"] == S.ACTIVE
    intake.take_in(hosting.desk)
    assert not is_out(hosting, back)
    assert len(hosting.events(session_id, "agent_shut_out")) == 1


def test_one_token_that_is_revoked_ends_no_other_of_its_name(hosting):
    """Who joined with another token of the same name reports on; revoked twice, nothing more is said."""
    session_id, good, bad = session(hosting), service(), service()
    stays, goes = joined(hosting, session_id, good), joined(hosting, session_id, bad, OTHER)
    for _ in range(2):
        revoke(hosting, token_id=bad.token_id)
    assert (is_out(hosting, stays), is_out(hosting, goes)) == (False, True)
    assert len(hosting.events(session_id, "agent_shut_out")) == 1


def test_what_a_revocation_could_not_shut_the_sweep_shuts(hosting):
    """Redis is away while it is revoked: that is done all the same, and the next intake ends the ticket."""
    session_id, actor = session(hosting), service()
    told = joined(hosting, session_id, actor)
    away = build_redis("unix:///nonexistent/redis.sock", hosting.desk.settings)
    assert revoke(Hosting(replace(hosting.desk, redis=away)), name=NAMED["mine"])["state"] == "done"
    assert not is_out(hosting, told)
    intake.take_in(hosting.desk)
    assert is_out(hosting, told)


def test_a_retired_key_ends_what_joined_under_it_and_one_that_cannot_be_read_ends_nothing(hosting):
    """The sweep sees it; a worker that cannot read its keys knows nothing, and shuts nobody out."""
    ensure_local_keys(hosting.desk.settings.home)
    pair = signing_pair(hosting.desk.settings)
    (old,) = key_files.load_public_keys(pair.public)
    session_id = session(hosting)
    told = joined(hosting, session_id, service(key_id=old))
    new = signing_keys.rotate(pair)
    stays = joined(hosting, session_id, service(key_id=new), OTHER)
    intake.take_in(hosting.desk)
    assert not is_out(hosting, told)  # it verifies still
    signing_keys.retire(pair, old, 60, at_once=True)
    hidden = pair.public.rename(pair.public.with_suffix(".away"))
    intake.take_in(hosting.desk)
    assert not is_out(hosting, told)
    hidden.rename(pair.public)
    intake.take_in(hosting.desk)
    assert (is_out(hosting, told), is_out(hosting, stays)) == (True, False)
    assert "was retired" in hosting.events(session_id, "agent_shut_out")[0]["description"]


def test_a_key_is_free_once_nobody_speaks_by_it(hosting, monkeypatch):
    """Who left, joined again under another or whose session is closed needs it no more; some of the rest are named."""
    monkeypatch.setattr(shutting_out, "_NAMED", 1)
    key, actor = f"k-{uuid4().hex}", service()
    old = replace(actor, key_id=key)
    ids = [session(hosting) for _ in range(3)]
    for session_id in ids:
        joined(hosting, session_id, old)
    with pytest.raises(InvalidArgument, match=f"3 agents of other services still speak by a token of {key}: .* 2 more"):
        shutting_out.must_speak_for_none(hosting.desk.engine, key)
    joined(hosting, ids[0], actor)
    joining.leave(hosting.desk, actor, AgentArguments(session_id=ids[1], agent=PLANNER))
    with pytest.raises(InvalidArgument, match=f"1 agent .*{ids[2]}"):
        shutting_out.must_speak_for_none(hosting.desk.engine, key)
    hosting.do(T.STOP, ids[2])
    hosting.finish()
    assert hosting.row(ids[2])["status"] == S.CLOSED
    shutting_out.must_speak_for_none(hosting.desk.engine, key)


def test_a_token_that_is_over_ends_no_agent_s_run(hosting):
    """Positions are open: it reports on under its ticket, until it leaves, joins again or its token is taken back."""
    session_id, actor = session(hosting), service(issued_at=time.time() - 3600, ends_at=time.time() - 60)
    told = joined(hosting, session_id, actor)
    intake.take_in(hosting.desk)
    assert not is_out(hosting, told)
    revoke(hosting, name=NAMED["mine"])
    assert is_out(hosting, told)


def test_whose_token_is_revoked_while_it_joins_has_no_ticket(hosting, monkeypatch):
    """Shut out between its row and its door it is refused, and its ticket opens nothing afterwards."""
    session_id, actor, ticket = session(hosting), service(), "ab" * 16
    raised = LiveState.raise_fence

    def meanwhile(live: LiveState, *given: Any) -> Any:
        revoke(hosting, token_id=actor.token_id)
        return raised(live, *given)

    monkeypatch.setattr(LiveState, "raise_fence", meanwhile)
    asked = JoinArguments(session_id=session_id, agent=PLANNER, ticket=ticket)
    with pytest.raises(NotJoined, match="meanwhile"):
        joining.join(hosting.desk, actor, asked)
    told = {"session_id": session_id, "agent": PLANNER, "ticket": ticket, "epoch": 0}
    assert is_out(hosting, told | {"keys": {name: f"fntx:{{{session_id}}}:{name}" for name in ("live", "records")}})


def test_who_is_overtaken_while_it_joins_is_superseded(hosting, monkeypatch):
    """Of two that join at once, the ticket that Postgres holds is the one that Redis holds."""
    session_id, raised, later = session(hosting), LiveState.raise_fence, []

    def meanwhile(live: LiveState, *given: Any) -> Any:
        monkeypatch.setattr(LiveState, "raise_fence", raised)
        later.append(joined(hosting, session_id, service()))
        return raised(live, *given)

    monkeypatch.setattr(LiveState, "raise_fence", meanwhile)
    with pytest.raises(Superseded):
        joined(hosting, session_id, service())
    assert not is_out(hosting, later[0])


def test_who_joins_again_while_it_is_looked_at_stays(hosting):
    """A row that somebody changes just now is left to the next look, which finds the fresh token."""
    session_id, actor, fresh = session(hosting), service(), service(issued_at=time.time() + 60)
    told = joined(hosting, session_id, actor)
    with hosting.desk.engine.begin() as connection:
        asked = AgentArguments(session_id=session_id, agent=PLANNER)
        joining.keep_whose(connection, fresh, asked)
        revoke(hosting, token_id=actor.token_id)
    assert not is_out(hosting, told)
    back = joined(hosting, session_id, fresh)
    intake.take_in(hosting.desk)
    assert not is_out(hosting, back)


def test_an_agent_that_was_shut_out_is_dead_to_health_and_nobody_s(hosting):
    """It is silent from then on, and another name may join as it, as of an agent that left."""
    session_id = session(hosting)
    tickets = [joined(hosting, session_id, service(), agent) for agent in (PLANNER, OTHER)]
    hosting.do(T.START, session_id)
    with pytest.raises(Forbidden):
        joined(hosting, session_id, service("mallory"))
    revoke(hosting, name=NAMED["mine"])
    assert all(is_out(hosting, told) for told in tickets)
    found = checks(hosting.with_settings(agent_dead_s=1e-9, agent_quiet_s=1e-9), session_id)["agent_dead"]
    assert (found["grade"], PLANNER in found["reason"]) == ("failed", True)
    assert joined(hosting, session_id, service("bob"))["status"] == S.ACTIVE


def test_who_left_is_named_no_more_as_who_speaks(hosting):
    """A seat that is empty has no name on it."""
    session_id, actor = session(hosting), service()
    joined(hosting, session_id, actor)
    assert seat(hosting, session_id).joined_by == actor.name
    joining.leave(hosting.desk, actor, AgentArguments(session_id=session_id, agent=PLANNER))
    held = hosting.rows("SELECT * FROM session_agents WHERE session_id = :id AND agent = :agent", id=session_id,
                        agent=PLANNER)[0]  # fmt: skip
    assert {held[name] for name in ("joined_by", "ticket_hash", "token_id", "token_key_id", "token_issued_at")} == {
        None
    }
    assert seat(hosting, session_id).joined_by is None


def test_many_are_shut_out_by_one_look(hosting, monkeypatch):
    """However few at a time."""
    monkeypatch.setattr(shutting_out, "_AT_A_TIME", 1)
    session_id = session(hosting)
    tickets = [joined(hosting, session_id, service(), agent) for agent in (PLANNER, OTHER)]
    revoke(hosting, name=NAMED["mine"])
    assert all(is_out(hosting, told) for told in tickets)
