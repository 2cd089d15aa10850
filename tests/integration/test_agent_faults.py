"""Hosted agents of other packages that are at fault: each harms its own session, is charged, and is set aside."""

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import orjson
import pytest
from hosting import FEED, Hosting, S, make_hosting, shared

from fntx_sessions.agents import registry
from fntx_sessions.state.live import LiveState
from fntx_sessions.state.parts import agent_part

WATCHER, EVALUATOR = "EnvironmentWatcherAgent", "EvaluatorAgent"
FAULTS = {
    "Raises": "LookupError: its model is not there",
    "Exits": "SystemExit: that is all",
    "EatsMemory": "MemoryError",
    "ReturnsNothing": "its step returned NoneType, not its state",
    "ReturnsNoJson": "not JSON serializable: object",
    "ReturnsTooMuch": "bytes, 20000 are allowed (FNTX_MAX_PART_BYTES)",
}
AT_ONCE = {"CannotBeMade": "PermissionError: no licence", "Missing": "ModuleNotFoundError"}


@pytest.fixture
def desk(
    tmp_path: Path, module_database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hosting]:
    ours = registry._found()
    theirs = {name: _point(name, f"bad_agents:{name}") for name in ["Sound", *FAULTS, "CannotBeMade"]}
    found = ours | theirs | {"Missing": _point("Missing", "no_such_package:Missing")}
    monkeypatch.setattr(registry, "_found", lambda: found)
    registry.get_agent.cache_clear()
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made.with_settings(max_part_bytes=20_000, hosted_memory_max_bytes=200_000_000)
    registry.get_agent.cache_clear()


def _point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, registry.GROUP)


def with_agent(desk: Hosting, *names: str):
    feed = FEED | {"step_s": 10}
    return desk.started(config={"agents": [WATCHER, *names, EVALUATOR], "feed": feed})


def memory(desk: Hosting, session_id, agent: str):
    [cut] = LiveState(desk.desk.redis, desk.desk.settings).read([session_id])
    return orjson.loads(cut.parts[agent_part(agent)])


@pytest.mark.parametrize(("name", "problem"), [*FAULTS.items(), *AT_ONCE.items()])
def test_an_agent_at_fault_harms_its_own_session_alone(desk, name, problem):
    """Charged with the sentence that says why, its memory and its neighbours whole, set aside after three failures."""
    faulty, sound = with_agent(desk, name), with_agent(desk, "Sound")
    before = 0 if name in AT_ONCE else 1
    for step in range(1, before + 4):
        assert desk.row(faulty)["status"] == S.ACTIVE
        desk.step()
        assert memory(desk, sound, "Sound")["internal_state"] == {"steps": step}
        assert memory(desk, faulty, EVALUATOR)["internal_state"]["steps"] == step
        assert memory(desk, faulty, name)["internal_state"] == ({"steps": 1} if before else {})
    row = desk.row(faulty)
    assert (row["status"], row["agent_failures"]) == (S.SUSPENDED, {name: 3})
    assert f"quarantined: {name}." in row["requires_action"]
    assert [problem in event["description"] for event in desk.events(faulty, "agent_failed")] == [True] * 3
    found = memory(desk, faulty, name)
    assert (found["status"], found["errors_encountered"]) == ("quarantined", 3)
    assert row["measures"]["error_rate"] is None, "three of few steps are no rate yet"
    assert (desk.row(sound)["status"], desk.row(sound)["agent_failures"]) == (S.ACTIVE, {})


def test_failures_of_agents_count_into_the_error_rate(desk):
    """Failed steps over attempted ones, from twenty attempts on."""
    patient = desk.with_settings(agent_failures_max=100)
    session_id = with_agent(patient, "Raises")
    for _ in range(8):
        patient.step()
    assert patient.row(session_id)["measures"]["error_rate"] == pytest.approx(7 / 24)


def test_no_package_takes_the_name_of_a_built_in_agent(monkeypatch):
    """Whose package is installed beside ours does not trade in the executor's name."""
    points = [*registry._found().values(), _point(EVALUATOR, "bad_agents:Raises")]
    monkeypatch.setattr(registry, "entry_points", lambda **_: points)
    assert registry._found.__wrapped__()[EVALUATOR].value.startswith("fntx_sessions.")
