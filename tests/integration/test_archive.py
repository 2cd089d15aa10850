"""Archives: a closed session whole in one object, proven before anything is let go, and back as it was."""

from dataclasses import replace
from hashlib import sha256
from uuid import UUID, uuid4

import orjson
import pytest
from archiving import Desk, agent, make_desk, noise
from history_world import begin, weeks_back
from lifecycle_harness import S, T, check_session
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from fntx_sessions.automation import retaining
from fntx_sessions.exceptions import (
    IntegrityError,
    NotFound,
    PreconditionFailed,
    Shredded,
    TooLarge,
    Unavailable,
)
from fntx_sessions.lifecycle.execute import Desk as Hands
from fntx_sessions.lifecycle.reads.metrics import get_metrics
from fntx_sessions.lifecycle.reads.sessions import get_session
from fntx_sessions.state import archive_format
from fntx_sessions.state.archive import Archiver, archive_due, object_name
from fntx_sessions.state.archive_check import metrics_of, rows_of
from fntx_sessions.state.archive_format import CHUNK_BYTES, HEADER_ROOM_BYTES, open_archive
from fntx_sessions.state.archive_restore import restore_session
from fntx_sessions.state.checkpoints import list_checkpoints
from fntx_sessions.state.codec import Codec
from fntx_sessions.state.data_keys import seal_of
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.loading import load
from fntx_sessions.state.retention import move_due
from fntx_sessions.state.saves import save_sessions
from fntx_sessions.state.segments import segment_due
from fntx_sessions.state.tiers.base import Ref


@pytest.fixture
def desk(settings):
    """A database, a Redis and a folder of this test's own."""
    with make_desk(settings) as made:
        yield made


@pytest.fixture
def other(settings, postgres_server, database_template):
    """An empty, migrated database beside the same cold store and key ring."""
    with postgres_server.database(database_template) as name, make_desk(settings, postgres_server.url(name)) as made:
        yield made


def archive(desk: Desk, store=None, **options):
    """Run one archive sweep's batch."""
    return archive_due(desk.engine, desk.settings, store or desk.cold, **options)


def archived(desk: Desk, **options) -> UUID:
    """Return a closed session that is archived."""
    session_id = desk.closed(**options)
    assert archive(desk).archived == [session_id]
    return session_id


def dropped(desk: Desk, **options) -> UUID:
    """Return an archived session whose rows left Postgres."""
    session_id = archived(desk, **options)
    desk.old(session_id)
    assert archive(desk).dropped == [session_id]
    return session_id


def restore(desk: Desk, session_id: UUID, store=None):
    """Restore into a desk's database."""
    return restore_session(desk.engine, desk.settings, store or desk.cold, session_id, "ann")


def damage(desk: Desk, session_id: UUID, data: bytes | None = None) -> None:
    """Put other bytes in the place of an archive, by default with one bit of its last chunk turned."""
    name = object_name(session_id)
    if data is None:
        good = desk.cold.read(name)
        data = good[:-20] + bytes([good[-20] ^ 1]) + good[-19:]
    desk.cold.replace(name, data, desk.cold.info(name).metadata)


def test_a_closed_session_is_due_at_once_and_others_never(desk):
    """Archiving follows the close by itself; what is not closed is not touched."""
    running = desk.lifecycle.in_status(S.ACTIVE)
    session_id = desk.closed(checkpoints=1)
    done = archive(desk)
    assert (done.archived, done.failed) == ([session_id], {})
    [row] = desk.rows("SELECT * FROM archives")
    data = desk.cold.read(row["object"])
    assert (row["object"], row["session_id"]) == (f"archives/{session_id}/session", session_id)
    assert (bytes(row["checksum"]), row["size_bytes"]) == (sha256(data).digest(), len(data))
    assert row["verified_at"] is not None
    assert row["contents"]["counts"]["transitions"] == 4
    assert desk.cold.info(f"archives/{running}/session") is None
    assert archive(desk).done == 0


