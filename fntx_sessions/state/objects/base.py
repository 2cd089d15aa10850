"""What a cold store is: named objects that are written once, found by prefix, and destroyed with all they ever were."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

COLD_STORE = "the cold store"  # what Unavailable calls it


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object without its bytes. metadata: what its writer noted, readable without reading the object."""

    name: str
    size_bytes: int
    created_at: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)


class ObjectStore(Protocol):
    """A place for objects; names are relative to its prefix. Every call raises Unavailable when it is out of reach."""

    name: str

    @property
    def address(self) -> str:
        """The FNTX_COLD_URL that names this store."""
        ...

    def create(self, name: str, data: bytes, metadata: Mapping[str, str]) -> bool:
        """Write an object that is not there yet; False: one of that name is there, and stays as it is."""
        ...

    def replace(self, name: str, data: bytes, metadata: Mapping[str, str]) -> None:
        """Write an object in place of whatever has that name, in one step."""
        ...

    def replace_if(
        self, name: str, data: bytes, metadata: Mapping[str, str], over: Callable[[Mapping[str, str]], bool]
    ) -> bool:
        """Write an object where none is, or where `over` says yes to the metadata of the one that is there.

        Looking and writing are one step to every other writer; `over` may be asked several times. False: what is
        there stays. An object whose metadata cannot be read has none.
        """
        ...

    def read(self, name: str) -> bytes | None:
        """Return an object's bytes, compared with its checksum; None: there is none. Raises IntegrityError."""
        ...

    def info(self, name: str) -> ObjectInfo | None:
        """Return what is known of an object without reading it; None: there is none."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield the objects whose name begins with `prefix`, by name."""
        ...

    def destroy(self, name: str) -> int:
        """Delete an object with every generation it ever had; return how many are gone, 0 when there was none."""
        ...

    def check(self) -> None:
        """Return when objects can be written and read here; raises Unavailable that says what is missing."""
        ...
