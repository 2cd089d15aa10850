"""`fntx templates`: what it asks, prints, writes and exits with."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import typer
from hosting import ANN, Hosting, make_hosting, shared
from terminal import Terminal

from fntx_sessions.cli import asking, output
from fntx_sessions.cli import templates as cli
from fntx_sessions.cli.app import app, run
from fntx_sessions.cli.exits import Exit
from fntx_sessions.exceptions import FntxError
from tasks import handlers, routes, templates

QUESTIONS = {"list", "get", "versions", "diff", "export"}
HANDLERS = {
    "templates.list": templates.list_templates,
    "templates.get": templates.get,
    "templates.versions": templates.versions,
    "templates.diff": templates.diff,
    "templates.export": templates.export,
    "templates.add": templates.add,
    "templates.edit": templates.edit,
    "templates.import": templates.take_in,
    "templates.retire": templates.retire,
}


class Line(asking.Line):
    """A line that ends at the tasks' own functions in this process."""

    def __init__(self, hosting: Hosting) -> None:
        self.settings = hosting.desk.settings

    def _asked(self, name: str, arguments: dict[str, Any], command_id: Any) -> Any:
        handler = handlers.Handler.of(HANDLERS[name])
        sent = json.loads(json.dumps(arguments, default=str))
        return handler.run(ANN, handler.parse((), sent, str(command_id), 10**9))

    def ask(self, task, arguments, command_id, deadline_s=None):  # noqa: ARG002 - a worker's is bounded
        assert task.removeprefix("templates.") not in QUESTIONS
        return self._asked(task, arguments, command_id)["result"]

    def query(self, task, **arguments):
        assert task.removeprefix("templates.") in QUESTIONS
        return self._asked(task, arguments, uuid4())

    def close(self):
        pass


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str, monkeypatch) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        line = Line(made)
        monkeypatch.setattr(cli, "line", lambda: line)
        monkeypatch.setattr(templates, "desk", lambda: made.desk)
        monkeypatch.setattr(output, "PIPE_WIDTH", 240)
        yield made


@pytest.fixture
def name(hosting) -> str:
    found = f"Desk {uuid4().hex[:8]}"
    assert run(["templates", "add", found, "--from", "Paper Trading", "-r", "to begin with"]) == Exit.DONE
    return found


def said(capsys) -> str:
    out, err = capsys.readouterr()
    return " ".join((out + err).split())


