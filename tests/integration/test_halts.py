"""Halts: nothing in scope begins to trade while one stands, and what ran is paused, whoever races, dies or asks twice."""

import threading
from uuid import UUID, uuid4

import pytest
from hosting import ANN, SYSTEM, Hosting, make_hosting, request, shared

from fntx_sessions.automation import bulk, halt_rows, halts
from fntx_sessions.automation.halt_arguments import HaltArguments, ListArguments, ReleaseArguments, Scope
from fntx_sessions.exceptions import (
    CommandConflict,
    FntxError,
    Forbidden,
    InvalidArgument,
    NotFound,
    OrderRefused,
    PreconditionFailed,
)
from fntx_sessions.lifecycle import machine, orders
from fntx_sessions.schemas import SessionStatus, Trigger
from fntx_sessions.security.actor import Actor

S, T = SessionStatus, Trigger
BOB = Actor("bob", frozenset({"operator"}))


@pytest.fixture
def hosting(tmp_path, module_database_url, redis_url):
    """A desk without halts."""
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made
        made.run("UPDATE halts SET released_at = now(), released_by = 'test' WHERE released_at IS NULL")


def halt(hosting: Hosting, scope: str, *, actor: Actor = ANN, halt_id: UUID | None = None, **more):
    """Place a halt and let it do its work."""
    arguments = HaltArguments(**{"scope": scope, "reason": "exchange feed is wrong"} | more)
    return halts.halt(hosting.desk, actor, arguments, halt_id or uuid4(), within_s=30)


def release(hosting: Hosting, actor: Actor = ANN, **which):
    return halts.release(hosting.desk, actor, ReleaseArguments(reason="feed is right again", **which))


def refusal(outcome) -> FntxError:
    assert outcome.state == "refused", outcome
    return FntxError.from_dict(outcome.error)


def status(hosting, session_id):
    return hosting.row(session_id)["status"]


def test_a_halt_pauses_what_runs_and_holds_what_does_not(hosting):
    """Active sessions are paused, paused and suspended ones held once more, others in scope left; the answer has each."""
    active, paused, suspended = (hosting.started(config={"account": "desk-a"}) if one == 0 else hosting.started() for one in range(3))
    hosting.do(T.PAUSE, paused)
    hosting.do(T.SUSPEND, suspended)
    fresh = hosting.create()
    placed = halt(hosting, "all")
    assert [hosting.row(one)["holds"] for one in (active, paused, suspended)] == [["halt"], ["halt", "person"], ["halt"]]
    assert [status(hosting, one) for one in (active, paused, suspended, fresh)] == [S.PAUSED, S.PAUSED, S.SUSPENDED, S.INITIALIZING]
    assert placed.left == 0
    assert {active, paused, suspended} <= {item.session_id for item in placed.items if item.state == "done"}
