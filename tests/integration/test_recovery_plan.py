"""Plans and what comes of them: ranked with reasons, proven before they are offered, the next one when one is bad."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import orjson
import pytest
from hosting import SYSTEM, Hosting, S, T, make_hosting, shared
from recovery_world import (
    DAMAGES,
    checkpoint,
    events,
    flipped,
    layered,
    live_of,
    lose_redis,
    memory,
    plan,
    run_of,
    steps_in,
)

from fntx_sessions.exceptions import IllegalTransition, NotFound, PreconditionFailed, Unavailable
from fntx_sessions.lifecycle.outbox import relay_session
from fntx_sessions.lifecycle.recovery import restoring
from fntx_sessions.state.backups import BackupWriter
from fntx_sessions.state.data_keys import ensure_cold_key
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.objects.cold import open_cold
from fntx_sessions.state.proving import verify_checkpoint
from fntx_sessions.state.redis_client import key
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.cold import ColdTier
from fntx_sessions.state.tiers.memory import get_memory
from fntx_sessions.state.tiers.postgres import PostgresTier


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def names(found) -> list[str]:
    return [one.name for one in found.candidates]


def everything(hosting: Hosting, session_id) -> dict:
    """All that a plan could have changed: the session's rows, and every key of Redis with its bytes."""
    tables = ("sessions", "session_work", "saves", "checkpoints", "recovery_runs", "events", "commands", "audit")
    rows = {name: hosting.rows(f"SELECT * FROM {name} WHERE session_id = :id", id=session_id) for name in tables}
    return rows | {name: hosting.desk.redis.dump(name) for name in sorted(hosting.desk.redis.keys())}


def test_a_plan_ranks_the_newest_first_and_says_why(hosting):
    """Live, then the save's copies by nearness, then checkpoints; each has a reason, and what it would lose."""
    session_id, made = layered(hosting)
    found = plan(hosting, session_id)
    assert names(found)[:3] == ["live", "latest save, from redis", "latest save, from postgres"]
    assert names(found)[-1] == f"checkpoint {made.checkpoint_id}"
    assert [one.rank for one in found.candidates] == list(range(1, len(found.candidates) + 1))
    assert all(one.reason and one.problem is None for one in found.candidates)
    assert [one.verified for one in found.candidates] == [True, True, True, False]
    assert (found.recovery_type, found.expected_data_loss_s, found.checkpoint_id) == ("live", 0.0, None)
    assert found.fallback_checkpoint_ids == [made.checkpoint_id]
    assert found.recovery_confidence == 1.0
    assert {step.name for step in found.steps} >= {"fence", "verify", "reconcile"}
    assert found.rollback_points
    assert found.data_integrity_checks


def test_a_plan_changes_nothing(hosting):
    """No row, no key of Redis, no epoch: also where it has to look past damage."""
    session_id, made = layered(hosting)
    lose_redis(hosting, session_id)
    flipped(hosting, "saves", session_id)
    before = everything(hosting, session_id)
    found = plan(hosting, session_id, checkpoint_id=made.checkpoint_id)
    assert found.candidates[0].name == f"checkpoint {made.checkpoint_id}"
    plan(hosting, session_id)
    assert everything(hosting, session_id) == before


def test_a_plan_of_an_unknown_session_says_so(hosting):
    """There is nothing to plan."""
    with pytest.raises(NotFound):
        plan(hosting, uuid4())


def test_a_plan_for_what_was_never_saved(hosting):
    """Nothing to put back: agents would begin anew, and that is no confidence at all."""
    session_id = hosting.started()
    lose_redis(hosting, session_id)
    found = plan(hosting, session_id)
    assert (found.candidates, found.recovery_type, found.recovery_confidence) == ([], "none", 0.0)
    assert "never saved" in found.data_loss_risk


