"""`fntx rules explain|rehearse|set|ls`: what they ask, print, change and exit with."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
import typer
from hosting import ANN, Hosting, T, make_hosting, shared
from running_desk import RunningDesk, desk, quiet_desk  # noqa: F401 - fixtures
from running_desk import run as scenario
from terminal import Terminal

from fntx_sessions.cli import asking, ids, output
from fntx_sessions.cli import rules as cli
from fntx_sessions.cli.app import app, run
from fntx_sessions.cli.exits import Exit
from fntx_sessions.exceptions import FntxError
from fntx_sessions.schemas import SessionType
from fntx_sessions.security.actor import Actor
from fntx_sessions.settings import get_settings
from fntx_sessions.trading.market_store import MARKET_KEY
from tasks import commands, handlers, queries, routes, templates
from tasks import rules as tasks

DAYS = Path(__file__).parents[2] / "fntx_sessions" / "cli" / "data" / "spx_vix_daily_2017_2018.csv"
VIX = '[{"condition": "vix_above", "value": 40}]'
PUBLISHED = {"feed": {"kind": "published"}}
REGULAR = {
    "start": [
        {"condition": "market_open"},
        {"condition": "vix_below", "value": 30},
        {"condition": "time_after", "value": "09:35:00"},
    ],
    "stop": [{"condition": "daily_loss_exceeded"}, {"condition": "market_close"}],
}
HANDLERS = {
    "rules.explain": tasks.explain,
    "rules.rehearse": tasks.rehearse,
    "rules.set_template": tasks.set_template,
    "sessions.get": queries.get,
    "sessions.list": queries.list_sessions,
    "templates.get": templates.get,
    "templates.versions": templates.versions,
    "update": commands.update,
}


class Line(asking.Line):
    """A line that ends at the tasks' own functions in this process."""

    def __init__(self, hosting: Hosting) -> None:
        self.settings = hosting.desk.settings
        self.actor = ANN

    def _asked(self, name: str, arguments: dict[str, Any], task_id: str) -> Any:
        handler = handlers.Handler.of(HANDLERS[name])
        sent = json.loads(json.dumps(arguments, default=str))
        return handler.run(self.actor, handler.parse((), sent, task_id, 10**9))

    def command(self, verb, arguments, command_id=None):
        answer = self._asked(verb, arguments, str(command_id or uuid4()))
        if answer["error"]:
            raise FntxError.from_dict(answer["error"])
        return answer

    def query(self, task, **arguments):
        answer = self._asked(task, arguments, str(uuid4()))
        return answer["result"] if task == "rules.set_template" else answer

    def close(self):
        pass


