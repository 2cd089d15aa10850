"""Postgres itself says no: to a status the table does not know, to a counter that goes back, to a changed history."""

import re

import pytest
from lifecycle_harness import S, T, World
from psycopg2 import errors
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from fntx_sessions.database.guards import STATUS_GUARD_FUNCTION, append_only_sql, status_guard_sql
from fntx_sessions.lifecycle.transitions import status_pairs

MOVES = [(source, to) for source in S for to in S if source != to]


@pytest.fixture(scope="module")
def world(module_database_url):
    made = World.over(module_database_url)
    yield made
    made.close()


def refused(world, sql, **bound) -> tuple[str, str]:
    """Return the SQLSTATE and sentence a statement is refused with."""
    with pytest.raises(DBAPIError) as caught:
        world.execute(sql, **bound)
    return caught.value.orig.pgcode, str(caught.value.orig)


def move(status: str, version: str = "version + 1") -> str:
    """Return a raw UPDATE that leaves every other rule of the row as it should be."""
    ended = "now()" if status == S.CLOSED else "NULL"
    return f"UPDATE sessions SET status = '{status}', version = {version}, ended_at = {ended} WHERE session_id = :id"


@pytest.mark.parametrize(("source", "to"), MOVES)
def test_a_raw_update_may_do_only_what_the_table_allows(world, source, to):
    """Whoever writes it, past the machine too."""
    session_id = world.in_status(source)
    if (source, to) in status_pairs():
        world.execute(move(to), id=session_id)
        assert world.row(session_id)["status"] == to
    else:
        code, sentence = refused(world, move(to), id=session_id)
        assert code == "FX001"
        assert f"{source} -> {to} is not in the state table" in sentence
        assert world.row(session_id)["status"] == source


def test_a_change_of_status_raises_the_version(world):
    """A move under the old version is refused."""
    session_id = world.in_status(S.ACTIVE)
    code, sentence = refused(world, move(S.PAUSED, version="version"), id=session_id)
    assert (code, "raises the version" in sentence) == ("FX001", True)


@pytest.mark.parametrize("counter", ["version", "epoch"])
def test_counters_never_go_back(world, counter):
    """Neither the version nor the fence."""
    session_id = world.in_status(S.ACTIVE)
    code, sentence = refused(
        world, f"UPDATE sessions SET {counter} = {counter} - 1 WHERE session_id = :id", id=session_id
    )
    assert (code, "never go back" in sentence) == ("FX001", True)


@pytest.mark.parametrize("status", [status for status in S if status is not S.INITIALIZING])
def test_a_session_begins_as_initializing(world, status):
    """No row is inserted in another status."""
    session_id = world.create()
    columns = [name for name in world.row(session_id) if name not in ("session_id", "status", "ended_at")]
    listed = ", ".join(columns)
    ended = "now()" if status is S.CLOSED else "NULL"
    insert = (
        f"INSERT INTO sessions (session_id, status, ended_at, {listed})"
        f" SELECT gen_random_uuid(), '{status}', {ended}, {listed} FROM sessions WHERE session_id = :id"
    )
    code, sentence = refused(world, insert, id=session_id)
    assert code == "FX001"
    assert f"not as {status}" in sentence


@pytest.mark.parametrize("table", ["audit", "transitions"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET reason = 'other'", "DELETE FROM {}", "TRUNCATE {}"])
def test_history_is_append_only(world, table, verb):
    """No row of it is changed, deleted or truncated away."""
    session_id = world.in_status(S.PAUSED)
    before = world.rows(f"SELECT * FROM {table} WHERE session_id = :id", id=session_id)
    code, sentence = refused(world, verb.format(table))
    assert (code, f"{table} is append-only" in sentence) == ("FX002", True)
    assert world.rows(f"SELECT * FROM {table} WHERE session_id = :id", id=session_id) == before


def test_the_installed_guard_is_what_the_table_generates_today(world):
    """A changed table without a migration that installs its guard is caught here."""
    stored = world.rows("SELECT prosrc FROM pg_proc WHERE proname = :name", name=STATUS_GUARD_FUNCTION)[0]["prosrc"]
    assert stored.strip() == _body(status_guard_sql()[0])
    changes = world.rows("SELECT prosrc FROM pg_proc WHERE proname = 'fntx_refuse_change'")[0]["prosrc"]
    assert changes.strip() == _body(append_only_sql("audit")[0])


def _body(create_function: str) -> str:
    return re.search(r"\$\$(.*)\$\$", create_function, re.DOTALL)[1].strip()


def test_the_guards_are_switched_on(world):
    """Every trigger is there and enabled."""
    found = world.rows(
        "SELECT tgrelid::regclass::text AS on_table, tgname, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal"
    )
    assert {(row["on_table"], row["tgname"]) for row in found} >= {
        ("sessions", "guard_status"),
        *((table, name) for table in ("audit", "transitions") for name in ("append_only", "append_only_truncate")),
    }
    assert {row["tgenabled"] for row in found} == {"O"}


def test_an_account_index_says_no_to_a_raw_second_start(world):
    """Two started sessions on one exclusive account cannot be stored, whoever writes."""
    first = world.in_status(S.ACTIVE, config={"account": "raw-desk"})
    second = world.create(config={"account": "raw-desk"})
    with pytest.raises(DBAPIError) as caught:
        world.execute("UPDATE sessions SET started_at = now() WHERE session_id = :id", id=second)
    assert isinstance(caught.value.orig, errors.UniqueViolation)
    world.do(T.STOP, first)
    world.do(T.FINALIZE, first)
    world.execute("UPDATE sessions SET started_at = now() WHERE session_id = :id", id=second)


def test_holds_are_the_four_we_know(world):
    """Another word is refused."""
    session_id = world.create()
    with world.engine.connect() as connection, pytest.raises(DBAPIError, match="ck_sessions_holds_known"):
        connection.execute(text("UPDATE sessions SET holds = '{whim}' WHERE session_id = :id"), {"id": session_id})
