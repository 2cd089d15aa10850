"""Shredding: afterwards no copy in any tier opens, nothing plain is left, and the audit chain still verifies."""

import subprocess
import sys
from uuid import uuid4

import pytest
from archiving import agent, make_desk
from lifecycle_harness import ANN, S
from sqlalchemy import text

from fntx_sessions.cli import details
from fntx_sessions.database.engine import build_engine
from fntx_sessions.exceptions import FntxError, IllegalTransition, Shredded, StaleEpoch, Unavailable
from fntx_sessions.lifecycle.arguments import CommandArguments
from fntx_sessions.lifecycle.execute import Desk, command
from fntx_sessions.lifecycle.reads import history
from fntx_sessions.lifecycle.reads.metrics import get_metrics
from fntx_sessions.lifecycle.reads.sessions import get_session
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.chain_check import verify_chain
from fntx_sessions.stack.status import read_database
from fntx_sessions.stack.unerased import diagnose_unerased
from fntx_sessions.state import backups, container, erasing
from fntx_sessions.state.archive import Archiver, archive_due
from fntx_sessions.state.chain_key import ChainKeys
from fntx_sessions.state.checkpoints import create_checkpoint, list_checkpoints
from fntx_sessions.state.data_keys import DataKeys, ensure_cold_key
from fntx_sessions.state.erasing import erase_due
from fntx_sessions.state.key_cache import Remembered
from fntx_sessions.state.key_rotation import forget_store
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.loading import load
from fntx_sessions.state.objects.cold import open_cold
from fntx_sessions.state.redis_client import key
from fntx_sessions.state.retention import move_due
from fntx_sessions.state.saves import save_sessions
from fntx_sessions.state.snapshot import Packer
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.cold import ColdTier
from fntx_sessions.state.tiers.memory import MemoryTier, get_memory
from fntx_sessions.state.tiers.postgres import PostgresTier
from fntx_sessions.state.tiers.redis import HotTier

ADMIN = Actor("ada", frozenset({"admin"}))
CANARY = "canary-4711-in-the-coal-mine"
TABLES = """
SELECT c.table_name, c.column_name FROM information_schema.columns c
JOIN information_schema.tables t USING (table_schema, table_name)
WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND data_type = 'bytea'
"""
OF_SESSION = """
SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'session_id'
  AND table_name !~ '_(w[0-9]|past|[0-9])'
"""
COMMANDS = "SELECT command_id, arguments FROM commands WHERE session_id = :id ORDER BY created_at"
OLD_ONE = """
UPDATE checkpoints SET timestamp = now() - interval '31 days' WHERE session_id = :id
  AND checkpoint_id = (SELECT min(checkpoint_id::text)::uuid FROM checkpoints WHERE session_id = :id)
"""
# What a shredded session leaves: who it was, who did what, what the account lost, its destroyed key.
LEFT = {"sessions", "session_work", "audit", "commands", "session_days", "session_keys"}


@pytest.fixture
def desk(settings):
    with make_desk(settings) as made:
        yield made


def shred(desk, session_id, actor=ADMIN, **more):
    """Ask for a session's shredding as the task does."""
    hands = Desk(*desk.stores)
    return command(hands, Trigger.SHRED, actor, CommandArguments(session_id=session_id, **more), uuid4())


def test_what_is_shown_of_a_shredded_session_invents_nothing(desk, capsys):
    """Who shredded it and when, and no figure: neither in the answer nor on the page, and metrics are refused."""
    session_id = desk.closed()
    shred(desk, session_id)
    shown = get_session(*desk.stores, session_id)
    assert (shown.status_actor, shown.status_reason) == ("ada", "shredded")
    assert shown.shredded_at is not None
    assert (shown.metrics, shown.trading_state, shown.state_source) == (None, None, None)
    details.show(shown.model_dump(mode="json"))
    page = capsys.readouterr().out
    assert "$0.00" not in page
    assert "its state, trades and results are gone for good" in page
    with pytest.raises(Shredded):
        get_metrics(desk.engine, session_id)
    with pytest.raises(IllegalTransition, match=r"closed, set by ada \(shredded\)"):
        command(
            Desk(*desk.stores), Trigger.START, ANN, CommandArguments(session_id=session_id), uuid4()
        ).raise_for_refusal()