def test_a_plan_while_redis_is_away_lists_what_postgres_has(hosting):
    """What is out of reach is said, and the rest is still ranked."""
    session_id, _ = layered(hosting)
    found = hosting.desk.redis.__class__.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=1)
    from fntx_sessions.lifecycle.recovery.plan import create_recovery_plan  # noqa: PLC0415

    seen = create_recovery_plan(hosting.desk.engine, found, hosting.desk.settings, session_id)
    found.close()
    assert seen.recovery_type == "postgres"
    assert "out of reach" in seen.candidates[-1].problem


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda one: one.__name__)
def test_a_bad_save_is_passed_over_for_the_next(hosting, damage):
    """Bit-flipped, truncated, empty, of a future version, replayed or another session's: the checkpoint, and why."""
    session_id, made = layered(hosting)
    lose_redis(hosting, session_id, hot=True)
    damage(hosting, "saves", session_id)
    [bad] = [one for one in plan(hosting, session_id).candidates if one.source == "postgres"]
    assert bad.problem
    assert bad.rank > 1
    outcome = hosting.do(T.RECOVER, session_id)
    assert outcome.extra["source"] == f"checkpoint {made.checkpoint_id}"
    assert outcome.extra["state_lost_s"] >= 0
    assert "latest save, from postgres" in [one["source"] for one in outcome.extra["passed_over"]]
    assert steps_in(hosting, session_id) == 1
    [event] = events(hosting, session_id, "recovery_fell_back")
    assert "latest save, from postgres" in event.description
    assert hosting.row(session_id)["status"] == S.PAUSED


def test_a_checkpoint_known_to_be_damaged_is_listed_and_not_offered(hosting):
    """It stands last, with what was wrong, unread; a recovery passes it over, and whoever names it has it looked at."""
    session_id, made = layered(hosting)
    older = checkpoint(hosting, session_id)
    forget(hosting, session_id, made, older)
    flipped(hosting, "checkpoints", older.checkpoint_id)
    verdict = verify_checkpoint(*hosting.desk.parts(), Ref(session_id, older.checkpoint_id))
    assert "does not open" in verdict.problem
    found = plan(hosting, session_id)
    assert found.candidates[-1].name == f"checkpoint {older.checkpoint_id}"
    assert found.candidates[-1].problem == f"known to be damaged: {verdict.problem}"
    assert older.checkpoint_id not in found.fallback_checkpoint_ids
    named = plan(hosting, session_id, checkpoint_id=older.checkpoint_id)
    [looked_at] = [one for one in named.candidates if one.checkpoint_id == older.checkpoint_id]
    assert looked_at.problem
    assert "known" not in looked_at.problem
    flipped(hosting, "checkpoints", older.checkpoint_id)
    assert verify_checkpoint(*hosting.desk.parts(), Ref(session_id, older.checkpoint_id)).problem is None
    assert all(one.problem is None for one in plan(hosting, session_id).candidates)


def test_a_recovery_mends_the_checkpoint_it_restores(hosting):
    """Damaged in Postgres and whole in Redis: it is put back from there, and its record is whole again."""
    session_id, made = layered(hosting)
    lose_redis(hosting, session_id)
    flipped(hosting, "checkpoints", made.checkpoint_id)
    get_memory().delete(Ref(session_id, made.checkpoint_id))
    before = everything(hosting, session_id)
    plan(hosting, session_id, checkpoint_id=made.checkpoint_id)
    assert everything(hosting, session_id) == before
    outcome = hosting.do(T.RECOVER, session_id, checkpoint_id=str(made.checkpoint_id))
    assert (outcome.extra["source"], outcome.extra["tier"]) == (f"checkpoint {made.checkpoint_id}", "redis")
    [event] = events(hosting, session_id, "state_repaired")
    assert "written again from redis" in event.description
    lose_redis(hosting, session_id, hot=True)
    assert verify_checkpoint(*hosting.desk.parts(), Ref(session_id, made.checkpoint_id)).problem is None


