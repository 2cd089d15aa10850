"""The command `fntx watch`: which picture of the sessions it takes."""

import os
import sys
import time
from typing import Annotated
from uuid import UUID

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.asking import line
from fntx_sessions.cli.exits import sentence
from fntx_sessions.cli.watching.names import Names
from fntx_sessions.cli.watching.plain import picture
from fntx_sessions.exceptions import FntxError, Rejected


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command()(watch)


def watch(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Only these sessions.")] = None,
    every_s: Annotated[float, typer.Option("--every", min=0.2, help="Seconds between looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print a table once and return.")] = False,
) -> None:
    """Watch sessions live, and act on them by single keys; `?` lists the keys, `q` ends it.

    Without ids: all that are not closed. With one id: that session whole. In a pipe: a table at every look.
    """
    given, names, settings = ids or [], Names(ids or []), line().settings
    if once:
        output.console().print(picture([line().session_id(one) for one in given]))
    elif _at_a_terminal():
        # Slow to import, and only a terminal needs it.
        from fntx_sessions.cli.watching.app import Watch  # noqa: PLC0415
        from fntx_sessions.cli.watching.desk import Desk  # noqa: PLC0415

        ended = Watch(Desk(settings), names, every_s).run()
        if ended is not None:
            raise ended
    else:
        _over_and_over(given, every_s)


def _at_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _over_and_over(given: list[str], every_s: float) -> None:
    """Print a picture at every look; what is refused would be refused again, all else may be cured."""
    wanted: list[UUID] = []
    while True:
        try:
            wanted = wanted or [line().session_id(one) for one in given]
            output.console().print(picture(wanted))
        except Rejected:
            raise
        except FntxError as error:
            output.complain(f"{sentence(error)} (still trying)")
        sys.stdout.flush()
        time.sleep(every_s)