def everywhere(desk):
    """Return a closed session that is in every tier: memory, Redis, Postgres, cold, archive and local backups."""
    session_id = desk.closed(checkpoints=2)
    packed = PostgresTier(desk.engine).get(Ref(session_id))
    get_memory().put(packed)
    backups.BackupWriter(desk.settings).put(packed)
    desk.run(OLD_ONE, id=session_id)
    move_due(desk.engine, desk.client, desk.settings, desk.cold)
    assert archive_due(desk.engine, desk.settings, desk.cold).archived == [session_id]
    return session_id


def copies(desk, session_id):
    """Return the session's snapshots as each tier holds them now, by tier."""
    tiers = {
        "memory": get_memory(), "redis": HotTier.of(desk.client, desk.settings), "postgres": PostgresTier(desk.engine),
        "cold": ColdTier(desk.cold),
    }  # fmt: skip
    listed = [Ref(session_id), *(Ref(session_id, c.checkpoint_id) for c in list_checkpoints(desk.engine, session_id))]
    found = {name: [packed for ref in listed if (packed := tier.get(ref))] for name, tier in tiers.items()}
    found["backup"] = [backups.read(backup) for backup in backups.find(desk.settings, session_id)]
    return found


def test_no_copy_kept_aside_from_any_tier_opens_again(desk):
    """Bytes taken from every tier before, by whatever thief, are told to be shredded, by this process and by others."""
    session_id = everywhere(desk)
    kept = copies(desk, session_id)
    assert all(kept.values()), {name: len(held) for name, held in kept.items()}
    archived = [desk.cold.read(info.name) for info in desk.cold.list("archives/")]
    for held in kept.values():
        assert Packer.of(desk.settings, desk.engine).unpack(held[0]).session_id == session_id
    assert shred(desk, session_id).state == "done"
    other = build_engine(desk.settings.database_url.get_secret_value(), desk.settings)
    for engine in (desk.engine, other):
        for held in kept.values():
            for packed in held:
                with pytest.raises(Shredded):
                    Packer.of(desk.settings, engine).unpack(packed)
    other.dispose()
    [name] = [f"archives/{session_id}/session"]
    desk.cold.replace(name, archived[0], {})
    with pytest.raises(FntxError):
        Archiver(desk.engine, desk.settings, desk.cold).verify(session_id)


def test_every_read_says_that_it_was_shredded(desk):
    """The latest save and each checkpoint, before and after everything is erased."""
    session_id = everywhere(desk)
    refs = [Ref(session_id), *(Ref(session_id, c.checkpoint_id) for c in list_checkpoints(desk.engine, session_id))]
    shred(desk, session_id)
    for _ in range(2):
        for ref in refs:
            with pytest.raises(Shredded):
                load(*desk.stores, ref, MemoryTier(0))
        erase_due(*desk.stores)


def test_nothing_is_left_but_row_audit_and_the_accounts_days(desk):
    """Every tier is empty of it; the chain verifies; status, result of the day and loss limit stand as they did."""
    session_id = everywhere(desk)
    days = desk.rows("SELECT * FROM session_days WHERE session_id = :id", id=session_id)
    assert shred(desk, session_id).state == "done"
    assert desk.cold.info(f"keys/{session_id}") is None
    assert erase_due(*desk.stores) == 1
    left = {
        row["table_name"]
        for row in desk.rows(OF_SESSION)
        if desk.rows(f"SELECT 1 FROM {row['table_name']} WHERE session_id = :id LIMIT 1", id=session_id)
    }
    assert left <= LEFT, left - LEFT
    assert [info.name for info in desk.cold.list("") if str(session_id) in info.name] == []
    assert list(desk.client.scan_iter(match=key(session_id, "*"))) == []
    assert get_memory().get(Ref(session_id)) is None
    assert backups.find(desk.settings, session_id) == []
    row = desk.lifecycle.row(session_id)
    audit = desk.lifecycle.audit(session_id)
    assert (row["status"], row["status_reason"]) == ("closed", "shredded")
    assert (audit[-1]["action"], audit[-1]["actor"]) == ("shred_session", "ada")
    assert verify_chain(audit, ChainKeys(desk.engine, desk.settings).rows, head=row["audit_head"]) == []
    assert desk.rows("SELECT * FROM session_days WHERE session_id = :id", id=session_id) == days


