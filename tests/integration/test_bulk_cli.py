"""`fntx pause|resume|stop --all ...` and `fntx bulk`: what they ask, print, change and exit with."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import typer
from bulk_world import asked, begin, check_run
from hosting import ANN, Hosting, S, T, make_hosting, shared
from running_desk import RunningDesk, quiet_desk  # noqa: F401 - a fixture
from running_desk import run as scenario
from terminal import Terminal

from fntx_sessions.automation import bulk
from fntx_sessions.automation.bulk import BulkArguments
from fntx_sessions.caller.caller import Caller
from fntx_sessions.cli import asking, sessions
from fntx_sessions.cli import bulk as commands
from fntx_sessions.cli.app import app, run
from fntx_sessions.cli.exits import Exit
from fntx_sessions.exceptions import InvalidArgument, Unavailable
from fntx_sessions.parsing import parse
from fntx_sessions.security.actor import Actor
from fntx_sessions.settings import Settings
from tasks import bulk as tasks
from tasks.handlers import Handler

BOB = Actor("bob", frozenset({"operator"}))


class Line(asking.Line):
    """A line that ends at the tasks' own functions in this process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.actor = ANN
        self.asked: list[str] = []

    def query(self, task: str, **arguments: Any) -> Any:
        name = task.removeprefix("bulk.")
        self.asked.append(name)
        handler = Handler.of(getattr(tasks, {"list": "recent"}.get(name, name)))
        sent = json.loads(json.dumps(arguments, default=str))
        answer = handler.run(self.actor, handler.parse((), sent, str(uuid4()), 10**9))
        return answer["result"]

    def close(self) -> None:
        pass


