"""`fntx health`: the desk and its sessions, worst first; asked of the stores directly, for when workers are down."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.beside import settings_here
from fntx_sessions.cli.exits import Exit
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.cli.output import plain
from fntx_sessions.exceptions import Unavailable
from fntx_sessions.settings import Settings

if TYPE_CHECKING:
    from fntx_sessions.lifecycle.execute import Desk

Checks = list[dict[str, Any]]
Columns = dict[str, Callable[[dict[str, Any]], str]]
_STYLES = {"ok": "[green]ok[/green]", "degraded": "[yellow]degraded[/yellow]", "failed": "[bold red]failed[/bold red]"}
_ORDER = ("failed", "degraded", "ok")


def register(app: typer.Typer) -> None:
    """Add the command of this file to `app`."""
    app.command()(health)


def health(
    session: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A session, or its first 4 or more characters; none: the desk.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how the desk does, or one session: every check, worst first. Exit code 6: something failed or was unseen."""
    settings = settings_here()
    found = _desk(settings) if session is None else _session(settings, session)
    if as_json:
        output.emit(found)
    else:
        _show(found)
    if found.get("unseen") or any(check["grade"] == "failed" for check in found["checks"]):
        raise typer.Exit(Exit.UNHEALTHY)


def _desk(settings: Settings) -> dict[str, Any]:
    from fntx_sessions.stack.desk_health import desk_json  # noqa: PLC0415 - Alembic, which `fntx ls` has no use for

    return desk_json(settings)


def _session(settings: Settings, given: str) -> dict[str, Any]:
    from fntx_sessions.automation.health.looking import check_session, session_id_of  # noqa: PLC0415 - as above

    with _opened(settings) as desk:
        return check_session(desk, session_id_of(desk.engine, given))


@contextmanager
def _opened(settings: Settings) -> "Iterator[Desk]":
    """Open a desk of this process's own for a block; raises Unavailable where no stack is known."""
    from fntx_sessions.database.engine import build_engine  # noqa: PLC0415 - as above
    from fntx_sessions.lifecycle.execute import Desk  # noqa: PLC0415 - as above
    from fntx_sessions.state.redis_client import build_redis  # noqa: PLC0415 - as above

    database, redis = settings.database_url, settings.redis_url
    if database is None or redis is None:
        raise Unavailable("the desk", f"no stack runs in {settings.home}", "Start it with `fntx up`.")
    engine = build_engine(database.get_secret_value(), settings, application="fntx health")
    client = build_redis(redis.get_secret_value(), settings)
    try:
        yield Desk(engine, client, settings)
    finally:
        client.close()
        engine.dispose()


def _show(found: dict[str, Any]) -> None:
    if "session_id" in found:
        agents = ", ".join(found["agents"])
        output.facts({"session": found["session_id"], "status": output.status(found["status"]), "agents": agents})
    if found.get("unseen"):
        output.note("Redis is out of reach: its agents and the market were not seen. `fntx doctor` says what to do")
    output.table(_worst_first(found["checks"]), _COLUMNS, "nothing was looked at")
    if found.get("sessions"):
        output.console().print()
        output.table(found["sessions"], _SESSIONS, "every session is well")


def _worst_first(checks: Checks) -> Checks:
    return sorted(checks, key=lambda check: _ORDER.index(check["grade"]))


def _why(row: dict[str, Any]) -> str:
    return plain("; ".join(f"{check['name']}: {check['reason']}" for check in _worst_first(row["checks"])))


_COLUMNS: Columns = {
    "check": lambda row: plain(row["name"]),
    "": lambda row: _STYLES[row["grade"]],
    "why": lambda row: plain(row["reason"]),
    "to do": lambda row: plain(row["fix"]) if row["fix"] else "",
}
_SESSIONS: Columns = {
    "session": lambda row: str(row["session_id"])[: output.SHORT_ID],
    "status": lambda row: output.status(row["status"]),
    "": lambda row: _STYLES[row["grade"]],
    "why": _why,
}