def test_free_text_of_the_row_is_blanked(desk):
    """Tags and whatever else of the config may hold words go; numbers stay."""
    session_id = desk.closed(config={"tags": [CANARY], "leave_positions_with": CANARY, "save_interval_s": 7})
    shred(desk, session_id, reason="they asked for it")
    row = desk.lifecycle.row(session_id)
    assert CANARY not in str(row)
    assert row["config"]["save_interval_s"] == 7


@pytest.mark.parametrize("status", [S.INITIALIZING, S.ACTIVE, S.PAUSED, S.CLOSING, S.ERROR])
def test_only_a_closed_session_can_be_shredded(desk, status):
    """Others are refused, audited, and told to be stopped first; their key stays."""
    session_id = desk.lifecycle.in_status(status)
    outcome = shred(desk, session_id)
    assert (outcome.state, outcome.error["error"]) == ("refused", "PreconditionFailed")
    assert "fntx stop" in outcome.error["message"]
    assert desk.lifecycle.audit(session_id)[-1]["outcome"] == "refused"
    assert desk.rows("SELECT 1 FROM session_keys WHERE shredded_at IS NOT NULL") == []


def test_a_pinned_or_shredded_session_and_other_roles_are_refused(desk):
    """An operator may not; a pin holds it; a second shredding finds it shredded."""
    session_id = desk.closed(live=False)
    assert shred(desk, session_id, ANN).error["error"] == "Forbidden"
    desk.run("UPDATE sessions SET pinned = true WHERE session_id = :id", id=session_id)
    assert "it is pinned" in shred(desk, session_id).error["message"]
    desk.run("UPDATE sessions SET pinned = false WHERE session_id = :id", id=session_id)
    assert shred(desk, session_id).state == "done"
    assert shred(desk, session_id).error["error"] == "Shredded"


def test_asked_again_it_answers_and_acts_once(desk):
    """The same command id gives the same outcome, though the session's key is gone."""
    session_id, command_id = desk.closed(live=False), uuid4()
    hands, arguments = Desk(*desk.stores), CommandArguments(session_id=session_id)
    first, second = (command(hands, Trigger.SHRED, ADMIN, arguments, command_id) for _ in range(2))
    assert second.repeated
    assert (first.state, first.version) == (second.state, second.version)


def test_a_session_that_never_had_a_key_gets_none_afterwards(desk):
    """What comes late finds it shredded, not new."""
    session_id = desk.lifecycle.in_status(S.CLOSED)
    desk.run("DELETE FROM session_keys WHERE session_id = :id", id=session_id)
    assert shred(desk, session_id).state == "done"
    with pytest.raises(Shredded):
        DataKeys(desk.engine, desk.settings).of(session_id)
    with pytest.raises(Shredded):
        ensure_cold_key(desk.engine, desk.settings, desk.cold, session_id)


def test_a_late_writer_stores_nothing(desk):
    """A process that still remembers the key has its save and its checkpoint refused by the epoch."""
    session_id = desk.closed()
    keys = DataKeys(desk.engine, desk.settings)
    remembered = keys.of(session_id)
    shred(desk, session_id)
    erase_due(*desk.stores)
    keys._cache.put(session_id, Remembered(remembered))
    live = LiveState(desk.client, desk.settings)
    live.raise_fence(session_id, 1)
    live.report(Report(session_id, 1, "Late", {"agent/Late": agent(n=1)}))
    save_sessions(*desk.stores, [session_id])
    with pytest.raises(StaleEpoch):
        create_checkpoint(*desk.stores, session_id, "manual")
    for table in ("saves", "checkpoints", "parts", "snapshot_parts"):
        assert desk.rows(f"SELECT 1 FROM {table} WHERE session_id = :id", id=session_id) == [], table


def test_a_step_that_fails_stops_no_other_and_is_done_later(desk, monkeypatch):
    """With the bucket away everything else goes at once; the session stays due until that went too."""
    session_id = everywhere(desk)
    shred(desk, session_id)
    broken = erasing.open_cold

    def away(_settings):
        raise FntxError("the bucket is away")

    monkeypatch.setattr(erasing, "open_cold", away)
    assert set(erasing.erase(*desk.stores, session_id)) == {"cold key", "cold"}
    assert desk.rows("SELECT 1 FROM samples WHERE session_id = :id", id=session_id) == []
    assert desk.rows("SELECT 1 FROM session_keys WHERE erase_due_at <= now()") != []
    monkeypatch.setattr(erasing, "open_cold", broken)
    assert erase_due(*desk.stores) == 1
    assert [info.name for info in desk.cold.list("") if str(session_id) in info.name] == []