def test_archiving_waits_as_long_as_the_setting_says(settings, monkeypatch):
    """`archive_after_s` is counted from the close, by Postgres's clock."""
    from fntx_sessions.lifecycle import machine_sql  # noqa: PLC0415

    later = settings.model_copy(update={"archive_after_s": 3600.0})
    monkeypatch.setattr(machine_sql, "get_settings", lambda: later)
    with make_desk(later) as desk:
        desk.closed(live=False)
        assert archive(desk).done == 0
        desk.run("UPDATE session_work SET archive_due_at = archive_due_at - interval '1 hour'")
        assert len(archive(desk).archived) == 1


def test_it_says_what_it_is_without_any_key_and_hides_what_is_in_it(desk):
    """The header is plain words and counts; neither amounts nor state nor the data key are to be read."""
    session_id = archived(desk)
    data = desk.cold.read(object_name(session_id))
    header = orjson.loads(data[data.index(b"{") : data.index(b"\n}") + 2])
    assert "Archive of one closed trading session" in header["what"]
    assert header["session"]["session_type"] == "paper_trading"
    counts = {section["name"]: section["rows"] for section in header["sections"]}
    assert (counts["samples"], counts["checkpoints"], counts["parts"], counts["fills"]) == (50, 2, 1, 1)
    for hidden in (b"SPY", b"back\\", b"ann", b"paper:"):
        assert hidden not in data
    [key] = desk.rows("SELECT wrapped FROM session_keys WHERE session_id = :id", id=session_id)
    assert bytes(key["wrapped"]) not in data
    told = desk.cold.info(object_name(session_id)).metadata
    assert (told["session_id"], told["rows_samples"]) == (str(session_id), "50")


def test_a_part_that_all_checkpoints_share_is_in_it_once(desk):
    """Six checkpoints of a large agent that did not change cost that agent once."""
    small, large = archived(desk, checkpoints=1), archived(desk, checkpoints=6)
    sizes = [desk.cold.info(object_name(one)).size_bytes for one in (small, large)]
    assert sizes[1] < sizes[0] + len(noise(1)) // 4


def test_it_comes_back_into_an_empty_database_byte_for_byte(desk, other):
    """Rows of every table, the save, each checkpoint's bytes and the audit chain are what they were."""
    session_id = archived(desk)
    before = desk.whole(session_id)
    [brought] = restore(other, session_id)
    assert other.whole(session_id) == before
    assert brought.rows["samples"] == 50
    check_session(other.lifecycle, session_id)
    parts = [dict(load(*each.stores, Ref(session_id)).snapshot.parts) for each in (desk, other)]
    assert parts[0] == parts[1]
    kept = [[one.checkpoint_id for one in list_checkpoints(each.engine, session_id)] for each in (desk, other)]
    assert kept[0] == kept[1]
    for one in kept[1]:
        assert load(*other.stores, Ref(session_id, one)).snapshot.parts["agent/Big"] == agent(notes=noise(1))
    assert get_metrics(other.engine, session_id) == get_metrics(desk.engine, session_id)
    [told] = other.rows("SELECT description FROM events WHERE event_type = 'session_restored'")
    assert "asked by ann" in told["description"]


def test_it_comes_back_from_a_bucket_too(settings, gcs_server, other):
    """The same over HTTP, as a bucket holds it."""
    store = gcs_server.store()
    with make_desk(settings) as desk:
        session_id = desk.closed()
        assert archive(desk, store).archived == [session_id]
        before = desk.whole(session_id)
        desk.old(session_id)
        assert archive(desk, store).dropped == [session_id]
    restore(other, session_id, store)
    assert other.whole(session_id) == before


def test_rows_go_only_after_their_time_and_what_stays_says_where_the_rest_is(desk):
    """Due 30 days after the end; then the row, the audit chain and the archive's own row stay."""
    session_id = archived(desk)
    before = desk.whole(session_id)
    [due] = desk.rows(
        "SELECT w.archive_due_at - s.ended_at AS after FROM session_work w JOIN sessions s USING (session_id)"
    )
    assert due["after"].total_seconds() == desk.settings.warm_keep_s
    desk.old(session_id)
    assert archive(desk).dropped == [session_id]
    after = desk.whole(session_id)
    kept = {name for name, rows in after.items() if rows}
    assert kept == {"sessions", "session_agents", "audit", "session_days", "accounts"}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    [row] = desk.rows("SELECT object, rows_dropped_at FROM archives")
    assert row["rows_dropped_at"] is not None
    assert archive(desk).done == 0


