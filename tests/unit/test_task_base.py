"""The base of all tasks: every end of a task is an answer its caller can read."""

import json
import logging
from uuid import UUID, uuid4

import pytest
import structlog
from celery.backends.base import DisabledBackend
from celery.worker.consumer import consumer

from fntx_sessions import figures
from fntx_sessions.exceptions import Busy, IntegrityError, Unavailable
from fntx_sessions.schemas import Model
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.denials import Denials
from fntx_sessions.security.local import ensure_local_keys
from fntx_sessions.security.tokens import issue
from fntx_sessions.settings import Settings, get_settings
from tasks import base, refused_messages
from tasks.celery import app
from tasks.handlers import Handler
from tasks.signals import TOKEN_HEADER


class Asked(Model):
    session_id: UUID
    reason: str = ""
    share: float = 0.0


RAISES = {
    "busy": Busy("the session row", 2000),
    "broken": IntegrityError("a part", "its checksum differs"),
    "bug": ZeroDivisionError("hunter2"),
}


@base.command("fntx.unit.command")
def ask(actor: Actor, command_id: UUID, arguments: Asked) -> dict:
    if arguments.reason in RAISES:
        raise RAISES[arguments.reason]
    return {"state": "done", "error": None, "actor": actor.name, "command_id": command_id}


@base.query("fntx.unit.query")
def look(arguments: Asked) -> Asked:
    return arguments


@base.sweep("fntx.unit.sweep")
def tidy(actor: Actor) -> str:
    return actor.name


@base.sweep("fntx.unit.failing")
def fail() -> None:
    raise ZeroDivisionError


@base.sweep("fntx.unit.unavailable")
def skip() -> None:
    raise Unavailable("Postgres", "gone", "Wait.")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with keys, which the process's settings point to."""
    monkeypatch.setenv("FNTX_HOME", str(tmp_path))
    monkeypatch.setenv("FNTX_COMMAND_MAX_ARGUMENT_BYTES", "2048")
    get_settings.cache_clear()
    # Calling a task in place asks for a result backend, and stores nothing in it.
    monkeypatch.setattr(app, "_backend_cache", DisabledBackend(app))
    ensure_local_keys(tmp_path)
    yield tmp_path
    get_settings.cache_clear()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def run(home):
    """Call a task as its worker would, with a token of these roles; returns its answer, JSON as the caller gets it."""

    def call(name, *args, roles=("operator",), sessions=None, task_id=None, **kwargs):
        token = issue(Settings(home=home), "system" if "system" in roles else "ann", roles, 60, sessions=sessions)
        done = app.tasks[name].apply(
            args=args, kwargs=kwargs, task_id=task_id or str(uuid4()), headers={TOKEN_HEADER: token}, throw=False
        )
        assert done.successful(), done.traceback
        return json.loads(json.dumps(done.result))

    return call


def refusal(answer: dict) -> tuple[str, str, str]:
    assert answer["state"] == "refused"
    return answer["error"]["error"], answer["error"]["facts"].get("field", ""), answer["error"]["message"]


def test_a_command_gets_actor_id_and_arguments(run):
    """Its id is the task's, so that a stranger finds the outcome under the id he sent it by."""
    task_id = str(uuid4())
    answer = run("fntx.unit.command", session_id=str(uuid4()), task_id=task_id)
    assert answer == {"state": "done", "error": None, "actor": "ann", "command_id": task_id}


def test_an_id_of_its_own_goes_before_the_tasks(run):
    """`command_id` among the arguments is the idempotency key."""
    command_id = str(uuid4())
    assert run("fntx.unit.command", session_id=str(uuid4()), command_id=command_id)["command_id"] == command_id


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({}, "session_id"),
        ({"session_id": "x"}, "session_id"),
        ({"session_id": None}, "session_id"),
        ({"session_id": str(UUID(int=1)), "colour": "red"}, "colour"),
        ({"session_id": str(UUID(int=1)), "share": float("nan")}, "share"),
        ({"session_id": str(UUID(int=1)), "share": float("inf")}, "share"),
        ({"session_id": str(UUID(int=1)), "command_id": "x"}, "command_id"),
        ({"session_id": str(UUID(int=1)), "reason": "x" * 4096}, "arguments"),
    ],
)
def test_a_wrong_argument_is_named_with_its_fix(run, arguments, field):
    """A refusal names the field; nothing ran."""
    error, named, message = refusal(run("fntx.unit.command", **arguments))
    assert (error, named) == ("InvalidArgument", field)
    assert len(message) < 500


def test_positional_arguments_and_odd_task_ids_are_refused(run):
    """The wire has keywords only, and a command without a UUID has no idempotency."""
    assert refusal(run("fntx.unit.command", str(uuid4())))[1] == "args"
    assert refusal(run("fntx.unit.command", session_id=str(uuid4()), task_id="not-a-uuid"))[1] == "command_id"


@pytest.mark.parametrize("name", ["fntx.unit.command", "fntx.unit.query"])
def test_without_a_token_nothing_runs(home, name):
    """An unverifiable caller learns that, and nothing about the arguments."""
    answer = app.tasks[name].apply(kwargs={"session_id": "x"}, task_id=str(uuid4())).result
    assert refusal(answer)[0] == "Unauthenticated"


def test_trouble_is_told_apart_and_keeps_its_secrets(run):
    """Unavailable: may work later. Error: a person has to look; what a bug said stays in the worker's log."""
    session_id = str(uuid4())
    busy, broken, bug = (run("fntx.unit.command", session_id=session_id, reason=reason) for reason in RAISES)
    assert (busy["state"], busy["error"]["error"]) == ("unavailable", "Busy")
    assert (broken["state"], broken["error"]["error"]) == ("error", "IntegrityError")
    assert (bug["state"], bug["error"]["family"], bug["session_id"]) == ("error", "fatal", session_id)
    assert "hunter2" not in str(bug)


