"""`fntx credentials`: what agents know and nobody may read. Works on the stores: a value travels in no message."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from fntx_sessions.caller.ids import whole_or_prefix
from fntx_sessions.cli import output
from fntx_sessions.cli.asking import line
from fntx_sessions.cli.beside import of_the_desk, settings_here
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import CREDENTIALS
from fntx_sessions.settings import Settings

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Engine

    from fntx_sessions.lifecycle.credentials import Holder

HELP = (
    "What agents have to know and nobody may read: keys of brokers, of data. Sealed with the key ring, so that these "
    "run where the ring and Postgres are in reach; a value is asked for, or read from stdin, and never shown again."
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="What agents ask for it by: broker_key.")]
OfSession = Annotated[str | None, typer.Option("--session", "-s", metavar="ID", help="For the agents of this session.")]
OfTemplate = Annotated[
    str | None, typer.Option("--template", "-t", metavar="NAME", help="For the agents of every session of it.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    group = typer.Typer(name="credentials", help=HELP, no_args_is_help=True)
    group.command("set")(set_one)
    group.command("ls")(list_them)
    group.command("rotate")(rotate)
    group.command("rm")(remove)
    app.add_typer(group)


def set_one(name: Name, session: OfSession = None, template: OfTemplate = None, as_json: AsJson = False) -> None:
    """Keep a new credential; its value is asked for, or read from stdin (risk managers and administrators)."""
    from fntx_sessions.lifecycle.credentials import checked_name, set_credential  # noqa: PLC0415 -- needs the driver

    actor, engine, holder, settings = _at_hand(session, template)
    done = set_credential(engine, settings, actor, holder, checked_name(name), _value(name, settings))
    output.say(f"set {name} of {holder}", done, as_json=as_json)


def rotate(name: Name, session: OfSession = None, template: OfTemplate = None, as_json: AsJson = False) -> None:
    """Put a new value in a credential's place; hosted agents have it in their next step."""
    from fntx_sessions.lifecycle.credentials import checked_name, rotate_credential  # noqa: PLC0415 -- as above

    actor, engine, holder, settings = _at_hand(session, template)
    done = rotate_credential(engine, settings, actor, holder, checked_name(name), _value(name, settings))
    output.say(f"{name} of {holder} is at version {done['version']} now", done, as_json=as_json)


def remove(name: Name, session: OfSession = None, template: OfTemplate = None, as_json: AsJson = False) -> None:
    """Take a credential away; agents that ask get their template's of that name instead, or hear that there is none."""
    from fntx_sessions.lifecycle.credentials import remove_credential  # noqa: PLC0415 -- as above

    actor, engine, holder, _ = _at_hand(session, template)
    done = remove_credential(engine, actor, holder, name)
    instead = done["instead_of_it"]
    now = f"; its agents get that of template {instead} from now on" if instead else ""
    output.say(f"removed {name} of {holder}{now}", done, as_json=as_json)


def list_them(session: OfSession = None, template: OfTemplate = None, as_json: AsJson = False) -> None:
    """Show which credentials there are, whose, their version, by whom and when; never a value."""
    from fntx_sessions.database.engine import get_engine  # noqa: PLC0415 -- as above
    from fntx_sessions.lifecycle.credentials import list_credentials  # noqa: PLC0415

    settings = settings_here()
    holder = _holder(session, template) if session or template else None
    found = list_credentials(get_engine(), _actor(settings), holder)
    if as_json:
        output.emit(found)
        return
    output.table(found, COLUMNS, "no credentials")


def _at_hand(session: str | None, template: str | None) -> "tuple[Actor, Engine, Holder, Settings]":
    from fntx_sessions.database.engine import get_engine  # noqa: PLC0415 -- as above

    settings = settings_here()
    return _actor(settings), get_engine(), _holder(session, template), settings


def _actor(settings: Settings) -> Actor:
    return of_the_desk(settings, CREDENTIALS, "credentials")


def _holder(session: str | None, template: str | None) -> "Holder":
    from fntx_sessions.lifecycle.credentials import Holder  # noqa: PLC0415 -- as above

    return Holder(None if session is None else _session_id(session), template)


def _session_id(given: str) -> "UUID":
    """Return a session's id; only the first characters of one need a worker."""
    found = whole_or_prefix(given, "session id")
    return line().session_id(given) if isinstance(found, str) else found


def _value(name: str, settings: Settings) -> str:
    """Return a value that was typed twice without being shown, or all of stdin without the newline at its end.

    Empty where there is no stdin, as under cron.
    """
    if sys.stdin is None:
        return ""
    if sys.stdin.isatty():
        typed: str = typer.prompt(f"Value of {name}", hide_input=True, confirmation_prompt=True, err=True)
        return typed
    # One byte more than allowed tells that it is too much, however long it goes on.
    read = sys.stdin.buffer.read(settings.credential_max_bytes + 2)
    try:
        return read.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise InvalidArgument("value", "is no UTF-8 text", "Encode bytes, as base64 for one.") from None


COLUMNS = {
    "name": lambda row: row["name"],
    "of": lambda row: f"session {row['session_id']}" if row["session_id"] else f"template {row['template_name']}",
    "version": lambda row: str(row["version"]),
    "set by": lambda row: row["set_by"],
    "set": lambda row: output.age(row["set_at"]),
    "since": lambda row: output.moment(row["created_at"]),
}
