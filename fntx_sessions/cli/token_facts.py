"""What a token says, for people: never the token itself."""

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.beside import settings_here
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.exceptions import FntxError, InvalidArgument, Unauthenticated
from fntx_sessions.settings import Settings

if TYPE_CHECKING:
    from fntx_sessions.security.token_claims import Verified

COMMAND_ID = "command_id"


def facts_of(token: "Verified") -> dict[str, Any]:
    """Return what a token is good for, as JSON types."""
    from fntx_sessions.lifecycle.granting import told  # noqa: PLC0415 -- `fntx --help` needs no driver

    its = token.actor
    return {
        "name": its.name,
        "roles": sorted(its.roles),
        "sessions": sorted(its.sessions),
        "templates": sorted(its.templates),
        "tags": sorted(its.tags),
        "token_id": its.token_id,
        "key_id": token.key_id,
        "issued_at": _moment(token.issued_at),
        "ends_at": _moment(token.ends_at),
        "one_command": token.args or None,
        "told": told(token),
    }


def revoked(token: "Verified", settings: Settings) -> str | None:
    """Return why a token is refused, empty where it is not; None: Postgres was not asked."""
    from fntx_sessions.security.revocations import revocations_of  # noqa: PLC0415 -- as above

    known = revocations_of(settings)
    if known is None or not known.look():
        return None
    found = known.known(wait=False).about(token.actor)
    return found.told() if found else ""


def show(
    source: Annotated[str, typer.Argument(metavar="[-]", help="`-`: the token comes from stdin.")] = "-",
    as_json: AsJson = False,
) -> None:
    """Show what a token from stdin says, and whether it is good; needs the public keys, no worker."""
    if source != "-":
        raise InvalidArgument("token", "is not taken from the command line", "Others see it there: give it to stdin.")
    from fntx_sessions.security.tokens import read  # noqa: PLC0415 -- as above

    settings = settings_here()
    found = read(sys.stdin.read(1 << 16).strip(), settings)
    why = revoked(found, settings)
    tell(facts_of(found), why, as_json=as_json)
    if why:
        raise Unauthenticated(why, "Ask whoever revoked it.")


def tell(facts: dict[str, Any], why: str | None, *, as_json: bool) -> None:
    """Print what is known of a token. why: as `revoked` says."""
    state = "not known: Postgres was not asked" if why is None else why or "no"
    if as_json:
        output.emit(facts | {"revoked": None if why is None else bool(why)})
        return
    listed = {key: ", ".join(value) if isinstance(value, list) else value for key, value in facts.items()}
    listed |= {key: output.moment(facts[key]) for key in ("issued_at", "ends_at") if facts.get(key)}
    wanted = {key.replace("_", " "): value for key, value in listed.items() if value and key != "told"}
    output.facts(wanted | {"revoked": state})


def own_token(settings: Settings) -> "Verified | None":
    """Return what this shell's own token says; None where this machine has no key to tell."""
    from fntx_sessions.security.local import current_token  # noqa: PLC0415 -- as above
    from fntx_sessions.security.tokens import read  # noqa: PLC0415

    try:
        return read(current_token(settings), settings)
    except FntxError:
        return None


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
