"""Checkpoints by hand, pins and prunings: audited, idempotent, and done whole or not at all."""

import multiprocessing
import os
from uuid import UUID, uuid4

import pytest
from hosting import Hosting, T, make_hosting, shared
from state_world import agent_bytes

from fntx_sessions.lifecycle import execute
from fntx_sessions.lifecycle.arguments import ForkArguments
from fntx_sessions.lifecycle.decisions.keeping import checkpoint_id_of
from fntx_sessions.security.actor import Actor
from fntx_sessions.state import checkpoints
from fntx_sessions.state.checkpoint_rows import find_row
from fntx_sessions.state.cold_copies import Copy, keep
from fntx_sessions.state.live import LiveState, Report
from fntx_sessions.state.objects.cold import open_cold
from fntx_sessions.state.proving import Verdict, verify_checkpoint
from fntx_sessions.state.redis_client import key
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.memory import get_memory
from fntx_sessions.testing import failpoints_armed

ADMIN = Actor("root", frozenset({"admin"}))


@pytest.fixture
def hosting(tmp_path, module_database_url, redis_url):
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        made.run("UPDATE session_work SET next_checkpoint_at = NULL")  # of sessions of other tests
        yield made


def told(hosting: Hosting, session_id: UUID, **notes: str) -> None:
    """Let each agent say something, all in one report."""
    epoch = hosting.row(session_id)["epoch"]
    live = LiveState(hosting.desk.redis, hosting.desk.settings)
    live.raise_fence(session_id, epoch)
    live.report(
        Report(session_id, epoch, "A", {f"agent/{name}": agent_bytes(name, note=n) for name, n in notes.items()})
    )


def running(hosting: Hosting, **notes: str) -> UUID:
    session_id = hosting.started()
    told(hosting, session_id, **(notes or {"A": "first"}))
    return session_id


def listed(hosting: Hosting, session_id: UUID) -> list[UUID]:
    return [one.checkpoint_id for one in checkpoints.list_checkpoints(hosting.desk.engine, session_id, 1000)]


def several(hosting: Hosting, session_id: UUID, count: int) -> list[UUID]:
    """Make checkpoints with a large part each; newest first."""
    made = []
    for number in range(count):
        told(hosting, session_id, A=os.urandom(8000).hex() + str(number))
        made.append(checkpoints.create_checkpoint(*hosting.desk.parts(), session_id, "manual").checkpoint_id)
    return made[::-1]


def test_a_checkpoint_by_hand_is_made_once(hosting):
    """The outcome names it, stored and verified, with its note and who asked; asked again, it is the same one."""
    session_id, command_id = running(hosting), uuid4()
    outcome = hosting.do(T.CHECKPOINT, session_id, command_id=command_id, note="before the news")
    assert outcome.extra["checkpoint_id"] == str(checkpoint_id_of(command_id))
    assert hosting.do(T.CHECKPOINT, session_id, command_id=command_id, note="before the news").repeated
    [made] = checkpoints.list_checkpoints(hosting.desk.engine, session_id)
    assert (made.verified, made.note, made.created_by, made.checkpoint_type) == (
        True,
        "before the news",
        "ann",
        "manual",
    )
    audited = hosting.rows(
        "SELECT outcome FROM audit WHERE session_id = :id AND action = 'create_checkpoint'", id=session_id
    )
    assert [row["outcome"] for row in audited] == ["pending", "done"]


@pytest.mark.parametrize("route", [(), (T.PAUSE,), (T.SUSPEND,), (T.STOP,), (T.FAIL,)])
def test_every_status_that_has_state_can_be_kept(hosting, route):
    """ACTIVE, PAUSED, SUSPENDED, CLOSING and ERROR; the status stays."""
    session_id = running(hosting)
    for trigger in route:
        hosting.do(trigger, session_id, actor=ADMIN)
    status = hosting.row(session_id)["status"]
    assert hosting.do(T.CHECKPOINT, session_id).status == status
    assert hosting.row(session_id)["status"] == status


def test_what_never_ran_or_has_ended_is_refused(hosting):
    """The sentence says why; nothing is made, and a version that moved on is refused too."""
    fresh = hosting.create()
    assert "never ran has nothing to keep" in hosting.ask(T.CHECKPOINT, fresh).error["message"]
    hosting.do(T.STOP, fresh)
    hosting.finish()
    assert "cannot checkpoint" in hosting.ask(T.CHECKPOINT, fresh).error["message"]
    session_id = running(hosting)
    assert hosting.ask(T.CHECKPOINT, session_id, expected_version=1).error["error"] == "VersionConflict"
    assert listed(hosting, session_id) == []


