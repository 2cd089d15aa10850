"""The audit: what a superuser does to it is found and named by its key, its heads and the anchors in the cold store."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from unittest.mock import Mock
from uuid import UUID, uuid4

import pytest
from archiving import make_desk
from lifecycle_harness import ANN, S, T
from owning import do as as_owner_does

from fntx_sessions.cli.app import run
from fntx_sessions.cli.exits import Exit
from fntx_sessions.database.engine import get_engine
from fntx_sessions.exceptions import IntegrityError, NotFound, Unavailable
from fntx_sessions.lifecycle import desk_audit
from fntx_sessions.lifecycle.auditing import anchoring, exporting
from fntx_sessions.lifecycle.auditing.anchoring import Writer, anchor_due
from fntx_sessions.lifecycle.auditing.stream import survey
from fntx_sessions.lifecycle.auditing.verifying import NO_ANCHORS, verify_all, verify_one
from fntx_sessions.lifecycle.desk_audit import DESK, Deed
from fntx_sessions.lifecycle.reads.audit import verify_whole
from fntx_sessions.security.audit import chain_hash
from fntx_sessions.settings import Settings, get_settings
from fntx_sessions.stack.anchor_status import diagnose_anchors, read_anchors
from fntx_sessions.state import chain_key as chain_keys
from fntx_sessions.state.archive import Archiver
from fntx_sessions.state.archive_restore import restore_session
from fntx_sessions.state.chain_key import ChainKeys, chain_key, owner_of

# What the keys of Postgres' owner open: no trigger stands in the way.
FREELY = "ALTER TABLE audit DISABLE TRIGGER USER; {}; ALTER TABLE audit ENABLE TRIGGER USER"
DUE = "UPDATE audit_anchors SET made_at = made_at - interval '1 hour'"


@pytest.fixture
def desk(settings, monkeypatch):
    """A desk, and a command line over the same stores."""
    for name, value in {
        "FNTX_HOME": str(settings.home),
        "FNTX_DATABASE_URL": settings.database_url.get_secret_value(),
        "FNTX_REDIS_URL": settings.redis_url.get_secret_value(),
    }.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    get_engine.cache_clear()
    with make_desk(settings) as found:
        yield found
    get_engine().dispose()
    get_engine.cache_clear()
    get_settings.cache_clear()


def lived(desk, steps: int = 4) -> UUID:
    """Return a session with `steps` + 2 rows in its chain."""
    session_id = desk.lifecycle.in_status(S.ACTIVE)
    for number in range(steps):
        desk.lifecycle.do(T.PAUSE if number % 2 == 0 else T.RESUME, session_id, reason=f"step {number}")
    return session_id


def anchor(desk, *, full: bool = False) -> int:
    return Writer(desk.engine, desk.settings, desk.cold).run(full=full)


def freely(desk, statements: str, **values: object) -> None:
    """Do what nobody but the owner of the tables can, with triggers off."""
    as_owner_does(desk.engine, FREELY.format(statements), values)


def checked(desk, session_id: UUID):
    return verify_one(desk.engine, desk.settings, desk.cold, session_id)


def said(desk, capsys, *asked: str) -> tuple[int, str]:
    """Return the exit code of `fntx audit verify`, and what it said on both streams."""
    capsys.readouterr()
    code = run(["audit", "verify", *asked])
    shown = capsys.readouterr()
    return code, " ".join(f"{shown.out} {shown.err}".split())


def test_what_nobody_touched_is_whole(desk, capsys):
    """Sessions and the desk's own chain verify, against anchors too; the exit code is 0."""
    session_id = lived(desk)
    desk_audit.record(desk.engine, ANN, Deed("issue_token", "done", target="bob"))
    assert anchor(desk) == 1
    assert said(desk, capsys, "--all") == (Exit.DONE, "2 chains, 7 rows, 1 anchors: whole")
    assert said(desk, capsys, str(session_id)[:8]) == (Exit.DONE, "1 chains, 6 rows, 1 anchors: whole")
    assert said(desk, capsys, "--desk") == (Exit.DONE, "1 chains, 1 rows, 1 anchors: whole")


