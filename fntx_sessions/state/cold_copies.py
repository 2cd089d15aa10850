"""An object in the cold store that is proven before anything else is let go: written, read back, opened, compared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.state.objects.base import ObjectStore
from fntx_sessions.testing import failpoint

T = TypeVar("T")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Copy(Generic[T]):
    """What is to be in the cold store: a name, its bytes (proven to open), their metadata, and how others are opened.

    replaces: whether it takes the place of a whole object that opens to something else, an older one.
    """

    name: str
    data: bytes
    metadata: Mapping[str, str]
    opens_to: T
    open: Callable[[bytes], T]
    replaces: bool = False


def keep(store: ObjectStore, copy: Copy[T]) -> bytes:
    """Have the object there, proven by reading it back, and return its bytes.

    One that is there already is compared, not written again; one that is damaged gives way to what we hold. Raises
    IntegrityError when it is whole and another one, or when it is still damaged, and Unavailable.
    """
    store.create(copy.name, copy.data, copy.metadata)
    failpoint("copy.written")
    try:
        data, found = _opened(store, copy)
        stale = copy.replaces and found != copy.opens_to
    except IntegrityError as error:
        _log.warning("copy.damaged", object=copy.name, problem=str(error))
        stale = True
    if stale:
        store.replace(copy.name, copy.data, copy.metadata)
        failpoint("copy.replaced")
        data, found = _opened(store, copy)
    if found != copy.opens_to:
        raise IntegrityError(copy.name, f"{store.name} holds another object of that name; it was left alone")
    failpoint("copy.verified")
    return data


def _opened(store: ObjectStore, copy: Copy[T]) -> tuple[bytes, T]:
    data = store.read(copy.name)
    if data is None:
        raise IntegrityError(copy.name, f"{store.name} does not hold what was just written")
    return data, copy.opens_to if data == copy.data else copy.open(data)
