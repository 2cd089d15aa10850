"""What did not change since this process sealed it is neither read from Redis nor sent to Postgres again."""

import pytest
from state_world import World, agent_bytes, make_world, report

from fntx_sessions.state import part_rows
from fntx_sessions.state.checkpoints import create_checkpoint, load_checkpoint, restore_live
from fntx_sessions.state.current import sealed_before
from fntx_sessions.state.loading import load_save
from fntx_sessions.state.redis_client import key
from fntx_sessions.state.saves import save_due
from fntx_sessions.state.tiers.memory import MemoryTier, get_memory

AGENTS = [f"A{n}" for n in range(3)]
PARTS = {f"agent/{agent}" for agent in AGENTS}


@pytest.fixture
def world(settings):
    """A database and a Redis of this test's own."""
    with make_world(settings) as made:
        yield made


@pytest.fixture
def session_id(world):
    """A session of three large agents, checkpointed by this process."""
    [made] = world.sessions(1, live=False)
    world.live.raise_fence(made, 1)
    world.live.report_many([report(made, agent=agent, notes=notes(agent)) for agent in AGENTS])
    create_checkpoint(*world.stores, made, "manual")
    return made


def notes(text: str) -> str:
    """Return 10 kB, more than rides in a manifest."""
    return f"{text:10}" * 1000


def kept(world: World, session_id) -> dict[str, bytes]:
    """Return the parts of a new checkpoint, read from Postgres."""
    made = create_checkpoint(*world.stores, session_id, "manual")
    return dict(load_checkpoint(world.engine, world.settings, made.checkpoint_id).parts)


def live(world: World, session_id) -> dict[str, bytes]:
    return world.live.read([session_id])[0].parts


def test_only_the_changed_part_is_read_and_all_are_kept(world, session_id):
    """The cut leaves the others where they are; the checkpoint holds every one as it is live."""
    world.live.report(report(session_id, agent="A1", notes=notes("moved")))
    known = sealed_before(session_id).known
    cut = world.live.read([session_id], {session_id: known})[0]
    assert (set(cut.parts), set(cut.unread)) == ({"agent/A1"}, PARTS - {"agent/A1"})
    assert kept(world, session_id) == live(world, session_id)
    assert world.live.read([session_id], {session_id: sealed_before(session_id).known})[0].parts == {}


def test_saves_too_read_what_changed_alone(world, session_id):
    """From the second save on; what is saved is what is live."""
    save_due(*world.stores)
    assert get_memory().get(next(iter(get_memory().held(session_id))).ref).known.keys() == PARTS
    world.live.report(report(session_id, agent="A2", notes=notes("moved")))
    world.due()
    assert save_due(*world.stores).saved == [session_id]
    assert load_save(*world.stores, session_id, MemoryTier(0)).snapshot.parts == live(world, session_id)


def test_a_part_that_is_gone_is_not_carried_on(world, session_id):
    """An agent that a restored snapshot has not got is in no later checkpoint."""
    made = create_checkpoint(*world.stores, session_id, "manual")
    snapshot = load_checkpoint(world.engine, world.settings, made.checkpoint_id)
    world.live.report(report(session_id, agent="Late", notes=notes("late")))
    assert kept(world, session_id).keys() == PARTS | {"agent/Late"}
    restore_live(world.client, world.settings, snapshot, 1)
    assert kept(world, session_id).keys() == PARTS


def test_a_redis_that_lost_writes_and_counts_anew_deceives_nobody(world, session_id):
    """Another content at the same revision and of the same size is another part."""
    name = key(session_id, "live")
    earlier = world.client.dump(name)
    world.live.report(report(session_id, agent="A1", notes=notes("one")))
    before = kept(world, session_id)
    world.client.restore(name, 0, earlier, replace=True)
    world.live.report(report(session_id, agent="A1", notes=notes("two")))
    cut = world.live.read([session_id])[0]
    assert len(cut.parts["agent/A1"]) == len(before["agent/A1"])
    assert cut.part_revisions["agent/A1"] == 4
    assert kept(world, session_id)["agent/A1"] == agent_bytes("A1", notes=notes("two"))


def test_a_part_somebody_else_stored_a_moment_ago_stops_nobody(world, session_id, monkeypatch):
    """Looked for in vain, then found stored: the save goes on, beside others of its batch that are new."""
    world.live.report(report(session_id, agent="A1", notes=notes("moved")))
    monkeypatch.setattr(part_rows, "_stored", lambda *_: set())
    assert save_due(*world.stores).saved == [session_id]
    assert load_save(*world.stores, session_id, MemoryTier(0)).snapshot.parts == live(world, session_id)
    assert len(world.rows("SELECT part_hash FROM parts")) == 4
