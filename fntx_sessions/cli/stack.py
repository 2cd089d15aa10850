"""`fntx up`, `down`, `status` and `doctor`: the embedded stack on the command line."""

import contextlib
import json
import signal
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Never

import typer
from rich.table import Table

from fntx_sessions import stack as embedded  # which loads what is behind a name when it is used
from fntx_sessions.cli import output
from fntx_sessions.exceptions import StackError
from fntx_sessions.security.open_desk import OPEN_TOLD, VARIABLE
from fntx_sessions.stack.procfile import SHIPPED

if TYPE_CHECKING:
    from fntx_sessions.stack import Addresses, Stack
    from fntx_sessions.stack.check import Check
    from fntx_sessions.stack.status import Status

Home = Annotated[Path | None, typer.Option("--home", help="Data folder; FNTX_HOME, else the platform's.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DOWN_EXIT = 5
MARKS = {"ok": "[green]ok[/green]", "warn": "[yellow]warn[/yellow]", "fail": "[red]fail[/red]"}


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    for command in (up, down, migrate, status, doctor):
        app.command()(command)


def up(
    home: Home = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once everything is up.")] = False,
    as_json: AsJson = False,
    procfile: Annotated[Path, typer.Option(help="Other process types.")] = SHIPPED,
) -> None:
    """Start everything: Postgres, Valkey, workers, beat, Flower. Ctrl-C or `fntx down` ends it."""
    stack = embedded.Stack(home, procfile=procfile, say=_say)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if stack.given().get(VARIABLE) == "open":
            _say(OPEN_TOLD)
        addresses = stack.up()
        _print_addresses(addresses, as_json)
        if addresses.started and not detach:
            _stay(stack)
    except KeyboardInterrupt:
        if not stack.launched:  # somebody else's: ours was ended by `up` itself, if it was not up yet
            raise
        stack.down()


def down(home: Home = None) -> None:
    """Stop everything in order: beat, then the workers, which save, then the stores."""
    stack = embedded.Stack(home, say=_say)
    stopped = stack.down()
    output.console().print(f"stopped the stack in {stack.folder.home}" if stopped else _nothing(stack))


def migrate(home: Home = None) -> None:
    """Prepare servers of your own: migrate FNTX_DATABASE_URL, make missing keys. `fntx up` does it by itself."""
    embedded.Stack(home, say=_say).prepare_given()


def status(home: Home = None, as_json: AsJson = False) -> None:
    """Say what is up: processes, versions, queues, migrations, the last beat. Exit code 5 when nothing runs."""
    from fntx_sessions.stack.status import read_status  # noqa: PLC0415 -- Alembic, which `fntx ls` has no use for

    found = read_status(embedded.Stack(home))
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2, default=str))
    else:
        _print_status(found)
    raise typer.Exit(0 if found.running else DOWN_EXIT)


def doctor(home: Home = None, as_json: AsJson = False) -> None:
    """Check everything and say what to run where something is wrong. Exit code 5 when something is down."""
    from fntx_sessions.stack.doctor import diagnose  # noqa: PLC0415 -- as above

    checks = diagnose(embedded.Stack(home))
    if as_json:
        typer.echo(json.dumps([check.to_dict() for check in checks], indent=2))
    else:
        _print_checks(checks)
    raise typer.Exit(DOWN_EXIT if any(check.result == "fail" for check in checks) else 0)


def _stay(stack: "Stack") -> None:
    typer.echo("Ctrl-C ends it.", err=True)
    stack.wait()
    if stack.left_behind():
        raise StackError(
            "the supervisor was killed", "Run `fntx up` again: it cleans up and goes on with the same data."
        )


def _interrupt(_number: int, _frame: FrameType | None) -> Never:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    # Whoever read our progress may have left; the stack is brought up, or down, all the same.
    with contextlib.suppress(BrokenPipeError):
        typer.echo(line, err=True)


def _nothing(stack: "Stack") -> str:
    return f"nothing runs in {stack.folder.home}; start it with `fntx up`"


def _print_addresses(addresses: "Addresses", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(addresses.to_dict(), indent=2))
        return
    typer.echo("up" if addresses.started else "already up")
    for name in ("home", "database", "redis", "flower", "logs"):
        value = getattr(addresses, name)
        if value:
            typer.echo(f"  {name:<10}{value}")


def _print_status(found: "Status") -> None:
    console = output.console()
    if not found.running:
        console.print(found.sentence, soft_wrap=True)
    processes = Table("process", "state", "pid", "since", "detail", box=None)
    for process in found.processes:
        started = f"{process.started_at:%d %b %H:%M:%S} UTC" if process.started_at else "-"
        processes.add_row(process.name, process.state, str(process.pid or "-"), started, process.detail)
    if found.processes:
        console.print(processes)
    facts = Table(show_header=False, box=None)
    for name, value in found.facts().items():
        facts.add_row(name, str(value))
    console.print(facts)


def _print_checks(checks: "list[Check]") -> None:
    table = Table(box=None)
    for heading in ("check", "", "what it means", "what to run"):
        table.add_column(heading, overflow="fold")  # a path or a command that is cut is of no use
    for check in checks:
        table.add_row(check.name, MARKS[check.result], check.meaning, check.fix)
    output.console().print(table)
