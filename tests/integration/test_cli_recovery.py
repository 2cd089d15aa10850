"""`fntx plan`, `recover --dry-run` and `accept`, over a real desk in this process: what they ask, print and change."""

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hosting import Hosting, S, T, make_hosting, shared
from recovery_world import layered, lose_redis, plan
from terminal import Terminal

from fntx_sessions.cli import asking, ids, recovery, sessions
from fntx_sessions.cli.app import run
from fntx_sessions.cli.exits import Exit


class Line(asking.Line):
    """A line that ends in this process instead of at a worker."""

    def __init__(self, hosting: Hosting) -> None:
        self.settings, self._hosting = hosting.desk.settings, hosting

    def command(self, verb, arguments, command_id=None):
        trigger = {"recover": T.RECOVER, "accept": T.ACCEPT, "resume": T.RESUME}[verb]
        more = {name: value for name, value in arguments.items() if name != "session_id"}
        outcome = self._hosting.ask(
            trigger, UUID(str(arguments["session_id"])), command_id=command_id or uuid4(), **more
        )
        return json.loads(json.dumps(outcome.raise_for_refusal().to_dict(), default=str))

    def query(self, task, **arguments):
        assert task == "sessions.plan"
        given = {name: value for name, value in arguments.items() if name != "session_id"}
        if "checkpoint_id" in given:
            given["checkpoint_id"] = UUID(given["checkpoint_id"])
        return plan(self._hosting, UUID(str(arguments["session_id"])), **given).model_dump(mode="json")

    def close(self):
        pass


@pytest.fixture
def hosting(
    tmp_path: Path, module_database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        line = Line(made)
        for module in (sessions, recovery):
            monkeypatch.setattr(module, "line", lambda: line)
        monkeypatch.setattr(ids.sys, "stdin", Terminal())
        yield made


def test_a_plan_is_shown_with_ranks_and_reasons(hosting, capsys):
    """What would be tried, in its order, what it would lose and why; --json has the same facts."""
    session_id, made = layered(hosting)
    assert run(["plan", str(session_id)]) == Exit.DONE
    shown = capsys.readouterr().out
    for part in ("live state is whole", f"checkpoint {made.checkpoint_id}", "confidence", "would lose"):
        assert part in shown
    assert run(["plan", str(session_id), "--json"]) == Exit.DONE
    [found] = json.loads(capsys.readouterr().out)
    assert [one["rank"] for one in found["candidates"]] == [1, 2, 3, 4]


def test_a_dry_run_changes_nothing_and_shows_the_plan(hosting, capsys):
    """The epoch, the version and the status are as they were, and no run was begun."""
    session_id, made = layered(hosting)
    before = hosting.row(session_id)
    assert run(["recover", str(session_id), "--dry-run", "--checkpoint", str(made.checkpoint_id)]) == Exit.DONE
    assert "nothing else would be tried" in capsys.readouterr().out
    assert hosting.row(session_id) == before
    assert hosting.rows("SELECT 1 FROM recovery_runs WHERE session_id = :id", id=session_id) == []


def test_differences_are_accepted_from_the_command_line(hosting, capsys):
    """Resume says what to run, and what it says works."""
    session_id, _ = layered(hosting)
    lose_redis(hosting, session_id)
    hosting.run("UPDATE paper_positions SET quantity = 0 WHERE session_id = :id", id=session_id)
    assert run(["recover", str(session_id)]) == Exit.DONE
    assert run(["resume", str(session_id)]) == Exit.REFUSED
    assert f"fntx accept {session_id} --reason" in capsys.readouterr().err
    assert run(["accept", str(session_id)]) == Exit.USAGE
    assert run(["accept", str(session_id), "--reason", "seen"]) == Exit.DONE
    assert run(["resume", str(session_id)]) == Exit.DONE
    assert hosting.row(session_id)["status"] == S.ACTIVE


def test_a_plan_ends_as_the_recovery_would(hosting, capsys):
    """An ACTIVE session's is refused, and says so; so does the dry run."""
    session_id, _ = layered(hosting, suspend=False)
    assert run(["plan", str(session_id)]) == Exit.REFUSED
    assert "refused now" in capsys.readouterr().out
    assert run(["recover", str(session_id), "--dry-run", "--json"]) == Exit.REFUSED
    assert "cannot" in json.loads(capsys.readouterr().out)[0]["refused"]
    hosting.do(T.SUSPEND, session_id)
    assert run(["recover", str(session_id), "--dry-run", "--checkpoint", str(uuid4())]) == Exit.NOT_FOUND
