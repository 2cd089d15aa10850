"""`fntx whoami`: who the desk takes you for."""

from typing import Any

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.asking import line
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.cli.token_facts import facts_of, own_token, revoked, tell
from fntx_sessions.exceptions import Unavailable
from fntx_sessions.settings import get_settings


def register(app: typer.Typer) -> None:
    """Add the command of this file to `app`."""
    app.command()(whoami)


def whoami(as_json: AsJson = False) -> None:
    """Show who the desk takes you for: name, roles, what your token is good for and until when."""
    try:
        asked: dict[str, Any] | None = line().query("tokens.whoami")
    except Unavailable as error:
        output.note(f"the desk was not asked: {error}")
        asked = None
    settings = get_settings()
    found = own_token(settings)
    if asked is None and found is None:
        raise Unavailable("the desk", "it was not asked, and there is no key here to tell", "Start it with `fntx up`.")
    # What a worker answered was verified by it, revocations too.
    why = "" if asked else revoked(found, settings) if found else None
    tell((facts_of(found) if found else {}) | (_told(asked) if asked else {}), why, as_json=as_json)


def _told(asked: dict[str, Any]) -> dict[str, Any]:
    """Return what the desk answered, but for what the token says better."""
    return {key: value for key, value in asked.items() if key != "issued_at"}
