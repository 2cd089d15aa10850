"""Logs: one line an event, and no secret in it."""

import ast
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from timeit import repeat

import pytest
import structlog

from fntx_sessions.cli import app
from fntx_sessions.monitoring.logs import configure_logging, is_secret, redact, redact_text
from fntx_sessions.settings import Settings

JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhZG1pbiJ9.c2lnbmF0dXJl"


@pytest.fixture
def logged():
    """Configure logging; call for the lines written since. Whatever was set up before is put back."""
    root = logging.getLogger()
    handlers, level, configuration = root.handlers[:], root.level, structlog.get_config()
    configure_logging(Settings(log_format="json"))
    root.handlers[0].setStream(written := io.StringIO())
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**configuration)
    structlog.contextvars.clear_contextvars()


def test_our_lines_and_those_of_libraries_have_one_form(logged):
    """Both are JSON with event, level, logger, UTC time and what the task has bound."""
    structlog.contextvars.bind_contextvars(task_id="t1")
    structlog.get_logger("ours").info("session_saved", parts=3)
    logging.getLogger("theirs").warning("lost %s", "it")
    ours, theirs = logged()
    assert (ours["event"], ours["parts"], ours["task_id"]) == ("session_saved", 3, "t1")
    assert (theirs["event"], theirs["level"], theirs["logger"], theirs["task_id"]) == (
        "lost it",
        "warning",
        "theirs",
        "t1",
    )
    assert ours["timestamp"].endswith("Z")


def test_no_secret_is_logged(logged):
    """Not by its field's name, not inside a structure, a URL, a message or a traceback."""
    try:
        raise ValueError(f"bad token {JWT}")  # noqa: TRY301 - the traceback is what is tried
    except ValueError:
        structlog.get_logger("x").exception(
            "failed", fntx_token="hunter2", url="redis://:hunter2@h/0", deep={"a": [{"api_key": "hunter2"}]}, n=1
        )
    logging.getLogger("y").warning("at %s", "postgresql://u:hunter2@h/db")
    text = json.dumps(lines := logged())
    assert "hunter2" not in text
    assert JWT not in text
    assert lines[0]["n"] == 1
    assert "ValueError" in lines[0]["exception"]


def test_redaction_leaves_the_rest_alone():
    """Other fields keep value and type; the original is untouched; a token's id is for the audit."""
    given = {"session_id": "s", "n": 1, "list": [1, None], "password": "p", "token_id": "abc"}
    assert redact(given) == {"session_id": "s", "n": 1, "list": [1, None], "password": "***", "token_id": "abc"}
    assert given["password"] == "p"


@pytest.mark.parametrize(
    "text",
    [
        "{'api_key': 'hunter2', 'n': 1}",
        "{'state': 'done', 'ticket': 'hunter2', 'n': 1}",
        "{'token': \"hunter2\"}",
        "('redis://u:hunter2@h',)",
        f"['{JWT}']",
    ],
)
def test_arguments_another_celery_described_are_cleaned(text):
    """What Flower shows of a stranger's arguments holds no secret either."""
    assert not {"hunter2", JWT} & set(redact_text(text).replace("'", " ").replace('"', " ").replace("@", " ").split())
    assert "hunter2" not in redact_text(text)


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("redis://u:hunter2@ssW@h/0", "redis://u:***@h/0"),
        ("redis://:hunter2/b@h", "redis://:***@h"),
        ("password=hunter2 host=x", "password=*** host=x"),
        ("https://h/x?password=hunter2&api_key=hunter2&n=1", "https://h/x?password=***&api_key=***&n=1"),
        ("Authorization: Bearer hunter2", "Authorization: Bearer ***"),
        ("token: hunter2, n: 1", "token: ***, n: 1"),
        ("('GET /', 'Bearer hunter2', 1)", "('GET /', 'Bearer ***', 1)"),
        ("curl -H BASIC  dTpodW50ZXIy.", "curl -H BASIC  ***"),
        ("a basic setting of hunters", "a basic setting of hunters"),
        ('{\\"password\\": \\"hunter2\\"}', None),
        ("{'tokens': ['hunter2', 'hunter2'], 'n': 1}", "{'tokens': ***, 'n': 1}"),
        ({"pass": "hunter2", "db_pwd": "hunter2", "dsn": "hunter2", "auth": "hunter2", "bearer": "hunter2"}, None),
        ({"access_key": "hunter2", "passphrase": "hunter2", "jwt": "hunter2", "cookie": "hunter2"}, None),
        ({"a": {"password=hunter2"}, "b": b"password=hunter2", "c": frozenset([("password=hunter2",)])}, None),
        ({"author": "ann", "passed": 3, "token_id": "abc"}, {"author": "ann", "passed": 3, "token_id": "abc"}),
        ("token_id=abc took 3 s at http://h:80/x", "token_id=abc took 3 s at http://h:80/x"),
    ],
)
def test_secrets_are_found_in_all_forms_they_are_written_in(value, left):
    """URLs, libpq's pairs, queries, headers, JSON within JSON, bytes and sets; words beside them stay."""
    found = redact(value)
    assert "hunter2" not in str(found)
    assert left is None or found == left


