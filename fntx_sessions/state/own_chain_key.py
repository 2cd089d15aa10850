"""Which chain key is this database's own: noted once, in a row that nobody of the house may change.

A row of `session_keys` says nothing of it: keys come with archives of other databases too, and rows can be taken away.
Where the note is gone, what the key wrote says which it was. A second one is never made.
"""

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.security.keyring import Wrapped

_NOTED = text("SELECT key_id FROM audit_key")
# The desk's own chain comes from no other database, and neither do notes of anchors.
_TRACES = text("""
SELECT key_id FROM audit_anchors
UNION SELECT key_id FROM audit WHERE session_id = '00000000-0000-0000-0000-000000000000' AND key_id IS NOT NULL
""")
_ANY = text("SELECT DISTINCT key_id FROM audit WHERE key_id IS NOT NULL")
_NOTE = text("INSERT INTO audit_key (key_id) VALUES (:key_id) ON CONFLICT DO NOTHING")
# Of two processes that make one at the same moment, one stores a key.
_MAKE = text("""
WITH own AS (INSERT INTO audit_key (key_id) VALUES (:key_id) ON CONFLICT DO NOTHING RETURNING one)
INSERT INTO session_keys (session_id, data_key_id, ring_key_id, wrapped, cold_due_at)
SELECT :owner, decode(:key_id, 'hex'), :ring_key_id, decode(:wrapped, 'hex'), now() FROM own
""")


def noted(engine: Engine) -> str | None:
    """Return which key is noted as this database's own, None where none is; raises Unavailable."""
    with transaction(engine) as connection:
        found: str | None = connection.execute(_NOTED).scalar_one_or_none()
    return found


def ever_used(engine: Engine) -> set[str]:
    """Return each key that this database's own chains and anchors were ever written with; raises Unavailable.

    Where nothing tells, those of its sessions' rows, which may have come from elsewhere.
    """
    with transaction(engine) as connection:
        own = connection.execute(_NOTED).scalar_one_or_none()
        found = set(connection.execute(_TRACES).scalars()) | ({own} if own else set())
        return found or set(connection.execute(_ANY).scalars())


def only_trace(engine: Engine) -> str | None:
    """Return the key that the database was written with; None: with none, it may have its first.

    Raises IntegrityError where there were several, and Unavailable.
    """
    found = ever_used(engine)
    if len(found) > 1:
        told = f"rows name {', '.join(sorted(found))}, and which of them is its own is not noted any more"
        raise IntegrityError("the key of the audit's chains", f"{told}; see `fntx audit verify --all`")
    return next(iter(found), None)


def note(engine: Engine, key_id: str) -> None:
    """Note which key is this database's own, where none is noted; raises Unavailable."""
    with transaction(engine) as connection:
        connection.execute(_NOTE, {"key_id": key_id})


def make(engine: Engine, owner: str, key_id: str, wrapped: Wrapped) -> None:
    """Store a new key as this database's own, where it has none; raises Unavailable."""
    bound = {"owner": owner, "key_id": key_id, "ring_key_id": wrapped.ring_key_id, "wrapped": wrapped.data.hex()}
    with transaction(engine) as connection:
        connection.execute(_MAKE, bound)
