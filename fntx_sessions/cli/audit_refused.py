"""`fntx audit refused`: callers nobody could verify, and messages that were none of ours, by the minute."""

from typing import Annotated, Any

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.beside import settings_here
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.printable import printable

_HOUR_S = 3600
NOTE = (
    "These stand in no chain, as nobody knows who they were; what a verified caller was denied is in "
    "`fntx audit ls --outcome denied`. Nothing of either was done."
)


def refused(
    hours: Annotated[float, typer.Option(help="Of how many hours until now.", min=0.01, max=24 * 366)] = 24.0,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many minutes at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show how many callers nobody could verify, by minute, worker and kind, the newest first."""
    from fntx_sessions.database.engine import get_engine, transaction  # noqa: PLC0415 -- `fntx --help` needs no driver
    from fntx_sessions.security.refusals import read_minutes  # noqa: PLC0415

    settings_here()
    with transaction(get_engine()) as connection:
        rows = list(read_minutes(connection, hours * _HOUR_S, limit))
    if as_json:
        output.emit(rows)
        return
    output.table(rows, _COLUMNS, "nobody was refused")
    output.note(NOTE)


_COLUMNS: dict[str, Any] = {
    "minute (UTC)": lambda row: f"{row['minute']:%Y-%m-%d %H:%M}",
    "worker": lambda row: printable(row["host"]),
    "kind": lambda row: row["kind"],
    "number": lambda row: f"{row['number']:,}",
    "the last": lambda row: printable(row["last"]),
}
