"""A cold store whose ups and downs are noted where everybody looks."""

from collections.abc import Callable, Iterator, Mapping

from fntx_sessions.state.objects.base import ObjectInfo, ObjectStore
from fntx_sessions.state.tier_health import COLD, TierHealth


class WatchedStore:
    """A store that is passed over for a while after it was out of reach; every call raises Unavailable then."""

    def __init__(self, store: ObjectStore, health: TierHealth) -> None:
        self._store = store
        self._health = health
        self.name = store.name

    @property
    def address(self) -> str:
        """Do as `ObjectStore.address`."""
        return self._store.address

    def create(self, name: str, data: bytes, metadata: Mapping[str, str]) -> bool:
        """Do as `ObjectStore.create`."""
        with self._health.calling(COLD):
            return self._store.create(name, data, metadata)

    def replace(self, name: str, data: bytes, metadata: Mapping[str, str]) -> None:
        """Do as `ObjectStore.replace`."""
        with self._health.calling(COLD):
            self._store.replace(name, data, metadata)

    def replace_if(
        self, name: str, data: bytes, metadata: Mapping[str, str], over: Callable[[Mapping[str, str]], bool]
    ) -> bool:
        """Do as `ObjectStore.replace_if`."""
        with self._health.calling(COLD):
            return self._store.replace_if(name, data, metadata, over)

    def read(self, name: str) -> bytes | None:
        """Do as `ObjectStore.read`."""
        with self._health.calling(COLD):
            return self._store.read(name)

    def info(self, name: str) -> ObjectInfo | None:
        """Do as `ObjectStore.info`."""
        with self._health.calling(COLD):
            return self._store.info(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Do as `ObjectStore.list`."""
        with self._health.calling(COLD):
            yield from self._store.list(prefix)

    def destroy(self, name: str) -> int:
        """Do as `ObjectStore.destroy`."""
        with self._health.calling(COLD):
            return self._store.destroy(name)

    def check(self) -> None:
        """Do as `ObjectStore.check`."""
        with self._health.calling(COLD):
            self._store.check()
