"""Who may do what."""

import ast
from pathlib import Path
from uuid import uuid4

import pytest

from fntx_sessions.exceptions import Forbidden
from fntx_sessions.schemas import Trigger
from fntx_sessions.security import roles
from fntx_sessions.security.actor import Actor, system_actor


def may(role: str, action: str) -> bool:
    try:
        roles.authorize(Actor("someone", frozenset({role})), action)
    except Forbidden:
        return False
    return True


def test_every_trigger_has_its_row():
    """No command is left to nobody or everybody by forgetting it."""
    assert set(Trigger) <= set(roles.ALLOWED)
    assert all(needed <= roles.ROLES for needed in roles.ALLOWED.values())


@pytest.mark.parametrize("role", sorted(roles.ROLES - {roles.VIEWER, roles.AGENT}))
@pytest.mark.parametrize("action", [Trigger.STOP, Trigger.PAUSE])
def test_whoever_runs_the_desk_may_always_end_risk(role, action):
    """A stop and a pause are never a question of rank."""
    assert may(role, action)


@pytest.mark.parametrize("action", sorted(set(roles.ALLOWED) - {roles.VIEW}))
def test_a_viewer_only_views(action):
    """Nothing but `view` is a viewer's."""
    assert may(roles.VIEWER, roles.VIEW)
    assert not may(roles.VIEWER, action)


@pytest.mark.parametrize("action", [roles.RAISE_RISK_LIMIT, roles.CLEAR_LATCH])
def test_more_risk_is_never_taken_by_who_trades(action):
    """Only risk and the administrator raise a limit or clear a latch; neither the operator nor the system may."""
    allowed = {role for role in roles.ROLES if may(role, action)}
    assert allowed == {roles.RISK_MANAGER, roles.ADMIN}


def test_recovery_from_error_is_a_persons():
    """The system recovers what failed, but not what is in ERROR."""
    assert may(roles.SYSTEM, Trigger.RECOVER)
    assert not may(roles.SYSTEM, roles.RECOVER_FROM_ERROR)


def test_an_unknown_action_is_nobodys():
    """What the table does not name is refused, to the administrator too."""
    assert not may(roles.ADMIN, "make_coffee")


def test_the_refusal_names_who_and_what_is_needed():
    """The error says who asked, with which roles, for what, and who may."""
    with pytest.raises(Forbidden) as refused:
        roles.authorize(Actor("eve", frozenset({"viewer", "agent"})), Trigger.START)
    assert (
        str(refused.value)
        == "eve (roles agent,viewer) may not start_session: that needs admin or operator or service or system."
    )


def test_a_scoped_token_ends_at_its_scope():
    """With a scope, other sessions are refused, and so is what names none."""
    mine, other = uuid4(), uuid4()
    actor = Actor("op", frozenset({"operator"}), sessions=frozenset({str(mine)}))
    roles.authorize(actor, Trigger.PAUSE, mine)
    for refused in (other, None):
        with pytest.raises(Forbidden, match="scope"):
            roles.authorize(actor, Trigger.PAUSE, refused)


def test_the_system_says_where_it_runs():
    """A sweep's actor carries its host."""
    assert system_actor("w1") == Actor("system", frozenset({"system"}), host="w1")


def test_every_action_is_asked_for_somewhere():
    """A row of the table that nothing looks up promises what nobody keeps. An import alone is no question."""
    house = Path(roles.__file__).parents[1]
    told = ("security/roles.py", "security/roles_doc.py", "security/four_eyes.py", "lifecycle/transitions.py")
    files = [*house.rglob("*.py"), *(house.parent / "tasks").rglob("*.py")]
    nodes = [node for path in files if not str(path).endswith(told) for node in ast.walk(ast.parse(path.read_text()))]
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    used |= {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
    names = {value: name for name, value in vars(roles).items() if isinstance(value, str) and name.isupper()}
    asked = {one: f"Trigger.{one.name}" if isinstance(one, Trigger) else names[one] for one in roles.ALLOWED}
    assert [name for name in asked.values() if not used & {name, f"roles.{name}"}] == []
