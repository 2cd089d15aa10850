"""`fntx templates`: the named starting points of sessions."""

from typing import Annotated

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.asking import line
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.cli.output import plain
from fntx_sessions.exceptions import NotFound


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command()(templates)


def templates(
    name: Annotated[str | None, typer.Argument(help="Only this one, whole.")] = None, as_json: AsJson = False
) -> None:
    """List the templates, or show one."""
    found = line().query("templates.list")
    if name is not None:
        known = [row["template_name"] for row in found]
        found = [row for row in found if row["template_name"] == name]
        if not found:
            raise NotFound("template", name, f"There are: {', '.join(known)}.")
    if as_json or name is not None:
        output.emit(found if name is None else found[0])
    else:
        output.table(found, COLUMNS, "no templates")


COLUMNS = {
    "name": lambda row: plain(row["template_name"]),
    "type": lambda row: plain(row["session_type"]),
    "strategies": lambda row: plain(", ".join(row["enabled_strategies"])),
    "used": lambda row: str(row["usage_count"]),
    "last used": lambda row: output.age(row["last_used"]),
    "what": lambda row: plain(row["description"]),
}
