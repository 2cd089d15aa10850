"""`fntx keys`: the key ring, and what hangs on each of its keys. Works on the ring file and the stores themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.beside import Doing, doing, keeper, settings_here
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.exceptions import InvalidArgument, Rejected, Retryable
from fntx_sessions.pasting import pasted
from fntx_sessions.security import ring_changes
from fntx_sessions.security.keyring import KeyRing, RingKey, create_ring, has_ring, load_ring
from fntx_sessions.security.roles import KEYS
from fntx_sessions.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from fntx_sessions.state.key_rotation import Rotation, Uses
    from fntx_sessions.state.objects.base import ObjectStore

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The key's id; see `fntx keys list`.")]
LACKING = "not in the ring"
HELP = (
    "The key ring that wraps every session's data key: keep copies of it, and give every host the same one. For "
    "administrators who may write its file."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    keys = typer.Typer(name="keys", help=HELP, no_args_is_help=True)
    keys.command("list")(list_keys)
    for command in (init, rotate, retire, remove):
        keys.command()(command)
    keys.command("forget-store")(forget_store)
    app.add_typer(keys)


def init(as_json: AsJson = False) -> None:
    """Make the key ring where there is none. A fleet shares one: make it once, and copy it to every host."""
    settings = settings_here()
    with _kept(settings, "make the ring") as deed:
        _refuse_another(settings)
        ring = create_ring(settings)
        deed.about = f"key ring: made the ring {ring.current}"
    made = {"ring": ring.where, "current": ring.current}
    output.say(f"made {ring.where} with key {ring.current}", made, as_json=as_json)
    output.note("Keep a copy apart from this machine: without this ring nothing that is sealed can be opened.")


def _refuse_another(settings: Settings) -> None:
    from fntx_sessions.database.engine import get_engine  # noqa: PLC0415 -- `fntx --help` needs no driver
    from fntx_sessions.state.key_rotation import refuse_another_ring  # noqa: PLC0415

    if settings.database_url is None or has_ring(settings):
        return
    try:
        refuse_another_ring(get_engine())
    except Retryable as error:
        output.note(f"whether anything was sealed with a ring before is not known: {error}")


def list_keys(as_json: AsJson = False) -> None:
    """Show the ring's keys, and how many data keys and cold key objects hang on each."""
    settings = settings_here()
    ring = load_ring(settings)
    found = _known_uses(settings)
    rows = [_facts(ring, key, found) for key in ring.keys.values()]
    rows += [_lacking(key_id, found) for key_id in sorted(found.ring_keys - set(ring.keys))] if found else []
    if as_json:
        output.emit({"ring": ring.where, "keys": rows})
        return
    output.table(rows, COLUMNS, "no keys")
    if any(row["state"] == LACKING for row in rows):
        output.note("What hangs on a key that the ring lacks does not open: put it back from a copy of the ring.")
    if found:
        _note_elsewhere(found.stores())