def test_templates_are_listed_shown_and_told(hosting, name, capsys):
    """The list by the bare name too; one whole with its way back; its versions with who and why."""
    assert run(["templates"]) == Exit.DONE
    assert name in said(capsys)
    assert run(["templates", "retire", name, "-r", "replaced"]) == Exit.DONE
    capsys.readouterr()
    assert run(["templates", "ls"]) == Exit.DONE
    assert name not in said(capsys)
    assert run(["templates", "ls", "--all"]) == Exit.DONE
    assert name in said(capsys)
    assert run(["templates", "show", name]) == Exit.DONE
    told = said(capsys)
    assert "no session is made of it" in told
    assert "position_limit = 3" in told
    assert run(["templates", "versions", name]) == Exit.DONE
    told = said(capsys)
    assert "retired ann replaced" in told
    assert "added ann to begin with" in told
    assert run(["templates", "show", f"{name}@1"]) == Exit.DONE
    assert "version 1" in said(capsys)
    assert run(["templates", "show", f"{name}@1", "--version", "2"]) == Exit.USAGE
    assert run(["templates", "export", f"{name}@1"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["template_name"] == name
    assert run(["templates", "show", "Nope"]) == Exit.NOT_FOUND
    assert "There are: Backtest" in said(capsys)


def test_an_edit_says_what_it_changed_and_sets_back(hosting, name, capsys):
    """Dotted paths, JSON values; refused by path, by version; back to a version."""
    asked = ["templates", "edit", name, "--set", "default_risk_parameters.position_limit=5", "-r", "more room"]
    assert run(asked) == Exit.DONE
    assert "default_risk_parameters.position_limit: 3 -> 5" in said(capsys)
    assert run([*asked[:4], "default_risk_parameters.position_limit=0"]) == Exit.USAGE
    assert "default_risk_parameters.position_limit" in said(capsys)
    assert run([*asked[:4], "description=x", "--expected-version", "1"]) == Exit.REFUSED
    assert "is at version 2" in said(capsys)
    assert run(["templates", "diff", name]) == Exit.DONE
    assert f"{name}@1 -> {name}@2 default_risk_parameters.position_limit: 3 -> 5" in said(capsys)
    assert run(["templates", "edit", name, "--to", "1", "--json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["version"] == 3
    assert run(["templates", "diff", f"{name}@1", name]) == Exit.DONE
    assert "say the same" in said(capsys)
    command = ["templates", "edit", name, "--set", "description=x", "--command-id", str(uuid4()), "--json"]
    assert run(command) == Exit.DONE
    first = capsys.readouterr().out
    assert run(command) == Exit.DONE
    assert capsys.readouterr().out == first


def test_a_template_goes_to_a_file_and_comes_back_changed(hosting, name, capsys, tmp_path, monkeypatch):
    """Exported, edited, compared, previewed, refused without the flag, asked, and taken in as a version."""
    assert run(["templates", "export", name, "--out", str(tmp_path)]) == Exit.DONE
    path = tmp_path / f"{name.lower().replace(' ', '-')}.json"
    assert run(["templates", "export", name, "--out", str(path)]) == Exit.USAGE
    assert "--force" in said(capsys)
    assert run(["templates", "export", name]) == Exit.DONE
    assert capsys.readouterr().out == path.read_text()
    path.write_text(path.read_text().replace('"position_limit": 3', '"position_limit": 8'))
    change = "default_risk_parameters.position_limit: 3 -> 8"
    assert run(["templates", "diff", str(path)]) == Exit.DONE
    assert change in said(capsys)
    assert run(["templates", "import", str(path), "--preview"]) == Exit.DONE
    assert change in said(capsys)
    assert run(["templates", "import", str(path), "--yes"]) == Exit.USAGE
    assert "--replace" in said(capsys)
    monkeypatch.setattr(cli.sys, "stdin", Terminal("n\n"))
    assert run(["templates", "import", str(path), "--replace"]) == Exit.USAGE
    assert "Nothing was changed" in said(capsys)
    monkeypatch.setattr(cli.sys, "stdin", Terminal("y\n"))
    assert run(["templates", "import", str(path), "--replace", "-r", "agreed"]) == Exit.DONE
    assert "imported: version 2" in said(capsys)
    assert run(["templates", "import", str(path), "--replace"]) == Exit.DONE
    assert "is like that already" in said(capsys)
    assert run(["templates", "versions", name]) == Exit.DONE
    assert "imported ann agreed" in said(capsys)


def test_a_file_that_cannot_be_used_here_says_all_that_is_wrong(hosting, name, capsys, tmp_path):
    """Each section's problem on a line; exit with usage, nothing stored."""
    assert run(["templates", "export", name, "--out", str(tmp_path / "t.json")]) == Exit.DONE
    file = json.loads((tmp_path / "t.json").read_text())
    file["template"] |= {"optional_agents": ["TheirAgent"], "default_config": {"nonsense": 1}}
    (tmp_path / "t.json").write_text(json.dumps(file))
    capsys.readouterr()
    assert run(["templates", "import", str(tmp_path / "t.json"), "--name", "Other", "--yes"]) == Exit.USAGE
    told = said(capsys)
    assert "optional_agents.0: 'TheirAgent' is no agent this desk knows" in told
    assert "default_config.nonsense: is not a known key" in told
    assert run(["templates", "show", "Other"]) == Exit.NOT_FOUND


def test_a_file_from_a_pipe_is_not_asked_about(hosting, name, capsys, monkeypatch):
    """Nobody can answer while stdin is the file: --yes, or nothing is done."""
    assert run(["templates", "export", name]) == Exit.DONE
    text = capsys.readouterr().out

    def pipe() -> None:
        monkeypatch.setattr(cli.sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    pipe()
    assert run(["templates", "import", "-", "--name", f"{name} b"]) == Exit.USAGE
    assert "--yes" in said(capsys)
    pipe()
    assert run(["templates", "import", "-", "--name", f"{name} b", "--yes"]) == Exit.DONE


@pytest.mark.parametrize(
    ("data", "told"), [(b"\xff", "UTF-8"), (b"{", "not JSON"), (b"[]", "no template file"), (b'{"a": NaN}', "NaN")]
)
def test_a_file_that_is_none_is_one_sentence(hosting, capsys, tmp_path, data, told):
    """Nothing is asked of the desk."""
    (tmp_path / "t.json").write_bytes(data)
    assert run(["templates", "import", str(tmp_path / "t.json")]) == Exit.USAGE
    assert told in said(capsys)


def test_a_file_without_an_end_is_read_as_far_as_a_template_may_go(hosting, capsys):
    """What is given by mistake does not take the machine's memory."""
    assert run(["templates", "import", "/dev/zero"]) == Exit.USAGE
    assert "that is no template" in said(capsys)


def test_questions_and_edits_go_to_their_queues_and_the_help_says_who_may():
    """Looking never stands in a command's way; every command names its roles."""
    queues = {one: routes.queue_for(f"fntx.{one}") for one in HANDLERS}
    assert {one for one, queue in queues.items() if queue == "queries"} == {f"templates.{one}" for one in QUESTIONS}
    listed = typer.main.get_command(app).commands["templates"].commands
    assert set(listed) == {"ls", "show", "versions", "add", "edit", "export", "import", "diff", "retire"}
    for one, command in listed.items():
        roles = (
            "(operators, risk managers, administrators)"
            if one in ("add", "edit", "import", "retire")
            else "(every role)"
        )
        assert roles in command.help, one


def test_refusals_are_typed(hosting):
    """What the tasks refuse is an error of ours, by its class."""
    with pytest.raises(FntxError):
        cli.line().query("templates.get", template_name="Nope")