def test_dropped_rows_come_back_and_go_again_later(desk):
    """What was let go is put back as it was; it stays another 30 days. Asked twice, the second finds nothing to do."""
    session_id = archived(desk)
    before = desk.whole(session_id)
    desk.old(session_id)
    archive(desk)
    restore(desk, session_id)
    assert desk.whole(session_id) == before
    assert [one.already_there for one in restore(desk, session_id)] == [True]
    assert desk.whole(session_id) == before
    assert archive(desk).done == 0
    desk.old(session_id)
    assert archive(desk).dropped == [session_id]
    restore(desk, session_id)
    assert desk.whole(session_id) == before


def test_a_pinned_session_is_archived_and_never_dropped(desk):
    """Pinning keeps its rows however old it is; unpinned, they go."""
    session_id = archived(desk)
    desk.run("UPDATE sessions SET pinned = true")
    desk.old(session_id)
    assert archive(desk).kept == [session_id]
    assert desk.whole(session_id)["checkpoints"]
    desk.run("UPDATE sessions SET pinned = false")
    desk.old(session_id)
    assert archive(desk).dropped == [session_id]


def test_what_changed_after_archiving_is_archived_before_anything_goes(desk, other):
    """An event, or a refused command, that came after the archive is in the one that is restored."""
    session_id = archived(desk)
    assert desk.lifecycle.do(T.PAUSE, session_id).state == "refused"
    before = desk.whole(session_id)
    desk.old(session_id)
    assert archive(desk).dropped == [session_id]
    restore(other, session_id)
    assert other.whole(session_id) == before


def test_a_damaged_archive_is_found_before_anything_goes_and_made_again(desk, other):
    """A turned bit in the cold store, found in time, costs nothing: the rows are still there."""
    session_id = archived(desk)
    before = desk.whole(session_id)
    damage(desk, session_id)
    with pytest.raises(IntegrityError):
        Archiver(desk.engine, desk.settings, desk.cold).verify(session_id)
    desk.old(session_id)
    assert archive(desk).dropped == [session_id]
    restore(other, session_id)
    assert other.whole(session_id) == before


def test_a_save_that_came_in_after_archiving_is_in_what_is_kept(desk, other):
    """As many rows as before, but a newer save, from a saver under way or a backup: the archive is made anew."""
    session_id = archived(desk)
    LiveState(desk.client, desk.settings).report(Report(session_id, 1, "Small", {"agent/Small": agent(number=99)}))
    assert save_sessions(*desk.stores, [session_id]).saved == [session_id]
    before = desk.whole(session_id)
    desk.old(session_id)
    assert archive(desk).dropped == [session_id]
    restore(other, session_id)
    assert other.whole(session_id) == before
    assert load(*other.stores, Ref(session_id)).snapshot.parts["agent/Small"] == agent(number=99)


def test_weeks_that_left_postgres_after_archiving_stay_in_the_archive(desk, other):
    """History is dropped by the week: an archive made anew, or compared, takes what it had along."""
    session_id = archived(desk)
    before = desk.whole(session_id)
    desk.run("DELETE FROM events WHERE event_type = 'note'")
    desk.lifecycle.do(T.PAUSE, session_id)
    after = desk.whole(session_id)
    desk.old(session_id)
    assert archive(desk).dropped == [session_id]
    restore(other, session_id)
    assert other.whole(session_id) == after | {"events": before["events"]}


def test_a_damaged_archive_that_alone_holds_something_is_left_for_a_person(desk):
    """Weeks gone from Postgres and a damaged archive: nothing is overwritten, nothing dropped, an event says so."""
    session_id = archived(desk)
    desk.run("DELETE FROM events WHERE event_type = 'note'")
    damage(desk, session_id)
    bad, before = desk.cold.read(object_name(session_id)), desk.whole(session_id)
    desk.old(session_id)
    done = archive(desk)
    assert "3 rows of events are in no other place" in done.failed[session_id]
    assert desk.cold.read(object_name(session_id)) == bad
    told = "SELECT 1 FROM events WHERE event_type = 'archive_failed'"
    assert len(desk.rows(told)) == 1
    desk.run("DELETE FROM events WHERE event_type = 'archive_failed'")
    assert desk.whole(session_id) == before


