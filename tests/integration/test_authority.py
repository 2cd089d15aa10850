"""Who may do what, where it meets the row: denials are outcomes, latches and holds yield to the right hands only."""

from uuid import uuid4

import pytest

from fntx_sessions.database.engine import build_engine
from fntx_sessions.lifecycle import execute, orders
from fntx_sessions.lifecycle.arguments import CreateArguments, HoldArguments, StartArguments, UpdateArguments
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import Hold, SessionType, Trigger
from fntx_sessions.security.actor import Actor, system_actor
from fntx_sessions.state.redis_client import build_redis
from fntx_sessions.trading.calendars import get_calendar

OPERATOR = Actor("ann", frozenset({"operator"}))
RISK = Actor("rik", frozenset({"risk_manager"}))
VIEWER = Actor("vic", frozenset({"viewer"}))


@pytest.fixture
def desk(settings):
    engine = build_engine(settings.database_url.get_secret_value(), settings)
    redis = build_redis(settings.redis_url.get_secret_value(), settings)
    yield Desk(engine, redis, settings)
    redis.close()
    engine.dispose()


def created(desk):
    arguments = CreateArguments(session_type=SessionType.PAPER_TRADING)
    return execute.create(desk, OPERATOR, arguments, uuid4()).raise_for_refusal().session_id


def started(desk):
    session_id = created(desk)
    execute.command(desk, Trigger.START, OPERATOR, StartArguments(session_id=session_id), uuid4()).raise_for_refusal()
    return session_id


def latched(desk, session_id):
    with desk.engine.connect() as connection:
        now = connection.exec_driver_sql("SELECT now()").scalar_one()
    orders.latch(desk.engine, f"paper:{session_id}", get_calendar().trade_date(now), "test", "fired")


def test_a_verified_callers_denial_is_an_outcome_and_is_audited(desk):
    """Who may not do something learns it as the command's stored outcome, and the session's audit tells."""
    session_id = started(desk)
    command_id = uuid4()
    outcome = execute.command(desk, Trigger.PAUSE, VIEWER, HoldArguments(session_id=session_id), command_id)
    assert outcome.state == "refused"
    assert outcome.error["error"] == "Forbidden"
    with desk.engine.connect() as connection:
        query = "SELECT actor, outcome FROM audit WHERE command_id = %s"
        assert connection.exec_driver_sql(query, (command_id,)).one() == ("vic", "refused")


def test_a_fired_loss_limit_holds_until_a_risk_manager_clears_it(desk):
    """Neither start nor resume gets past a latch; an operator cannot clear it, a risk manager can."""
    session_id = created(desk)
    latched(desk, session_id)
    start = StartArguments(session_id=session_id)
    refused = execute.command(desk, Trigger.START, OPERATOR, start, uuid4())
    assert refused.error["facts"]["condition"] == "loss limit not fired"
    clear = UpdateArguments(session_id=session_id, clear_latch=True, reason="reviewed")
    assert execute.command(desk, Trigger.UPDATE, OPERATOR, clear, uuid4()).error["error"] == "Forbidden"
    assert execute.command(desk, Trigger.START, OPERATOR, start, uuid4()).state == "refused"
    assert execute.command(desk, Trigger.UPDATE, RISK, clear, uuid4()).state == "done"
    assert execute.command(desk, Trigger.START, OPERATOR, start, uuid4()).state == "done"


def test_a_person_can_hold_what_a_rule_paused(desk):
    """A person's hold on a session that a rule paused keeps the rule from resuming it."""
    session_id = started(desk)
    system = system_actor("h")
    pause = HoldArguments(session_id=session_id, hold=Hold.RULE)
    assert execute.command(desk, Trigger.PAUSE, system, pause, uuid4()).state == "done"
    hold = UpdateArguments(session_id=session_id, add_hold=Hold.PERSON)
    assert execute.command(desk, Trigger.UPDATE, OPERATOR, hold, uuid4()).state == "done"
    assert (
        execute.command(desk, Trigger.RESUME, system, pause, uuid4()).error["facts"]["detail"]
        == "it is still held by person"
    )
    resume = HoldArguments(session_id=session_id)
    assert execute.command(desk, Trigger.RESUME, OPERATOR, resume, uuid4()).state == "done"