def forget(hosting: Hosting, session_id, *made) -> None:
    """Leave checkpoints where they are of record alone."""
    hosting.desk.redis.delete(key(session_id, "checkpoints"))
    for one in made:
        get_memory().delete(Ref(session_id, one.checkpoint_id))


def test_a_damaged_hot_copy_costs_nothing(hosting):
    """The save of record is as new: it is put back instead."""
    session_id, _ = layered(hosting)
    steps = steps_in(hosting, session_id)
    lose_redis(hosting, session_id)
    hosting.desk.redis.hset(key(session_id, "hot"), "manifest", b"garbage")
    outcome = hosting.do(T.RECOVER, session_id)
    assert (outcome.extra["source"], outcome.extra["tier"]) == ("latest save, from postgres", "postgres")
    assert steps_in(hosting, session_id) == steps


def told_last(hosting: Hosting, session_id) -> tuple:
    """What the session's agents read last: event, status, and the epoch to report under."""
    relay_session(*hosting.desk.parts(), session_id)
    [(_, fields)] = hosting.desk.redis.xrevrange(key(session_id, "inbox"), count=1)
    told = orjson.loads(fields[b"event"])
    return told["event"], told["to_status"], told["epoch"]


def test_where_nothing_holds_the_session_stays_as_it_was(hosting):
    """SUSPENDED and guarded, what is left of its live state untouched; a person is told what was tried."""
    session_id, made = layered(hosting)
    lose_redis(hosting, session_id, hot=True)
    flipped(hosting, "saves", session_id)
    forget(hosting, session_id, made)
    flipped(hosting, "checkpoints", made.checkpoint_id)
    guard = "Guard.RiskManagerAgent"
    live = LiveState(hosting.desk.redis, hosting.desk.settings)
    live.raise_fence(session_id, 1)
    live.report(
        Report(session_id, 1, guard, {f"agent/{guard}": b'{"agent_id":"g","last_update":"2024-01-01T00:00:00Z"}'})
    )
    before, command_id = live_of(hosting, session_id).parts, uuid4()
    outcome = hosting.ask(T.RECOVER, session_id, command_id=command_id)
    with pytest.raises(PreconditionFailed, match="latest save, from postgres"):
        outcome.raise_for_refusal()
    row = hosting.row(session_id)
    assert (row["status"], row["pending"]) == (S.SUSPENDED, None)
    assert str(made.checkpoint_id) in row["requires_action"]
    assert row["next_step_at"] is not None, "what is open is guarded"
    assert live_of(hosting, session_id).parts == before
    assert run_of(hosting, command_id)["state"] == "failed"
    [event] = events(hosting, session_id, "recovery_failed")
    assert event.requires_action
    assert told_last(hosting, session_id) == ("epoch_raised", "suspended", row["epoch"])


def test_a_named_checkpoint_that_is_damaged_is_refused_naming_the_alternatives(hosting):
    """A person asked for that one: nothing else is put in its place, and nothing is changed."""
    session_id, made = layered(hosting)
    flipped(hosting, "checkpoints", made.checkpoint_id)
    forget(hosting, session_id, made)
    before = memory(hosting, session_id)
    outcome = hosting.ask(T.RECOVER, session_id, checkpoint_id=made.checkpoint_id)
    with pytest.raises(PreconditionFailed, match="could be restored: live"):
        outcome.raise_for_refusal()
    row = hosting.row(session_id)
    assert (row["status"], row["requires_action"]) == (S.SUSPENDED, None)
    assert told_last(hosting, session_id) == ("epoch_raised", "suspended", row["epoch"])
    assert memory(hosting, session_id) == before


def test_a_named_checkpoint_that_is_not_there_is_not_found(hosting):
    """The answer names it."""
    session_id, _ = layered(hosting)
    with pytest.raises(NotFound):
        hosting.ask(T.RECOVER, session_id, checkpoint_id=uuid4()).raise_for_refusal()