def rotate(
    stage: Annotated[
        bool, typer.Option("--stage", help="Only add the next key: copy the ring to every host, then rotate.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a new key current and wrap every data key with it. Sessions go on; when interrupted, run it again."""
    from fntx_sessions.state.key_rotation import rewrap, uses  # noqa: PLC0415 -- `fntx --help` needs no driver

    settings = settings_here()
    if stage:
        _stage(settings, as_json=as_json)
        return
    with _kept(settings, "rotate") as deed:
        engine, store = _stores(settings)
        ring = load_ring(settings)
        # An interrupted rotation is finished before another begins, and a ring that others keep cannot be changed here.
        found = uses(engine, store)
        unfinished = found.besides(ring.current) > 0
        if not unfinished or (ring.staged() and not ring.locked):
            with ring_changes.changing(settings):
                ring = ring_changes.advance(settings)
        done = rewrap(engine, settings, store, _say_so_far)
        deed.about = f"key ring: rotated {ring.current}"
    _say_rotated(ring, done, as_json=as_json)
    _note_elsewhere(found.stores())


def retire(key: KeyId, as_json: AsJson = False) -> None:
    """Retire a staged key: it will never wrap anything."""
    settings = settings_here()
    with _kept(settings, f"retire {key}"), ring_changes.changing(settings):
        ring_changes.retire(settings, key)
    output.say(f"retired {key}", {"retired": key}, as_json=as_json)


def remove(key: KeyId, as_json: AsJson = False) -> None:
    """Take a key out of the ring; refused while anything hangs on it."""
    settings = settings_here()
    with _kept(settings, f"remove {key}"), ring_changes.changing(settings):
        ring_changes.spare(load_ring(settings), key)
        _refuse_needed(settings, key)
        ring_changes.remove(settings, key)
    output.say(f"removed {key}; destroy the copies of the ring that still hold it", {"removed": key}, as_json=as_json)


def forget_store(
    url: Annotated[str, typer.Argument(metavar="URL", help="Its FNTX_COLD_URL, as `fntx keys list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Forget a cold store that is gone for good: keys that only it needed can be removed then."""
    from fntx_sessions.state.key_rotation import forget_store as forget  # noqa: PLC0415 -- as above

    settings = settings_here()
    with _kept(settings, f"forget the cold store {url}"):
        engine, store = _stores(settings)
        if url == store.address:
            raise InvalidArgument("URL", f"{url} is the cold store in use", "Only one that is gone can be forgotten.")
        count = forget(engine, url)
    output.say(f"forgot {count} cold key objects in {url}", {"store": url, "forgotten": count}, as_json=as_json)


def _stage(settings: Settings, *, as_json: bool) -> None:
    with _kept(settings, "stage a key") as deed, ring_changes.changing(settings):
        ring = ring_changes.stage(settings)
        staged = [key.key_id for key in ring.staged()]
        deed.about = f"key ring: staged {', '.join(staged)}"
    output.say(f"staged in {ring.where}: {', '.join(staged)}", {"ring": ring.where, "staged": staged}, as_json=as_json)


@contextmanager
def _kept(settings: Settings, what: str) -> Iterator[Doing]:
    """Let an administrator do what the block does to the ring, and have it in the audit."""
    about = f"key ring: {what}"
    with doing(keeper(settings, KEYS, about), KEYS, about) as deed:
        yield deed


def _note_elsewhere(stores: dict[str, int]) -> None:
    for address, count in stores.items():
        output.note(f"{count} cold key objects lie in {address}, which was not asked: {_ask(address)}")


def _ask(address: str) -> str:
    forget = pasted("fntx", "keys", "forget-store", address)
    return f"Run `FNTX_COLD_URL={pasted(address)} fntx keys rotate`; if that store is gone, `{forget}`."


def _stores(settings: Settings) -> tuple["Engine", "ObjectStore"]:
    from fntx_sessions.database.engine import get_engine  # noqa: PLC0415 -- as above
    from fntx_sessions.state.objects.cold import open_cold  # noqa: PLC0415

    return get_engine(), open_cold(settings)


def _uses(settings: Settings) -> "Uses":
    from fntx_sessions.state.key_rotation import uses  # noqa: PLC0415 -- as above

    return uses(*_stores(settings))


def _refuse_needed(settings: Settings, key: str) -> None:
    found = _uses(settings)
    if found.of(key):
        held = f"{found.data_keys[key]} data keys and {found.cold_objects[key]} cold key objects hang on it"
        raise Rejected(f"key {key} cannot be removed: {held}. Run `fntx keys rotate` first.")
    for address, count in found.stores(key).items():
        held = f"{count} cold key objects hang on it in {address}, which is not the cold store this shell opens"
        raise Rejected(f"key {key} cannot be removed: {held}. {_ask(address)}")


def _known_uses(settings: Settings) -> "Uses | None":
    """Return what hangs on which key, or None where a store is out of reach."""
    try:
        return _uses(settings)
    except Retryable as error:
        output.note(f"what hangs on each key is not known: {error}")
        return None


def _lacking(key_id: str, found: "Uses") -> dict[str, Any]:
    """Return a row for a key that the ring does not hold, though something hangs on it."""
    return {"key": key_id, "state": LACKING, "created_at": None, "retired_at": None, **_counts(key_id, found)}


def _counts(key_id: str, found: "Uses | None") -> dict[str, Any]:
    return {
        "data_keys": found.data_keys[key_id] if found else None,
        "cold_objects": found.cold_objects[key_id] if found else None,
        "elsewhere": found.stores(key_id) if found else None,
    }


def _facts(ring: KeyRing, key: RingKey, found: "Uses | None") -> dict[str, Any]:
    state = "current" if key.key_id == ring.current else "retired" if key.retired_at else "staged"
    facts = {"key": key.key_id, "state": state, "created_at": key.created_at, "retired_at": key.retired_at}
    return facts | _counts(key.key_id, found)


def _say_so_far(done: "Rotation") -> None:
    output.note(f"wrapped anew: {done.data_keys} data keys, {done.cold_objects} cold key objects")


def _say_rotated(ring: KeyRing, done: "Rotation", *, as_json: bool) -> None:
    facts = {"current": ring.current, "data_keys": done.data_keys, "cold_objects": done.cold_objects}
    if as_json:
        output.emit(facts | {"failed": done.failed})
        return
    told = f"{done.data_keys} data keys and {done.cold_objects} cold key objects hang on {ring.current} now"
    output.console().print(told, soft_wrap=True)
    for name, problem in done.failed.items():
        output.note(f"left as it was: {name}: {problem}")
    if done.failed:
        output.note("To rotate past these, `fntx keys rotate --stage` first; the keys they hang on stay needed.")


COLUMNS = {
    "key": lambda row: row["key"],
    "state": lambda row: row["state"],
    "made": lambda row: output.age(row["created_at"]),
    "retired": lambda row: output.age(row["retired_at"]),
    "data keys": lambda row: "?" if row["data_keys"] is None else str(row["data_keys"]),
    "cold objects": lambda row: "?" if row["cold_objects"] is None else str(row["cold_objects"]),
    "in other stores": lambda row: "?" if row["elsewhere"] is None else str(sum(row["elsewhere"].values())),
}