@pytest.mark.parametrize(
    "piece", ["a", "token", "token=", "://:", "token='", "auth: bearer ", "[", "token=[", "eyJ", "\\"]
)
def test_redaction_takes_its_time_whatever_somebody_wrote(piece):
    """Twice as long a text takes about twice as long: no text is found that holds a worker up."""
    small, large = (min(repeat(lambda n=n: redact(piece * n), number=1, repeat=3)) for n in (2_000, 32_000))
    assert large < 60 * small + 0.2


def test_a_long_line_is_cut_in_its_middle(logged):
    """A message of a megabyte is no megabyte of log; its beginning, its end and their length are told."""
    structlog.get_logger("x").info("failed", problem="begin " + "x\n" * 500_000 + "end")
    text = logged()[0]["problem"]
    assert text.startswith("begin x")
    assert text.endswith("x\nend")
    assert "characters left out" in text
    assert len(text) < 15_000


def test_what_an_object_says_of_itself_is_cleaned_too(logged):
    """Also where the renderer asks it only at the end."""
    structlog.get_logger("x").info("failed", problem=OSError("password=hunter2"), deep=[OSError("token: hunter2")])
    assert "hunter2" not in json.dumps(logged())


def test_the_command_line_logs_to_stderr_in_the_form_asked_for(logged, monkeypatch, capsys):
    """Results alone are on stdout: `--json` parses, whatever is done in this process; warnings only."""
    assert logged() == []
    log = structlog.get_logger("x")
    monkeypatch.setenv("FNTX_LOG_FORMAT", "json")

    def run(_arguments: list[str]) -> int:
        log.info("made")
        log.warning("late", token="hunter2")
        return 0

    monkeypatch.setattr(app, "run", run)
    with pytest.raises(SystemExit):
        app.main(["x"])
    out, err = capsys.readouterr()
    assert out == ""
    assert [(line["event"], line["token"]) for line in map(json.loads, err.splitlines())] == [("late", "***")]


def test_nesting_ends_somewhere():
    """A structure made to be deep costs little and shows nothing."""
    deep = value = {}
    for _ in range(1000):
        value["a"] = value = {}
    value["a"] = "hunter2"
    assert "hunter2" not in str(redact(deep))


ROOT = Path(__file__).parents[2]
_LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
_LOGGERS = {"log", "_log", "logger"}
_NAME = re.compile(r"[a-z]+([_.][a-z]+)*")


def calls() -> Iterator[tuple[str, ast.Call, bool]]:
    """Yield where each line is logged, the call, and whether structlog takes it."""
    for path in [*(ROOT / "fntx_sessions").rglob("*.py"), *(ROOT / "tasks").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        ours = "structlog.get_logger" in text
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _LEVELS:
                of = node.func.value
                known = isinstance(of, ast.Name) and of.id in _LOGGERS
                made = isinstance(of, ast.Call) and ast.unparse(of.func).endswith("get_logger")
                if known or made:
                    yield f"{path.name}:{node.lineno}", node, ours


def test_every_line_has_a_constant_name_and_no_secret_field():
    """A log is searched by its names: each is constant, small words; what varies is in fields, none named a secret."""
    found = list(calls())
    assert len(found) > 90
    for where, call, ours in found:
        assert call.args, where
        assert isinstance(call.args[0], ast.Constant), where
        if ours:
            assert _NAME.fullmatch(call.args[0].value), (where, call.args[0].value)
            assert len(call.args) == 1, where
        assert not [one.arg for one in call.keywords if one.arg and is_secret(one.arg)], where


def test_a_terminal_is_told_nothing_that_it_would_obey(logged):
    """What somebody wrote into a reason clears no screen and hides no line of those who watch a console."""
    handler = logging.getLogger().handlers[0]
    configure_logging(Settings(log_format="console"))
    logging.getLogger().handlers[0].setStream(written := io.StringIO())
    structlog.get_logger("x").warning(
        "refused", why="\x1b[2Jgone\u202e", deep={"a": "\x1b[1m"}, n=1, **{"\x1b[2Jname": 1}
    )
    logging.getLogger("y").warning("at %s", "\x1b]0;title\x07")
    text = re.sub(r"\x1b\[\d*m", "", written.getvalue())
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b[2Jgone" in text
    assert "n" in text
    logging.getLogger().handlers[:] = [handler]


def test_a_line_says_which_trace_it_is_of(logged, monkeypatch):
    """Where somebody traces, a line carries the trace's id, so that one leads to the other."""
    monkeypatch.setattr("fntx_sessions.traces.current", lambda: "00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    structlog.get_logger("x").info("done")
    assert logged()[0]["trace_id"] == "a" * 32