FORGERIES = {
    "changed": ("UPDATE audit SET actor = 'eve' WHERE session_id = :id AND seq = 3", "row 3 was changed"),
    "removed": ("DELETE FROM audit WHERE session_id = :id AND seq = 3", "row 3 missing before row 4"),
    "reordered": (
        (
            "UPDATE audit SET seq = -seq WHERE session_id = :id AND seq IN (3, 4); "
            "UPDATE audit SET seq = CASE seq WHEN -3 THEN 4 ELSE 3 END WHERE session_id = :id AND seq < 0"
        ),
        "row 3 was written as row 4",
    ),
    "inserted": (
        (
            "UPDATE audit SET seq = -seq - 1 WHERE session_id = :id AND seq > 3; "
            "UPDATE audit SET seq = -seq WHERE session_id = :id AND seq < 0; "
            "INSERT INTO audit (session_id, seq, timestamp, actor, roles, action, outcome, key_id, previous, hash) "
            "SELECT session_id, 4, timestamp, 'eve', roles, action, outcome, key_id, hash, sha256(hash) FROM audit "
            "WHERE session_id = :id AND seq = 3"
        ),
        "row 4 was inserted",
    ),
    "cut off": ("DELETE FROM audit WHERE session_id = :id AND seq > 4", "rows 5 to 6 cut off the end"),
    "cut off, with its head": (
        (
            "DELETE FROM audit WHERE session_id = :id AND seq > 4; "
            "UPDATE sessions s SET audit_seq = 4, audit_head = a.hash FROM audit a "
            "WHERE s.session_id = :id AND a.session_id = :id AND a.seq = 4"
        ),
        "rows 5 to 6 are gone from the end: anchor 1 names row 6",
    ),
    "appended": (
        (
            "INSERT INTO audit (session_id, seq, timestamp, actor, roles, action, outcome, key_id, previous, hash) "
            "SELECT session_id, 7, timestamp, 'eve', roles, action, outcome, key_id, hash, sha256(hash) FROM audit "
            "WHERE session_id = :id AND seq = 6; UPDATE sessions s SET audit_seq = 7, audit_head = a.hash FROM audit a "
            "WHERE s.session_id = :id AND a.session_id = :id AND a.seq = 7"
        ),
        "row 7 was changed after it was written, or was not written by this service",
    ),
    "all of it gone": ("DELETE FROM audit WHERE session_id = :id", "rows 1 to 6 cut off the end"),
}


def test_a_superusers_forgeries_are_found_and_named(desk, capsys):
    """With triggers off, and heads rewritten: verify says which row of which session, and its exit code is 1."""
    forged = {lived(desk): told for told in FORGERIES.values()}
    untouched = lived(desk)
    anchor(desk)
    for session_id, (forgery, problem) in forged.items():
        freely(desk, forgery, id=session_id)
        code, told = said(desk, capsys, str(session_id))
        assert (code, problem in told) == (1, True), told
    found = verify_all(desk.engine, desk.settings, desk.cold).problems
    assert {one for one, (_, problem) in forged.items() if problem in str(found[one])} == set(found) == set(forged)
    assert checked(desk, untouched).whole
    assert said(desk, capsys, "--all")[0] == 1


def rewritten(desk, session_id: UUID, key: bytes | None, key_id: str | None) -> None:
    """Write a session's chain anew, as who owns Postgres would: another actor in row 2, all hashes and the head."""
    previous = None
    for row in desk.lifecycle.audit(session_id):
        row |= {"key_id": key_id, "actor": "eve" if row["seq"] == 2 else row["actor"]}
        found = chain_hash(previous, row, key)
        freely(
            desk,
            "UPDATE audit SET actor = :actor, key_id = :key_id, previous = :previous, hash = :hash "
            "WHERE session_id = :id AND seq = :seq; "
            "UPDATE sessions SET audit_head = :hash WHERE session_id = :id",
            id=session_id, seq=row["seq"], actor=row["actor"], key_id=key_id, previous=previous, hash=found,
        )  # fmt: skip
        previous = found


def test_a_chain_written_anew_with_a_guessed_key_is_found(desk, capsys):
    """Hashes, links and head all fit each other; without the key no row holds."""
    session_id = lived(desk)
    rewritten(desk, session_id, b"guess" * 8, chain_key(desk.engine).key_id)
    code, told = said(desk, capsys, str(session_id))
    assert (code, "row 1 was changed" in told) == (1, True)


def test_a_chain_written_anew_as_if_from_before_the_keys_is_found(desk, capsys):
    """Rows that name no key hash by themselves: the anchors know that these had others."""
    session_id = lived(desk)
    anchor(desk)
    rewritten(desk, session_id, None, None)
    code, told = said(desk, capsys, str(session_id))
    assert (code, "row 6 is not the one that anchor 1 names" in told) == (1, True), told


