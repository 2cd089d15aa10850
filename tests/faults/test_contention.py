"""Fifty clients fight over ten sessions; afterwards the history is replayed and must explain every answer."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import orjson
import pytest
from lifecycle_harness import S, World, check_session

from fntx_sessions.lifecycle import outbox
from fntx_sessions.lifecycle.reads.history import get_outcome
from fntx_sessions.state.redis_client import build_redis

TESTS = Path(__file__).parents[1]
PROCESSES, CLIENTS, COMMANDS = 2, 25, 14
# As a save does: the work rows, in order, then a row that hangs on the session.
SAVE = """
WITH mine AS (SELECT session_id FROM session_work ORDER BY session_id FOR NO KEY UPDATE),
marked AS (UPDATE session_work w SET last_saved_at = now() FROM mine WHERE w.session_id = mine.session_id
  RETURNING w.session_id)
INSERT INTO saves (session_id, epoch, revision, manifest, checksum) SELECT session_id, 1, 1, '', '' FROM marked
ON CONFLICT (session_id) DO UPDATE SET revision = saves.revision + 1
"""


@pytest.fixture(scope="module")
def fight(module_database_url, valkey_server):
    """The world after the fight, its sessions, and what every client was told."""
    world = World.over(module_database_url)
    sessions = [world.create() for _ in range(10)]
    arguments = [module_database_url, ",".join(map(str, sessions)), str(CLIENTS), str(COMMANDS)]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    players = [
        subprocess.Popen(
            [sys.executable, str(TESTS / "faults" / "contention_clients.py"), *arguments],
            stdout=subprocess.PIPE, env=environment,
        )
        for _ in range(PROCESSES)
    ]  # fmt: skip
    over = threading.Event()
    others = [
        threading.Thread(target=_save_on, args=(world, over)),
        threading.Thread(target=_relay_on, args=(world, valkey_server, over)),
    ]
    for thread in others:
        thread.start()
    try:
        told = [orjson.loads(player.communicate(timeout=100)[0]) for player in players]
    finally:
        over.set()
        for thread in others:
            thread.join()
        for player in players:
            player.kill()
            player.stdout.close()
            player.wait()
    yield world, sessions, [entry for part in told for entry in part["told"]]
    world.close()


def _save_on(world, over):
    while not over.wait(0.01):
        world.execute("DELETE FROM saves")
        world.execute(SAVE)


def _relay_on(world, redis_url, over):
    with build_redis(redis_url, world.settings) as client:
        while not over.wait(0.005):
            outbox.relay_due(world.engine, client, world.settings)


def test_every_session_ends_in_one_legal_story(fight):
    """Chain whole, path connected, exactly one winner a version, every command audited."""
    world, sessions, told = fight
    assert len(told) == PROCESSES * CLIENTS * COMMANDS
    for session_id in sessions:
        check_session(world, session_id)


def test_every_answer_is_stored_once_and_word_for_word(fight):
    """Nothing that was acknowledged is missing, and whoever asked the same was told the same."""
    world, _, told = fight
    ids = [row["command_id"] for row in world.rows("SELECT command_id FROM commands")]
    stored = {str(one): get_outcome(world.engine, one).to_dict() for one in ids}
    final = [entry for entry in told if entry["state"] != "pending"]
    assert final
    for entry in final:
        answer = {name: value for name, value in entry.items() if name != "repeated"}
        assert stored[entry["command_id"]] == answer
    firsts = [entry["command_id"] for entry in final if not entry["repeated"]]
    assert len(firsts) == len(set(firsts))


def test_every_winner_moved_the_session_once(fight):
    """A done command is in the audit once as done, and its version is nobody else's."""
    world, _, told = fight
    done = {entry["command_id"]: entry for entry in told if entry["state"] == "done"}
    made = world.rows("SELECT command_id::text AS id, session_id, version_after FROM audit WHERE outcome = 'done'")
    by_command = {row["id"]: row for row in made}
    assert len(by_command) == len(made)
    for command_id, entry in done.items():
        assert by_command[command_id]["version_after"] == entry["version"]


def test_every_loser_was_told_who_won(fight):
    """The status and its author, or the version and its author, are those that stood at that very moment."""
    world, sessions, told = fight
    refused = {entry["command_id"]: entry for entry in told if entry["state"] == "refused"}
    kinds = {entry["error"]["error"] for entry in refused.values()}
    assert {"IllegalTransition", "VersionConflict"} <= kinds <= {
        "IllegalTransition", "VersionConflict", "PreconditionFailed",
    }  # fmt: skip
    for session_id in sessions:
        _replay(world, session_id, refused)


def _replay(world, session_id, refused):
    steps = {step["version"]: step for step in world.transitions(session_id)}
    status = author = None
    changers = {}
    for entry in world.audit(session_id):
        if entry["outcome"] != "refused":
            changers[entry["version_after"]] = entry["actor"]
        if entry["version_after"] in steps:
            step = steps[entry["version_after"]]
            status, author = step["to_status"], step["actor"]
        answer = refused.get(str(entry["command_id"]))
        if entry["outcome"] != "refused" or answer is None:
            continue
        facts = answer["error"]["facts"]
        if answer["error"]["error"] == "IllegalTransition":
            assert (facts["status"], facts["set_by"]) == (status, author)
        if answer["error"]["error"] == "VersionConflict":
            assert (facts["version"], facts["set_by"]) == (entry["version_after"], changers[entry["version_after"]])


def test_postgres_saw_no_deadlock(fight):
    """Commands, saves and relays take their locks in one order."""
    world, _, _ = fight
    world.engine.dispose()  # a backend reports what it counted when it ends, if not before
    seen = world.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert seen == [{"deadlocks": 0}]


def test_the_fight_was_one(fight):
    """Something was won, lost, repeated and conditional: a quiet run would prove nothing."""
    world, _, told = fight
    states = [entry["state"] for entry in told]
    assert states.count("done") > 50
    assert states.count("refused") > 50
    assert sum(entry["repeated"] for entry in told) > 30
    assert {row["status"] for row in world.rows("SELECT status FROM sessions")} - {S.INITIALIZING}
