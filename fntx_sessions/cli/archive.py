"""`fntx archive`: closed sessions in the cold store. Works on the stores themselves, with no worker and no Redis."""

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from pydantic import SecretStr

from fntx_sessions.cli import output
from fntx_sessions.cli.beside import keeper, settings_here
from fntx_sessions.cli.exits import Exit
from fntx_sessions.cli.ids import AsJson, over
from fntx_sessions.cli.output import moment, plain
from fntx_sessions.exceptions import InvalidArgument, NotFound, Retryable, StackError
from fntx_sessions.settings import Settings, get_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from fntx_sessions.security.actor import Actor
    from fntx_sessions.state.archive import Archiver
    from fntx_sessions.state.archive_restore import Noted, Restored
    from fntx_sessions.state.objects.base import ObjectStore

HELP = (
    "Archives of closed sessions: what there is, what is in one, whether it is whole, and back into a database. For "
    "whoever has the cold store, the key ring and the database; of those who come with a token, `restore` is for "
    "administrators."
)
Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Whole session ids; `-` reads them from stdin.")
]
Database = Annotated[
    str | None, typer.Option("--to-database", metavar="URL", help="Another database than the configured one; migrated.")
]
_LEAST_LIMIT, _MOST_LIMIT = 1, 100_000
_DRIVERS = ("postgresql", "postgresql+psycopg2")


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    archive = typer.Typer(name="archive", help=HELP, no_args_is_help=True)
    archive.command("ls")(list_archives)
    for command in (show, verify, restore):
        archive.command()(command)
    app.add_typer(archive)


def list_archives(
    cold: Annotated[bool, typer.Option("--cold", help="Ask the cold store, not the database.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=_LEAST_LIMIT, max=_MOST_LIMIT, help="At most.")] = 100,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print ids alone, one a line.")] = False,
    as_json: AsJson = False,
) -> None:
    """List archives, newest first; of the cold store itself where the database knows of none."""
    from fntx_sessions.state import archive_reads  # noqa: PLC0415 -- `fntx --help` needs no driver

    settings = settings_here()
    found = [] if cold else _known(settings, limit)
    found = found or archive_reads.of_store(_cold(settings), limit)
    if as_json:
        output.emit(found)
    elif quiet:
        for row in found:
            typer.echo(row["session_id"])
    else:
        output.table(found, COLUMNS, "no archives; sessions are archived after they were closed")