@pytest.fixture
def hosting(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        made.run("DELETE FROM bulk_runs")
        yield made


@pytest.fixture
def line(hosting: Hosting, monkeypatch: pytest.MonkeyPatch) -> Line:
    made = Line(hosting.desk.settings)
    for module in (sessions, commands):
        monkeypatch.setattr(module, "line", lambda: made)
    monkeypatch.setattr(tasks, "desk", lambda: hosting.desk)
    monkeypatch.setattr("sys.stdin", Terminal())
    return made


@pytest.fixture
def tag(hosting: Hosting) -> str:
    """A tag of three sessions: two active, one paused."""
    name = f"t-{uuid4().hex[:8]}"
    made = [hosting.started(config={"tags": [name]}) for _ in range(3)]
    hosting.do(T.PAUSE, made[2], reason="lunch")
    return name


def statuses(hosting: Hosting, tag: str) -> list[str]:
    found = hosting.rows("SELECT status FROM sessions WHERE tags @> ARRAY[:tag] ORDER BY created_at", tag=tag)
    return [row["status"] for row in found]


def test_a_preview_shows_who_and_what_and_changes_nothing(hosting, line, tag, capsys):
    """A line a session with what would happen to it; exit 0; as JSON the same facts."""
    assert run(["pause", "--tag", tag, "--preview"]) == Exit.DONE
    told = capsys.readouterr()
    assert (told.out.count("would pause"), told.out.count("refused: already paused")) == (2, 1)
    assert "on 2 of 3 sessions; nothing was changed" in told.err
    assert run(["pause", "--tag", tag, "--preview", "--json"]) == Exit.DONE
    assert [item["state"] for item in json.loads(capsys.readouterr().out)] == ["waiting", "waiting", "refused"]
    assert statuses(hosting, tag) == [S.ACTIVE, S.ACTIVE, S.PAUSED]
    assert set(line.asked) == {"preview"}


def test_on_a_terminal_it_asks_first(hosting, line, tag, monkeypatch, capsys):
    """What is answered with no changes nothing; with yes it is done on those that were shown, and on nobody else."""
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert run(["pause", "--tag", tag]) == Exit.USAGE
    assert "Nothing was changed" in capsys.readouterr().err
    assert statuses(hosting, tag) == [S.ACTIVE, S.ACTIVE, S.PAUSED]
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert run(["pause", "--tag", tag, "--status", "active", "-r", "news"]) == Exit.DONE
    assert statuses(hosting, tag) == [S.PAUSED] * 3
    [newest] = bulk.recent(hosting.desk.engine, 1)
    assert (len(newest.selector.session_ids or ()), newest.reason, newest.counts) == (2, "news", {"done": 2})


def test_where_nobody_can_answer_it_wants_yes(line, hosting, tag, monkeypatch, capsys):
    """A script that forgot --yes does nothing, and is told."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert run(["stop", "--tag", tag]) == Exit.USAGE
    assert "Give --yes where nobody can answer" in capsys.readouterr().err
    assert S.CLOSING not in statuses(hosting, tag)


def test_it_exits_with_the_worst_and_json_has_each(hosting, line, tag, capsys):
    """One refused of three: 3, with its sentence; nothing that matches: 4, and nothing was changed."""
    assert run(["pause", "--tag", tag, "--yes", "--json", "--wave-size", "1"]) == Exit.REFUSED
    report = json.loads(capsys.readouterr().out)
    assert (report["state"], report["counts"], report["waves"]) == ("finished", {"done": 2, "refused": 1}, 3)
    [refused] = [item for item in report["items"] if item["state"] == "refused"]
    assert "(lunch)" in refused["problem"]
    check_run(hosting, bulk.report(hosting.desk.engine, UUID(report["bulk_id"])), T.PAUSE)
    for more in (["--yes"], ["--preview"]):
        assert run(["pause", "--tag", "nobody's", *more]) == Exit.NOT_FOUND
        assert "there is no session for" in capsys.readouterr().err
    assert [one.selector.tag for one in bulk.recent(hosting.desk.engine, 5)] == [tag]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--yes"], "--all"),
        (["--all", "--status", "asleep"], "asleep"),
        (["--all", "--type", "spare"], "spare"),
        (["--template", "Nothing Like It", "--yes"], "Known: "),
        (["--all", "--expected-version", "3", "--yes"], "--expected-version"),
        (["--all", "--wave-size", "0"], "--wave-size"),
        (["--status", "active", "--tag", "", "--yes"], "--tag: is given and is empty"),
        (["--status", "active", "--account", " ", "--yes"], "--account: is given and is empty"),
        (["--status", "active", "--template", "", "--yes"], "--template: is given and is empty"),
        (["--tag", "", "--preview"], "--tag: is given and is empty"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_two(line, arguments, said, capsys):
    """A slip selects nobody: exit 2, one sentence that names what is wrong."""
    assert run(["pause", *arguments]) == Exit.USAGE
    assert said in capsys.readouterr().err


def test_a_run_asked_for_again_is_followed_not_begun(hosting, line, tag, capsys):
    """Whoever lost the line asks with --command-id and sees the same run."""
    known = str(uuid4())
    for _ in range(2):
        assert run(["stop", "--tag", tag, "--leave", "--to", "ann", "--yes", "--command-id", known, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["bulk_id"] == known
    assert len(bulk.recent(hosting.desk.engine, 5)) == 1
    assert statuses(hosting, tag) == [S.CLOSING] * 3


def test_what_was_agreed_to_is_the_same_run_when_it_is_asked_for_again(hosting, line, tag, monkeypatch, capsys):
    """The run has the ids that were shown, the command line that is given again has not."""
    known = str(uuid4())
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    for _ in range(2):
        assert run(["pause", "--tag", tag, "--status", "active", "--command-id", known]) == Exit.DONE
        assert known in capsys.readouterr().err
    assert len(bulk.recent(hosting.desk.engine, 5)) == 1


@pytest.mark.parametrize("changed", [["stop", "-r", "a"], ["pause", "-r", "b"], ["pause", "-r", "a", "--hold", "rule"]])
def test_a_command_id_of_another_run_is_refused(hosting, line, tag, changed, capsys):
    """Another action, reason or argument under a known id does nothing and says so; other sessions likewise."""
    known = ["--yes", "--command-id", str(uuid4())]
    assert run(["pause", "--tag", tag, "--status", "active", "-r", "a", *known]) == Exit.DONE
    for selected in (["--tag", tag, "--status", "active"], ["--tag", f"{tag}-not"]):
        assert run([*changed, *selected, *known]) == Exit.REFUSED
        assert "was already used for a bulk pause with other arguments" in capsys.readouterr().err
    assert statuses(hosting, tag) == [S.PAUSED] * 3


def test_runs_are_listed_shown_cancelled_and_gone_on_with(hosting, line, tag, capsys):
    """`fntx bulk` sees what others asked for too."""
    run_id = begin(hosting, asked("resume", tag=tag, wave_size=1, wave_pause_s=600))
    assert run(["bulk", "ls"]) == Exit.DONE
    assert str(run_id) in (told := capsys.readouterr().out)
    assert f"tag {tag}" in told
    assert run(["bulk", "cancel", str(run_id)]) == Exit.DONE
    assert "resume cancelled by ann at " in (told := capsys.readouterr().err)
    assert "UTC: 3 cancelled" in told
    assert run(["bulk", "resume", str(run_id)]) == Exit.REFUSED
    assert run(["bulk", "show", str(run_id), "--json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out.partition("{")[2].join(["{", ""]))["state"] == "cancelled"
    assert run(["bulk", "show", str(uuid4())]) == Exit.NOT_FOUND


def test_a_stopped_run_says_what_to_run(hosting, line, tag, capsys):
    """Too many failed: nobody after them was touched, and the two ways on are named."""
    run_id = begin(hosting, asked(tag=tag))
    hosting.run("UPDATE bulk_runs SET next_wave_at = NULL WHERE bulk_id = :id", id=run_id)
    assert run(["bulk", "show", str(run_id)]) == Exit.DONE
    told = capsys.readouterr().err
    assert f"fntx bulk resume {run_id} or fntx bulk cancel {run_id}" in told


def test_who_let_a_run_go_on_is_told_and_an_end_is_no_cancellation(hosting, line, tag, capsys):
    """The run names who answered for it; cancelled once all were asked, it says that nothing was, and exits with 3."""
    run_id = begin(hosting, asked(tag=tag, status=[S.ACTIVE]))
    hosting.run("UPDATE bulk_runs SET next_wave_at = NULL WHERE bulk_id = :id", id=run_id)
    line.actor = BOB
    bulk.resume(hosting.desk.engine, BOB, run_id)
    bulk.advance(hosting.desk, run_id, all_waves=True)
    assert run(["bulk", "show", str(run_id)]) == Exit.DONE
    assert "pause finished, let go on by bob at " in capsys.readouterr().err
    assert run(["bulk", "cancel", str(run_id)]) == Exit.REFUSED
    assert "nothing was cancelled" in capsys.readouterr().err
    found = bulk.report(hosting.desk.engine, run_id)
    assert (found.actor, found.resumed_by, found.cancelled_by) == ("ann", "bob", None)


@pytest.mark.parametrize(
    ("given", "scope"),
    [
        (["3f2a9c1d"], "session:3f2a9c1d"),
        (["--template", "Paper Trading", "--yes"], "'template:Paper Trading'"),
        (["--account", "a b", "--status", "active", "--yes"], "'account:a b'"),
        (["--all", "--yes"], "all"),
        (["--status", "active", "--preview"], "session:ID"),
        (["--all", "--tag", "lunch", "--yes"], "session:ID"),
    ],
)
@pytest.mark.parametrize("action", ["pause", "stop"])
def test_where_nobody_takes_a_stop_the_halt_that_works_is_named(monkeypatch, action, given, scope, capsys):
    """With the stack dead `fntx up` is not all that is said: so is a command line that closes positions without it."""

    def nobody() -> None:
        raise Unavailable("the desk", "no stack runs", "Start it with `fntx up`.")

    for module in (sessions, commands):
        monkeypatch.setattr(module, "line", nobody)
    assert run([action, *given]) == Exit.UNAVAILABLE
    told = capsys.readouterr().err
    assert "Start it with `fntx up`" in told
    assert f"fntx halt --scope {scope} --flatten --reason ..." in told
    assert run(["resume", *given]) == Exit.UNAVAILABLE
    assert "fntx halt" not in capsys.readouterr().err


def test_a_run_nobody_takes_on_is_told_of(hosting, line, tag, monkeypatch, capsys):
    """No worker reads the sweeps: after the deadline it says that it may still happen, and how to ask again."""
    line.settings = line.settings.model_copy(update={"command_deadline_s": 0.01})
    monkeypatch.setattr(tasks.bulk, "advance", lambda at, run_id, **_: bulk.report(at.engine, run_id))
    assert run(["pause", "--tag", tag, "--yes"]) == Exit.UNAVAILABLE
    assert "Ask again with --command-id" in capsys.readouterr().err


def test_every_filter_of_ls_selects_too():
    """What `fntx ls` narrows by, `fntx pause` does, under the same option."""
    known = typer.main.get_command(app).commands
    options = {name: {one for param in known[name].params for one in param.opts} for name in ("ls", "pause", "stop")}
    filters = {"--status", "--type", "--template", "--account", "--tag", "--all"}
    assert filters <= options["ls"] & options["pause"] & options["stop"]


def test_the_tasks_refuse_what_is_no_selector_by_its_path():
    """A service that sends nonsense is told the field."""
    with pytest.raises(InvalidArgument, match=r"selector\.status\.0"):
        parse(BulkArguments, {"action": "pause", "selector": {"status": ["asleep"]}})


def test_a_worker_begins_it_and_its_sweep_ends_it(quiet_desk: RunningDesk) -> None:  # noqa: F811
    """Over real workers: begun by one task, its later waves done by the sweep that beat sends."""

    async def asked_of_many() -> tuple[set[str], dict[str, Any]]:
        caller = Caller(quiet_desk.settings)
        try:
            created = {"session_type": "paper_trading", "config": {"tags": ["w"]}}
            made = [await caller.command("fntx.sessions.create", created) for _ in range(4)]
            asked_for = {"action": "stop", "selector": {"tag": "w"}, "wave_size": 3, "wave_pause_s": 0.5}
            report = await caller.query("fntx.bulk.begin", asked_for | {"command_id": str(uuid4())})
            assert (report["state"], report["counts"]) == ("running", {"done": 3, "waiting": 1})
            while report["state"] == "running":
                quiet_desk.sweep("bulk")
                report = await caller.query("fntx.bulk.report", {"bulk_id": report["bulk_id"]})
            return {str(outcome.session_id) for outcome in made}, report
        finally:
            await caller.close()

    with quiet_desk.worker("-Q", "commands,queries,sweeps,celery", "-c", "2"):
        made, report = scenario(asked_of_many)
    assert {item["session_id"] for item in report["items"]} == made
    assert report["counts"] == {"done": 4}
