"""Who may do what, where it meets the row: denials are outcomes, latches and holds yield to the right hands only."""

from uuid import uuid4

import pytest
from sqlalchemy import text

from fntx_sessions.automation import bulk
from fntx_sessions.database.engine import build_engine
from fntx_sessions.exceptions import Forbidden, NotFound
from fntx_sessions.lifecycle import execute, orders
from fntx_sessions.lifecycle.arguments import (
    CreateArguments,
    CreateFromTemplateArguments,
    HoldArguments,
    ListArguments,
    PinArguments,
    StartArguments,
    UpdateArguments,
)
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.board import BoardQuery, read_board
from fntx_sessions.lifecycle.reads.sessions import get_session, list_sessions
from fntx_sessions.schemas import Hold, SessionType, Trigger
from fntx_sessions.security import scope
from fntx_sessions.security.actor import Actor, system_actor
from fntx_sessions.security.roles import (
    BACKTEST,
    OPEN_BY_HAND,
    RAISE_RISK_LIMIT,
    RECOVER_FROM_ERROR,
    RELEASE_HALT,
    VIEW,
    authorize,
)
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
    """Who may not do something learns it as the command's outcome, and the session's audit tells."""
    session_id = started(desk)
    command_id = uuid4()
    outcome = execute.command(desk, Trigger.PAUSE, VIEWER, HoldArguments(session_id=session_id), command_id)
    assert outcome.state == "refused"
    assert outcome.error["error"] == "Forbidden"
    with desk.engine.connect() as connection:
        query = "SELECT actor, outcome FROM audit WHERE command_id = %s"
        assert connection.exec_driver_sql(query, (command_id,)).one() == ("vic", "denied")


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


def scoped(*roles, **scope):
    return Actor("sam", frozenset(roles), **{name: frozenset(held) for name, held in scope.items()})


def retagged(desk, session_id, *tags):
    with desk.engine.begin() as connection:
        connection.execute(
            text("UPDATE sessions SET tags = CAST(:tags AS text[]) WHERE session_id = :id"),
            {"tags": list(tags), "id": session_id},
        )


def template_of(desk, session_id):
    return get_session(*desk.parts(), session_id).template_name


def paused_by(desk, actor, session_id):
    arguments = HoldArguments(session_id=session_id, reason="x")
    return execute.command(desk, Trigger.PAUSE, actor, arguments, uuid4())


@pytest.mark.parametrize("by", ["template", "tag", "id"])
def test_a_token_is_good_for_what_is_in_any_of_its_scopes(desk, by):
    """By template, by tag or by id: that session answers, another is denied, and that is audited."""
    mine, other = created(desk), created(desk)
    retagged(desk, mine, "mine")
    name = template_of(desk, mine)
    actor = {
        "template": scoped("operator", templates=[name]),
        "tag": scoped("operator", tags=["mine", "more"]),
        "id": scoped("operator", sessions=[str(mine)], tags=["elsewhere"]),
    }[by]
    # Not Forbidden: the scope is right, whatever the state table says to a session that was not started.
    assert (paused_by(desk, actor, mine).error or {}).get("error") != "Forbidden"
    outside = scoped("operator", templates=["another"]) if by == "template" else actor
    refused = paused_by(desk, outside, other)
    assert (refused.state, refused.error["error"]) == ("refused", "Forbidden")
    assert "a token whose scope holds that session" in refused.error["message"]
    assert audited(desk, other)[-1] == ("pause_session", "denied", "sam")


def audited(desk, session_id):
    with desk.engine.connect() as connection:
        sql = "SELECT action, outcome, actor FROM audit WHERE session_id = :id ORDER BY seq"
        return [tuple(row) for row in connection.execute(text(sql), {"id": session_id})]


def test_a_tag_that_goes_while_one_asks_takes_the_right_with_it(desk):
    """Looked up in scope and no longer there under the lock: refused. Tags count as they are when it is done."""
    mine = created(desk)
    retagged(desk, mine, "mine")
    actor = scope.admitted(desk.engine, scoped("operator", tags=["mine"]), mine)
    assert actor.reaches(mine)
    retagged(desk, mine)
    refused = paused_by(desk, actor, mine)
    assert (refused.state, refused.error["error"]) == ("refused", "Forbidden")


