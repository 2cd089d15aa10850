"""Whether the key ring at hand is the one that this database's data keys were wrapped with."""

from collections.abc import Iterator, Mapping

from fntx_sessions.exceptions import StackError, Unavailable
from fntx_sessions.security.keyring import load_ring
from fntx_sessions.settings import Settings
from fntx_sessions.stack.check import Check


def diagnose_wrapped(settings: Settings, wrapped: Mapping[str, int]) -> Iterator[Check]:
    """Yield a failure where data keys hang on ring keys that are not at hand; nothing where none does."""
    try:
        held = set(load_ring(settings).keys)
    except (Unavailable, StackError):
        held = set()  # which the check of the ring itself tells
    lacking = {key_id: number for key_id, number in wrapped.items() if key_id not in held}
    if lacking:
        told = f"{sum(lacking.values())} data keys are wrapped with {', '.join(sorted(lacking))}, not in this key ring"
        yield Check("sealed data", "fail", f"{told}: nothing of them can be opened", _FIX)


_FIX = "put back the key ring that was there, from its copy; make no new one"