def test_rows_from_before_the_keys_are_believed_as_the_first_anchors_have_them(desk, capsys):
    """An upgraded desk is whole from its first anchors on; what turns up without a key later is not proven."""
    session_id = lived(desk)
    rewritten(desk, session_id, None, None)
    assert said(desk, capsys, str(session_id))[0] == Exit.UNHEALTHY
    anchor(desk)
    assert said(desk, capsys, str(session_id))[0] == Exit.DONE
    desk.lifecycle.do(T.RESUME, session_id)
    assert said(desk, capsys, str(session_id))[0] == Exit.DONE
    late = lived(desk)
    rewritten(desk, late, None, None)
    anchor(desk, full=True)
    code, told = said(desk, capsys, str(late))
    assert (code, "written without a key" in told) == (Exit.UNHEALTHY, True)


def test_what_was_cut_off_is_found_after_the_chain_went_on_and_after_full_runs(desk, capsys):
    """Commands that come after hide nothing: earlier anchors name rows that are others now, and full runs keep that."""
    session_id = lived(desk)
    anchor(desk)
    freely(desk, FORGERIES["cut off, with its head"][0], id=session_id)
    for trigger in (T.RESUME, T.PAUSE, T.RESUME):
        desk.lifecycle.do(trigger, session_id)
    anchor(desk)
    code, told = said(desk, capsys, str(session_id))
    assert (code, "row 6 is not the one that anchor 1 names" in told) == (1, True), told
    anchor(desk, full=True)
    anchor(desk, full=True)
    code, told = said(desk, capsys, "--all")
    assert (code, f"{session_id}: row 6, which anchor 1 names, is another now" in told) == (1, True), told
    with desk.engine.connect() as connection:
        [check] = diagnose_anchors(read_anchors(connection))
    assert (check.result, "fntx audit verify" in check.fix) == ("fail", True)


def test_a_session_that_is_gone_is_found(desk, capsys):
    """Its row and its chain deleted: an anchor knows that it was there."""
    session_id = lived(desk)
    anchor(desk)
    as_owner_does(desk.engine, "ALTER TABLE transitions DISABLE TRIGGER USER", {})
    freely(desk, "DELETE FROM audit WHERE session_id = :id; DELETE FROM sessions WHERE session_id = :id", id=session_id)
    code, told = said(desk, capsys, "--all")
    assert (code, f"{session_id}: the session is gone" in told, "anchor 1 names row 6" in told) == (1, True, True)


def test_the_desks_chain_cut_off_with_its_head_is_found(desk, capsys):
    """The desk's own chain is anchored as every other."""
    for name in ("bob", "eve"):
        desk_audit.record(desk.engine, ANN, Deed("issue_token", "done", target=name))
    anchor(desk)
    freely(
        desk,
        "DELETE FROM audit WHERE session_id = :id AND seq = 2; UPDATE desk_chain SET seq = 1, head = "
        "(SELECT hash FROM audit WHERE session_id = :id AND seq = 1)",
        id=DESK,
    )
    code, told = said(desk, capsys, "--desk")
    assert (code, "row 2 is gone from the end" in told) == (1, True)


def test_anchors_that_somebody_changed_or_took_are_found(desk, capsys):
    """Each has a MAC, its number, the hash of the one before; Postgres knows them too."""
    session_id = lived(desk)
    for _ in range(3):
        anchor(desk)
    key_id = chain_key(desk.engine).key_id
    name = f"anchors/{key_id}/{2:012d}"
    data, told = desk.cold.read(name), dict(desk.cold.info(name).metadata)
    desk.cold.replace(name, data.replace(b"changed", b"Changed", 1), told)
    code, shown = said(desk, capsys, str(session_id))
    assert (code, "000002 failed its integrity check: was changed" in shown) == (1, True), shown
    desk.cold.destroy(name)
    assert "anchor 2 is missing" in said(desk, capsys, "--all")[1]
    desk.cold.replace(name, data, told)
    assert said(desk, capsys, "--all")[0] == Exit.DONE
    desk.cold.destroy(f"anchors/{key_id}/{3:012d}")
    assert "anchor 3, which Postgres noted, is gone" in said(desk, capsys, "--all")[1]


CHAIN_KEYS = "session_id::text LIKE '00000000-0000-0001-%'"
KEY_GONE = f"DELETE FROM session_keys WHERE {CHAIN_KEYS}"
NOTES_GONE = "DELETE FROM audit_anchors; DELETE FROM audit_key"


