"""Whether the cold store takes what it is given, gives it back, and lets go of it for good."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from fntx_sessions.exceptions import IntegrityError, InvalidArgument, Unavailable
from fntx_sessions.settings import Settings
from fntx_sessions.stack.addresses import COLD, EMULATOR
from fntx_sessions.stack.check import Check
from fntx_sessions.state.objects.base import ObjectStore
from fntx_sessions.state.objects.cold import open_cold

# Somebody waits for the answer: shorter than a mover would go on trying.
_RETRY_S = 5.0
_DAY_S = 86_400


def diagnose_cold(
    home: Path, running: Mapping[str, str] = MappingProxyType({}), anchor: str | None = None
) -> Iterator[Check]:
    """Yield what is found by writing, reading and destroying an object; the network is reached only for a bucket.

    running: the environment of the stack that runs in `home`; its cold store goes before this shell's.
    anchor: the newest that Postgres knows of, which has to be there.
    """
    settings = Settings(home=home)
    settings = settings.model_copy(update={"cold_url": running.get(COLD) or settings.cold_url})
    if settings.cold_url is None and not home.exists():
        return
    shorter = min(settings.cold_retry_s, _RETRY_S)
    try:
        store = open_cold(settings.model_copy(update={"cold_retry_s": shorter}), running.get(EMULATOR))
        yield from _checked(store)
        if anchor is not None:
            yield from _anchored(store, anchor)
    except InvalidArgument as error:
        field, problem, fix = error.args
        yield Check("cold store", "fail", f"{field}: {problem}", fix)
    except Unavailable as error:
        _, detail, fix = error.args
        yield Check("cold store", "fail", detail, fix)


def _checked(store: ObjectStore) -> Iterator[Check]:
    store.check()
    yield Check("cold store", "ok", f"{store} can be written and read")
    if store.name == "gcs":
        yield from _kept(store)


def _anchored(store: ObjectStore, anchor: str) -> Iterator[Check]:
    """Yield a failure where the newest anchor is damaged or not in the store: another, or one that lost some."""
    try:
        # All of it: what is known of an object is whole where only its bytes were cut or changed.
        found = store.read(anchor)
    except IntegrityError as error:
        yield Check("anchors", "fail", str(error), "fntx audit verify --all")
        return
    if found is None:
        told = f"{store} has not the newest anchor that Postgres noted ({anchor}): it is another, or has lost some"
        yield Check("anchors", "fail", told, "is it the one that FNTX_COLD_URL should name? fntx audit verify --all")


def _kept(store: ObjectStore) -> Iterator[Check]:
    """Yield a warning where a bucket keeps what was destroyed: then a shredded session is not gone before that."""
    from fntx_sessions.state.objects.gcs import GcsStore  # noqa: PLC0415 - Google's library takes long to import

    if isinstance(store, GcsStore) and (seconds := store.kept_after_destroy_s()):
        meaning = f"{store} keeps what was destroyed for {seconds / _DAY_S:.0f} days (soft delete), shredded keys too"
        yield Check("soft delete", "warn", meaning, f"gcloud storage buckets update {store.url} --clear-soft-delete")