@pytest.mark.parametrize(
    "place",
    [
        "command.before_commit",
        "checkpoint_command.begun",
        "checkpoint.before_commit",
        "checkpoint.after_commit",
        "checkpoint_command.made",
    ],
)
def test_a_killed_checkpoint_is_finished_when_asked_again(hosting, place):
    """Killed with -9 anywhere: nothing is acknowledged; asked again with its id it is done once, and is whole."""
    session_id, command_id = running(hosting, A="x" * 20_000), uuid4()
    killed(hosting, place, T.CHECKPOINT, session_id, command_id)
    states = hosting.rows("SELECT state FROM commands WHERE command_id = :id", id=command_id)
    assert [row["state"] for row in states] == ([] if place == "command.before_commit" else ["pending"])
    outcome = hosting.do(T.CHECKPOINT, session_id, command_id=command_id)
    assert listed(hosting, session_id) == [UUID(outcome.extra["checkpoint_id"])]
    [made] = checkpoints.list_checkpoints(hosting.desk.engine, session_id)
    assert made.verified
    checkpoints.load_checkpoint(hosting.desk.engine, hosting.desk.settings, made.checkpoint_id)


def test_reports_that_arrive_meanwhile_never_mix(hosting):
    """Agents that say the same in one report are of the same report in every checkpoint."""
    session_id = running(hosting, A="0", B="0")
    context = multiprocessing.get_context("fork")
    epoch, go = hosting.row(session_id)["epoch"], context.Event()
    talker = context.Process(target=talk, args=(hosting.desk.settings, session_id, epoch, go), daemon=True)
    talker.start()
    assert go.wait(20)
    seen = set()
    try:
        for _ in range(15):
            made = checkpoints.create_checkpoint(*hosting.desk.parts(), session_id, "manual")
            row = find_row(hosting.desk.engine, made.session_id, made.checkpoint_id)
            found = checkpoints.describe_checkpoint(*hosting.desk.parts(), row)
            notes = {agent.internal_state["note"] for agent in found.agent_states.values()}
            assert len(notes) == 1
            seen |= notes
    finally:
        talker.kill()
        talker.join()
    assert len(seen) > 3


def test_a_pin_holds_a_session_or_a_checkpoint(hosting):
    """Pinned is shown, survives other commands, and is let go of again; an unknown checkpoint is not found."""
    session_id = running(hosting)
    [one] = several(hosting, session_id, 1)
    hosting.do(T.PIN, session_id)
    hosting.do(T.PAUSE, session_id)
    assert hosting.row(session_id)["pinned"]
    hosting.do(T.PIN, session_id, checkpoint_id=one)
    assert checkpoints.list_checkpoints(hosting.desk.engine, session_id)[0].pinned
    hosting.do(T.PIN, session_id, pinned=False)
    hosting.do(T.PIN, session_id, pinned=False, checkpoint_id=one)
    assert not hosting.row(session_id)["pinned"]
    assert not checkpoints.list_checkpoints(hosting.desk.engine, session_id)[0].pinned
    assert hosting.ask(T.PIN, session_id, checkpoint_id=uuid4()).error["error"] == "NotFound"


def test_pruning_keeps_the_newest_the_pinned_and_the_last_that_verifies(hosting):
    """All else goes, parts and all; a pinned session is left alone, an operator may not prune."""
    session_id = running(hosting)
    made = several(hosting, session_id, 5)
    hosting.do(T.PIN, session_id, checkpoint_id=made[4])
    hosting.run("UPDATE checkpoints SET verified = false WHERE checkpoint_id = ANY(:ids)", ids=made[:2])
    assert hosting.ask(T.PRUNE, session_id, keep=1).error["error"] == "Forbidden"
    outcome = hosting.do(T.PRUNE, session_id, actor=ADMIN, keep=1)
    assert set(outcome.extra["pruned"]) == {str(made[1]), str(made[3])}
    assert listed(hosting, session_id) == [made[0], made[2], made[4]]
    count = "SELECT count(*) AS n FROM parts WHERE session_id = :id"
    assert hosting.rows(count, id=session_id) == [{"n": 3}]
    assert hosting.do(T.PRUNE, session_id, actor=ADMIN, keep=1).extra["pruned"] == []
    assert hosting.do(T.PRUNE, session_id, actor=ADMIN, older_than_s=3600).extra["pruned"] == []
    hosting.do(T.PIN, session_id)
    assert "is pinned" in hosting.ask(T.PRUNE, session_id, actor=ADMIN, keep=1).error["message"]


def test_the_final_checkpoint_of_a_closed_session_stays_until_it_is_archived(hosting):
    """It is what the archive is to be made of."""
    session_id = running(hosting)
    hosting.do(T.STOP, session_id)
    assert hosting.finish() == {"stop_done": 1}
    [final] = listed(hosting, session_id)
    several(hosting, session_id, 1)
    assert hosting.do(T.PRUNE, session_id, actor=ADMIN, keep=1).extra["pruned"] == []
    assert final in listed(hosting, session_id)