def test_a_query_answers_done_to_whoever_may_view(run):
    """A viewer sees; a token scoped to other sessions does not."""
    session_id = str(uuid4())
    answer = run("fntx.unit.query", session_id=session_id, roles=["viewer"])
    assert answer["state"] == "done"
    assert answer["result"]["session_id"] == session_id
    assert refusal(run("fntx.unit.query", session_id=session_id, sessions=[str(uuid4())]))[0] == "Forbidden"


@pytest.mark.parametrize(("roles", "answer"), [(["system"], "system"), (["admin"], "system"), (["operator"], None)])
def test_a_sweep_is_the_systems(run, roles, answer):
    """Only the system or the administrator may send one, and it acts as the system."""
    assert run("fntx.unit.sweep", roles=roles) == answer


def test_a_sweep_that_cannot_run_now_is_skipped_and_a_broken_one_fails(run, home):
    """Beat sends the next one; a bug shows as a failed task."""
    assert run("fntx.unit.unavailable", roles=["system"]) is None
    token = issue(Settings(home=home), "system", ["system"], 60)
    assert app.tasks["fntx.unit.failing"].apply(headers={TOKEN_HEADER: token}).failed()


@pytest.mark.parametrize("name", ["fntx.unit.command", "fntx.unit.query", "fntx.unit.sweep"])
def test_what_nobody_signed_is_counted_whatever_it_asks_for_and_begins_no_trace(home, monkeypatch, name):
    """Sweeps too; who can send messages fills no collector, and names nothing in a trace."""
    counted, spans = [], []
    monkeypatch.setattr(
        figures.REFUSALS.__class__, "note", lambda self, _, *labels: counted.append((self.name, labels))
    )
    monkeypatch.setattr("fntx_sessions.traces.span", lambda *given, **facts: spans.append((given, facts)))
    app.tasks[name].apply(headers={TOKEN_HEADER: "no token"}, throw=False)
    assert counted.count(("fntx_refusals", ("Unauthenticated",))) == 1
    assert spans == []


def test_a_span_names_a_message_only_by_an_id_that_celery_makes(run, monkeypatch):
    """An id is whatever its sender wrote; what is no UUID stays out of traces."""
    spans = []
    span = base.traces.span
    monkeypatch.setattr(
        "fntx_sessions.traces.span", lambda *given, **facts: spans.append(facts) or span(*given, **facts)
    )
    for task_id in (whole := str(uuid4()), "my password is hunter2"):
        run("fntx.unit.command", session_id=str(uuid4()), command_id=str(uuid4()), task_id=task_id)
    assert [facts["task_id"] for facts in spans] == [whole, None]


def test_only_what_is_waited_for_is_stored_and_sweeps_are_quiet():
    """Commands and queries keep a result; sweeps keep none and send no events, which would drown all others."""
    of = app.tasks
    assert not of["fntx.unit.command"].ignore_result
    assert not of["fntx.unit.query"].ignore_result
    assert of["fntx.unit.sweep"].ignore_result
    assert not of["fntx.unit.sweep"].send_events


def test_a_handler_no_message_can_fill_is_refused_at_import():
    """A parameter the wire does not have is a programmer's mistake, found before any worker runs."""
    with pytest.raises(TypeError, match="session"):
        Handler.of(lambda session: session)


def test_floods_of_forged_callers_are_one_line(caplog):
    """A thousand refusals are counted; one line is written in the quiet time."""
    denials = Denials(quiet_s=3600)
    with structlog.testing.capture_logs() as lines:
        for _ in range(1000):
            denials.count("no token")
    assert denials.total == 1000
    assert [line["event"] for line in lines] == ["callers_unverified"]


@pytest.mark.parametrize(
    ("template", "args", "task"),
    [
        (
            consumer.UNKNOWN_TASK_ERROR,
            (KeyError("x"), "BODY hunter2", {"task": "nosuch\x1b" * 99, "id": "1"}, {}),
            "nosuch",
        ),
        (consumer.INVALID_TASK_ERROR, (ValueError("hunter2"), "BODY hunter2"), None),
        (consumer.UNKNOWN_FORMAT, ("BODY hunter2",), None),
        (consumer.MESSAGE_DECODE_ERROR, (ValueError("hunter2"), "t", "e", "hunter2", "BODY hunter2"), None),
    ],
)
def test_of_a_message_that_is_no_task_the_log_says_little(template, args, task):
    """Neither its body nor its headers, however many come: one line in a while, its task's name cut; each counted."""
    with structlog.testing.capture_logs() as lines, pytest.MonkeyPatch.context() as patch:
        counted, handled = [], []
        patch.setattr(refused_messages, "denials", refused_messages.RefusedMessages(3600))
        patch.setattr(type(figures.REFUSALS), "note", lambda _, *noted: counted.append(noted))
        refused_messages.hide_refused_messages()
        logger = logging.getLogger(consumer.logger.name)
        patch.setattr(logger, "callHandlers", handled.append)
        for _ in range(5):
            logger.error(template, *args)
        logger.warning("consumer: Connection to broker lost.")
    assert [one.getMessage() for one in handled] == ["consumer: Connection to broker lost."]
    assert [line["event"] for line in lines] == ["messages_refused"]
    assert "hunter2" not in str(lines)
    assert len(str(lines)) < 400
    assert task is None or task in lines[0]["last"]
    assert counted == [(1, "UnknownMessage")] * 5