def test_another_identity_is_passed_over_unless_it_is_named(hosting):
    """The session was changed since its checkpoint: by itself recovery does not take it, a person may."""
    session_id, made = layered(hosting)
    lose_redis(hosting, session_id, hot=True)
    hosting.run("DELETE FROM saves WHERE session_id = :id", id=session_id)
    hosting.do(T.UPDATE, session_id, config={"require_confirmation": True})
    [seen] = [one for one in plan(hosting, session_id).candidates if one.source == "checkpoint"]
    assert any("require_confirmation" in one for one in seen.identity_differences)
    with pytest.raises(PreconditionFailed, match="identity"):
        hosting.do(T.RECOVER, session_id)
    with pytest.raises(PreconditionFailed, match="--accept-identity"):
        hosting.do(T.RECOVER, session_id, checkpoint_id=made.checkpoint_id)
    outcome = hosting.do(T.RECOVER, session_id, accept_identity=made.identity[:12])
    assert outcome.extra["source"] == f"checkpoint {made.checkpoint_id}"


def test_a_backup_that_is_newer_than_the_save_comes_first(hosting):
    """Made while Postgres was away and not come in yet: it is the newest there is."""
    session_id, _ = layered(hosting, suspend=False)
    older = hosting.rows("SELECT * FROM saves WHERE session_id = :id", id=session_id)[0]
    marks = hosting.row(session_id)
    hosting.step()
    steps = steps_in(hosting, session_id)
    hosting.save(session_id)
    assert BackupWriter(hosting.desk.settings).put(PostgresTier(hosting.desk.engine).get(Ref(session_id)))
    hosting.do(T.SUSPEND, session_id)
    hosting.run(
        "UPDATE saves SET epoch = :epoch, revision = :revision, manifest = :manifest, checksum = :checksum "
        "WHERE session_id = :session_id", **{**older, "manifest": bytes(older["manifest"]),
                                             "checksum": bytes(older["checksum"])},
    )  # fmt: skip
    hosting.run(
        "UPDATE session_work SET saved_epoch = :epoch, saved_revision = :revision WHERE session_id = :id",
        id=session_id, epoch=marks["saved_epoch"], revision=marks["saved_revision"],
    )  # fmt: skip
    lose_redis(hosting, session_id, hot=True)
    assert plan(hosting, session_id).recovery_type == "backup"
    assert hosting.do(T.RECOVER, session_id).extra["source"].startswith("backup ")
    assert steps_in(hosting, session_id) == steps


def test_what_only_the_cold_store_knows_is_found_last(hosting):
    """Postgres forgot the checkpoint and lost the save: the cold store is asked when nothing nearer is left."""
    session_id, made = layered(hosting)
    packed = PostgresTier(hosting.desk.engine).get(Ref(session_id, made.checkpoint_id))
    store = open_cold(hosting.desk.settings)
    ensure_cold_key(hosting.desk.engine, hosting.desk.settings, store, session_id)
    assert ColdTier(store).put(packed)
    lose_redis(hosting, session_id, hot=True)
    for table in ("checkpoints", "saves"):
        hosting.run(f"DELETE FROM {table} WHERE session_id = :id", id=session_id)
    seen = plan(hosting, session_id).candidates
    assert [(one.source, one.tier) for one in seen if one.problem is None] == [("checkpoint", "cold")]
    outcome = hosting.do(T.RECOVER, session_id)
    assert (outcome.extra["source"], outcome.extra["tier"]) == (f"checkpoint {made.checkpoint_id}", "cold")


def cold_layered(hosting, tmp_path):
    """A session whose checkpoint is in the cold store alone, and the desk as it is with that store and without."""
    session_id, made = layered(hosting)
    packed = PostgresTier(hosting.desk.engine).get(Ref(session_id, made.checkpoint_id))
    gone = hosting.with_settings(cold_url=f"file://{tmp_path}/elsewhere")
    (tmp_path / "there").mkdir()
    back = hosting.with_settings(cold_url=f"file://{tmp_path}/there")
    store = open_cold(back.desk.settings)
    ensure_cold_key(hosting.desk.engine, hosting.desk.settings, store, session_id)
    ColdTier(store).put(packed)
    hosting.run(
        "UPDATE checkpoints SET tier = 'cold', manifest = NULL, cold_object = :name WHERE checkpoint_id = :id",
        id=made.checkpoint_id, name=f"sessions/{session_id}/checkpoints/{made.checkpoint_id}",
    )  # fmt: skip
    lose_redis(hosting, session_id, hot=True)
    return session_id, made, gone, back