@pytest.mark.parametrize(
    "place", ["prune.begun", "prune.marked", "prune.destroyed", "prune.before_commit", "prune.deleted"]
)
def test_a_killed_pruning_goes_on_when_asked_again(hosting, place):
    """Killed anywhere, each checkpoint is there whole or gone in every tier; asked again, the rest goes."""
    session_id, command_id = running(hosting), uuid4()
    made = several(hosting, session_id, 3)
    cold = to_cold(hosting, session_id, made[2])
    killed(hosting, place, T.PRUNE, session_id, command_id)
    for one in checkpoints.list_checkpoints(hosting.desk.engine, session_id):
        if one.is_recovery_point:
            checkpoints.load_checkpoint(hosting.desk.engine, hosting.desk.settings, one.checkpoint_id)
    outcome = hosting.do(T.PRUNE, session_id, actor=ADMIN, command_id=command_id, keep=1)
    assert set(outcome.extra["pruned"]) == {str(made[1]), str(made[2])}
    assert listed(hosting, session_id) == made[:1]
    assert open_cold(hosting.desk.settings).info(cold) is None


def test_a_checkpoint_in_the_cold_store_is_read_and_verified_there(hosting):
    """Its states come back; one bit changed there is found, said in an event and noted on the checkpoint."""
    session_id = running(hosting)
    [one] = several(hosting, session_id, 1)
    cold = to_cold(hosting, session_id, one)
    parts, ref = hosting.desk.parts(), Ref(session_id, one)
    get_memory().delete(ref)
    hosting.desk.redis.delete(key(session_id, "checkpoints"))
    row = find_row(hosting.desk.engine, session_id, one)
    described = checkpoints.describe_checkpoint(*parts, row)
    assert (set(described.agent_states), described.read_from) == ({"A"}, "cold")
    hosting.desk.redis.delete(key(session_id, "checkpoints"))
    assert verify_checkpoint(*parts, ref) == Verdict(None, "cold")
    store = open_cold(hosting.desk.settings)
    data = bytearray(store.read(cold))
    data[-40] ^= 1
    store.replace(cold, bytes(data), {})
    assert "checksum" in verify_checkpoint(*parts, ref).problem
    assert not checkpoints.list_checkpoints(hosting.desk.engine, session_id)[0].verified
    [event] = hosting.events(session_id, "checkpoint_damaged")
    assert event["severity"] == "error"
    store.destroy(cold)
    assert "is missing" in verify_checkpoint(*parts, ref).problem


def test_a_fork_of_a_checkpoint_in_the_cold_store_remembers_it(hosting):
    """Where it lies makes no difference; the parent's bytes stay where they are."""
    session_id = running(hosting, A="long ago")
    [kept] = [checkpoints.create_checkpoint(*hosting.desk.parts(), session_id, "manual").checkpoint_id]
    cold = to_cold(hosting, session_id, kept)
    told(hosting, session_id, A="now")
    arguments = ForkArguments(session_id=session_id, checkpoint_id=kept)
    child = execute.fork(hosting.desk, ADMIN, arguments, uuid4()).session_id
    hosting.do(T.START, child)
    [cut] = LiveState(hosting.desk.redis, hosting.desk.settings).read([child])
    assert b"long ago" in cut.parts["agent/A"]
    assert open_cold(hosting.desk.settings).info(cold) is not None


def test_every_transition_is_followed_by_a_checkpoint(hosting):
    """ACTIVE, PAUSED, SUSPENDED, ERROR: the sweep that comes round keeps each, once; an ended session has its own."""
    session_id = running(hosting)
    for number, trigger in enumerate((None, T.PAUSE, T.SUSPEND, T.FAIL), 1):
        if trigger is not None:
            hosting.do(trigger, session_id, actor=ADMIN)
        told(hosting, session_id, A=str(number))
        for _ in range(2):
            checkpoints.checkpoint_due(*hosting.desk.parts())
        made = checkpoints.list_checkpoints(hosting.desk.engine, session_id)
        assert (len(made), made[0].checkpoint_type) == (number, "transition")


