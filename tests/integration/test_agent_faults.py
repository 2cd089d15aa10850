"""Hosted agents of other packages that are at fault: each harms its own session, is charged, and is set aside."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from agents_at_fault import EVALUATOR, hosting_agents, memory, point, with_agent
from hosting import Hosting, S

from fntx_sessions.agents import outcomes, registry

FAULTS = {
    "Raises": "LookupError: its model is not there",
    "Exits": "SystemExit: that is all",
    "EatsMemory": "MemoryError",
    "ReturnsNothing": "its step returned NoneType, not its state",
    "ReturnsNoJson": "not JSON serializable: object",
    "ReturnsTooMuch": "bytes, 20000 are allowed (FNTX_MAX_PART_BYTES)",
    "Interrupts": "KeyboardInterrupt",
    "Closes": "GeneratorExit",
    "Cancels": "CancelledError",
    "Panics": "Panic: index out of bounds",
    "RaisesBadText": "FileNotFoundError: no file \ufffd\ufffd...",
    "CannotSayWhy": "Mute: (its text cannot be made)",
    "TellsNoJson": "surrogates not allowed",
    "TellsTooOften": "more than 100 in one step (FNTX_HOSTED_EVENTS_MAX)",
    "TellsTooMuch": "more than 20000 bytes (FNTX_HOSTED_EVENTS_MAX_BYTES)",
}
AT_ONCE = {"CannotBeMade": "PermissionError: no licence", "Missing": "ModuleNotFoundError"}


@pytest.fixture
def desk(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with hosting_agents(tmp_path, module_database_url, redis_url) as made:
        yield made


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


def test_what_an_agent_says_is_kept_as_far_as_it_can_be(desk):
    """Characters that no database takes are replaced, and nobody is charged; what it asks for is done."""
    session_id, sound = with_agent(desk, "TellsBadText"), with_agent(desk, "Sound")
    desk.step()
    desk.step()
    row = desk.row(session_id)
    assert (row["status"], row["agent_failures"]) == (S.PAUSED, {})
    assert row["requires_action"] is None
    [found] = desk.events(session_id, "found\ufffd")
    assert found["event_category"] == "mar\ufffdket"
    assert found["description"][:5] == "a\ufffdb\ufffd."
    assert len(found["description"]) == 2000
    assert (found["data"]["text"], found["data"]["price"]) == ("a\x00b", None)
    assert memory(desk, sound, "Sound")["internal_state"] == {"steps": 2}


def test_what_cannot_be_stored_is_one_sessions_trouble(desk):
    """The others' steps are stored without it; it is tried again, and after the cap it is in ERROR."""
    bad, sound = with_agent(desk, "WritesEvents"), with_agent(desk, "Sound")
    desk.step()
    before = desk.row(sound)["clock_at"]
    for failures in (1, 2, 3):
        desk.step()
        assert desk.row(bad)["agent_failures"] == {"host": failures}
        after = desk.row(sound)["clock_at"]
        assert after > before
        before = after
    assert desk.row(bad)["status"] == S.ERROR
    assert desk.row(sound)["agent_failures"] == {}


def test_stores_that_fail_charge_nobody(desk, monkeypatch):
    """Where nothing at all can be stored it is no session's fault: the batch is given back."""
    sessions = [with_agent(desk, "Sound"), with_agent(desk, "Sound")]

    def fails(*_: object) -> None:
        raise OSError

    with monkeypatch.context() as broken:
        broken.setattr(outcomes, "finish_steps", fails)
        with pytest.raises(OSError):  # noqa: PT011 - what the patch raises
            desk.step()
    assert [desk.row(one)["agent_failures"] for one in sessions] == [{}, {}]
    assert desk.step() == 2


def test_no_package_takes_the_name_of_a_built_in_agent(monkeypatch):
    """Whose package is installed beside ours does not trade in the executor's name."""
    points = [*registry._found().values(), point(EVALUATOR, "bad_agents:Raises")]
    monkeypatch.setattr(registry, "entry_points", lambda **_: points)
    assert registry._found.__wrapped__()[EVALUATOR].value.startswith("fntx_sessions.")