def test_it_is_looked_for_once_more_and_then_no_more(desk):
    """What somebody wrote who began before is found by the second look, after which the session is not due."""
    session_id = desk.closed(live=False)
    shred(desk, session_id)
    assert erase_due(*desk.stores) == 1
    assert erase_due(*desk.stores) == 0
    desk.cold.replace(f"keys/{session_id}", b"late", {})
    desk.run(
        "UPDATE session_keys SET shredded_at = now() - interval '1 hour', erase_due_at = now() WHERE session_id = :id",
        id=session_id,
    )
    assert erase_due(*desk.stores) == 1
    assert desk.cold.info(f"keys/{session_id}") is None
    assert desk.rows("SELECT erase_due_at FROM session_keys WHERE shredded_at IS NOT NULL") == [{"erase_due_at": None}]


def away(*_):
    raise Unavailable("the cold store", "there is no bucket desk", "Make it.")


def test_a_key_that_could_not_be_destroyed_is_told_until_it_is(desk, monkeypatch):
    """The answer warns, the session has an event, status and doctor count it, with why and since when; then no more."""
    session_id = everywhere(desk)
    url, there = desk.settings.database_url.get_secret_value(), erasing.open_cold
    assert str(read_database(url).unerased) == "all erased"
    monkeypatch.setattr(erasing, "open_cold", away)
    outcome = shred(desk, session_id)
    assert (outcome.state, "NOT destroyed yet" in outcome.warnings[0]) == ("done", True)
    for _ in range(2):
        found = read_database(url).unerased
        assert (found.sessions, "there is no bucket desk" in str(found)) == (1, True)
        [check] = diagnose_unerased(found)
        assert (check.result, check.meaning) == ("warn", str(found))
        [told] = [
            one for one in history.get_events(desk.engine, session_id, 10) if one.event_type == "erase_unfinished"
        ]
        assert "there is no bucket desk" in told.description
        erasing.erase(*desk.stores, session_id)
        assert read_database(url).unerased.since == found.since
    monkeypatch.setattr(erasing, "open_cold", there)
    assert erasing.erase(*desk.stores, session_id) == {}
    assert read_database(url).unerased.sessions == 0
    assert history.get_events(desk.engine, session_id, 10) == []
    assert list(diagnose_unerased(read_database(url).unerased)) == []


def test_a_key_object_in_another_cold_store_is_told_of(desk, tmp_path):
    """The erasing ends when that was forgotten, being gone, not before."""
    session_id = desk.closed(live=False)
    (tmp_path / "other").mkdir()
    other = open_cold(desk.settings.model_copy(update={"cold_url": (tmp_path / "other").as_uri()}))
    ensure_cold_key(desk.engine, desk.settings, other, session_id)
    assert other.address in shred(desk, session_id).warnings[0]
    assert set(erasing.erase(*desk.stores, session_id)) == {"cold key"}
    assert forget_store(desk.engine, other.address) == 1
    assert erasing.erase(*desk.stores, session_id) == {}


KILLED = """
import sys
from uuid import UUID
from fntx_sessions.database.engine import get_engine
from fntx_sessions.lifecycle.arguments import CommandArguments
from fntx_sessions.lifecycle.execute import Desk, command
from fntx_sessions.lifecycle.reads import history
from fntx_sessions.lifecycle.reads.metrics import get_metrics
from fntx_sessions.lifecycle.reads.sessions import get_session
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.actor import Actor
from fntx_sessions.settings import get_settings
from fntx_sessions.state.erasing import erase_due
from fntx_sessions.state.redis_client import get_redis
desk = Desk(get_engine(), get_redis(), get_settings())
command(desk, Trigger.SHRED, Actor("ada", frozenset({"admin"})), CommandArguments(session_id=UUID(sys.argv[1])),
    UUID(int=7))
erase_due(*desk.parts())
"""  # fmt: skip


