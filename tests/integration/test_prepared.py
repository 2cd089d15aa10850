"""The machine's messages keep their plans; what makes a kept plan unfit costs a round trip more, never a command."""

import pytest
from lifecycle_harness import ANN, S, T, World
from sqlalchemy import create_engine, event, text

from fntx_sessions.database.prepared import Prepared
from fntx_sessions.exceptions import Busy
from fntx_sessions.lifecycle import commands, machine
from fntx_sessions.lifecycle.change import Ask


@pytest.fixture
def world(database_url):
    made = World.over(database_url, db_pool_size=1)
    yield made
    made.close()


def sent_by(world, act) -> list[str]:
    """Return how each message began that `act` sent."""
    messages = []

    def note(_connection, _cursor, statement, *_):
        messages.append(statement.split("(")[0][:60])

    event.listen(world.engine, "before_cursor_execute", note)
    try:
        act()
    finally:
        event.remove(world.engine, "before_cursor_execute", note)
    return messages


def move(world, session_id, trigger) -> S:
    return machine.run(world.engine, Ask(trigger, session_id, ANN, "why"), commands.DECISIONS[trigger]).status


def test_a_command_takes_two_round_trips_once_its_connection_has_prepared(world):
    """Planned once a connection: from then on the first message looks, the second writes and commits."""
    session_id = world.in_status(S.ACTIVE)
    move(world, session_id, T.PAUSE)
    messages = sent_by(world, lambda: move(world, session_id, T.RESUME))
    assert len(messages) == 2
    assert messages[1].startswith("EXECUTE fntx_write_commit")


def test_a_migration_under_a_living_connection_fails_no_command(world):
    """A column added to `sessions` makes the kept plan of its facts unfit."""
    session_id = world.in_status(S.ACTIVE)
    move(world, session_id, T.PAUSE)
    world.execute("ALTER TABLE sessions ADD COLUMN later integer")
    assert move(world, session_id, T.RESUME) is S.ACTIVE
    assert move(world, session_id, T.PAUSE) is S.PAUSED


@pytest.mark.parametrize("message", ["BEGIN", "EXECUTE fntx_write_commit"])
def test_a_connection_that_forgot_what_was_prepared_fails_no_command(world, message):
    """A pooler may hand a client another server connection, before a command or in the middle of it."""
    session_id = world.in_status(S.ACTIVE)
    move(world, session_id, T.PAUSE)
    forgotten = []

    def forget(connection, _cursor, statement, *_):
        if statement.startswith(message) and not forgotten:
            forgotten.append(statement)
            connection.connection.cursor().execute("DEALLOCATE ALL")

    event.listen(world.engine, "before_cursor_execute", forget)
    assert move(world, session_id, T.RESUME) is S.ACTIVE
    assert forgotten
    assert move(world, session_id, T.PAUSE) is S.PAUSED
    assert [row["to_status"] for row in world.rows("SELECT to_status FROM transitions ORDER BY version")] == [
        "initializing", "active", "paused", "active", "paused"
    ]  # fmt: skip


def test_preparing_that_ended_half_way_fails_no_later_command(world):
    """A table that is locked while a connection prepares: that command is Busy, the next ones on it are done."""
    session_id = world.in_status(S.ACTIVE)
    world.engine.dispose()  # so that a connection prepares anew
    with create_engine(world.settings.database_url.get_secret_value()).connect() as other:
        other.execute(text("LOCK TABLE session_agents IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(Busy):
            move(world, session_id, T.PAUSE)
    assert move(world, session_id, T.PAUSE) is S.PAUSED
    assert move(world, session_id, T.RESUME) is S.ACTIVE


def test_a_parameter_without_a_type_is_refused_at_once():
    """At import, not when the first command comes."""
    with pytest.raises(KeyError, match="nobody"):
        Prepared("some", text("SELECT :nobody"), {})
