"""Validation: what is wrong with a session's state is said with its path, and evidence of it is kept."""

import orjson
import pytest
from state_world import World, make_world, report

from fntx_sessions.cli import queries
from fntx_sessions.cli.app import run
from fntx_sessions.exceptions import NotFound
from fntx_sessions.state.invalid_states import read_invalid
from fntx_sessions.state.loading import load_save
from fntx_sessions.state.payloads import EVENT, Payloads
from fntx_sessions.state.redis_client import key
from fntx_sessions.state.saves import save_due
from fntx_sessions.state.tiers.memory import MemoryTier
from fntx_sessions.state.validation import validate_state

AGENT = "RiskManagerAgent"


@pytest.fixture
def world(settings):
    """A database and a Redis of this test's own."""
    with make_world(settings) as made:
        # The sessions of this world have no row at epoch 1 but their work's.
        yield made


def sessions(world: World, count: int = 1) -> list:
    ids = world.sessions(count)
    world.run("UPDATE sessions SET epoch = 1")
    world.run("INSERT INTO session_agents (session_id, agent) SELECT session_id, :agent FROM sessions", agent=AGENT)
    return ids


def bad(world: World, session_id, part: str, data: bytes, revision: int = 2) -> None:
    """Write past the script, as a stranger could."""
    world.client.hset(key(session_id, "live"), mapping={f"part:{part}": data, "revision": revision})


def validated(world: World, session_id) -> dict:
    return validate_state(*world.stores, session_id)


def test_a_sound_session_is_valid(world):
    """Live, saved, fenced alike, all agents there: nothing to say."""
    [session_id] = sessions(world)
    save_due(*world.stores)
    expected = {"session_id": str(session_id), "valid": True, "errors": [], "warnings": []}
    assert validated(world, session_id) == expected


@pytest.mark.parametrize(
    ("part", "data", "path"),
    [
        (f"agent/{AGENT}", b'{"agent_id": "a", "last_update": "2024-01-02T14:30:00Z", "internal_state": 7}',
         f"agent/{AGENT}/internal_state"),
        (f"agent/{AGENT}", b"not json", f"agent/{AGENT}"),
        ("market", b'{"timestamp": "2024-01-02T14:30:00Z", "spy_price": -1}', "market/spy_price"),
        ("market", b'{"timestamp": "2024-01-02T14:30:00Z", "spy_price": 1, "key_levels": {"a": "x"}}',
         "market/key_levels/..."),
        ("market", b'{"timestamp": "2024-01-02T14:30:00Z", "spy_price": 1, "support_levels": [1, "x"]}',
         "market/support_levels/1"),
        ("nonsense", b"{}", "nonsense"),
    ],
)  # fmt: skip
def test_an_error_names_the_path(world, part, data, path):
    """The part, and where in it."""
    [session_id] = sessions(world)
    save_due(*world.stores)
    bad(world, session_id, part, data)
    found = validated(world, session_id)
    assert (found["valid"], [error["path"] for error in found["errors"]]) == (False, [path])


def test_fence_revision_roster_heartbeat_and_save_are_compared(world):
    """A lost live state, another epoch, a silent or missing agent, a damaged save: each is named."""
    lost, moved, silent, missing, damaged = ids = sessions(world, 5)
    save_due(*world.stores)
    world.client.delete(key(lost, "live"))
    world.live.raise_fence(moved, 2)
    world.client.hset(key(silent, "live"), f"beat:{AGENT}", 1)
    world.client.hdel(key(missing, "live"), f"part:agent/{AGENT}")
    world.run("UPDATE saves SET manifest = '\\x00' WHERE session_id = :id", id=damaged)
    world.client.delete(*(key(one, "hot") for one in ids))
    from fntx_sessions.state.tiers.memory import get_memory  # noqa: PLC0415 - emptied as a new process would find it

    get_memory().forget(damaged)
    paths = {one: [error["path"] for error in validated(world, one)["errors"]] for one in ids}
    assert list(paths.values()) == [["live"], ["epoch"], [], [f"agent/{AGENT}"], ["save"]]
    assert [one["path"] for one in validated(world, silent)["warnings"]] == [f"agent/{AGENT}"]


