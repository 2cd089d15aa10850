"""What a caller may never do is refused without a store once they are beyond their allowance: counted, and rightly."""

from types import SimpleNamespace
from uuid import uuid4

import pytest

from fntx_sessions.security import roles
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.denials import allowance
from fntx_sessions.settings import get_settings
from tasks import denied, needed, second
from tasks.celery import app

MINE, OTHER = str(uuid4()), str(uuid4())
VIC = Actor("vic", frozenset({"viewer"}))
SAM = Actor("sam", frozenset({"operator"}), sessions=frozenset({MINE}))


@pytest.fixture
def counted(monkeypatch):
    """Three denials a minute have a row, and the minute does not end; returns what was counted."""
    monkeypatch.setenv("FNTX_AUDIT_DENIALS_PER_MINUTE", "3")
    get_settings.cache_clear()
    monkeypatch.setattr("time.time", lambda: 6e9)
    monkeypatch.setattr(denied, "count_denied", lambda actor: allowance.count(actor.name))
    allowance.forget()
    yield lambda: {name: number for (_, name), number in allowance.counted(whole=True).items()}
    allowance.forget()
    get_settings.cache_clear()


def refused(actor, task, **kwargs):
    message = SimpleNamespace(headers={"task": task, "id": str(uuid4())})
    try:
        denied.refuse_denied(actor, message, app, kwargs)
    except denied.DeniedMessage:
        return True
    return False


def test_beyond_the_allowance_each_denial_is_refused_here_and_counted_once(counted):
    """As many as may have a row are passed on to who writes them; with those the count is the number that came."""
    assert [refused(VIC, "fntx.sessions.stop", session_id=MINE) for _ in range(10)] == [False] * 3 + [True] * 7
    assert counted() == {"vic": 7}


def test_what_may_be_allowed_is_passed_on_however_many_were_denied(counted):
    """Who is beyond the allowance still does what they may; what only a store can tell is judged by the pool."""
    for task in ["fntx.sessions.stop", "fntx.sessions.get", "fntx.sweeps.relay"] * 2:
        refused(SAM, task, session_id=OTHER)
    by_tag = Actor("sam", SAM.roles, sessions=SAM.sessions, tags=frozenset({"spx"}))
    assert refused(SAM, "fntx.sessions.stop", session_id=OTHER)
    assert refused(SAM, "fntx.sessions.get", session_id=OTHER)
    assert refused(SAM, "fntx.sweeps.relay")
    assert not refused(SAM, "fntx.sessions.stop", session_id=MINE)
    assert not refused(SAM, "fntx.sessions.stop", session_id="no id")
    assert not refused(SAM, "fntx.sessions.list")
    assert not refused(by_tag, "fntx.sessions.stop", session_id=OTHER)
    assert not refused(VIC, "fntx.sessions.get", session_id=OTHER)
    assert counted() == {"sam": 6}


def test_the_first_of_each_task_is_passed_on_whatever_came_before(counted):
    """Harmless denials by the thousand take no row from a grave one."""
    for _ in range(10):
        refused(VIC, "fntx.sessions.stop", session_id=MINE)
    assert [refused(VIC, "fntx.sessions.shred", session_id=MINE) for _ in range(3)] == [False, True, True]


def test_every_command_says_what_it_takes():
    """None is left out, none is there no more, and each action is one of the table of roles."""
    app.loader.import_default_modules()
    ours = {name.removeprefix("fntx.") for name in second._commands if not name.startswith("fntx.unit.")}
    assert set(needed.COMMANDS) == ours
    assert {action for actions in needed.COMMANDS.values() for action in actions} <= set(map(str, roles.ALLOWED))
    questions = [name for name in app.tasks if name.startswith("fntx.") and name not in second._commands]
    assert {action for name in questions for action in needed.needed(name)} == {roles.VIEW, roles.SWEEP}