@pytest.mark.parametrize("point", ["command.before_commit", "shred.committed", "shred.step"])
def test_killed_anywhere_the_session_is_whole_or_goes_on_being_shredded(desk, point):
    """Before the commit nothing happened; after it nothing opens, and the sweep takes the rest away."""
    session_id = everywhere(desk)
    told = {
        "FNTX_HOME": str(desk.settings.home), "FNTX_AUTH_MODE": "open", "FNTX_FAILPOINTS": f"{point}:kill",
        "FNTX_DATABASE_URL": desk.settings.database_url.get_secret_value(),
        "FNTX_REDIS_URL": desk.settings.redis_url.get_secret_value(),
        "FNTX_KEY_RING": desk.settings.key_ring.get_secret_value(),
    }  # fmt: skip
    ended = subprocess.run([sys.executable, "-c", KILLED, str(session_id)], env=told, check=False)
    assert ended.returncode == -9
    DataKeys(desk.engine, desk.settings).forget(session_id)
    if point == "command.before_commit":
        assert load(*desk.stores, Ref(session_id)).snapshot.session_id == session_id
        return
    with pytest.raises(Shredded):
        load(*desk.stores, Ref(session_id), MemoryTier(0))
    desk.run("UPDATE session_keys SET erase_due_at = now() WHERE erase_due_at IS NOT NULL")
    assert erase_due(*desk.stores) == 1
    assert desk.rows("SELECT 1 FROM samples WHERE session_id = :id", id=session_id) == []
    assert [info.name for info in desk.cold.list("") if str(session_id) in info.name] == []


def test_no_plain_word_of_a_session_lies_in_any_sealed_place(desk):
    """A planted word is in no bytea of any table, no hot copy, no cold object and no backup; live values excepted."""
    session_id = desk.lifecycle.in_status(S.ACTIVE)
    live = LiveState(desk.client, desk.settings)
    live.raise_fence(session_id, 1)
    live.report(Report(session_id, 1, "Small", {"agent/Small": agent(word=CANARY)}))
    live.report(Report(session_id, 1, "Big", {"agent/Big": agent(words=[CANARY] * 2000)}))
    made = create_checkpoint(*desk.stores, session_id, "manual")
    save_sessions(*desk.stores, [session_id])
    packed = PostgresTier(desk.engine).get(Ref(session_id))
    backups.BackupWriter(desk.settings).put(packed)
    ensure_cold_key(desk.engine, desk.settings, desk.cold, session_id)
    ColdTier(desk.cold).put(packed)
    word = CANARY.encode()
    with desk.engine.connect() as connection:
        for table, column in connection.execute(text(TABLES)).all():
            for (value,) in connection.execute(text(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL")):
                assert word not in bytes(value), f"{table}.{column}"
    for name in desk.client.scan_iter():
        if not name.endswith(b":live") and desk.client.type(name) == b"hash":
            assert all(word not in value for value in desk.client.hgetall(name).values()), name
    assert all(word not in desk.cold.read(info.name) for info in desk.cold.list(""))
    assert all(word not in backup.path.read_bytes() for backup in backups.find(desk.settings, session_id))
    assert word not in container.to_bytes(packed)
    assert load(*desk.stores, Ref(session_id, made.checkpoint_id)).snapshot.parts["agent/Small"].find(word) > 0


def test_a_shredded_session_can_be_looked_at(desk):
    """Its row, its empty histories and the board answer; its commands say that they were shredded."""
    session_id = everywhere(desk)
    refused = desk.lifecycle.create_outcome(session_id, uuid4()).command_id
    before = [row["command_id"] for row in desk.rows(COMMANDS, id=session_id) if row["command_id"] != refused]
    shred(desk, session_id)
    erase_due(*desk.stores)
    found = get_session(desk.engine, desk.client, desk.settings, session_id)
    assert (found.status, found.events, found.agent_states) == (S.CLOSED, [], {})
    assert history.get_events(desk.engine, session_id, 10) == []
    assert list_checkpoints(desk.engine, session_id) == []
    for command_id in before:
        with pytest.raises(Shredded):
            history.get_outcome(desk.engine, command_id)
    assert history.get_outcome(desk.engine, refused).error["error"] == "Shredded"
    assert {row["arguments"] for row in desk.rows(COMMANDS, id=session_id)} == {None}