def test_what_was_not_looked_up_is_in_no_scope():
    """A path that forgets to look a session up refuses: it never lets through."""
    actor = scoped("admin", templates=["iron"], tags=["mine"])
    for session_id in (uuid4(), None):
        with pytest.raises(Forbidden):
            authorize(actor, VIEW, session_id)


def test_lists_show_what_is_in_scope(desk):
    """The list and the board of a token with a scope hold its sessions and no other; a foreign id in it finds none."""
    mine, other = created(desk), created(desk)
    retagged(desk, mine, "mine")
    actor = scoped("viewer", tags=["mine"], sessions=["no id at all"])
    assert [one.session_id for one in list_sessions(desk.engine, ListArguments(), actor)] == [mine]
    assert [row.session_id for row in read_board(desk, BoardQuery(), actor).rows] == [mine]
    assert scope.sessions_in(desk.engine, actor) == [mine]
    assert {one.session_id for one in list_sessions(desk.engine, ListArguments())} == {mine, other}
    assert list_sessions(desk.engine, ListArguments(), scoped("viewer", templates=["none"])) == []


def test_a_bulk_run_of_a_scoped_token_stays_in_its_scope(desk):
    """What a selector means is what is in scope; a run of nothing in scope is none, and never one of everything."""
    mine, other = created(desk), created(desk)
    retagged(desk, mine, "mine")
    actor = scoped("operator", tags=["mine"])

    def run(**selector):
        return bulk.begin(
            desk.engine, actor,
            bulk.BulkRequest(bulk_id=uuid4(), action="stop", selector=bulk.Selector(**selector), reason="x"),
        )  # fmt: skip

    begun = run(session_type=SessionType.PAPER_TRADING)
    assert [item.session_id for item in bulk.report(desk.engine, begun, actor=actor).items] == [mine]
    bulk.advance(desk, begun)
    assert bulk.report(desk.engine, begun, actor=actor).items[0].state != "refused"
    with pytest.raises(Forbidden):
        run(session_ids=[other])
    with pytest.raises(NotFound):
        run(session_type=SessionType.BACKTEST)


def test_a_token_for_a_template_makes_sessions_of_it_and_no_other(desk):
    """Creations of a template in scope are done; of another, and with a scope of tags alone, refused."""
    name = template_of(desk, created(desk))
    arguments = CreateArguments(session_type=SessionType.PAPER_TRADING)
    made = execute.create(desk, scoped("service", templates=[name]), arguments, uuid4())
    assert made.state == "done"
    for actor in (scoped("service", templates=["another"]), scoped("service", tags=["mine"])):
        with pytest.raises(Forbidden, match="scope holds that template"):
            execute.create(desk, actor, arguments, uuid4())


def denied_creation(desk, actor, template, **asked):
    """Return the denial's words; nothing was made, and no account."""
    arguments = CreateFromTemplateArguments(template_name=template, overrides=asked)
    with pytest.raises(Forbidden) as told:
        execute.create_from_template(desk, actor, arguments, uuid4())
    return str(told.value)


def test_a_token_for_a_template_makes_no_session_on_others_accounts(desk):
    """An account is its new session's own, its template's, or one its sessions use; others are denied, there or not."""
    name = template_of(desk, created(desk))
    scoped_to_it = scoped("operator", templates=[name])
    foreign, shared_account = f"acc-{uuid4().hex[:8]}", f"acc-{uuid4().hex[:8]}"
    for template, account in (("Extended Hours", foreign), (name, shared_account)):
        arguments = CreateFromTemplateArguments(template_name=template, overrides={"config": {"account": account}})
        execute.create_from_template(desk, OPERATOR, arguments, uuid4()).raise_for_refusal()
    missing = f"acc-{uuid4().hex[:8]}"
    told = {
        denied_creation(desk, scoped_to_it, name, config={"account": one}).replace(one, "ACCOUNT")
        for one in (foreign, missing)
    }
    assert len(told) == 1
    assert "create_session on account ACCOUNT" in told.pop()
    assert has_account(desk, foreign)
    assert not has_account(desk, missing)
    for given in ({}, {"account": shared_account}):
        arguments = CreateFromTemplateArguments(template_name=name, overrides={"config": given})
        assert execute.create_from_template(desk, scoped_to_it, arguments, uuid4()).state == "done"


