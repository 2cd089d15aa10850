"""Who speaks for an agent of another service, since when and until when, stands in the audit."""

from typing import Any
from uuid import UUID

import pytest
from door_world import AGENT, PLANNER, invited, joined, leave
from hosting import make_hosting, shared

from fntx_sessions.agents import joining
from fntx_sessions.agents.joining import AgentArguments, JoinArguments
from fntx_sessions.exceptions import Forbidden
from fntx_sessions.lifecycle import owed
from fntx_sessions.security.actor import Actor


@pytest.fixture
def hosting(tmp_path, module_database_url, redis_url):
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def told(hosting, session_id: UUID) -> list[tuple[Any, ...]]:
    owed.pay_oldest(hosting.desk.engine, 100)
    rows = hosting.rows(
        "SELECT actor, token_id, action, outcome, args_hash FROM audit WHERE target = :target ORDER BY seq",
        target=f"agent {PLANNER} of session {session_id}",
    )
    assert all(row["args_hash"] for row in rows)
    return [(row["actor"], row["token_id"], row["action"], row["outcome"]) for row in rows]


def test_joining_being_ready_and_leaving_have_a_row_each(hosting):
    """Of the desk's chain, with the token; what changes nothing has none."""
    session_id = invited(hosting)
    about = AgentArguments(session_id=session_id, agent=PLANNER)
    joined(hosting, session_id, ready=False)
    for _ in range(2):
        joining.ready(hosting.desk, AGENT, about)
    for _ in range(2):
        leave(hosting, session_id)
    assert told(hosting, session_id) == [
        (AGENT.name, None, action, "done") for action in ("join_session", "agent_ready", "leave_session")
    ]


def test_joining_anew_to_be_ready_has_a_row_too(hosting):
    """Whichever way it was said that an agent is ready; a joining that says it at once has one row."""
    session_id = invited(hosting)
    for ready in (False, True, True):
        joined(hosting, session_id, ready=ready)
    assert [row[2] for row in told(hosting, session_id)] == ["join_session", "agent_ready"]


def test_a_row_says_which_token_speaks_and_joining_anew_with_it_none(hosting):
    """A process that joins again and again fills no chain; another token does."""
    session_id = invited(hosting)
    first, second = (Actor(AGENT.name, AGENT.roles, token_id=f"t{number}") for number in (1, 2))
    for actor in (first, first, second, second, first):
        joining.join(hosting.desk, actor, JoinArguments(session_id=session_id, agent=PLANNER))
    assert [row[1] for row in told(hosting, session_id)] == ["t1", "t2", "t1"]


def test_what_was_refused_leaves_no_row_that_says_done(hosting):
    """The row is noted in the transaction that keeps who speaks: both are, or neither is."""
    session_id = invited(hosting)
    joined(hosting, session_id)
    with pytest.raises(Forbidden):
        joining.leave(hosting.desk, Actor("another", AGENT.roles), AgentArguments(session_id=session_id, agent=PLANNER))
    assert [row[2] for row in told(hosting, session_id)] == ["join_session"]