@pytest.mark.parametrize("gone", [KEY_GONE, f"{KEY_GONE}; {NOTES_GONE}"], ids=["key", "all that tells of it"])
def test_a_key_that_is_taken_away_takes_no_anchor_away(desk, capsys, gone):
    """A chain written anew without a key is found still; so it is after the desk went on and anchored anew."""
    session_id = lived(desk)
    desk_audit.record(desk.engine, ANN, Deed("issue_token", "done"))
    anchor(desk)
    rewritten(desk, session_id, None, None)
    freely(desk, gone, id=session_id)
    named = "row 6 is not the one that anchor 1 names"
    for asked in ("--all", str(session_id)):
        code, told = said(desk, capsys, asked)
        assert (code, named in told) == (1, True), told
    assert desk.rows(f"SELECT 1 FROM session_keys WHERE {CHAIN_KEYS}") == []
    key = chain_key(desk.engine)
    chain_keys._remembered.clear()
    assert chain_key(desk.engine) == key
    anchor(desk, full=True)
    code, told = said(desk, capsys, "--all")
    assert (code, "row 6" in told) == (1, True), told


def test_anchors_of_a_key_that_nothing_tells_of_are_asked_too(desk, capsys):
    """A desk made to look as if it had never had a key gets a new one: the anchors of the old know its sessions."""
    session_id = lived(desk)
    anchor(desk)
    old = chain_key(desk.engine).key_id
    rewritten(desk, session_id, None, None)
    freely(desk, f"{KEY_GONE}; {NOTES_GONE}", id=session_id)
    chain_keys._remembered.clear()
    assert chain_key(desk.engine).key_id != old
    anchor(desk)
    code, told = said(desk, capsys, "--all")
    assert (code, f"row 6 is not the one that anchor 1 of chain key {old} names" in told) == (1, True), told


def test_no_second_key_is_made_where_the_first_is_nowhere(desk):
    """A desk whose key is gone from Postgres and the cold store says so with each command, and writes nothing."""
    session_id = lived(desk)
    key_id = chain_key(desk.engine).key_id
    for gone in (KEY_GONE, "DELETE FROM audit_key"):
        freely(desk, gone, id=session_id)
        chain_keys._remembered.clear()
        with pytest.raises(IntegrityError, match=f"chain key {key_id} .* is neither in this database nor in the cold"):
            chain_key(desk.engine)
    assert desk.rows(f"SELECT 1 FROM session_keys WHERE {CHAIN_KEYS}") == []


def test_neither_rights_of_the_house_nor_times_move_the_key(desk):
    """Another key that seems older, or the own one emptied: new rows hash with the one that was noted."""
    key = chain_key(desk.engine)
    anchor(desk)
    desk.run(
        "INSERT INTO session_keys (session_id, data_key_id, ring_key_id, wrapped, created_at) SELECT "
        "'00000000-0000-0001-0011-223344556677', data_key_id, ring_key_id, wrapped, created_at - interval '1 day' "
        f"FROM session_keys WHERE {CHAIN_KEYS}"
    )
    chain_keys._remembered.clear()
    assert chain_key(desk.engine) == key
    desk.run(f"UPDATE session_keys SET wrapped = 'x' WHERE {CHAIN_KEYS}")
    chain_keys._remembered.clear()
    assert chain_key(desk.engine) == key


FORGED = """
INSERT INTO audit_anchors (object_name, made_at, chains, hash, key_id, number, ends_full_run, broken)
SELECT :name, now() + interval '100 years', 0, '\\x00', key_id, :number, true, 0 FROM audit_anchors LIMIT 1
"""


def test_a_forged_note_of_an_anchor_puts_none_off_and_is_found(desk, capsys):
    """Of when the newest is, only the anchor itself is believed; doctor and verify tell of the note."""
    lived(desk)
    anchor(desk)
    desk.run(FORGED, name="x", number=99)
    desk.run(FORGED, name="y", number=0)
    assert anchor_due(desk.engine, at_once(desk, "audit_anchor_interval_s"), desk.cold) == 1
    names = [info.name for info in desk.cold.list("anchors/")]
    assert [json.loads(desk.cold.read(name).splitlines()[0])["run"] for name in names] == ["full", "changed"]
    code, told = said(desk, capsys, "--all")
    found = [one in told for one in ("anchor 99, which Postgres noted, is gone", "an anchor 'x'", "an anchor 'y'")]
    assert (code, found) == (1, [True] * 3), told
    with desk.engine.connect() as connection:
        [check] = diagnose_anchors(read_anchors(connection))
    assert check.result == "fail"


