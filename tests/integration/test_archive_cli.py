"""`fntx archive` over real stores, with no worker and no Redis: what it prints, exits with and brings back."""

import json
from uuid import UUID

import pytest
from archiving import make_desk
from history_world import add, begin, week_at, weeks_back
from lifecycle_harness import S
from owning import owner_engine

from fntx_sessions.cli import asking, events, past, queries
from fntx_sessions.cli.app import run
from fntx_sessions.cli.exits import Exit
from fntx_sessions.database.engine import get_engine
from fntx_sessions.lifecycle.events_arguments import EventsQuery
from fntx_sessions.lifecycle.reads.checkpoints import get_checkpoints
from fntx_sessions.lifecycle.reads.desk_events import list_events
from fntx_sessions.lifecycle.reads.history import get_transitions
from fntx_sessions.lifecycle.reads.sessions import get_session
from fntx_sessions.lifecycle.reads.trades import get_trades
from fntx_sessions.settings import get_settings
from fntx_sessions.state.archive import archive_due, object_name
from fntx_sessions.state.dropping import drop_due
from fntx_sessions.state.segments import segment_due

OLD = weeks_back(3)


@pytest.fixture
def desk(settings, monkeypatch):
    """A desk, and a command line over the same stores but for Redis."""
    monkeypatch.setenv("FNTX_HOME", str(settings.home))
    monkeypatch.setenv("FNTX_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("FNTX_REDIS_URL", "redis://127.0.0.1:1/0")
    get_settings.cache_clear()
    get_engine.cache_clear()
    with make_desk(settings) as made:
        yield made
    if get_engine.cache_info().currsize:
        get_engine().dispose()
    get_engine.cache_clear()
    get_settings.cache_clear()


@pytest.fixture
def session_id(desk):
    """A session that is archived and whose rows were let go."""
    made = desk.closed(checkpoints=2)
    archive_due(desk.engine, desk.settings, desk.cold)
    desk.old(made)
    assert archive_due(desk.engine, desk.settings, desk.cold).dropped == [made]
    return made


@pytest.fixture
def fntx(capsys):
    """Call with a command line; returns its exit code, and what it printed as JSON or text."""

    def call(*arguments):
        capsys.readouterr()
        code = run(["archive", *map(str, arguments)])
        printed = capsys.readouterr()
        return code, json.loads(printed.out) if "--json" in arguments else printed.out, printed.err

    return call


def test_what_there_is_from_the_database_and_from_the_store_alone(desk, session_id, fntx):
    """Both lists name the same archive; without any rows the store is asked by itself."""
    _, [known], _ = fntx("ls", "--json")
    _, [cold], _ = fntx("ls", "--cold", "--json")
    assert known["session_id"] == cold["session_id"] == str(session_id)
    assert (known["size_bytes"], known["counts"]["samples"]) == (cold["size_bytes"], cold["counts"]["samples"])
    assert known["rows"].startswith("no, since ")
    desk.run("DELETE FROM archives")
    assert fntx("ls", "-q")[1].split() == [str(session_id)]
    assert "paper_trading" in fntx("ls")[1]


def test_show_says_what_is_in_it(session_id, fntx):
    """Type, times and counts, from the store's metadata."""
    code, [told], _ = fntx("show", session_id, "--json")
    assert (code, told["session_type"], told["counts"]["checkpoints"]) == (Exit.DONE, "paper_trading", 2)
    assert "checkpoints" in fntx("show", session_id)[1]


@pytest.fixture
def long_lived(desk):
    """A session that goes on, with a week of events and samples in segments, its events there alone."""
    begin(desk, 4)
    made = desk.lifecycle.in_status(S.ACTIVE)
    add(desk, made, OLD, "events", "samples")
    settings = desk.settings.model_copy(update={"warm_keep_s": 7 * 86_400.0})
    assert segment_due(desk.engine, settings, desk.cold).segments == 2
    with owner_engine(desk.engine) as owner:
        drop_due(owner, settings)
    return made


def test_show_lists_the_sealed_weeks_of_a_session_that_goes_on(long_lived, fntx):
    """With relation, rows and size; as a table and as JSON."""
    week = week_at("events", OLD).label
    code, [told], _ = fntx("show", long_lived, "--json")
    assert (code, told["archive"]) == (Exit.DONE, "none yet")
    found = [(one["week"], one["relation"], one["rows"]) for one in told["sealed_weeks"]]
    assert found == [(week, "events", 1), (week, "samples", 1)]
    shown = fntx("show", long_lived)[1]
    assert "Sealed weeks" in shown
    assert week in shown


def test_a_sealed_week_is_printed_row_by_row(long_lived, fntx):
    """JSON lines that name their relation, all of the week or one relation's; numbers keep their digits."""
    week = week_at("events", OLD).label
    code, text, _ = fntx("show", long_lived, "--week", week, "--relation", "events")
    assert code == Exit.DONE
    [event] = map(json.loads, text.splitlines())
    assert (event["relation"], event["event_type"], event["session_id"]) == ("events", "noted", str(long_lived))
    lines = fntx("show", long_lived, "--week", week)[1].splitlines()
    assert [json.loads(line)["relation"] for line in lines] == ["events", "samples"]
    assert "98765432109876.5432" in lines[1]


def test_a_week_that_is_not_sealed_or_not_one_is_refused(long_lived, fntx):
    """Each names what to do; a relation alone says of nothing."""
    assert fntx("show", long_lived, "--week", "1999w01")[0] == Exit.NOT_FOUND
    week = week_at("events", OLD).label
    for wrong in (["--week", "last"], ["--week", week, "--relation", "parts"], ["--relation", "events"]):
        code, _, said = fntx("show", long_lived, *wrong)
        assert (code, wrong[-2] in said) == (Exit.USAGE, True)


class Line(asking.Line):
    """A line that ends in this process instead of at a worker."""

    def __init__(self, desk) -> None:
        self._desk = desk

    def about(self, verb, given, limit=100, **_days):
        stores = self._desk.engine, self._desk.client, self._desk.settings
        if verb == "get":
            return get_session(*stores, UUID(given)).model_dump(mode="json")
        reads = {"transitions": get_transitions, "trades": get_trades}
        found = (reads | {"checkpoints": get_checkpoints})[verb](self._desk.engine, UUID(given), limit)
        return [one.model_dump(mode="json") for one in found]

    def query(self, task, **arguments):
        assert task == "events.list"
        return list_events(self._desk.engine, EventsQuery(**arguments)).model_dump(mode="json")


@pytest.fixture
def listed(desk, monkeypatch, capsys):
    """Call with a list's command line; returns what it printed on stdout and stderr."""
    for module in (queries, past, events):
        monkeypatch.setattr(module, "line", lambda: Line(desk))

    def call(*arguments):
        capsys.readouterr()
        assert run([str(one) for one in arguments]) == Exit.DONE
        return capsys.readouterr()

    return call


def test_a_list_of_a_session_whose_rows_were_let_go_of_says_where_they_are(session_id, listed):
    """One line names the command that brings them back; JSON is as it was."""
    for verb in ("events", "transitions", "trades", "checkpoints"):
        told = listed(verb, session_id).err
        assert f"`fntx archive restore {session_id}` brings them back" in told
        assert told.count("its rows left the database") == 1
        assert "brings them back" not in "".join(listed(verb, session_id, "--json"))


def test_the_events_of_a_session_with_sealed_weeks_say_where_the_older_ones_are(long_lived, listed):
    """Of what its measures are made of all is in the database: nothing is said of that."""
    label = week_at("events", OLD).label
    told = listed("events", long_lived).err
    assert f"{label} to {label}" in told
    assert f"`fntx archive show {long_lived}`" in told
    assert "archive" not in listed("trades", long_lived).err


def test_verify_exits_with_what_it_found(desk, session_id, fntx):
    """Whole: 0. Damaged: 1, and Postgres does not call it verified any more. Unknown: 4. No id: 2."""
    assert fntx("verify", session_id)[0] == Exit.DONE
    assert "whole" in fntx("verify", "--all")[1]
    data = desk.cold.read(object_name(session_id))
    desk.cold.replace(object_name(session_id), data[:-1], desk.cold.info(object_name(session_id)).metadata)
    code, _, said = fntx("verify", "--all")
    assert (code, "truncated" in said) == (Exit.UNEXPECTED, True)
    assert desk.rows("SELECT verified_at FROM archives") == [{"verified_at": None}]
    assert fntx("verify", "00000000-0000-4000-8000-000000000000")[0] == Exit.NOT_FOUND
    assert fntx("verify", "3f2a")[0] == Exit.USAGE


def test_restore_here_twice_and_elsewhere(desk, session_id, fntx, settings, postgres_server, database_template):
    """The first brings it, the second finds it there; another database gets the same one. Each has a row of it."""
    code, [first], _ = fntx("restore", session_id, "--json")
    assert (code, first["already_there"], first["rows"]["samples"]) == (Exit.DONE, False, 50)
    assert "was there already" in fntx("restore", session_id)[1]
    deeds = "SELECT actor LIKE '%@%' AS named, outcome FROM audit WHERE action = 'restore_session'"
    assert [tuple(row.values()) for row in desk.rows(deeds)] == [(True, "done")]
    with postgres_server.database(database_template) as name:
        url = postgres_server.url(name)
        assert fntx("restore", session_id, "--to-database", url)[0] == Exit.DONE
        with make_desk(settings, url) as other:
            assert other.whole(session_id) == desk.whole(session_id)
            assert len(other.rows(deeds)) == 1


def test_restore_elsewhere_says_what_is_wrong_with_the_address(desk, session_id, fntx):
    """An address that is none, or no Postgres's: usage, naming the option and the form; no password is repeated."""
    for given in ("nonsense", "postgresql+psycopg2://bob:hunter2@[::1/x", "sqlite:///x"):
        code, _, said = fntx("restore", session_id, "--to-database", given)
        assert (code, "--to-database" in said, "postgresql+psycopg2://USER" in said) == (Exit.USAGE, True, True)
        assert "hunter2" not in said


def test_restore_into_a_database_that_was_not_migrated_says_so(session_id, fntx, postgres_server):
    """The command to run is named, and nothing unexpected is reported."""
    with postgres_server.database() as name:
        code, [told], said = fntx("restore", session_id, "--to-database", postgres_server.url(name), "--json")
        assert (code, told["error"]) == (Exit.UNAVAILABLE, "StackError")
        assert "Migrate it first: `fntx migrate`" in said


def test_a_session_that_runs_is_refused(desk, fntx):
    """Restoring over what is there is refused, and changes nothing."""
    running = desk.lifecycle.create()
    code, _, said = fntx("restore", running)
    assert (code, "it is initializing in this database" in said) == (Exit.REFUSED, True)


def test_verify_opens_with_the_key_in_the_cold_store_alone(desk, session_id, fntx):
    """What only Postgres's copy of the key opens is lost with Postgres: that is told, and is no 0."""
    name = f"keys/{session_id}"
    data, metadata = desk.cold.read(name), desk.cold.info(name).metadata
    desk.cold.destroy(name)
    code, _, said = fntx("verify", session_id)
    assert (code, "its key is not in the cold store" in said) == (Exit.UNEXPECTED, True)
    hung = data.replace(metadata["ring_key_id"].encode(), b"0123456789abcdef")
    desk.cold.replace(name, hung, metadata | {"ring_key_id": "0123456789abcdef"})
    code, _, said = fntx("verify", "--all")
    assert (code, "lacks key 0123456789abcdef" in said) == (Exit.UNEXPECTED, True)
    assert desk.rows("SELECT verified_at FROM archives") == [{"verified_at": None}]
    desk.cold.replace(name, data, metadata)
    assert fntx("verify", session_id)[0] == Exit.DONE


def test_rows_go_only_when_the_key_lies_in_the_cold_store(desk):
    """An object that was lost or changed since is written again first."""
    made = desk.closed(checkpoints=1)
    archive_due(desk.engine, desk.settings, desk.cold)
    name = f"keys/{made}"
    good, metadata = desk.cold.read(name), desk.cold.info(name).metadata
    desk.cold.replace(name, good[:-2] + b'0"', metadata)
    desk.old(made)
    assert archive_due(desk.engine, desk.settings, desk.cold).dropped == [made]
    assert desk.cold.read(name) == good
