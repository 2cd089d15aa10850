"""`fntx roles`: which role may do what."""

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.ids import AsJson


def register(app: typer.Typer) -> None:
    """Add the command of this file to `app`."""
    app.command()(roles)


def roles(as_json: AsJson = False) -> None:
    """Show which role may do what: the table that workers look it up in."""
    from fntx_sessions.security.roles import ALLOWED  # noqa: PLC0415 -- `fntx --help` needs none of it
    from fntx_sessions.security.roles_doc import COLUMNS, meaning  # noqa: PLC0415

    if as_json:
        output.emit({str(action): sorted(allowed) for action, allowed in ALLOWED.items()})
        return
    rows = [{"action": str(action), "allowed": allowed} for action, allowed in ALLOWED.items()]
    columns = {"action": lambda row: row["action"], "what": lambda row: meaning(row["action"])}
    short = {role: (lambda row, role=role: "yes" if role in row["allowed"] else "") for role in COLUMNS}
    output.table(rows, columns | short, "")
