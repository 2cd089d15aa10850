"""Memories and archives: what agents remember of a session comes back with it; its transitions are there already."""

from uuid import uuid4

import pytest
from archiving import make_desk

from fntx_sessions.memory import remembering
from fntx_sessions.memory.arguments import ListArguments, SearchArguments
from fntx_sessions.memory.slices import MemorySlice, MemoryType
from fntx_sessions.memory.systems import OwnMemory
from fntx_sessions.state import archive_build, archive_restore, archive_rows, archive_tables
from fntx_sessions.state.archive import archive_due
from fntx_sessions.state.archive_restore import restore_session


@pytest.fixture
def desk(settings):
    with make_desk(settings) as made:
        yield made


@pytest.fixture
def other(settings, postgres_server, database_template):
    """An empty, migrated database beside the same cold store and key ring."""
    with postgres_server.database(database_template) as name, make_desk(settings, postgres_server.url(name)) as made:
        yield made


def test_what_agents_remember_is_archived_and_found_again(desk, other):
    """An agent's slice is searched for where its session was restored; execution slices are not: transitions are."""
    session_id = desk.closed()
    remembering.remember_due(*desk.stores)
    memory = OwnMemory(*desk.stores)
    given = MemorySlice("learning", {"what": "puts were cheap"}, "critical", session_id=session_id, tags=["puts"])
    memory_id = memory.store("Evaluator", given, uuid4())
    kinds = {one.memory_type for one in memory.listed(ListArguments(session_id=session_id))}
    assert kinds == {MemoryType.EXECUTION, MemoryType.LEARNING}
    assert archive_due(desk.engine, desk.settings, desk.cold).archived == [session_id]
    restore_session(other.engine, other.settings, desk.cold, session_id, "ann")
    elsewhere = OwnMemory(*other.stores)
    [found] = elsewhere.search(SearchArguments(query="cheap puts"))
    assert (found.memory_id, found.slice(), found.agent) == (memory_id, memory.search(
        SearchArguments(query="cheap puts"))[0].slice(), "Evaluator")  # fmt: skip
    assert [one.memory_id for one in elsewhere.listed(ListArguments(session_id=session_id))] == [memory_id]
    assert len(other.rows("SELECT * FROM transitions")) == 4
    assert remembering.remember_due(*other.stores).claimed == 0


def test_memories_outlast_the_rows_of_their_session(desk):
    """Letting go of an archived session's rows leaves what is remembered of it in place."""
    session_id = desk.closed()
    memory = OwnMemory(*desk.stores)
    for what in ("early insight", "late insight"):
        memory.store("Evaluator", MemorySlice("learning", {"what": what}, session_id=session_id), uuid4())
        archive_due(desk.engine, desk.settings, desk.cold)
    desk.old(session_id)
    assert archive_due(desk.engine, desk.settings, desk.cold).dropped == [session_id]
    assert len(memory.search(SearchArguments(query="insight", session_id=session_id))) == 2


def test_an_archive_from_before_there_were_memories_is_restored(desk, other, monkeypatch):
    """It lacks their section, and those of other new tables: all it has comes back."""
    session_id = desk.closed()
    new = {"memories", "agent_reports", "approvals", "manual_orders"}
    old = tuple(table for table in archive_tables.TABLES if table.name not in new)
    counts = archive_tables.text(
        "SELECT "
        + ", ".join(
            f"(SELECT count(*) FROM {one.name} WHERE {archive_tables.where_of(one)}) AS {one.name}" for one in old
        )
    )
    with monkeypatch.context() as before:
        for module in (archive_build, archive_rows, archive_tables):
            before.setattr(module, "TABLES", old)
        before.setattr(archive_tables, "_COUNTS", counts)
        assert archive_due(desk.engine, desk.settings, desk.cold).archived == [session_id]
    brought = archive_restore.restore_session(other.engine, other.settings, desk.cold, session_id, "ann")
    assert brought[0].rows["transitions"] == 4
    assert "memories" not in brought[0].rows
