"""`fntx token issue|show|revoke|ls`: who may ask the desk for what, and for how long."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID, uuid4

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.asking import Answer, line
from fntx_sessions.cli.beside import keeper, settings_here
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.cli.token_facts import COMMAND_ID, facts_of, show
from fntx_sessions.cli.values import read_json
from fntx_sessions.exceptions import InvalidArgument, StackError
from fntx_sessions.settings import Settings

if TYPE_CHECKING:
    from fntx_sessions.security.token_claims import Verified

HELP = """Tokens: what each caller of the desk proves itself with.

They are signed on the machine of the keys (`fntx signing-keys list`), and what is issued stands in the audit.
"""
_TTL = re.compile(r"(\d{1,9})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_ID = re.compile(r"[0-9a-zA-Z-]{8,200}")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose: a person's or a service's.")]
Roles = Annotated[list[str] | None, typer.Option("--role", "-r", help="A role; more with more. See `fntx roles`.")]
Sessions = Annotated[list[str] | None, typer.Option("--session", help="Good for this session, by its whole id.")]
Templates = Annotated[list[str] | None, typer.Option("--template", help="Good for this template's sessions.")]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="Good for sessions with this tag.")]
Ttl = Annotated[str | None, typer.Option("--ttl", help="For how long: 90s, 15m, 8h, 7d.", metavar="TIME")]
Out = Annotated[Path | None, typer.Option("--out", help="Write it into this new file (0600), not to the screen.")]
Task = Annotated[str | None, typer.Option("--task", help="Good for one command of this task alone, and that once.")]
Given = Annotated[str, typer.Option("--arguments", help="That command's arguments, as JSON.", metavar="JSON")]
CommandId = Annotated[str | None, typer.Option("--command-id", help="That command's id; a new one if not given.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; whoever is refused reads it.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    group = typer.Typer(name="token", help=HELP, no_args_is_help=True)
    group.command()(issue)
    group.command("show")(show)
    group.command()(revoke)
    group.command("ls")(list_tokens)
    app.add_typer(group)


def issue(
    name: Name,
    role: Roles = None,
    session: Sessions = None,
    template: Templates = None,
    tag: Tags = None,
    ttl: Ttl = None,
    task: Task = None,
    arguments: Given = "{}",
    command_id: CommandId = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Sign a token and print it, and nothing else, to stdout. With several scopes it is good for what is in any."""
    settings = settings_here()
    bound_id = _command_id(command_id) if task else None
    args = _binding(task, str(bound_id), arguments) if task else ""
    sessions = [_session(one) for one in session] if session else None
    scope = {"sessions": sessions, "templates": template or None, "tags": tag or None}
    token, found = _signed(settings, name, role or [], _seconds(ttl, settings), args=args, **scope)
    if out is not None:
        _write(out, token)
    told = facts_of(found) | ({COMMAND_ID: str(bound_id)} if bound_id else {})
    if as_json:
        output.emit(told | {"token": None if out else token, "file": str(out) if out else None})
        return
    output.note(f"for {told['told']}" + (f"; command id {bound_id}" if bound_id else ""))
    if out is None:
        sys.stdout.write(f"{token}\n")


def _signed(settings: Settings, name: str, roles: list[str], ttl_s: int, **scope: Any) -> tuple[str, "Verified"]:
    """Return a token that the audit knows of; raises InvalidArgument, and Unavailable: then none was given out."""
    from fntx_sessions.database.engine import get_engine  # noqa: PLC0415 -- `fntx --help` needs no driver
    from fntx_sessions.lifecycle.granting import note_issued, refused_until  # noqa: PLC0415
    from fntx_sessions.security import tokens  # noqa: PLC0415
    from fntx_sessions.security.roles import TOKENS  # noqa: PLC0415

    if not roles:
        raise InvalidArgument("--role", "is missing", "Say what it may do: `fntx roles` shows the roles.")
    if "system" in roles:
        raise InvalidArgument("--role", "the system signs its own tokens", "Give another; `fntx roles` shows them.")
    issuer = keeper(settings, TOKENS, f"a token for {name}")
    try:
        after = refused_until(get_engine(), name)
        token = tokens.issue(settings, name, roles, ttl_s, after=after, **scope)
    except ValueError as error:
        raise InvalidArgument("token", str(error), "See `fntx token issue --help` and `fntx roles`.") from error
    found = tokens.read(token, settings)
    note_issued(get_engine(), issuer, found)
    return token, found


