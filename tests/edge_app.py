"""The real app with tasks of the tests: what is tried is the edge, not the desk behind it. `celery -A edge_app`."""

import os
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from kombu.transport.redis import Channel

from fntx_sessions.exceptions import Busy, IntegrityError, PreconditionFailed
from fntx_sessions.schemas import Model
from fntx_sessions.security.actor import Actor
from tasks.base import command, query, sweep
from tasks.celery import app

__all__ = ["app"]

app.conf.include = []
if os.environ.get("TEST_UNMENDED"):
    Channel._connparams = Channel._connparams.__wrapped__


class Echo(Model):
    """What the test tasks take."""

    session_id: UUID
    reason: str = ""


class Held(Model):
    """A task that says it began and waits for a file."""

    folder: str


def _do(reason: str) -> None:
    if reason == "refused":
        raise PreconditionFailed("s", "pause_session", "calm", "it is not", "Wait.")
    if reason == "busy":
        raise Busy("the session row", 5)
    if reason == "broken":
        raise IntegrityError("a part", "its checksum differs")
    if reason == "bug":
        raise ZeroDivisionError("password=hunter2")


@command("fntx.tests.echo")
def echo(actor: Actor, command_id: UUID, arguments: Echo) -> dict[str, Any]:
    """Answer with what arrived."""
    _do(arguments.reason)
    return {"state": "done", "error": None, "actor": actor.name, "command_id": str(command_id)}


@query("fntx.tests.look")
def look(arguments: Echo) -> Echo:
    """Answer with the arguments."""
    return arguments


@query("fntx.tests.loaded")
def loaded(arguments: Echo) -> Echo:
    """Answer whether this process has loaded the module that the reason names."""
    return arguments.model_copy(update={"reason": "loaded" if arguments.reason in sys.modules else "not loaded"})


@sweep("fntx.tests.sweep")
def sweep_once(actor: Actor) -> str:
    """Answer with who sweeps."""
    return f"{actor.name}"


@command("fntx.tests.hold")
def hold(command_id: UUID, arguments: Held) -> dict[str, Any]:
    """Leave a mark per run, then wait until the test lets go."""
    folder = Path(arguments.folder)
    (folder / f"{command_id}.{time.monotonic_ns()}.began").touch()
    while not (folder / "let_go").exists():
        time.sleep(0.02)
    (folder / f"{command_id}.ended").touch()
    return {"state": "done", "error": None}
