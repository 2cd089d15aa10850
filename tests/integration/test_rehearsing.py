"""A rehearsal says what the command itself says a moment later, and leaves nothing behind."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hosting import ANN, SYSTEM, Hosting, T, make_hosting, shared

from fntx_sessions.automation import halts
from fntx_sessions.automation.halt_arguments import HaltArguments
from fntx_sessions.exceptions import Forbidden, NotFound
from fntx_sessions.lifecycle.change import Ask
from fntx_sessions.lifecycle.rehearsing import Rehearsal, rehearse
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.actor import Actor

ROOT = Actor("root", frozenset({"admin"}))
TRIGGERS = (T.START, T.PAUSE, T.RESUME, T.SUSPEND, T.STOP, T.RECOVER, T.CHECKPOINT, T.ACCEPT)
MORE: dict[Trigger, dict[str, Any]] = {T.RECOVER: {}, T.ACCEPT: {"reason": "seen"}}


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def stepped(hosting: Hosting) -> UUID:
    session_id = hosting.started()
    hosting.step()
    return session_id


def moved(trigger: Trigger, **more: Any) -> Callable[[Hosting], UUID]:
    def make(hosting: Hosting) -> UUID:
        session_id = stepped(hosting)
        hosting.do(trigger, session_id, **more)
        return session_id

    return make


def closed(hosting: Hosting) -> UUID:
    session_id = moved(T.STOP)(hosting)
    hosting.finish()
    return session_id


def halted(hosting: Hosting) -> UUID:
    session_id = hosting.create()
    halts.place(hosting.desk, ANN, HaltArguments(scope=f"session:{session_id}", reason="drill"), uuid4())
    return session_id


def needing_somebody(hosting: Hosting) -> UUID:
    session_id = moved(T.PAUSE)(hosting)
    hosting.run("UPDATE sessions SET requires_action = 'call the broker' WHERE session_id = :id", id=session_id)
    return session_id


MAKERS: dict[str, Callable[[Hosting], UUID]] = {
    "new": lambda hosting: hosting.create(),
    "active": stepped,
    "paused": moved(T.PAUSE),
    "suspended": moved(T.SUSPEND),
    "error": moved(T.FAIL, actor=ROOT, reason="it failed"),
    "closing": moved(T.STOP),
    "closed": closed,
    "halted": halted,
    "needing somebody": needing_somebody,
}


def rehearsed(hosting: Hosting, trigger: Trigger, session_id: UUID, actor: Actor = ANN) -> Rehearsal:
    own = {name: value for name, value in MORE.get(trigger, {}).items() if name != "reason"}
    return rehearse(hosting.desk.engine, Ask(trigger, session_id, actor, "seen", uuid4(), own))


def traces(hosting: Hosting, session_id: UUID) -> list[Any]:
    row = hosting.row(session_id)
    counted = """
    SELECT (SELECT count(*) FROM commands) AS commands, (SELECT count(*) FROM audit) AS audit,
      (SELECT count(*) FROM events) AS events
    """
    return [row["version"], row["audit_seq"], row["status"], *hosting.rows(counted)]


@pytest.mark.parametrize("state", MAKERS)
def test_what_is_rehearsed_is_what_happens(hosting, state):
    """Refused in the same words, or done; and before that nothing was written."""
    session_id = MAKERS[state](hosting)
    for trigger in TRIGGERS:
        before = traces(hosting, session_id)
        found = rehearsed(hosting, trigger, session_id)
        assert traces(hosting, session_id) == before
        asked = session_id if found.refused else MAKERS[state](hosting)
        outcome = hosting.ask(trigger, asked, **MORE.get(trigger, {}))
        if found.refused:
            assert outcome.error, trigger
            assert outcome.error["message"] == str(found.refused), trigger
        else:
            assert outcome.state in ("done", "pending"), (trigger, outcome.error)


def test_who_may_not_is_refused_before_anything_else(hosting):
    """As the command would be."""
    session_id = stepped(hosting)
    refused = rehearsed(hosting, T.PAUSE, session_id, Actor("vic", frozenset({"viewer"}))).refused
    assert isinstance(refused, Forbidden)
    with pytest.raises(NotFound):
        rehearsed(hosting, T.PAUSE, uuid4())


def test_what_it_would_change_is_told(hosting):
    """The status it would have, what is held, and the warnings of the answer."""
    session_id = hosting.holding(hosting.started())
    found = rehearsed(hosting, T.PAUSE, session_id, SYSTEM)
    assert (found.last.to_status, found.row["held"]) == ("paused", 1)
    outcome = hosting.do(T.PAUSE, session_id)
    assert found.last.extra == outcome.extra
    assert found.last.warnings == outcome.warnings