def test_weeks_that_were_in_segments_alone_are_in_the_archive(desk, other):
    """A long session's sealed weeks, dropped before it was closed, come back with it."""
    session_id = desk.lifecycle.in_status(S.ACTIVE)
    begin(desk, 10)
    desk.run(
        "INSERT INTO events (event_id, session_id, timestamp, event_type, event_category, severity, description) "
        "SELECT gen_random_uuid(), :id, :at, 'long_ago', 'test', 'info', E'a\\tb' FROM generate_series(1, 4)",
        id=session_id, at=weeks_back(9),
    )  # fmt: skip
    assert segment_due(desk.engine, desk.settings, desk.cold).rows == 4
    for trigger in (T.STOP, T.FINALIZE):
        desk.lifecycle.do(trigger, session_id)
    before = desk.whole(session_id)
    desk.run("DELETE FROM events WHERE event_type = 'long_ago'")
    assert archive(desk).archived == [session_id]
    [brought] = restore(other, session_id)
    assert brought.rows["weeks"] == 4
    assert other.whole(session_id) == before


def test_nothing_goes_while_the_cold_store_is_away(desk):
    """Out of reach at archiving or at dropping: nothing is noted, nothing deleted, and it is due again at once."""

    class Away:
        name = "away"

        def __getattr__(self, _name):
            raise Unavailable("the cold store", "the bucket is away", "Wait.")

    session_id = desk.closed()
    before = desk.whole(session_id)
    with pytest.raises(Unavailable):
        archive(desk, Away())
    assert desk.rows("SELECT 1 FROM archives") == []
    assert archive(desk).archived == [session_id]
    desk.old(session_id)
    with pytest.raises(Unavailable):
        archive(desk, Away())
    assert desk.whole(session_id) == before
    assert archive(desk).dropped == [session_id]


def test_checkpoints_that_had_moved_to_the_cold_store_are_in_it(desk, other):
    """They are read from there into the archive, and come back with all others."""
    session_id = desk.closed()
    before = desk.whole(session_id)
    desk.run("UPDATE checkpoints SET timestamp = timestamp - interval '31 days'")
    assert len(move_due(*desk.stores, desk.cold).moved) == 2
    assert archive(desk).archived == [session_id]
    restore(other, session_id)
    after = other.whole(session_id)
    assert [row["manifest"] for row in after["checkpoints"]] == [row["manifest"] for row in before["checkpoints"]]
    assert after["snapshot_parts"] == before["snapshot_parts"]


def test_checkpoints_of_an_archived_session_do_not_move_one_by_one(desk):
    """Its archive holds them: they leave Postgres with it."""
    archived(desk)
    desk.run("UPDATE checkpoints SET timestamp = timestamp - interval '31 days'")
    assert move_due(*desk.stores, desk.cold).done == 0


def test_a_checkpoint_that_was_damaged_before_does_not_hold_the_archive_up(desk, other):
    """It is kept as it is, the header names it, and verifying goes on finding everything else."""
    session_id = desk.closed()
    [first, _] = desk.rows("SELECT checkpoint_id FROM checkpoints ORDER BY timestamp")
    desk.run(
        "UPDATE checkpoints SET manifest = substr(manifest, 1, 90) WHERE checkpoint_id = :id", id=first["checkpoint_id"]
    )
    assert archive(desk).archived == [session_id]
    header = Archiver(desk.engine, desk.settings, desk.cold).verify(session_id)
    assert header.damaged == [str(first["checkpoint_id"])]
    before = desk.whole(session_id)
    [brought] = restore(other, session_id)
    assert brought.lost == header.damaged
    assert other.whole(session_id) == before


def test_metrics_are_told_in_it(desk):
    """What the run came to is in the archive, and shown when its rows are gone, with where they are."""
    session_id = desk.closed()
    retaining.archive_sessions(Hands(desk.engine, desk.client, desk.settings))
    codec = Codec(seal_of(desk.settings, desk.engine))
    found = open_archive(desk.cold.read(object_name(session_id)), session_id, codec)
    measured = get_metrics(desk.engine, session_id)
    assert metrics_of(found, codec) == measured.model_dump(mode="json")
    desk.old(session_id)
    retaining.archive_sessions(Hands(desk.engine, desk.client, desk.settings))
    shown = get_session(*desk.stores, session_id)
    assert (shown.metrics, shown.events, shown.checkpoints) == (measured, [], [])
    assert shown.archive.object == object_name(session_id)
    assert shown.archive.rows_dropped_at is not None