def test_a_note_of_an_anchor_that_was_changed_is_found(desk, capsys):
    """What Postgres has of an anchor is what the anchor says, its time too."""
    session_id = lived(desk)
    anchor(desk)
    desk.run("UPDATE audit_anchors SET made_at = made_at + interval '1 hour'")
    assert anchor_due(desk.engine, at_once(desk, "audit_anchor_interval_s"), desk.cold) == 1
    code, told = said(desk, capsys, str(session_id))
    assert (code, "is not the one that Postgres noted" in told) == (1, True), told


def test_an_anchors_metadata_hides_nothing(desk, capsys):
    """Where it says that it names other chains, it is read all the same, and what was done to it told."""
    session_id = lived(desk)
    anchor(desk)
    desk.lifecycle.do(T.PAUSE, session_id)
    anchor(desk)
    freely(desk, FORGERIES["cut off, with its head"][0].replace("> 4", "> 6").replace("= 4", "= 6"), id=session_id)
    assert "anchor 2 names row 7" in said(desk, capsys, str(session_id))[1]
    _, grown = desk.cold.list("anchors/")
    spans = {"from": str(UUID(int=2**128 - 1)), "to": str(UUID(int=0))}
    desk.cold.replace(grown.name, desk.cold.read(grown.name), {**grown.metadata, **spans})
    for asked in (str(session_id), "--all"):
        code, told = said(desk, capsys, asked)
        assert (code, "its metadata was changed" in told) == (1, True), told


def test_a_session_that_is_nowhere_is_not_called_whole(desk, capsys):
    """No row, head or anchor knows of it: exit code 4."""
    anchor(desk)
    assert said(desk, capsys, str(uuid4()))[0] == Exit.NOT_FOUND


def at_once(desk, *names: str) -> Settings:
    """Return settings by which what they name is due at every moment."""
    return desk.settings.model_copy(update=dict.fromkeys(names, 0.0))


def test_anchors_are_written_when_due_and_name_what_grew(desk, monkeypatch):
    """The first names all, the next what grew since, and a full one comes round again; none is ever overwritten."""
    still = lived(desk)
    assert anchor_due(desk.engine, desk.settings, desk.cold) == 1
    assert anchor_due(desk.engine, desk.settings, desk.cold) == 0
    monkeypatch.setattr(anchoring, "_UNSEEN", timedelta())
    assert anchor(desk) == 1
    moved = desk.lifecycle.in_status(S.ACTIVE)
    names = [info.name for info in desk.cold.list("anchors/")]
    held = [json.loads(desk.cold.read(name).splitlines()[0]) for name in names]
    assert [[end[0] for end in one["chains"]] for one in held] == [[str(still)], []]
    assert anchor_due(desk.engine, at_once(desk, "audit_anchor_interval_s"), desk.cold) == 1
    newest = json.loads(desk.cold.read([info.name for info in desk.cold.list("anchors/")][-1]).splitlines()[0])
    assert ([end[0] for end in newest["chains"]], newest["run"]) == ([str(moved)], "changed")
    always = at_once(desk, "audit_anchor_interval_s", "audit_full_anchor_interval_s")
    assert anchor_due(desk.engine, always, desk.cold) == 1
    assert [part.number for part in survey(desk.cold, chain_key(desk.engine).key_id).since] == [4]


def test_many_chains_take_several_anchors(desk, monkeypatch):
    """None holds more than a bounded number; together they name each chain once, and verify in pages as well."""
    monkeypatch.setattr(anchoring, "CHAINS_MAX", 2)
    monkeypatch.setattr("fntx_sessions.lifecycle.auditing.verifying._CHAINS", 2)
    monkeypatch.setattr("fntx_sessions.lifecycle.auditing.verifying._ROWS", 3)
    ids = [desk.lifecycle.in_status(S.ACTIVE) for _ in range(5)]
    desk_audit.record(desk.engine, ANN, Deed("issue_token", "done"))
    assert anchor(desk) == 3
    found = verify_all(desk.engine, desk.settings, desk.cold)
    assert (found.whole, found.chains, found.rows, found.anchors) == (True, 6, 11, 3)
    freely(desk, "DELETE FROM audit WHERE session_id = :id AND seq = 1", id=ids[3])
    assert list(verify_all(desk.engine, desk.settings, desk.cold).problems) == [ids[3]]


