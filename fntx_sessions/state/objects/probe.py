"""Whether a cold store works: an object is written, read, compared and destroyed."""

from uuid import uuid4

from fntx_sessions.exceptions import IntegrityError, Unavailable
from fntx_sessions.state.objects.base import COLD_STORE, ObjectStore

PROBE = "checks/"


def probe(store: ObjectStore) -> None:
    """Return when the store holds what it is given; raises Unavailable that says what is missing."""
    name, data = PROBE + uuid4().hex, uuid4().bytes
    store.create(name, data, {"kind": "check"})
    try:
        found = store.read(name)
    except IntegrityError as error:
        raise Unavailable(COLD_STORE, str(error), "Look at the disk or the network it is on.") from error
    finally:
        store.destroy(name)
    if found != data:
        problem = f"{store} did not give back what was written to it"
        raise Unavailable(COLD_STORE, problem, "See that nothing else deletes in it, as a lifecycle rule would.")
