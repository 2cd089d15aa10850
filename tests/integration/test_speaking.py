"""In whose name memory is kept and told: an agent's in its own, about its own session; the desk's by the desk alone."""

from uuid import UUID, uuid4

import pytest
from hosting import make_hosting, shared

from fntx_sessions.exceptions import Forbidden, InvalidArgument
from fntx_sessions.memory.arguments import ContextArguments, ListArguments
from fntx_sessions.memory.systems import memory_of
from fntx_sessions.security.actor import Actor, system_actor
from tasks import memory as tasks

DESK = "SessionLifecycleManager"
ANN, ADA = Actor("ann", frozenset({"operator"})), Actor("ada", frozenset({"admin"}))
NEWS = Actor("NewsReader", frozenset({"agent"}))


@pytest.fixture
def desk(tmp_path, module_database_url, redis_url, monkeypatch):
    """A desk on the module's database that the tasks work at."""
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        made.run("DELETE FROM memories; UPDATE session_work SET memory_due_at = NULL")
        monkeypatch.setattr(tasks, "desk", lambda: made.desk)
        made.desk.redis.delete("fntx:context:{B}")
        yield made


def store(actor, agent, session_id=None):
    given = {"agent": agent, "memory_type": "learning", "content": {"x": 1}, "session_id": session_id}
    return tasks.store(actor, uuid4(), tasks.StoreArguments(**given))


def share(actor, sender, about=None, /, **context):
    given = {"sender": sender, "recipients": ["B"], "context": context, "session_id": about}
    return tasks.share(actor, uuid4(), tasks.ShareArguments(**given))


def scoped(session_id: UUID) -> Actor:
    return Actor(NEWS.name, NEWS.roles, sessions=frozenset({str(session_id)}))


@pytest.mark.parametrize("act", [store, share])
@pytest.mark.parametrize(
    ("actor", "name"),
    [(NEWS, DESK), (ANN, DESK), (NEWS, "RiskManagerAgent"), (Actor("v", frozenset({"viewer"})), "v")],
)
def test_in_anothers_name_nothing_is_kept_or_told(desk, act, actor, name):
    """An agent's token for another agent, and anybody's but the system's and the administrator's for the desk."""
    with pytest.raises(Forbidden):
        act(actor, name, desk.create())
    assert memory_of(*desk.desk.parts()).listed(ListArguments()) == []
    assert desk.desk.redis.xlen("fntx:context:{B}") == 0


@pytest.mark.parametrize("act", [store, share])
@pytest.mark.parametrize(
    ("actor", "name"), [(NEWS, "NewsReader"), (ANN, "RiskManagerAgent"), (ADA, DESK), (system_actor("h"), DESK)]
)
def test_in_ones_own_name_it_is(desk, act, actor, name):
    """An agent's own, any agent's for people, the desk's own for the desk and this machine's administrator."""
    assert act(actor, name, desk.create())["state"] == "done"


def test_an_agents_own_name_is_also_one_it_joined_the_session_as(desk):
    """A token that joined as an agent speaks as that, about that session, and nobody else's token does."""
    session_id, other = desk.create(), desk.create()
    joined = """INSERT INTO session_agents (session_id, agent, hosted, required, joined_at, joined_by, ticket_hash)
      VALUES (:id, 'Reader', false, false, now(), 'NewsReader', 'x')"""
    desk.run(joined, id=session_id)
    assert store(NEWS, "Reader", session_id)["state"] == "done"
    for actor, about in ((NEWS, other), (NEWS, None), (Actor("x", NEWS.roles), session_id)):
        with pytest.raises(Forbidden, match="its own name"):
            store(actor, "Reader", about)


def test_what_is_told_of_a_session_needs_a_token_for_that_session(desk):
    """The session that the context names is the one that is judged, whichever way it is written; two are refused."""
    mine, other = desk.create(), desk.create()
    actor = scoped(mine)
    for named, said in ((mine, str(other)), (mine, str(other).upper()), (mine, 7), (None, "ab")):
        with pytest.raises(InvalidArgument, match=r"context\.session_id"):
            share(actor, "NewsReader", named, session_id=said)
    for context in ({"session_id": str(other)}, {}):
        with pytest.raises(Forbidden):
            share(actor, "NewsReader", **context)
    with pytest.raises(Forbidden):
        store(actor, "NewsReader", other)
    share(actor, "NewsReader", mine, level=1)
    share(actor, "NewsReader", level=2, session_id=str(mine).upper())
    told = memory_of(*desk.desk.parts()).context(ContextArguments(agent="B", session_id=mine))
    assert [one.context for one in told] == [{"level": level, "session_id": str(mine)} for level in (1, 2)]