def test_a_checkpoint_due_before_the_first_step_is_made_after_it(hosting):
    """A sweep between a start and the first step keeps nothing, logs and counts no failure, and comes back soon."""
    session_id = hosting.started()
    hosting.run("UPDATE sessions SET status_since = now()")
    found = checkpoints.checkpoint_due(*hosting.desk.parts())
    assert (found.awaited, found.failed, found.claimed) == ({session_id}, {}, 1)
    soon = "next_checkpoint_at <= now() + interval '2 seconds' AND checkpoint_claimed_until IS NULL"
    assert due(hosting, session_id, soon) == "transition"
    hosting.step()
    hosting.run("UPDATE session_work SET next_checkpoint_at = now() WHERE session_id = :id", id=session_id)
    [made] = checkpoints.checkpoint_due(*hosting.desk.parts()).created
    assert made.checkpoint_type == "transition"
    failed = hosting.started()
    hosting.do(T.FAIL, failed, actor=ADMIN)
    checkpoints.checkpoint_due(*hosting.desk.parts())
    assert due(hosting, failed, "next_checkpoint_at IS NOT NULL") is None


def test_who_has_no_state_for_long_is_asked_for_it_more_seldom_and_is_a_failure_if_stepped_here(hosting):
    """After `overdue_s` a session that is stepped here counts as failed; one whose agents never came waits on."""
    here, elsewhere = hosting.started(), hosting.started()
    hosting.run("UPDATE sessions SET status_since = now() - interval '60 seconds'")
    hosting.run("UPDATE session_work SET next_step_at = NULL WHERE session_id = :id", id=elsewhere)
    found = checkpoints.checkpoint_due(*hosting.desk.parts())
    assert (list(found.failed), found.awaited) == ([here], {elsewhere})
    assert "have not reported any state" in found.failed[here]
    later = "next_checkpoint_at > now() + interval '30 seconds' AND next_checkpoint_at < now() + interval '10 minutes'"
    assert {due(hosting, one, later) for one in (here, elsewhere)} == {"transition"}


def due(hosting: Hosting, session_id: UUID, when: str) -> str | None:
    """Return for what a session's next checkpoint is due, None where that is not `when`."""
    found = hosting.rows(f"SELECT checkpoint_type FROM session_work WHERE session_id = :id AND {when}", id=session_id)
    return found[0]["checkpoint_type"] if found else None


def test_nothing_is_kept_for_an_epoch_that_passed(hosting, monkeypatch):
    """A recovery that comes in between makes the checkpoint be made anew, of the epoch that stands."""
    session_id = running(hosting)
    honest = checkpoints.pack_current
    moved = []

    def packed_late(*arguments):
        packed = honest(*arguments)
        if not moved:
            moved.append(hosting.run("UPDATE session_work SET epoch = epoch + 1 WHERE session_id = :id", id=session_id))
        return packed

    monkeypatch.setattr(checkpoints, "pack_current", packed_late)
    made = checkpoints.create_checkpoint(*hosting.desk.parts(), session_id, "manual")
    assert listed(hosting, session_id) == [made.checkpoint_id]


def to_cold(hosting: Hosting, session_id: UUID, checkpoint_id: UUID) -> str:
    """Put a checkpoint where the mover would, and return its object's name."""
    from fntx_sessions.state import checkpoint_rows, container  # noqa: PLC0415

    _, packed = checkpoint_rows.read_stored(hosting.desk.engine, checkpoint_id)
    name = f"sessions/{session_id}/checkpoints/{checkpoint_id}"
    keep(open_cold(hosting.desk.settings), Copy(name, container.to_bytes(packed), {}, packed, container.from_bytes))
    hosting.run(
        "WITH gone AS (DELETE FROM snapshot_parts WHERE snapshot_id = :id) "
        "UPDATE checkpoints SET tier = 'cold', manifest = NULL, cold_object = :name WHERE checkpoint_id = :id",
        id=checkpoint_id, name=name,
    )  # fmt: skip
    return name


def killed(hosting: Hosting, place: str, trigger: T, session_id: UUID, command_id: UUID) -> None:
    """Do a command in a process of its own that dies at `place`."""
    arguments = (hosting.desk.settings, place, trigger, session_id, command_id)
    child = multiprocessing.get_context("fork").Process(target=act_and_die, args=arguments)
    child.start()
    child.join()
    assert child.exitcode == -9


def act_and_die(settings, place: str, trigger: T, session_id: UUID, command_id: UUID) -> None:
    more = {"keep": 1} if trigger is T.PRUNE else {}
    actor = {"actor": ADMIN} if trigger is T.PRUNE else {}
    with make_hosting(settings) as hosting, failpoints_armed(f"{place}:kill"):
        hosting.ask(trigger, session_id, command_id=command_id, **actor, **more)


def talk(settings, session_id: UUID, epoch: int, go) -> None:
    with make_hosting(settings) as hosting:
        live, number = LiveState(hosting.desk.redis, settings), 0
        while True:
            number += 1
            parts = {f"agent/{name}": agent_bytes(name, note=str(number)) for name in ("A", "B")}
            live.report(Report(session_id, epoch, "A", parts))
            go.set()