def test_a_named_checkpoint_in_a_store_that_is_away_is_refused_at_once(hosting, tmp_path):
    """Whoever named it is told, and may ask again: no attempt is spent on waiting, the session stays as it was."""
    session_id, made, gone, back = cold_layered(hosting, tmp_path)
    hosting.do(T.RECOVER, session_id)
    for _ in range(hosting.desk.settings.recovery_attempts_max + 1):
        refused = gone.ask(T.RECOVER, session_id, checkpoint_id=made.checkpoint_id)
        assert "the checkpoint lies in the cold store, out of reach" in refused.error["message"]
    row = hosting.row(session_id)
    assert (row["status"], row["pending"], row["requires_action"]) == (S.PAUSED, None, None)
    assert back.ask(T.RECOVER, session_id, checkpoint_id=made.checkpoint_id).state == "done"


def test_a_person_is_told_what_was_out_of_reach(hosting, tmp_path):
    """Given up after its attempts: why is in the call, not only that they failed."""
    session_id, _, gone, _ = cold_layered(hosting, tmp_path)
    flipped(hosting, "saves", session_id)
    with pytest.raises(Unavailable):
        gone.ask(T.RECOVER, session_id)
    while gone.finish() != {"gave_up": 1}:
        assert hosting.row(session_id)["pending"]
    assert "the cold store is out of reach" in hosting.row(session_id)["requires_action"]


def test_a_cold_store_out_of_reach_leaves_the_recovery_waiting(hosting, tmp_path):
    """Nothing nearer holds and the cold store cannot be asked: it stays pending, and is finished when it can."""
    session_id, made, gone, back = cold_layered(hosting, tmp_path)
    flipped(hosting, "saves", session_id)
    with pytest.raises(Unavailable):
        gone.ask(T.RECOVER, session_id)
    assert hosting.row(session_id)["status"] == S.SUSPENDED
    assert back.finish() == {"recover_done": 1}
    row = hosting.row(session_id)
    assert row["recovery_data"]["source"] == f"checkpoint {made.checkpoint_id}"
    assert row["recovery_data"]["attempts"] == 2


def test_live_state_that_lost_one_agent_is_not_whole(hosting):
    """Redis was flushed and agents reported since, past the saved revision: what is missing tells."""
    session_id, _ = layered(hosting)
    steps = steps_in(hosting, session_id)
    live = LiveState(hosting.desk.redis, hosting.desk.settings)
    part = live_of(hosting, session_id).parts["agent/RiskManagerAgent"]
    lose_redis(hosting, session_id)
    live.raise_fence(session_id, 1)
    for number in range(hosting.row(session_id)["saved_revision"] + 2):
        state = part.replace(b'"actions_taken":0', b'"actions_taken":%d' % number)
        live.report(Report(session_id, 1, "RiskManagerAgent", {"agent/RiskManagerAgent": state}))
    outcome = hosting.do(T.RECOVER, session_id)
    assert outcome.extra["source"].startswith("latest save")
    assert "lost the memory of" in outcome.extra["passed_over"][0]["problem"]
    assert steps_in(hosting, session_id) == steps


def test_a_restored_older_checkpoint_stays_restored(hosting):
    """A second recovery before any save does not undo what a person chose, though the last save is newer."""
    session_id, made = layered(hosting)
    hosting.do(T.RECOVER, session_id, checkpoint_id=made.checkpoint_id)
    hosting.do(T.SUSPEND, session_id)
    assert hosting.do(T.RECOVER, session_id).extra["source"] == "live"
    assert steps_in(hosting, session_id) == 1