def show(
    ids: Ids = None,
    week: Annotated[
        str | None, typer.Option("--week", metavar="WEEK", help="Print this sealed week's rows as JSON lines: 2026w40.")
    ] = None,
    relation: Annotated[
        str | None, typer.Option("--relation", metavar="NAME", help="With --week: events, transitions, fills, samples.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is in an archive, and which weeks of a session that goes on are sealed; changes nothing."""
    settings = settings_here()
    if week is not None:
        over(ids, lambda one: _week(settings, _id(one), week, relation), _print_lines, as_json=False)
    if relation is not None:
        raise InvalidArgument("--relation", "says of which rows of a week", "Give --week too, as 2026w40.")
    over(ids, lambda one: _described(settings, _id(one)), _show, as_json=as_json)


def verify(
    ids: Ids = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Every archive of the cold store.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read and open all of an archive: rows, audit chain, every checkpoint. Exit code 1 when one is not whole."""
    from fntx_sessions.state import archive_reads  # noqa: PLC0415 -- as above

    settings = settings_here()
    archiver, engine = _archiver(settings), _engine(settings)
    listed = [row["session_id"] for row in archive_reads.of_store(_cold(settings), None)] if everything else ids
    if everything and not listed:
        output.note("no archives")
        raise typer.Exit(Exit.DONE)

    def act(one: str) -> dict[str, Any]:
        return archive_reads.verify(engine, settings, archiver, _id(one))

    over(listed, act, lambda row: output.console().print(f"{row['session_id']}  {_verdict(row)}"), as_json=as_json)


def restore(ids: Ids = None, to_database: Database = None, as_json: AsJson = False) -> None:
    """Bring a session back: into an empty database, or its rows where only its row and audit chain were kept.

    Needs the cold store, the key ring and a migrated database, nothing else. What is there already is left as it is.
    """
    from fntx_sessions.security.roles import ARCHIVE  # noqa: PLC0415 -- as above
    from fntx_sessions.state.archive_restore import restore_session  # noqa: PLC0415

    settings = settings_here()
    who = keeper(settings, ARCHIVE, f"restore {', '.join(ids or [])}")
    if to_database is not None:
        settings = settings.model_copy(update={"database_url": SecretStr(_address(to_database))})
    engine, noted = _engine(settings), _noted_for(who)

    def act(one: str) -> dict[str, Any]:
        return _restored(restore_session(engine, settings, _cold(settings), _id(one), who.name, noted))

    over(ids, act, _show_restored, as_json=as_json)


COLUMNS = {
    "id": lambda row: row["session_id"],
    "type": lambda row: plain(row["session_type"]),
    "ended (UTC)": lambda row: moment(row["ended_at"]),
    "archived (UTC)": lambda row: moment(row["archived_at"]),
    "bytes": lambda row: f"{row['size_bytes']:,}",
    "checkpoints": lambda row: str(row["counts"].get("checkpoints", 0)),
    "in Postgres": lambda row: plain(row["rows"]),
}


def _engine(settings: Settings) -> "Engine":
    from fntx_sessions.database.engine import build_engine, get_engine  # noqa: PLC0415 -- as above

    if settings == get_settings() or settings.database_url is None:
        return get_engine()
    return build_engine(settings.database_url.get_secret_value(), settings)


def _address(given: str) -> str:
    from sqlalchemy.engine import make_url  # noqa: PLC0415 -- as above
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    fix = "Write postgresql+psycopg2://USER:PASSWORD@HOST:PORT/DATABASE."
    try:
        driver = make_url(given).drivername
    except (ArgumentError, ValueError):  # its words may repeat a password
        raise InvalidArgument("--to-database", "is not a database's URL", fix) from None
    if driver not in _DRIVERS:
        raise InvalidArgument("--to-database", f"names {driver!r}, not Postgres", fix)
    return given


def _cold(settings: Settings) -> "ObjectStore":
    from fntx_sessions.state.objects.cold import open_cold  # noqa: PLC0415 -- as above

    return open_cold(settings)


def _archiver(settings: Settings) -> "Archiver":
    from fntx_sessions.state.archive import Archiver  # noqa: PLC0415 -- as above

    return Archiver(_engine(settings), settings, _cold(settings))


def _known(settings: Settings, limit: int) -> list[dict[str, Any]]:
    from fntx_sessions.state import archive_reads  # noqa: PLC0415 -- as above

    try:
        return archive_reads.of_database(_engine(settings), limit)
    except (Retryable, StackError) as error:
        output.note(f"from the cold store, because {error}")
        return []


def _described(settings: Settings, session_id: UUID) -> dict[str, Any]:
    from fntx_sessions.state import archive_reads  # noqa: PLC0415 -- as above

    sealed = _sealed(settings, session_id)
    try:
        return {**archive_reads.describe(_cold(settings), session_id), "sealed_weeks": sealed}
    except NotFound:
        if not sealed:
            raise
    return {"session_id": str(session_id), "archive": "none yet", "counts": {}, "sealed_weeks": sealed}


def _sealed(settings: Settings, session_id: UUID) -> list[dict[str, Any]]:
    from fntx_sessions.state import segment_reads  # noqa: PLC0415 -- as above

    try:
        return segment_reads.list_weeks(_engine(settings), session_id)
    except (Retryable, StackError) as error:
        output.note(f"which weeks are sealed is not known: {error}")
        return []


def _week(settings: Settings, session_id: UUID, week: str, relation: str | None) -> dict[str, Any]:
    from fntx_sessions.state import segment_reads  # noqa: PLC0415 -- as above

    store = _cold(settings)
    return {"lines": segment_reads.week_lines(_engine(settings), settings, store, session_id, week, relation)}


def _id(given: str) -> UUID:
    try:
        return UUID(given.strip())
    except ValueError:
        fix = "Copy it from `fntx archive ls`; an archive is named by the whole id."
        raise InvalidArgument("session id", f"{given[:50]!r} is not one", fix) from None


def _show(row: dict[str, Any]) -> None:
    output.facts({name: value for name, value in row.items() if name not in ("counts", "sealed_weeks")})
    if row["counts"]:
        counts = [{"what": name, "rows": count} for name, count in row["counts"].items()]
        output.table(counts, _IN_IT, "nothing")
    if row["sealed_weeks"]:
        output.console().print("\n[bold]Sealed weeks[/bold]")
        output.table(row["sealed_weeks"], _SEALED, "none")


def _print_lines(row: dict[str, Any]) -> None:
    for line in row["lines"]:
        typer.echo(line)


_IN_IT = {"in it": lambda one: plain(one["what"]), "rows": lambda one: f"{one['rows']:,}"}
_SEALED = {
    "week": lambda one: one["week"],
    "relation": lambda one: one["relation"],
    "rows": lambda one: f"{one['rows']:,}",
    "bytes": lambda one: f"{one['size_bytes']:,}",
    "sealed (UTC)": lambda one: moment(one["archived_at"]),
}


def _verdict(row: dict[str, Any]) -> str:
    damaged = f"; damaged before it was archived: {', '.join(row['damaged'])}" if row["damaged"] else ""
    return f"[green]whole[/green], {row['rows']:,} rows, {row['snapshots']} snapshots opened{damaged}"


def _noted_for(who: "Actor") -> "Noted":
    """Return what writes down in the desk's audit what is brought, together with it; what stood is none of it."""
    from fntx_sessions.lifecycle.desk_audit import Deed, record_in  # noqa: PLC0415 -- as above
    from fntx_sessions.state.archive_restore import RESTORE  # noqa: PLC0415

    def noted(connection: "Connection", brought: "Restored") -> None:
        told = f"session {brought.session_id}: {sum(brought.rows.values())} rows from its archive"
        record_in(connection, who, Deed(RESTORE, "done", told))

    return noted


def _restored(brought: "list[Restored]") -> dict[str, Any]:
    last = brought[-1]
    return {
        "session_id": str(last.session_id),
        "already_there": last.already_there,
        "rows": last.rows,
        "damaged": last.lost,
        "parents": [str(one.session_id) for one in brought[:-1] if not one.already_there],
    }


def _show_restored(row: dict[str, Any]) -> None:
    said = "was there already" if row["already_there"] else f"restored, {sum(row['rows'].values()):,} rows"
    parents = f", after its parents {', '.join(row['parents'])}" if row["parents"] else ""
    output.console().print(f"{row['session_id']}  {said}{parents}", soft_wrap=True)
    if row["damaged"]:
        output.note(f"not opened any more when it was archived: {', '.join(row['damaged'])}")