def test_many_rows_are_sealed_in_chunks(desk, other):
    """More than one chunk of a table comes back as it was."""
    session_id = desk.closed(samples=80_000, checkpoints=1)
    archive(desk)
    codec = Codec(seal_of(desk.settings, desk.engine))
    found = open_archive(desk.cold.read(object_name(session_id)), session_id, codec)
    assert len(found.header.section("samples").chunks) > 1
    assert all(len(chunk) < CHUNK_BYTES + 1000 for chunk in found.chunks(codec, "samples"))
    restore(other, session_id)
    query = "SELECT sha256(string_agg(s::text, '|' ORDER BY timestamp)::bytea) AS digest FROM samples s"
    assert bytes(desk.rows(query)[0]["digest"]) == bytes(other.rows(query)[0]["digest"])


def test_a_session_that_is_there_is_never_overwritten(desk):
    """One that runs is refused; nothing of it changes."""
    session_id = desk.lifecycle.in_status(S.ACTIVE)
    row = desk.lifecycle.row(session_id)
    with pytest.raises(PreconditionFailed, match="it is active in this database"):
        restore(desk, session_id)
    assert desk.lifecycle.row(session_id) == row
    with pytest.raises(NotFound, match="no archive"):
        restore(desk, uuid4())


def test_parents_come_back_first(desk, other):
    """A fork's parent is restored before it, from its own archive; without one, the fork stands alone."""
    parent = archived(desk, live=False)
    child = archived(desk, live=False, parent_session_id=parent)
    orphan = archived(desk, live=False, parent_session_id=desk.lifecycle.create())
    assert [one.session_id for one in restore(other, child)] == [parent, child]
    assert other.lifecycle.row(child)["parent_session_id"] == parent
    restore(other, orphan)
    assert other.lifecycle.row(orphan)["parent_session_id"] is None


def test_a_shredded_session_cannot_come_back(desk, other):
    """Where the database knows of the shredding it is named; where only the key is missing, that is said."""
    session_id = archived(desk)
    desk.cold.destroy(f"keys/{session_id}")
    with pytest.raises(IntegrityError, match="it was shredded, or lost"):
        restore(other, session_id)
    assert other.rows("SELECT 1 FROM sessions") == []
    desk.old(session_id)
    archive(desk)
    desk.run("UPDATE session_keys SET wrapped = NULL, ring_key_id = NULL, shredded_at = now()")
    with make_desk(desk.settings) as fresh, pytest.raises((Shredded, IntegrityError)):
        restore(fresh, session_id)