def test_a_token_for_a_template_may_trade_on_its_templates_account(desk, monkeypatch):
    """Which account that is, nobody with a scope decides: no such token edits a template."""
    template = execute._template(desk, template_of(desk, created(desk)))
    account = f"acc-{uuid4().hex[:8]}"
    named = template.model_copy(update={"default_config": template.default_config | {"account": account}})
    monkeypatch.setattr(execute, "_template", lambda _desk, _name: named)
    actor = scoped("operator", templates=[template.template_name])
    arguments = CreateArguments(session_type=SessionType.PAPER_TRADING)
    assert execute.create(desk, actor, arguments, uuid4()).state == "done"
    assert has_account(desk, account)


def has_account(desk, account_id):
    with desk.engine.connect() as connection:
        return bool(
            connection.execute(text("SELECT 1 FROM accounts WHERE account_id = :id"), {"id": account_id}).first()
        )


def test_an_account_named_like_that_of_a_session_to_come_is_not_its_own(desk):
    """Whoever chooses a new session's id gets no account by it that somebody else trades on."""
    session_id = uuid4()
    config = {"config": {"account": f"paper:{session_id}"}}
    arguments = CreateFromTemplateArguments(template_name="Extended Hours", overrides=config)
    execute.create_from_template(desk, OPERATOR, arguments, uuid4()).raise_for_refusal()
    wanted = CreateArguments(session_type=SessionType.PAPER_TRADING, session_id=session_id)
    with pytest.raises(Forbidden, match="on account"):
        execute.create(desk, scoped("operator", templates=[template_of(desk, created(desk))]), wanted, uuid4())


def test_a_token_for_a_template_names_only_a_parent_of_its_own(desk):
    """A foreign parent and one there is not are denied in the same words; one in scope is taken."""
    mine = created(desk)
    name = template_of(desk, mine)
    arguments = CreateFromTemplateArguments(template_name="Extended Hours")
    foreign = execute.create_from_template(desk, OPERATOR, arguments, uuid4()).raise_for_refusal().session_id
    actor, told = scoped("operator", templates=[name]), set()
    for parent in (foreign, uuid4()):
        arguments = CreateArguments(session_type=SessionType.PAPER_TRADING, parent_session_id=parent)
        with pytest.raises(Forbidden) as denied:
            execute.create(desk, actor, arguments, uuid4())
        told.add(str(denied.value).replace(str(parent), "PARENT"))
    assert len(told) == 1
    arguments = CreateArguments(session_type=SessionType.PAPER_TRADING, parent_session_id=mine)
    assert execute.create(desk, actor, arguments, uuid4()).state == "done"


def test_letting_go_of_what_retention_keeps_is_no_pin_in_the_audit(desk):
    """The audit tells pinning from unpinning, the session from a checkpoint, of what was denied and refused too."""
    session_id, checkpoint_id = created(desk), uuid4()
    for actor, more in (
        (OPERATOR, {"pinned": True}),
        (OPERATOR, {"pinned": False}),
        (VIEWER, {"pinned": False}),
        (OPERATOR, {"pinned": False, "checkpoint_id": checkpoint_id}),
    ):
        execute.command(desk, Trigger.PIN, actor, PinArguments(session_id=session_id, **more), uuid4())
    with desk.engine.connect() as connection:
        sql = text("SELECT outcome, target FROM audit WHERE session_id = :id AND action = 'pin_session' ORDER BY seq")
        found = [tuple(row) for row in connection.execute(sql, {"id": session_id})]
    assert found == [
        ("done", "pin session"),
        ("done", "unpin session"),
        ("denied", "unpin session"),
        ("refused", f"unpin checkpoint {checkpoint_id}"),
    ]


def test_a_service_runs_sessions_and_answers_for_nothing(desk):
    """Another service starts and stops; it recovers nothing from ERROR, opens nothing by hand, raises no limit."""
    service = Actor("svc", frozenset({"service"}))
    for action in (Trigger.START, Trigger.STOP, Trigger.RESUME, Trigger.CHECKPOINT, BACKTEST):
        authorize(service, action)
    for action in (RECOVER_FROM_ERROR, OPEN_BY_HAND, RAISE_RISK_LIMIT, RELEASE_HALT, Trigger.DECIDE, Trigger.ACCEPT):
        with pytest.raises(Forbidden):
            authorize(service, action)