def test_what_reads_back_differently_is_rolled_back_to_what_was_there(hosting, monkeypatch):
    """Redis did not keep what it was given, for any candidate: the live state is put back as it was found."""
    session_id, _ = layered(hosting)
    live = LiveState(hosting.desk.redis, hosting.desk.settings)
    hosting.desk.redis.hdel(key(session_id, "live"), "part:agent/EvaluatorAgent", "rev:agent/EvaluatorAgent")
    before = live_of(hosting, session_id).parts
    monkeypatch.setattr(restoring, "_memory", lambda _: object())
    with pytest.raises(PreconditionFailed, match="read back from Redis"):
        hosting.do(T.RECOVER, session_id)
    assert live.read([session_id])[0].parts == before
    assert hosting.row(session_id)["status"] == S.SUSPENDED


def test_recovery_time_and_point_are_measured(hosting):
    """Both are in the outcome, the event, the session and the run, in seconds."""
    session_id, _ = layered(hosting)
    lose_redis(hosting, session_id)
    command_id = uuid4()
    outcome = hosting.ask(T.RECOVER, session_id, command_id=command_id)
    for told in (
        outcome.extra,
        events(hosting, session_id, "session_recovered")[-1].data,
        hosting.row(session_id)["recovery_data"],
        run_of(hosting, command_id)["report"]["finished"],
    ):
        assert told["rto_s"] > 0
        assert 0 <= told["state_lost_s"] < 60
    run = run_of(hosting, command_id)
    assert run["state"] == "done"
    assert {step["status"] for step in run["steps"]} == {"done"}


def test_checkpoints_are_tried_newest_first(hosting):
    """Two of them and the newer is sound: the older one is not looked at."""
    session_id, _ = layered(hosting, suspend=False)
    newer = checkpoint(hosting, session_id)
    hosting.do(T.SUSPEND, session_id)
    lose_redis(hosting, session_id, hot=True)
    hosting.run("DELETE FROM saves WHERE session_id = :id", id=session_id)
    assert hosting.do(T.RECOVER, session_id).extra["source"] == f"checkpoint {newer.checkpoint_id}"


def test_a_plan_says_what_a_recovery_would_be_refused_with_now(hosting):
    """ACTIVE with a living host, ERROR without a checkpoint named: the plan's own figures would only mislead."""
    session_id, made = layered(hosting, suspend=False)
    with pytest.raises(IllegalTransition) as refused:
        hosting.do(T.RECOVER, session_id)
    assert plan(hosting, session_id).refused == str(refused.value)
    hosting.do(T.SUSPEND, session_id)
    assert plan(hosting, session_id).refused is None
    hosting.do(T.RECOVER, session_id)
    hosting.do(T.RESUME, session_id)
    hosting.do(T.FAIL, session_id, actor=SYSTEM, error="broken")
    assert "naming a checkpoint" in plan(hosting, session_id).refused
    assert plan(hosting, session_id, checkpoint_id=made.checkpoint_id).refused is None
    with pytest.raises(NotFound):
        plan(hosting, session_id, checkpoint_id=uuid4())


def test_a_plan_for_a_named_checkpoint_lists_that_one_alone(hosting):
    """With its identity, what differs from the session's now, where it stands, and how many others there are."""
    session_id, made = layered(hosting)
    hosting.do(T.UPDATE, session_id, config={"require_confirmation": True})
    found = plan(hosting, session_id, checkpoint_id=made.checkpoint_id)
    [only] = found.candidates
    assert found.others == len(plan(hosting, session_id).candidates) - 1 > 0
    assert (only.epoch, only.revision) == (made.epoch, made.revision)
    assert len(only.identity) == 64
    assert any("require_confirmation" in one for one in only.identity_differences)
    assert f"--accept-identity {only.identity[:12]}" in found.refused
