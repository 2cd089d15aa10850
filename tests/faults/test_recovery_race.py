"""Two workers at one recovery: the sweep for pending work may take up a command that its first worker still does."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from hosting import Hosting, S, T, make_hosting

from fntx_sessions.lifecycle.recovery import run
from fntx_sessions.settings import Settings
from fntx_sessions.testing import FailpointReached, failpoints_armed


@pytest.fixture
def hosting(settings: Settings) -> Iterator[Hosting]:
    with make_hosting(settings) as made:
        yield made


def test_a_newer_attempt_that_is_under_way_answers_the_command(hosting, monkeypatch):
    """The attempt that lost neither refuses the command nor calls a person: the newer one ends it in PAUSED."""
    session_id = hosting.started()
    hosting.do(T.SUSPEND, session_id)
    command_id, settle, once = uuid4(), run.settle_with, []

    def overtaken(*args):
        found = settle(*args)
        if not once:
            once.append(True)
            with failpoints_armed("recovery.restored:raise"), pytest.raises(FailpointReached):
                hosting.ask(T.RECOVER, session_id, command_id=command_id)
        return found

    monkeypatch.setattr(run, "settle_with", overtaken)
    lost = hosting.ask(T.RECOVER, session_id, command_id=command_id)
    row = hosting.row(session_id)
    assert (lost.state, row["status"], row["requires_action"]) == ("pending", S.SUSPENDED, None)
    assert hosting.finish() == {"recover_done": 1}
    assert (hosting.row(session_id)["status"], hosting.row(session_id)["requires_action"]) == (S.PAUSED, None)
    assert hosting.ask(T.RECOVER, session_id, command_id=command_id).state == "done"
