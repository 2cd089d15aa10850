"""The command line over a stand-in of the desk's answers: what it asks, prints and exits with."""

import io
import json
from uuid import uuid4

import pytest
import typer
from terminal import Terminal

from fntx_sessions.cli import asking, checkpoints, ids, output, sessions, shred, templates
from fntx_sessions.cli.app import app, run
from fntx_sessions.cli.exits import Exit, code_of, sentence, worst
from fntx_sessions.cli.values import pairs
from fntx_sessions.exceptions import (
    FntxError,
    IllegalTransition,
    InvalidArgument,
    NotFound,
    OutcomeUnknown,
    Unavailable,
)
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.roles import (
    ADMIN,
    ALLOWED,
    ARCHIVE,
    KEYS,
    OPERATOR,
    RISK_MANAGER,
    ROLES,
    SERVICE,
    SYSTEM,
    VIEW,
)
from fntx_sessions.settings import Settings

ID = "3f2a9c1d-0000-4000-8000-000000000001"
OTHER = "3f2a9c1e-0000-4000-8000-000000000002"


class Desk(asking.Line):
    """A line that answers from a script and notes what was asked."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.asked: list[tuple] = []
        self.refused: dict[str, Exception] = {}
        self.listed = [ID, OTHER]

    def command(self, verb, arguments, command_id=None):
        self.asked.append((verb, arguments, command_id))
        given = str(arguments.get("session_id", ID))
        if given in self.refused:
            raise self.refused[given]
        return {
            "command_id": str(command_id or uuid4()), "session_id": given, "trigger": verb, "state": "done",
            "status": "paused", "version": 4, "epoch": 2, "warnings": ["mind the gap"], "extra": {"in_flight": ["o1"]},
        }  # fmt: skip

    def query(self, task, **arguments):
        self.asked.append((task, arguments, None))
        if task == "sessions.list":
            prefix = arguments.get("id_prefix", "")
            return [{"session_id": one} for one in self.listed if one.replace("-", "").startswith(prefix)]
        raise AssertionError(task)

    def close(self):
        pass


@pytest.fixture
def desk(monkeypatch):
    made = Desk()
    for module in (sessions, templates):
        monkeypatch.setattr(module, "line", lambda: made)
    monkeypatch.setattr(ids.sys, "stdin", Terminal())
    return made


def test_exit_codes_are_the_documented_ones(desk, capsys):
    """Done 0, usage 2, refused 3, not found 4, unavailable 5: each with its sentence on stderr, nothing on stdout."""
    errors = {
        Exit.REFUSED: IllegalTransition(ID, "pause_session", "closed", "ann", "done for today", "nothing"),
        Exit.NOT_FOUND: NotFound("session", ID, "See `fntx ls`."),
        Exit.UNAVAILABLE: OutcomeUnknown("c", "pause_session", 30),
        Exit.USAGE: InvalidArgument("reason", "is too long", "Shorten it."),
    }
    for code, error in errors.items():
        desk.refused = {ID: error}
        assert run(["pause", ID]) == code
        told = capsys.readouterr()
        assert told.out == ""
        assert sentence(error) in told.err
        # Where nobody took it, a second sentence names the way that needs neither Redis nor workers.
        assert told.err.count("\n") == (2 if code is Exit.UNAVAILABLE else 1)
    desk.refused = {}
    assert run(["pause", ID]) == Exit.DONE


def test_an_unknown_outcome_says_which_option_asks_again(desk, capsys):
    """Whoever has to ask again can copy what to add to the command."""
    desk.refused = {ID: OutcomeUnknown("c0ffee", "pause_session", 30)}
    run(["pause", ID])
    assert "Ask again with --command-id c0ffee; asking twice acts once." in capsys.readouterr().err


def test_a_table_too_wide_for_the_screen_is_printed_in_blocks_and_cuts_nothing(monkeypatch, capsys):
    """An amount that is cut is a wrong amount: on 40 columns each row becomes a block with all of it."""
    monkeypatch.setattr(output, "PIPE_WIDTH", 40)
    row = {"opened": "2018-02-05 15:00:00", "closed": "2018-02-05 15:20:00", "net": "-$1,234.56", "exit": "-"}
    output.table([row, row], {name: lambda one, name=name: one[name] for name in row}, "none")
    told = capsys.readouterr().out
    assert told.count("2018-02-05 15:20:00") == told.count("-$1,234.56") == 2
    assert "exit" not in told


def test_of_several_ids_each_has_its_line_and_the_worst_code_counts(desk, capsys):
    """One refused id stops no other; the command exits with the worst of them."""
    desk.refused = {ID: NotFound("session", ID, "See `fntx ls`.")}
    assert run(["pause", ID, OTHER]) == Exit.NOT_FOUND
    told = capsys.readouterr()
    assert OTHER in told.out
    assert ID in told.err
    assert worst([Exit.DONE, Exit.UNAVAILABLE, Exit.REFUSED]) == Exit.UNAVAILABLE
    assert worst([Exit.UNEXPECTED, Exit.UNAVAILABLE]) == Exit.UNEXPECTED
    assert worst([]) == Exit.DONE


@pytest.mark.parametrize("piped", [f"{ID}\n{OTHER}\n", json.dumps([{"session_id": ID}, {"session_id": OTHER}])])
@pytest.mark.parametrize("arguments", [["pause", "-"], ["pause"]])
def test_ids_can_be_piped_in_as_lines_or_as_what_ls_json_prints(desk, monkeypatch, capsys, piped, arguments):
    """`fntx ls -q | fntx pause -` and `fntx ls --json | fntx pause` do the same."""
    monkeypatch.setattr(ids.sys, "stdin", io.StringIO(piped))
    assert run(arguments) == Exit.DONE
    assert [str(asked[1]["session_id"]) for asked in desk.asked] == [ID, OTHER]


def test_json_has_the_facts_of_success_and_of_refusal(desk, capsys):
    """Machines get one array: outcomes, and errors with their family and facts."""
    desk.refused = {ID: NotFound("session", ID, "See `fntx ls`.")}
    assert run(["pause", ID, OTHER, "--json"]) == Exit.NOT_FOUND
    refused, done = json.loads(capsys.readouterr().out)
    assert (refused["session_id"], refused["error"], refused["facts"]["kind"]) == (ID, "NotFound", "session")
    assert (done["session_id"], done["version"]) == (OTHER, 4)


@pytest.mark.parametrize("arguments", [["fork", ID], ["create", "paper_trading"], ["pause", ID]])
def test_json_has_the_refusal_of_a_command_about_one_session_too(desk, monkeypatch, capsys, arguments):
    """Whatever is refused, stdout holds the error with its family and facts, and stderr the sentence."""
    monkeypatch.setattr(checkpoints, "line", lambda: desk)
    desk.refused = {ID: NotFound("checkpoint", "c0ffee", "See `fntx checkpoints`.")}
    code = run([*arguments, "--json"])
    told = capsys.readouterr()
    found = json.loads(told.out)
    [refused] = found if isinstance(found, list) else [found]
    assert (refused["family"], bool(refused["facts"])) == ("rejected", True)
    assert (code, bool(told.err)) == (code_of(FntxError.from_dict(refused)), True)


_MAY = {
    "checkpoint": Trigger.CHECKPOINT, "verify": VIEW, "prune": Trigger.PRUNE, "pin": Trigger.PIN, "unpin": Trigger.PIN,
    "fork": Trigger.CREATE, "plan": VIEW, "accept": Trigger.ACCEPT, "archive": ARCHIVE, "keys": KEYS,
    "shred": Trigger.SHRED, "validate": VIEW, "events": VIEW, "ack": Trigger.ACKNOWLEDGE,
}  # fmt: skip


@pytest.mark.parametrize("name", _MAY)
def test_the_help_of_a_command_says_who_may(name):
    """Its first paragraph, as `fntx --help` lists it, names each role of the table, and no other."""
    told = (typer.main.get_command(app).commands[name].help or "").split("\n\n")[0].partition("live:")[0]
    people = ROLES - {SYSTEM, SERVICE}  # the others are programs, which have no use for a terminal's help
    may = ALLOWED[_MAY[name]] & people
    named = {role for role in (OPERATOR, RISK_MANAGER, ADMIN) if f"{_WORDS.get(role, role)}s" in told}
    assert named == may if may < people else "(every role)" in told


_WORDS = {RISK_MANAGER: "risk manager", ADMIN: "administrator"}


def test_a_prefix_stands_for_the_one_session_it_fits(desk, capsys):
    """Four characters are enough if they fit one session; none and several are told apart."""
    assert run(["pause", "3f2a9c1e"]) == Exit.DONE
    assert str(desk.asked[-1][1]["session_id"]) == OTHER
    assert run(["pause", "3f2a"]) == Exit.USAGE
    assert "fits several sessions" in capsys.readouterr().err
    assert run(["pause", "abcd"]) == Exit.NOT_FOUND
    assert run(["pause", "3f2"]) == Exit.USAGE
    assert run(["pause", "not-an-id"]) == Exit.USAGE


def test_options_reach_the_command_as_typed_values(desk):
    """--config, --risk, --strategy-set, --reason, --expected-version and --command-id arrive as what they mean."""
    command_id = uuid4()
    line = ["update", ID, "--set", "feed.step_s=60", "--risk", "max_daily_risk=0.02", "--strategy", "sell_put",
            "--strategy-set", "sell_put.delta=0.1", "-r", "why not", "--expected-version", "7",
            "--command-id", str(command_id)]  # fmt: skip
    assert run(line) == Exit.DONE
    verb, arguments, asked_id = desk.asked[-1]
    assert (verb, asked_id) == ("update", command_id)
    assert arguments | {"session_id": ID} == {
        "session_id": ID, "reason": "why not", "expected_version": 7, "config": {"feed": {"step_s": 60}},
        "risk_parameters": {"max_daily_risk": 0.02}, "enabled_strategies": ["sell_put"],
        "strategy_parameters": {"sell_put": {"delta": 0.1}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["stop", ID, "--close", "--to", "bob"], "--to"),
        (["update", ID], "changes nothing"),
        (["create"], "TYPE or --template"),
        (["create", "nope"], "not one of"),
        (["create", "paper_trading", "--risk", "max_daily_risk=NaN"], "--risk max_daily_risk"),
        (["create", "paper_trading", "--set", "novalue"], "key=value"),
        (["create", "paper_trading", "--set", "a=1", "--set", "a=2"], "given twice"),
        (["pause", ID, OTHER, "--command-id", str(uuid4())], "--command-id"),
        (["pause"], "session id"),
        (["no-such-command"], "No such command"),
        (["pause", "--no-such-option"], "No such option"),
        (["templates", "nope"], "No such command"),
        (["templates", "add", "Mine"], "--from NAME"),
        (["templates", "edit", "Mine"], "--set PATH=VALUE"),
        (["templates", "import", "no-such-file.json"], "cannot be read"),
    ],
)
def test_wrong_usage_is_one_sentence_that_names_what_is_wrong(desk, capsys, line, told):
    """Nothing is asked of the desk, nothing is printed on stdout, there is no traceback."""
    assert run(line) in (Exit.USAGE, Exit.NOT_FOUND)
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert desk.asked == []


def test_what_nobody_foresaw_is_a_sentence_too(desk, capsys):
    """A bug exits with 1 and says how to see where, without a traceback."""
    desk.refused = {ID: RuntimeError("boom")}
    assert run(["pause", ID]) == Exit.UNEXPECTED
    assert "unexpected RuntimeError: boom" in capsys.readouterr().err


def test_without_a_stack_it_says_how_to_start_one(tmp_path, monkeypatch, capsys):
    """No stack, no addresses: unavailable, and the fix."""
    monkeypatch.setenv("FNTX_HOME", str(tmp_path))
    asking.get_settings.cache_clear()
    try:
        assert run(["ls"]) == Exit.UNAVAILABLE
    finally:
        monkeypatch.undo()
        asking.get_settings.cache_clear()
    assert "fntx up" in capsys.readouterr().err


def test_values_are_json_where_they_can_be_and_text_where_not():
    """Numbers, booleans and lists are typed; anything else is text; dots nest."""
    given = ["a=1", "b=0.5", "c=true", 'd=["x"]', "e.f=XNYS", "e.g=null", "h=a=b"]
    assert pairs(given, "--set") == {
        "a": 1, "b": 0.5, "c": True, "d": ["x"], "e": {"f": "XNYS", "g": None}, "h": "a=b",
    }  # fmt: skip
    for bad in ("a=Infinity", "a=-inf", "a=nan", 'a={"b": NaN}', "=1", "a..b=1", "a=" + "[" * 100_000):
        with pytest.raises(InvalidArgument):
            pairs([bad], "--set")


def test_unavailable_is_retryable_and_says_so_in_its_code():
    """Scripts may try again on 5, and on nothing else."""
    assert Unavailable("Redis", "x", "y").exit_code == Exit.UNAVAILABLE


def test_shred_asks_for_the_id_before_it_destroys(desk, monkeypatch, capsys):
    """Nothing is sent until the id's first characters were typed, or --yes was given; a pipe cannot answer."""
    monkeypatch.setattr(shred, "line", lambda: desk)
    monkeypatch.setattr(shred.typer, "prompt", lambda *_args, **_more: "3f2a9c1e")
    assert run(["shred", ID]) == Exit.USAGE
    assert "is not 3f2a9c1d. Nothing was changed" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin", io.StringIO("3f2a9c1d"))
    assert run(["shred", ID]) == Exit.USAGE
    assert "--yes" in capsys.readouterr().err
    assert desk.asked == []
    assert run(["shred", ID, "--yes", "-r", "asked to"]) == Exit.DONE
    [(verb, arguments, _)] = desk.asked
    assert (verb, str(arguments["session_id"]), arguments["reason"]) == ("shred", ID, "asked to")
    assert "shredded" in capsys.readouterr().out