@pytest.fixture
def hosting(
    tmp_path: Path, module_database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hosting]:
    with make_hosting(shared(tmp_path, module_database_url, redis_url)) as made:
        line = Line(made)
        monkeypatch.setattr(cli, "line", lambda: line)
        for module in (tasks, queries, commands, templates):
            monkeypatch.setattr(module, "desk", lambda: made.desk)
        monkeypatch.setattr(ids.sys, "stdin", Terminal())
        monkeypatch.setattr(output, "PIPE_WIDTH", 240)
        yield made


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no desk: whoever asks it fails the test."""

    def refuse():
        pytest.fail("the desk was asked")

    monkeypatch.setattr(cli, "line", refuse)
    monkeypatch.setattr(output, "PIPE_WIDTH", 240)


@pytest.fixture
def rules_file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(REGULAR))
    return path


def shown(capsys) -> str:
    """Return what was printed, in single spaces."""
    return re.sub(r"[ \n]+", " ", capsys.readouterr().out)


# --- rehearse --------------------------------------------------------------------------------------------------------


def rehearse(rules_file: Path, *more: str, over: Path | str = DAYS) -> int:
    return run(["rules", "rehearse", "--rules", str(rules_file), "--over", str(over), *more])


def test_a_rehearsal_over_a_file_needs_no_desk(nobody, rules_file, capsys):
    """When each rule would have fired and why, a line a day, a line a rule, and what a file cannot know."""
    assert rehearse(rules_file, "--from", "2018-02-05", "--to", "2018-02-06") == Exit.DONE
    out, err = capsys.readouterr()
    told = re.sub(r"[ \n]+", " ", out)
    assert "2018-02-05 09:35:00 EST start start.0, start.1, start.2 started: market open" in told
    assert "2018-02-05 16:00:00 EST stop stop.1 stopped: the market has closed" in told
    assert "2018-02-06 initializing not started: VIX 37.32 >= 30" in told
    assert "stop.0 daily_loss_exceeded" in told
    assert "records no P&L" in err


def test_json_has_the_same_facts(nobody, rules_file, capsys):
    """--json: days with their firings, rules with when they were met."""
    assert rehearse(rules_file, "--from", "2018-07-03", "--to", "2018-07-03", "--json") == Exit.DONE
    found = json.loads(capsys.readouterr().out)
    [day] = found["days"]
    assert [one["exchange_time"] for one in day["firings"]] == [
        "2018-07-03T09:35:00-04:00", "2018-07-03T13:00:00-04:00"
    ]  # fmt: skip
    assert (day["half_day"], found["calendar"], found["extended"]) == (True, "XNYS", False)


def test_type_and_calendar_decide_by_which_hours_it_is_judged(nobody, tmp_path, capsys):
    """--type extended_hours stops at the post-market close."""
    path = tmp_path / "stop.json"
    path.write_text('{"stop": [{"condition": "market_close"}]}')
    assert rehearse(path, "--from", "2018-07-03", "--to", "2018-07-03", "--type", "extended_hours") == Exit.DONE
    assert "17:00:00 EDT stop" in shown(capsys)


def _file(tmp_path: Path, name: str, text: str) -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


GOOD = "date,open,high,low,close,vix\n2018-02-02,2808.92,2808.92,2759.97,2762.13,17.31\n"


@pytest.mark.parametrize(
    ("rules", "days", "told"),
    [
        (json.dumps(REGULAR), GOOD + "2018-02-05,n/a,2763.39,2638.17,2648.94,37.32", "line 3 column open"),
        (json.dumps(REGULAR), GOOD + "2018-02-05,2741.06,2763.39,2638.17,2648.94", "line 3"),
        (json.dumps(REGULAR), GOOD, "no day between"),
        (json.dumps(REGULAR), None, "cannot be read as CSV"),
        ("{", GOOD, "is not JSON"),
        ("[]", GOOD, "is not an object with rule sets"),
        ('{"begin": []}', GOOD, "rules.begin"),
        ('{"stop": [{"condition": "vix_abve", "value": 1}]}', GOOD, "there is no condition 'vix_abve'"),
        ('{"stop": [{"condition": "vix_above", "value": NaN}]}', GOOD, "NaN is not a number"),
        (None, GOOD, "cannot be read"),
    ],
)
def test_bad_rules_and_bad_days_are_one_sentence_that_names_the_place(nobody, tmp_path, capsys, rules, days, told):
    """Row and field of a CSV, line of JSON, path of a rule; exit code 2, nothing on stdout."""
    rules_path = str(tmp_path / "none.json") if rules is None else _file(tmp_path, "rules.json", rules)
    days_path = str(tmp_path / "none.csv") if days is None else _file(tmp_path, "days.csv", days)
    assert rehearse(Path(rules_path), over=days_path) == Exit.USAGE
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert told in err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["rehearse", "--over", "days.csv"], "one of ID, --template NAME and --rules"),
        (["rehearse", "abcd", "--template", "x", "--over", "days.csv"], "one of ID, --template NAME and --rules"),
        (["rehearse", "--rules", "r.json"], "--over"),
        (["rehearse", "--rules", "r.json", "--over", "d.csv", "--type", "nope"], "nope"),
        (["set", "abcd1234"], "changes nothing"),
        (["set", "--stop", "none"], "ID or of --template"),
        (["set", "abcd1234", "--template", "x", "--stop", "none"], "ID or of --template"),
        (["set", "abcd1234", "--stop", "vix"], "is not JSON"),
        (["set", "abcd1234", "--stop", '{"value": 3}'], "is not a list of conditions"),
        (["set", "abcd1234", "--stop", "@nowhere.json"], "cannot be read"),
        (["set", "abcd1234", "--stop", "[" * 100_000], "--stop: is nested too deep"),
        (["set", "--template", "x", "--stop", "none", "--expected-version", "3"], "--expected-version"),
        (["ls"], "ID or of --template"),
        (["explain"], "Missing argument"),
        (["explain", "abcd1234", "--decisions", "-1"], "--decisions"),
    ],
)
def test_wrong_usage_asks_nothing_of_the_desk(nobody, capsys, line, told):
    """One sentence, exit code 2."""
    assert run(["rules", *line]) == Exit.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err


def test_the_rules_of_a_session_and_of_a_template_are_rehearsed(hosting, capsys):
    """By id, by its first characters, by template name; type and calendar are theirs."""
    session_id = hosting.create("regular", config=PUBLISHED)
    span = ["--over", str(DAYS), "--from", "2018-02-05", "--to", "2018-02-06", "--json"]
    reports = []
    for source in ([str(session_id)], [session_id.hex[:8]], ["--template", "Regular Trading"]):
        assert run(["rules", "rehearse", *source, *span]) == Exit.DONE
        reports.append(json.loads(capsys.readouterr().out))
    assert reports[0] == reports[1]
    assert reports[0]["days"] == reports[2]["days"]
    assert [day["status"] for day in reports[0]["days"]] == ["closed", "initializing"]
    assert run(["rules", "rehearse", "--template", "Extended Hours", *span]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["extended"] is True


def test_a_recorded_session_is_rehearsed_over_with_its_own_market(hosting, rules_file, capsys):
    """`--over SESSION`: what it recorded, beside what did happen; one without samples is refused."""
    session_id = hosting.started("backtest")
    hosting.with_settings(step_sweep_s=20.0).step()
    assert rehearse(rules_file, over=session_id.hex[:8]) == Exit.DONE
    told = shown(capsys)
    assert "what did happen" in told
    assert "2018-01-09 09:35:00 EST start" in told
    assert rehearse(rules_file, over=str(uuid4())) == Exit.NOT_FOUND
    assert rehearse(rules_file, "--from", "2018-01-09", over=str(session_id)) == Exit.USAGE
    assert rehearse(rules_file, over=str(hosting.create("paper_trading"))) == Exit.REFUSED


# --- explain, set, ls --------------------------------------------------------------------------------------------


def test_explain_prints_each_condition_and_what_is_next(hosting, capsys):
    """Value, limit, age, truth, since and why of each; the JSON has the same."""
    state = {"timestamp": "2018-02-05T15:00:00Z", "spy_price": 264.9, "vix_level": 31.2}
    hosting.desk.redis.set(MARKET_KEY, orjson.dumps(state))
    session_id = hosting.create("regular", config=PUBLISHED)
    assert run(["rules", "explain", str(session_id)]) == Exit.DONE
    told = shown(capsys)
    for part in (
        "initializing", "next: not started:", "start (all must hold)", "stop (any is enough) - not looked at now, only",
        "start.1 vix_below 31.2 30", "unknown", "no decisions yet",
    ):  # fmt: skip
        assert part in told
    assert run(["rules", "explain", str(session_id), "--json"]) == Exit.DONE
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["sets"]] == ["start", "stop", "pause", "resume"]
    assert run(["rules", "explain", str(uuid4())]) == Exit.NOT_FOUND


def test_rules_of_a_session_are_set_and_listed(hosting, tmp_path, capsys):
    """JSON, @FILE and none; sets that are not named stay; groups are listed with their parts."""
    session_id = str(hosting.create("regular", config=PUBLISHED))
    group = [{"condition": "any_of", "value": [json.loads(VIX)[0], {"condition": "market_close"}], "for_s": 30}]
    path = _file(tmp_path, "pause.json", json.dumps(group))
    assert run(["rules", "set", session_id, "--stop", VIX, "--pause", f"@{path}", "--start", "none"]) == Exit.DONE
    capsys.readouterr()
    assert run(["rules", "ls", session_id]) == Exit.DONE
    told = shown(capsys)
    assert "stop.0 vix_above 40" in told
    assert "pause.0 any_of for_s 30" in told
    assert "pause.0.any_of.1 market_close true" in told
    assert "start.0" not in told
    row = hosting.row(session_id)
    assert (row["config"]["auto_start_conditions"], row["config"]["auto_resume_conditions"]) == ([], [])
    assert run(["rules", "set", session_id, "--resume", '{"condition": "vix_below", "value": 20}']) == Exit.DONE
    assert [one["value"] for one in hosting.row(session_id)["config"]["auto_resume_conditions"]] == [20]
    assert run(["rules", "set", session_id, "--stop", "none", "--expected-version", "1"]) == Exit.REFUSED


def test_a_list_in_place_of_rule_sets_is_refused_in_words_before_the_desk_is_asked(nobody, tmp_path, capsys):
    """Over a recording as over a file of days."""
    path = _file(tmp_path, "rules.json", "[]")
    assert run(["rules", "rehearse", "--rules", path, "--over", "abcd1234"]) == Exit.USAGE
    assert "rules: is not an object with rule sets. Write an object with" in capsys.readouterr().err


def test_a_set_that_is_not_looked_at_does_not_look_like_one_about_to_act(hosting, capsys):
    """In the evening `market_close` is true of a session that has not started, and stops nothing."""
    config = PUBLISHED | {"auto_stop_conditions": [{"condition": "time_after", "value": "00:00:00"}]}
    session_id = hosting.create("regular", config=config)
    assert run(["rules", "explain", str(session_id)]) == Exit.DONE
    assert "(true, acts on nothing now)" in shown(capsys)


def test_a_bad_condition_is_refused_with_its_path(hosting, capsys):
    """The edge of the command says where; nothing changes."""
    session_id = str(hosting.create("regular", config=PUBLISHED))
    before = hosting.row(session_id)["config"]
    assert run(["rules", "set", session_id, "--stop", '[{"condition": "vix_above", "value": "x"}]']) == Exit.USAGE
    assert "config.auto_stop_conditions.0.value" in capsys.readouterr().err
    assert hosting.row(session_id)["config"] == before


def test_an_operator_is_told_who_may_take_a_stop_rule_away(hosting, capsys):
    """Refused, exit code 3, naming the roles; a risk manager's is done."""
    session_id = str(hosting.started("regular", config=PUBLISHED))
    cli.line().actor = Actor("bob", frozenset({"operator"}))
    assert run(["rules", "set", session_id, "--stop", "none"]) == Exit.REFUSED
    assert "risk_manager" in capsys.readouterr().err
    cli.line().actor = ANN
    assert run(["rules", "set", session_id, "--stop", "none", "-r", "by hand today"]) == Exit.DONE
    hosting.do(T.STOP, session_id)


