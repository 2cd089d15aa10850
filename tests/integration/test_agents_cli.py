"""`fntx agents ls`: what people see of a session's agents."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from door_world import PLANNER, report, started
from hosting import Hosting, make_hosting, shared

from fntx_sessions.agents.roster import RosterArguments, list_agents
from fntx_sessions.cli import agents
from fntx_sessions.cli.app import run


class Line:
    """Answers as a desk's worker would."""

    def __init__(self, hosting: Hosting) -> None:
        self._hosting = hosting

    def session_id(self, given: str) -> str:
        return given

    def query(self, task: str, **asked: Any) -> list[dict[str, Any]]:
        assert task == "agents.list"
        return [one.model_dump(mode="json") for one in list_agents(self._hosting.desk, RosterArguments(**asked))]


@pytest.fixture
def hosting(tmp_path: Path, database_url: str, redis_url: str, monkeypatch) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, database_url, redis_url)) as made:
        monkeypatch.setattr(agents, "line", lambda: Line(made))
        yield made


def test_a_sessions_agents_are_listed_with_how_they_do(hosting, capsys):
    """Ready, who speaks for it, how far it read, what was refused; the same as JSON; without an id, the hosted ones."""
    session_id, told = started(hosting, PLANNER)
    report(hosting, told[PLANNER], ack="1-0")
    report(hosting, told[PLANNER], {"agent/Other": b"{}"})
    assert run(["agents", "ls", str(session_id)]) == 0
    shown = capsys.readouterr().out
    for part in (PLANNER, "elsewhere, as their-service", "ready", "1-0", "1 not_yours"):
        assert part in shown
    assert run(["agents", "ls", str(session_id), "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out)[0]["refused"] == {"not_yours": 1}
    assert run(["agents", "ls"]) == 0
    assert "RiskManagerAgent" in capsys.readouterr().out