def test_a_money_view_that_differs_from_the_broker_is_a_warning(world):
    """The broker is right; the view is only told about."""
    [session_id] = sessions(world)
    position = {
        "symbol": "SPY240102P00470000", "right": "put", "quantity": -1, "average_price": 1.0,
        "opened_at": "2024-01-02T14:30:00Z", "trade_id": "t",
    }  # fmt: skip
    bad(world, session_id, "trading", orjson.dumps({"open_positions": [position]}))
    save_due(*world.stores)
    found = validated(world, session_id)
    assert found["valid"]
    assert [one["path"] for one in found["warnings"]] == ["trading/open_positions/SPY240102P00470000"]


def test_an_unknown_session_is_not_found(world):
    """There is nothing to validate."""
    from uuid import uuid4  # noqa: PLC0415

    with pytest.raises(NotFound):
        validated(world, uuid4())


def test_an_invalid_save_is_kept_as_evidence_once_a_revision(world):
    """The raw parts lie aside, sealed; the event asks for action once; the last good save stays current."""
    [session_id] = sessions(world)
    save_due(*world.stores)
    for _ in range(3):
        bad(world, session_id, f"agent/{AGENT}", b'{"agent_id": NaN}')
        world.due()
        assert list(save_due(*world.stores).failed) == [session_id]
    [evidence] = read_invalid(world.engine, world.settings, session_id)
    assert (evidence["revision"], evidence["parts"][f"agent/{AGENT}"]) == (2, b'{"agent_id": NaN}')
    [event] = world.rows("SELECT * FROM events WHERE event_type = 'invalid_state'")
    assert (event["severity"], event["requires_action"]) == ("error", True)
    opened = Payloads(world.engine).open(session_id, EVENT, event["event_id"], event["data"])
    assert opened["part"] == f"agent/{AGENT}"
    assert load_save(*world.stores, session_id, MemoryTier(0)).snapshot.revision == 1


def test_evidence_is_bounded(world):
    """The newest `invalid_states_max` stay; with 0 none is kept, and the event says so all the same."""
    [session_id] = sessions(world)
    few = world.settings.model_copy(update={"invalid_states_max": 2})
    for revision in range(2, 6):
        bad(world, session_id, f"agent/{AGENT}", b"nonsense", revision)
        world.due()
        save_due(world.engine, world.client, few)
    assert [one["revision"] for one in read_invalid(world.engine, few, session_id)] == [5, 4]
    none = world.settings.model_copy(update={"invalid_states_max": 0})
    bad(world, session_id, f"agent/{AGENT}", b"nonsense", 6)
    world.due()
    save_due(world.engine, world.client, none)
    assert read_invalid(world.engine, none, session_id) == []
    assert world.rows("SELECT count(*) AS n FROM events WHERE event_type = 'invalid_state'") == [{"n": 5}]


def test_what_no_part_is_called_stops_no_other_session(world):
    """Fields and values written past the script are that session's problem alone."""
    odd, broken, good = sessions(world, 3)
    world.client.hset(
        key(odd, "live"), mapping={b"\xff\xfe:x": b"1", "what:ever": "x", "rev:market": "x", "revision": 2}
    )
    world.client.hset(key(broken, "live"), "revision", "many")
    done = save_due(*world.stores)
    assert (sorted(done.saved), list(done.skipped)) == (sorted([odd, good]), [broken])
    world.live.report(report(good, more=1))
    world.client.hset(key(odd, "live"), mapping={b"part:\xff": b"1", "revision": 3})
    world.due()
    done = save_due(*world.stores)
    assert (done.saved, list(done.failed)) == ([good], [odd])


@pytest.mark.parametrize(("errors", "code"), [([], 0), ([{"path": "market/spy_price", "problem": "below 0"}], 1)])
def test_the_command_line_exits_with_1_when_a_state_is_not_sound(monkeypatch, capsys, errors, code):
    """`fntx validate ID --json` prints what the task answers."""
    answer = {"session_id": "x", "valid": not errors, "errors": errors, "warnings": []}

    class Line:
        def about(self, verb, given):
            assert (verb, given) == ("validate", "abcd")
            return answer

    monkeypatch.setattr(queries, "line", Line)
    assert run(["validate", "abcd", "--json"]) == code
    assert orjson.loads(capsys.readouterr().out) == answer
    assert run(["validate", "abcd"]) == code
    assert ("market/spy_price" if errors else "sound") in "".join(capsys.readouterr())