def test_rules_of_a_template_are_set_and_listed_with_who_and_why(hosting, capsys):
    """The version goes up, and `ls` says who did it and why."""
    change = ["rules", "set", "--template", "Manual Override", "--stop", VIX, "-r", "calmer"]
    assert run(change) == Exit.DONE
    assert "is at version 2 now" in shown(capsys)
    assert run(["rules", "ls", "--template", "Manual Override"]) == Exit.DONE
    told = shown(capsys)
    assert "by ann: calmer" in told
    assert "stop.0 vix_above 40" in told
    assert run(["rules", "ls", "--template", "Manual Override", "--json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["last_edit"]["version"] == 2
    assert run(["rules", "ls", "--template", "Nope"]) == Exit.NOT_FOUND


def test_a_template_without_rules_says_so(hosting, capsys):
    """No rules: nothing happens by itself."""
    assert run(["rules", "ls", "--template", "Backtest"]) == Exit.DONE
    assert "nothing happens by itself" in capsys.readouterr().err


# --- the edge --------------------------------------------------------------------------------------------------------


def test_questions_and_edits_go_to_their_queues():
    """Explaining and rehearsing never stand in a command's way."""
    queues = {name: routes.queue_for(f"fntx.rules.{name}") for name in ("explain", "rehearse", "set_template")}
    assert queues == {"explain": "queries", "rehearse": "queries", "set_template": "commands"}


def test_the_help_says_who_may():
    """Each command names its roles."""
    listed = typer.main.get_command(app).commands["rules"].commands
    assert set(listed) == {"explain", "rehearse", "set", "ls"}
    for name in ("explain", "rehearse", "ls"):
        assert "(every role)" in listed[name].help
    assert "operators, risk managers, administrators" in listed["set"].help


async def _made(where: RunningDesk) -> str:
    async with where.manager() as manager:
        return str((await manager.create_session(SessionType.REGULAR, config=PUBLISHED)).session_id)


def test_over_a_real_worker(desk: RunningDesk, monkeypatch, capsys):  # noqa: F811 - the fixture
    """Explained, edited and listed through Celery, as an operator would."""
    told = {"HOME": desk.folder, "DATABASE_URL": desk.database_url, "REDIS_URL": desk.redis_url, "AUTH_MODE": "open"}
    for name, value in told.items():
        monkeypatch.setenv(f"FNTX_{name}", str(value))
    get_settings.cache_clear()
    try:
        session_id = scenario(_made, desk)
        assert run(["rules", "explain", session_id]) == Exit.DONE
        assert "next: not started:" in shown(capsys)
        assert run(["rules", "set", session_id, "--stop", VIX, "-r", "calmer"]) == Exit.DONE
        assert run(["rules", "set", "--template", "Backtest", "--stop", VIX]) == Exit.DONE
        assert run(["templates", "edit", "Backtest", "--to", "1", "--expected-version", "2"]) == Exit.DONE
        capsys.readouterr()
        assert run(["rules", "ls", session_id]) == Exit.DONE
        assert "stop.0 vix_above 40" in shown(capsys)
        assert run(["rules", "rehearse", session_id, "--over", session_id]) == Exit.REFUSED
        assert "left none in Postgres" in capsys.readouterr().err
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
