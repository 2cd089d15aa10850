"""Free-form payloads in Postgres: sealed, bound to their row, readable by the service alone."""

from uuid import UUID, uuid4

import pytest
from lifecycle_harness import World
from sqlalchemy import text

from fntx_sessions.exceptions import IntegrityError, NotFound
from fntx_sessions.lifecycle import commands, machine
from fntx_sessions.lifecycle.change import Ask, Change
from fntx_sessions.lifecycle.reads import history
from fntx_sessions.schemas import SessionStatus as S
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.actor import system_actor
from fntx_sessions.settings import get_settings
from fntx_sessions.state import payloads as module
from fntx_sessions.state.payloads import EVENT, Payloads

SECRET = "iron condor at the 4 o'clock print"
TOLD = {
    "event_type": "note", "event_category": "lifecycle", "severity": "info", "description": "noted",
    "data": {"why": SECRET},
}  # fmt: skip


@pytest.fixture
def world(database_url):
    made = World.over(database_url)
    yield made
    made.close()


def note(_row, _ask):
    """Decide to write the event, and to answer with free text."""
    return [Change(events=(TOLD,), extra={"said": SECRET})]


@pytest.fixture
def noted(world: World) -> Ask:
    """A session with an event and a command that carry free text."""
    session_id = world.in_status(S.ACTIVE)
    ask = Ask(Trigger.UPDATE, session_id, system_actor("test"), arguments={"note": SECRET})
    machine.run(world.engine, ask, note)
    return ask


def stored(world: World) -> bytes:
    """Return every byte of the columns that hold payloads."""
    found = world.rows("SELECT data FROM events") + world.rows("SELECT arguments, outcome FROM commands")
    return b"".join(bytes(value) for row in found for value in row.values() if value is not None)


def test_no_payload_lies_open_in_a_table(world, noted):
    """What a command says, answers and tells is nowhere to be read in Postgres, and reads back word for word."""
    assert SECRET.encode() not in stored(world)
    assert b"session_id" not in stored(world)
    event = history.get_events(world.engine, noted.session_id, 10)[-1]
    assert event.data == {"why": SECRET}
    assert history.get_outcome(world.engine, noted.command_id).extra == {"said": SECRET}


def test_a_payload_put_into_another_row_does_not_open(world, noted):
    """Data is bound to its event: moved to another one it is said to be unreadable, and the event is still shown."""
    machine.run(
        world.engine,
        Ask(Trigger.UPDATE, noted.session_id, system_actor("test")),
        note,
    )
    newest = "SELECT event_id FROM events WHERE event_type = 'note' ORDER BY timestamp DESC LIMIT 1"
    other = "SELECT data FROM events WHERE event_type = 'note' ORDER BY timestamp LIMIT 1"
    with world.engine.begin() as connection:
        connection.execute(text(f"UPDATE events SET data = ({other}) WHERE event_id = ({newest})"))
    *_, first, moved = history.get_events(world.engine, noted.session_id, 10)
    assert first.data == {"why": SECRET}
    assert moved.data.keys() == {"unreadable"}


def test_a_command_for_no_session_is_sealed_by_the_desk(world):
    """A refusal that found no session makes no key for it, and is answered again all the same."""
    ask = Ask(Trigger.PAUSE, uuid4(), system_actor("test"))
    refused = machine.run(world.engine, ask, commands.DECISIONS[Trigger.PAUSE])
    assert machine.run(world.engine, ask, commands.DECISIONS[Trigger.PAUSE]).error == refused.error
    assert history.get_outcome(world.engine, ask.command_id).error == refused.error
    keyed = {row["session_id"] for row in world.rows("SELECT session_id FROM session_keys")}
    assert ask.session_id not in keyed
    with pytest.raises(NotFound):
        history.get_outcome(world.engine, uuid4())


def test_what_was_written_before_payloads_were_sealed_is_read_only_where_a_setting_says_so(world, monkeypatch):
    """Plain JSON is refused, so that nobody slips some in, unless FNTX_ACCEPT_UNSEALED is set."""
    owner, event_id, plain = world.in_status(S.ACTIVE), uuid4(), b'{"why": "long ago"}'
    with pytest.raises(IntegrityError):
        Payloads(world.engine).open(owner, EVENT, event_id, plain)
    unsealed = get_settings().model_copy(update={"accept_unsealed": True})
    monkeypatch.setattr(module, "get_settings", lambda: unsealed)
    assert Payloads(world.engine).open(owner, EVENT, event_id, plain) == {"why": "long ago"}


def test_none_is_nothing():
    """An empty payload takes no bytes and reads as an empty dict."""
    assert Payloads.open(None, UUID(int=1), EVENT, UUID(int=2), None) == {}
