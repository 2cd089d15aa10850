"""`fntx signing-keys`: the keys that sign tokens, changed while the desk runs. Works on the key files themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.beside import Doing, doing, keeper, note_admin_token, settings_here
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.exceptions import FntxError, InvalidArgument
from fntx_sessions.settings import Settings

if TYPE_CHECKING:
    from fntx_sessions.security.keys import KeyPair

HELP = """The keys that sign tokens: people's and services', and with --system the one that workers and beat sign with.

Hosts that verify need the public file alone. For whoever may write the key files (the desk's administrators).
"""
OfSystem = Annotated[bool, typer.Option("--system", help="The system's keys, not those of people and services.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    group = typer.Typer(name="signing-keys", help=HELP, no_args_is_help=True)
    group.command("list")(list_keys)
    group.command()(rotate)
    group.command()(retire)
    app.add_typer(group)


def list_keys(system: OfSystem = False, as_json: AsJson = False) -> None:
    """Show the keys that verify: which one signs, which is staged, and since when others sign no more."""
    from fntx_sessions.security import signing_keys  # noqa: PLC0415 -- `fntx --help` needs none of it

    pair = _pair(settings_here(), system=system)
    rows = [_facts(one) for one in signing_keys.list_keys(pair)]
    if as_json:
        output.emit({"private": str(pair.private), "public": str(pair.public), "keys": rows})
        return
    output.note(f"verified with {pair.public}, signed with {pair.private}")
    output.table(rows, COLUMNS, "no keys")


def rotate(
    system: OfSystem = False,
    stage: Annotated[
        bool, typer.Option("--stage", help="Only add the next key: copy the public file to every host, then rotate.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Sign with a new key from now on. Tokens of the one before stay good until it is retired."""
    from fntx_sessions.security import signing_keys  # noqa: PLC0415 -- as above

    settings = settings_here()
    pair = _pair(settings, system=system)
    with _kept(settings, "stage" if stage else "rotate", system=system) as deed:
        key_id = signing_keys.stage(pair) if stage else signing_keys.rotate(pair)
        deed.about += f" {key_id}"
    if not stage and not system:
        _renew(settings, pair)
    told = f"staged: copy {pair.public} to every host, then rotate" if stage else f"signs now; {_copy(pair)}"
    output.say(f"key {key_id} {told}", {"key": key_id, "public": str(pair.public), "staged": stage}, as_json=as_json)


def retire(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id; see `fntx signing-keys list`.")],
    system: OfSystem = False,
    now: Annotated[
        bool, typer.Option("--now", help="Though tokens of it may be good still: for a key that leaked.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take a key out: what it signed is refused from now on, wherever this public file is.

    Agents of other services that joined with a token of it speak no more: without --now it is refused while any does.
    """
    from fntx_sessions.security import signing_keys  # noqa: PLC0415 -- as above

    settings = settings_here()
    pair = _pair(settings, system=system)
    longest_s = settings.system_token_ttl_s if system else settings.token_max_ttl_s
    with _kept(settings, "retire", key, system=system):
        signing_keys.retire(pair, key, longest_s, at_once=now, look=_look)
    output.say(f"key {key} is out of it; {_copy(pair)}", {"retired": key, "public": str(pair.public)}, as_json=as_json)


def _look(key: str) -> None:
    """Raise InvalidArgument while agents of other services speak by a token of the key; a note where nobody knows."""
    from fntx_sessions.agents.shutting_out import must_speak_for_none  # noqa: PLC0415 -- as above
    from fntx_sessions.database.engine import get_engine  # noqa: PLC0415

    try:
        must_speak_for_none(get_engine(), key)
    except InvalidArgument:
        raise
    except FntxError as error:
        told = f"Whether agents of other services still speak by a token of {key} is not known"
        output.note(f"{told}: they are shut out, and join again with a fresh one ({type(error).__name__}).")


def _renew(settings: Settings, pair: "KeyPair") -> None:
    """Have the administrator's token of this home signed by the new key, so that the old one can be retired."""
    from fntx_sessions.security.keys import LocalKeys  # noqa: PLC0415 -- as above
    from fntx_sessions.security.local import renew_admin_token  # noqa: PLC0415

    local = LocalKeys.of(settings.home)
    if pair == local.signing and local.admin_token_file.exists():
        renew_admin_token(settings.home)
        note_admin_token(settings)
        output.note(f"{local.admin_token_file} is new too: log in to the pages again with it")


@contextmanager
def _kept(settings: Settings, what: str, key_id: str = "", *, system: bool) -> Iterator[Doing]:
    """Let an administrator do what the block does to the keys, and have it in the audit."""
    from fntx_sessions.security.roles import KEYS  # noqa: PLC0415 -- as above

    about = f"{'system' if system else 'signing'} key {key_id}".rstrip()
    with doing(keeper(settings, KEYS, f"{what} {about}"), f"{what}_signing_key", about) as deed:
        yield deed


def _copy(pair: "KeyPair") -> str:
    return f"copy {pair.public} to every host that has one of its own"


def _pair(settings: Settings, *, system: bool) -> "KeyPair":
    from fntx_sessions.security.keys import signing_pair, system_pair  # noqa: PLC0415 -- as above

    return system_pair(settings) if system else signing_pair(settings)


def _facts(key: Any) -> dict[str, Any]:
    # `retire` takes a key out: one that only signs no more is told by what it still does.
    state = "still verifies" if key.state == "retired" else key.state
    return {"key": key.key_id, "state": state, "made_at": key.made_at, "retired_at": key.retired_at}


COLUMNS = {
    "key": lambda row: row["key"],
    "state": lambda row: row["state"],
    "made": lambda row: output.age(row["made_at"]),
    "signs no more since": lambda row: output.age(row["retired_at"]),
}