def revoke(
    token: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The token's id; `-` reads the token itself from stdin.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="All tokens of this name that were issued so far.")] = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Refuse a token from now on, or all of a name: what waits in a queue with it, and agents that joined with it."""
    asked = {"token_id": _token_id(token) if token else None, "name": name, "reason": reason}
    found = line().ask("tokens.revoke", {key: value for key, value in asked.items() if value is not None}, uuid4())
    if as_json:
        output.emit(found)
        return
    told = f"{_whose(found)} is refused, by every process within a few seconds; {_ended(found)}"
    output.console().print(told, soft_wrap=True, markup=False)
    for warning in _doubts(found):
        output.note(warning)


def _whose(found: Answer) -> str:
    if found["token_id"]:
        return f"token {found['token_id']}"
    # Not "until now": it is ahead by as much as an issuer's clock may be.
    return f"every token of {found['name']} issued until {output.moment(found['issued_until'])} UTC"


def _ended(found: Answer) -> str:
    return f"of those issued by `fntx token issue` that ends {found['ends']}"


def _doubts(found: Answer) -> list[str]:
    """Return what whoever meant somebody else has to know."""
    which = "with that id" if found["token_id"] else f"of {found['name']}"
    none = f"The desk's chain knows of no token {which} that was good: is it the one you meant? See `fntx token ls`."
    alike = [f"{one} reads like it and is another name: its tokens stay good." for one in found["alike"]]
    return alike if found["ends"] else [none, *alike]


def list_tokens(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many at most.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List the tokens that were issued and have not ended, and what is revoked."""
    found = line().query("tokens.list", limit=limit)
    if as_json:
        output.emit(found)
        return
    output.table(found["issued"], ISSUED, "no token that was issued here is good any more")
    output.table(found["revoked"], REVOKED, "nothing is revoked")


def _token_id(given: str) -> str:
    """Return the id of a token, of the token itself too, as long as that is not on a command line, which others see."""
    if given == "-":
        import jwt  # noqa: PLC0415 -- as above

        try:
            claims: Answer = jwt.decode(sys.stdin.read().strip(), options={"verify_signature": False})
        except jwt.PyJWTError as error:
            raise InvalidArgument("token", "what stdin gave is none", "Give its id instead.") from error
        return str(claims.get("jti", ""))
    if not _ID.fullmatch(given):
        fix = "See `fntx token ls`. The token itself goes to stdin, with `-`: others see what is on a command line."
        raise InvalidArgument("ID", "is no token's id", fix)
    return given


def _seconds(given: str | None, settings: Settings) -> int:
    if given is None:
        return settings.token_ttl_s
    found = _TTL.fullmatch(given.strip())
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 0 < seconds <= settings.token_max_ttl_s:
        fix = f"Give 90s, 15m, 8h or 7d, up to {settings.token_max_ttl_s} s."
        raise InvalidArgument("--ttl", f"{given!r} is no length of life that may be", fix)
    return seconds


def _session(given: str) -> str:
    try:
        return str(UUID(given))
    except ValueError:
        raise InvalidArgument("--session", f"{given!r} is no whole id", "See `fntx ls --json`.") from None


def _command_id(given: str | None) -> UUID:
    try:
        return UUID(given) if given else uuid4()
    except ValueError:
        raise InvalidArgument("--command-id", f"{given!r} is no UUID", "Leave it out for a new one.") from None


def _binding(task: str, command_id: str, arguments: str) -> str:
    from fntx_sessions.security.binding import binding  # noqa: PLC0415 -- as above

    try:
        found = read_json(arguments, "--arguments", "Write it flatter.")
    except ValueError as error:
        raise InvalidArgument("--arguments", "is no JSON", 'Give an object: {"session_id": "..."}.') from error
    if not isinstance(found, dict):
        raise InvalidArgument("--arguments", "is no object", 'Give one: {"session_id": "..."}.')
    return binding(task, command_id, found)


def _write(path: Path, token: str) -> None:
    from fntx_sessions.security.private_files import create_private  # noqa: PLC0415 -- as above

    if path.exists():
        raise InvalidArgument("--out", f"{path} is there already", "Name a new file.")
    try:
        create_private(path, f"{token}\n".encode())
    except OSError as error:
        raise StackError(f"cannot write {path}: {error.strerror}", "Name a file in a folder of yours.") from error


ISSUED = {
    "token": lambda row: row["token_id"],
    "issued": lambda row: output.age(row["issued_at"]),
    "by": lambda row: output.plain(row["issued_by"]),
    "for": lambda row: output.plain(row["told"]),
    "revoked": lambda row: "yes" if row["revoked"] else "",
}
REVOKED = {
    "revoked": lambda row: output.plain(row["token_id"] or f"all of {row['name']}"),
    "when": lambda row: output.age(row["revoked_at"]),
    "by": lambda row: output.plain(row["revoked_by"]),
    "why": lambda row: output.plain(row["reason"]),
    "forgotten": lambda row: output.moment(row["forget_at"]),
}
