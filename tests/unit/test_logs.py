"""Logs: one line an event, and no secret in it."""

import io
import json
import logging

import pytest
import structlog

from fntx_sessions.monitoring.logs import configure_logging, redact, redact_text
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


def test_nesting_ends_somewhere():
    """A structure made to be deep costs little and shows nothing."""
    deep = value = {}
    for _ in range(1000):
        value["a"] = value = {}
    value["a"] = "hunter2"
    assert "hunter2" not in str(redact(deep))