def test_two_at_once_write_one_anchor_each_number(desk):
    """Whoever is second finds the number taken, leaves it as it is, and the next run goes on from there."""
    lived(desk)
    first, second = (Writer(desk.engine, desk.settings, desk.cold) for _ in range(2))
    second._catch_up()
    assert first.run() == 1
    assert second._write("full", 1, [], [], last=True) is False
    assert verify_all(desk.engine, desk.settings, desk.cold).whole
    assert anchor(desk) == 1
    assert verify_all(desk.engine, desk.settings, desk.cold).anchors == 2


def test_killed_after_an_anchor_was_written_the_next_run_takes_it_in(desk):
    """It is in the cold store and not noted: the next has the number after it, and Postgres knows both."""
    lived(desk)
    code = (
        "from fntx_sessions.settings import Settings; from fntx_sessions.database.engine import get_engine\n"
        "from fntx_sessions.state.objects.cold import open_cold\n"
        "from fntx_sessions.lifecycle.auditing.anchoring import anchor_due\n"
        "anchor_due(get_engine(), Settings(), open_cold(Settings()))"
    )
    environment = os.environ | {"FNTX_FAILPOINTS": "audit.anchor_written:kill"}
    killed = subprocess.run([sys.executable, "-c", code], env=environment, check=False, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    assert desk.rows("SELECT 1 FROM audit_anchors") == []
    assert anchor(desk) == 1
    assert [row["number"] for row in desk.rows("SELECT number FROM audit_anchors ORDER BY number")] == [1, 2]
    assert verify_all(desk.engine, desk.settings, desk.cold).whole


def test_a_forged_anchor_does_not_stop_the_next(desk):
    """It stays as evidence and is told; anchors go on after it."""
    lived(desk)
    anchor(desk)
    key_id = chain_key(desk.engine).key_id
    told = {"run": "full", "first": "2", "last": "1"}
    desk.cold.create(f"anchors/{key_id}/{2:012d}", b'{"number":2}\n' + b"0" * 64, told)
    assert anchor(desk) == 1
    found = verify_all(desk.engine, desk.settings, desk.cold)
    assert any("000002 failed its integrity check: was changed" in problem for problem in found.about_anchors)


def test_without_the_cold_store_the_rows_are_checked_and_that_is_said(desk, capsys, monkeypatch):
    """Whole rows with anchors unasked are no proof: the exit code is neither 0 nor 1. A broken chain is 1 still."""
    session_id = lived(desk)
    anchor(desk)

    def away(*_: object) -> None:
        raise Unavailable("the cold store", "it is away", "Wait.")

    monkeypatch.setattr("fntx_sessions.state.objects.folder.FolderStore.list", away)
    code, told = said(desk, capsys, str(session_id))
    assert (code, "the anchors could not be compared" in told) == (Exit.UNHEALTHY, True)
    whole = verify_whole(get_engine(), session_id)
    assert (whole.problems, "could not be compared" in whole.told[0]) == ([], True)
    freely(desk, FORGERIES["changed"][0], id=session_id)
    assert said(desk, capsys, str(session_id))[0] == 1


def test_before_the_first_anchor_it_is_said_that_there_is_none(desk, capsys):
    """Nothing is called whole that nobody could prove."""
    session_id = lived(desk)
    assert checked(desk, session_id).unasked == NO_ANCHORS
    assert said(desk, capsys, str(session_id))[0] == Exit.UNHEALTHY


def test_what_could_not_be_checked_is_not_called_broken(desk, capsys, monkeypatch):
    """A store that is away and a fault of the check itself have another exit code than a broken chain."""
    session_id = lived(desk)
    for error in (Unavailable("Postgres", "it is away", "Wait."), ZeroDivisionError("a bug")):
        asked = Mock(side_effect=error)
        monkeypatch.setattr("fntx_sessions.lifecycle.auditing.verifying.verify_one", asked)
        assert said(desk, capsys, str(session_id))[0] == Exit.UNAVAILABLE
    assert said(desk, capsys)[0] == Exit.USAGE
    assert said(desk, capsys, "--all", "--desk")[0] == Exit.USAGE


def test_a_rotated_ring_keeps_chains_verifiable(desk, monkeypatch):
    """The chain key hangs on the ring as data keys do: rotated, it is wrapped anew, and stays what it is."""
    monkeypatch.delenv("FNTX_KEY_RING")
    assert run(["keys", "init"]) == Exit.DONE
    with make_desk(Settings()) as own:
        session_id = lived(own)
        key = chain_key(own.engine)
        find = "SELECT ring_key_id, data_key_id FROM session_keys WHERE session_id = :id"
        [before] = own.rows(find, id=owner_of(key.key_id))
        assert run(["keys", "rotate"]) == run(["keys", "remove", before["ring_key_id"]]) == Exit.DONE
        [after] = own.rows(find, id=owner_of(key.key_id))
        assert before["ring_key_id"] != after["ring_key_id"]
        assert verify_one(own.engine, own.settings, own.cold, session_id).problems == {}
        chain_keys._remembered.clear()
        assert chain_key(own.engine) == key
        own.lifecycle.do(T.RESUME, session_id)
        anchor(own)
        assert verify_one(own.engine, own.settings, own.cold, session_id).whole


def test_postgres_alone_holds_no_secret_of_a_chain(desk):
    """What lies in the database is wrapped; without the ring's key nobody gets at what rows are hashed with."""
    key = chain_key(desk.engine)
    [row] = desk.rows("SELECT * FROM session_keys WHERE session_id = :id", id=owner_of(key.key_id))
    assert key.rows not in bytes(row["wrapped"])
    assert "rows" not in repr(key)
    with pytest.raises(IntegrityError, match="is not the name of a key"):
        owner_of("../../x")


def test_a_key_that_is_nowhere_is_a_problem_of_its_row(desk):
    """A row that names a key of somebody's own is not believed."""
    session_id = lived(desk)
    freely(desk, "UPDATE audit SET key_id = 'aaaaaaaaaaaaaaaa' WHERE session_id = :id AND seq = 2", id=session_id)
    assert "row 2 cannot be verified: chain key aaaaaaaaaaaaaaaa" in checked(desk, session_id).problems[session_id][0]


def test_an_archive_brings_its_chain_to_another_database(desk, postgres_server, database_template):
    """Restored where chains have another key, it verifies there, with the key that the cold store has."""
    session_id = desk.closed(checkpoints=1, samples=3)
    Archiver(desk.engine, desk.settings, desk.cold).archive(session_id)
    with (
        postgres_server.database(database_template) as name,
        make_desk(desk.settings, postgres_server.url(name)) as other,
    ):
        native = lived(other)
        assert chain_key(other.engine).key_id != chain_key(desk.engine).key_id
        restore_session(other.engine, other.settings, other.cold, session_id, "ann")
        other.lifecycle.do(T.START, session_id)
        rows = other.lifecycle.audit(session_id)
        assert len({row["key_id"] for row in rows}) == 2
        anchor(other)
        assert verify_all(other.engine, other.settings, other.cold).whole
        assert checked(other, native).whole


def test_an_empty_database_has_its_own_key_before_it_takes_anothers(desk, postgres_server, database_template):
    """Restored first of all: each database anchors its own chains, under its own key, and both are whole."""
    session_id = desk.closed(checkpoints=1, samples=3)
    Archiver(desk.engine, desk.settings, desk.cold).archive(session_id)
    lived(desk)
    anchor(desk)
    with (
        postgres_server.database(database_template) as name,
        make_desk(desk.settings, postgres_server.url(name)) as other,
    ):
        restore_session(other.engine, other.settings, other.cold, session_id, "ann")
        assert chain_key(other.engine).key_id != chain_key(desk.engine).key_id
        other.lifecycle.do(T.START, session_id)
        anchor(other)
        desk.lifecycle.do(T.RESUME, session_id)
        anchor(desk)
        for one in (desk, other):
            found = verify_all(one.engine, one.settings, one.cold)
            assert found.whole, found


def test_an_export_has_each_key_that_its_rows_name(desk, capsys, tmp_path):
    """One that is gone from Postgres comes from the cold store; where one is nowhere there is no file."""
    session_id = lived(desk)
    anchor(desk)
    freely(desk, KEY_GONE, id=session_id)
    file = tmp_path / "chain.jsonl"
    assert run(["audit", "export", str(session_id), str(file)]) == Exit.DONE
    with file.open("rb") as opened:
        assert exporting.verify_file(desk.settings, opened).problems == {}
    freely(desk, "UPDATE audit SET key_id = 'aaaaaaaaaaaaaaaa' WHERE session_id = :id AND seq = 2", id=session_id)
    assert run(["audit", "export", str(session_id), str(tmp_path / "other")]) not in (Exit.DONE, Exit.UNAVAILABLE)
    assert not (tmp_path / "other").exists()


def test_an_exported_chain_is_verified_with_the_ring_alone(desk, capsys, tmp_path, monkeypatch):
    """JSON lines that anybody can read; no store is asked, so none is called proven. What was done to it is found."""
    session_id = lived(desk)
    desk_audit.record(desk.engine, ANN, Deed("issue_token", "done", target="bob"))
    file, own = tmp_path / "chain.jsonl", tmp_path / "desk.jsonl"
    assert run(["audit", "export", str(session_id), str(file)]) == Exit.DONE
    assert run(["audit", "export", "desk", str(own)]) == Exit.DONE
    assert run(["audit", "export", str(session_id), str(file)]) == Exit.USAGE
    assert file.stat().st_mode & 0o077 == 0
    monkeypatch.setenv("FNTX_DATABASE_URL", "postgresql://127.0.0.1:1/nowhere")
    assert said(desk, capsys, "--file", str(file))[0] == Exit.UNHEALTHY
    code, told = said(desk, capsys, "--file", str(own))
    assert (code, "no anchor speaks about a file" in told) == (Exit.UNHEALTHY, True)
    whole = file.read_bytes().splitlines(keepends=True)
    harms = {
        "row 2 was changed": [*whole[:2], whole[2].replace(b"start_session", b"close_session"), *whole[3:]],
        "row 2 missing before row 3": [*whole[:2], *whole[3:]],
        "cut off": whole[:-3],
        "bear out": [*whole[:-1], b"0" * 64],
        "put after its end": [*whole, whole[1]],
    }
    for problem, lines in harms.items():
        file.write_bytes(b"".join(lines))
        code, told = said(desk, capsys, "--file", str(file))
        assert (code, problem in told) == (1, True), told
    for garbage in (b"", b"{}\n", b"\x00\xff" * 99, b"[" * 200_000, whole[0] + b'{"seq": 1}\n'):
        file.write_bytes(garbage)
        assert said(desk, capsys, "--file", str(file))[0] not in (Exit.DONE, Exit.UNAVAILABLE)


def test_rows_are_listed_by_whom_and_what(desk, capsys):
    """Of one session, of the desk, of all; by name, action, outcome and time."""
    session_id = lived(desk, steps=2)
    desk_audit.record(desk.engine, ANN, Deed("issue_token", "done", target="bob", reason="on call"))

    def listed(*asked: str) -> list[dict]:
        assert run(["audit", "ls", "--json", *asked]) == Exit.DONE
        return json.loads(capsys.readouterr().out)

    assert [row["action"] for row in listed("--desk")] == ["issue_token"]
    assert [row["seq"] for row in listed(str(session_id)[:8])] == [4, 3, 2, 1]
    assert len(listed()) == 5
    assert [row["action"] for row in listed("--action", "pause_session", "--outcome", "done")] == ["pause_session"]
    assert listed("--actor", "nobody") == listed("--until", "1h") == listed("--outcome", "failed") == []
    assert run(["audit", "ls", "--desk"]) == Exit.DONE
    assert "on call" in capsys.readouterr().out
    assert run(["audit", "ls", str(uuid4())[:8]]) == Exit.NOT_FOUND


def test_the_doctor_says_how_old_the_newest_anchor_is(desk):
    """None yet on a young desk is no fault; one that is late is."""

    def result() -> tuple[str, str]:
        with desk.engine.connect() as connection:
            [check] = diagnose_anchors(read_anchors(connection))
        return check.result, check.meaning

    assert result()[0] == "ok"
    lived(desk)
    desk.run("UPDATE sessions SET created_at = now() - interval '1 hour'")
    assert result()[0] == "warn"
    anchor(desk)
    assert result()[0] == "ok"
    desk.run(DUE)
    assert result()[0] == "warn"


def test_what_lists_chains_in_the_cold_store_needs_its_key(desk):
    """An anchor does not open with another database's key, nor under another's name."""
    anchor(desk)
    keys = ChainKeys(None, desk.settings, desk.cold)
    with pytest.raises(IntegrityError, match="neither in this database nor in the cold store"):
        keys.rows("00112233aabbccdd")


def test_an_export_of_nothing_is_refused(desk):
    """A session that is not there is told."""
    with pytest.raises(NotFound):
        exporting.export(desk.engine, uuid4(), lambda _: None)
