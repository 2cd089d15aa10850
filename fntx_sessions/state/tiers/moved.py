"""The cold tier as a row knows it: a checkpoint that was moved lies under the name its row gives."""

from fntx_sessions.state.container import from_bytes
from fntx_sessions.state.objects.base import ObjectStore
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.cold import ColdTier, object_name


class MovedTier(ColdTier):
    """Cold objects, one of which has a name of its own."""

    def __init__(self, store: ObjectStore, named: str | None) -> None:
        """Read the snapshot that is asked for under `named`; None: under its usual name."""
        super().__init__(store)
        self._named = named

    def get(self, ref: Ref) -> Packed | None:
        """Return a snapshot, its seals not opened; None: there is none. Raises Unavailable, and IntegrityError."""
        data = self._store.read(self._named or object_name(ref))
        return None if data is None else from_bytes(data, ref)