def test_every_kind_of_damage_is_an_integrity_error(desk):
    """Truncated, padded, turned bits anywhere, another session's, another format: named, never restored."""
    one, two = archived(desk, checkpoints=1), archived(desk, checkpoints=1)
    good = desk.cold.read(object_name(one))
    bad = [b"", good[:10], good[:-1], good + b"x", b"XXXX" + good[4:], good[:4] + b"\x00\x63" + good[6:]]
    bad += [good.replace(b'"rows": 50', b'"rows": 49', 1), desk.cold.read(object_name(two))]
    bad += [good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :] for at in range(20, len(good), len(good) // 25)]
    archiver = Archiver(desk.engine, desk.settings, desk.cold)
    for data in bad:
        damage(desk, one, data)
        with pytest.raises(IntegrityError):
            archiver.verify(one)
    damage(desk, one, good)
    assert archiver.verify(one).session_id == one


def test_an_older_archive_left_by_a_kill_gives_way(desk):
    """What a killed sweep wrote before the session changed once more is replaced; what is the same stays."""
    session_id = archived(desk)
    first = desk.cold.info(object_name(session_id))
    desk.run("DELETE FROM archives")
    desk.old(session_id)
    assert archive(desk).archived == [session_id]
    assert desk.cold.info(object_name(session_id)) == first
    desk.run("DELETE FROM archives")
    desk.lifecycle.do(T.PAUSE, session_id)
    desk.old(session_id)
    assert archive(desk).archived == [session_id]
    found = Archiver(desk.engine, desk.settings, desk.cold).open(session_id)
    codec = Codec(seal_of(desk.settings, desk.engine))
    from fntx_sessions.database.models import audit  # noqa: PLC0415

    assert [row["outcome"] for row in rows_of(found, codec, audit)][-1] == "refused"


def test_one_that_cannot_be_archived_stops_no_other_and_is_told(desk):
    """A broken audit chain is evidence: no archive, an event that says so, and the next one goes on."""
    broken, sound = desk.closed(live=False), desk.closed(live=False)
    desk.run("ALTER TABLE audit DISABLE TRIGGER append_only")
    desk.run("UPDATE audit SET reason = 'other' WHERE session_id = :id AND seq = 2", id=broken)
    desk.run("ALTER TABLE audit ENABLE TRIGGER append_only")
    done = archive(desk)
    assert (done.archived, list(done.failed)) == ([sound], [broken])
    [told] = desk.rows("SELECT description, severity FROM events WHERE event_type = 'archive_failed'")
    assert "row 2 was changed" in told["description"]
    assert archive(desk).done == 0


def test_one_that_is_too_large_for_memory_stays_where_it_is_and_is_told(desk, monkeypatch):
    """Neither made nor read above the setting; its rows stay, an event names the setting, and raised it is enough."""
    monkeypatch.setattr(archive_format, "CHUNK_BYTES", 10_000)
    session_id = desk.closed(live=False, samples=500)
    small = desk.settings.model_copy(update={"archive_max_bytes": 5_000})
    report = archive_due(desk.engine, small, desk.cold)
    assert (list(report.failed), report.archived) == ([session_id], [])
    assert desk.cold.info(object_name(session_id)) is None
    [told] = desk.rows("SELECT description FROM events WHERE event_type = 'archive_failed'")
    assert "Raise FNTX_ARCHIVE_MAX_BYTES" in told["description"]
    desk.run("UPDATE session_work SET archive_claimed_until = NULL WHERE session_id = :id", id=session_id)
    assert archive(desk).archived == [session_id]
    desk.old(session_id)
    tiny = desk.settings.model_copy(update={"archive_max_bytes": 1})
    before = desk.whole(session_id)
    with pytest.raises(TooLarge, match="FNTX_ARCHIVE_MAX_BYTES"):
        Archiver(desk.engine, tiny, WithoutRoom(desk.cold)).verify(session_id)
    assert archive_due(desk.engine, tiny, WithoutRoom(desk.cold)).dropped == []
    assert desk.whole(session_id)["samples"] == before["samples"]


class WithoutRoom:
    """A store whose objects are said to be large; whoever reads one anyhow has read it into memory."""

    def __init__(self, store) -> None:
        self._store = store

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def info(self, name: str):
        found = self._store.info(name)
        return found and replace(found, size_bytes=found.size_bytes + 2 * HEADER_ROOM_BYTES)

    def read(self, name: str):
        raise AssertionError(name)


def test_saying_that_one_restores_is_not_enough_to_make_up_a_session(desk):
    """The database lets a closed row in only with the audit chain whose head it names, and of that session alone."""
    session_id = desk.closed(live=False)
    columns = ", ".join(name for name in desk.lifecycle.row(session_id) if name != "session_id")
    made_up = (
        f"INSERT INTO sessions (session_id, {columns}) SELECT :new, {columns} FROM sessions WHERE session_id = :id"
    )
    for step in (_SAY, _CHAIN):
        bound = {"new": uuid4(), "id": session_id}
        with desk.engine.connect() as connection:
            connection.execute(text(step), bound)
            with pytest.raises(DBAPIError, match="begins as initializing"):
                connection.execute(text(made_up), bound)


_SAY = "SELECT set_config('fntx.restoring', CAST(:new AS text), true)"
_CHAIN = """
INSERT INTO audit (session_id, seq, timestamp, actor, roles, action, outcome, hash)
SELECT :new, seq, timestamp, actor, roles, action, outcome, hash FROM audit WHERE session_id = :id
"""
