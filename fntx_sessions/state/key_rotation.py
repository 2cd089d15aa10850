"""Rotation: every data key is unwrapped with the ring key it hangs on and wrapped with the current one, in batches.

What is sealed stays as it is: only the wrapping of the data keys changes. Each batch is a transaction of its own, and
sessions go on meanwhile. Killed at any point it is run again, and goes on with what does not hang on the current key.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg2 import Binary
from sqlalchemy import Connection, Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import IntegrityError, StackError
from fntx_sessions.security.keyring import KeyRing, load_ring
from fntx_sessions.settings import Settings
from fntx_sessions.state.cold_keys import PREFIX, RING_KEY, put_object, read_cold_key, write_cold_key
from fntx_sessions.state.data_key import binding
from fntx_sessions.state.key_rows import KeyRow, key_row, read_keys
from fntx_sessions.state.objects.base import ObjectStore
from fntx_sessions.testing import failpoint

_HAS_KEYS = text("SELECT to_regclass('session_keys') IS NOT NULL")
_COUNT = text("SELECT ring_key_id, count(*) AS n FROM session_keys WHERE wrapped IS NOT NULL GROUP BY ring_key_id")

# Objects that this database knows of in other cold stores than the one at hand.
_ELSEWHERE = text("""
SELECT o.key AS store, o.value AS ring_key_id, count(*) AS n FROM session_keys, jsonb_each_text(cold_stores) AS o
WHERE o.key <> :here GROUP BY 1, 2
""")
_FORGET = text("UPDATE session_keys SET cold_stores = cold_stores - CAST(:store AS text) WHERE cold_stores ? :store")

_NEXT = text("""
SELECT session_id, data_key_id, ring_key_id, wrapped, cold_at, cold_stores, shredded_at FROM session_keys
WHERE (CAST(:after AS uuid) IS NULL OR session_id > :after) AND wrapped IS NOT NULL AND ring_key_id <> :current
ORDER BY session_id LIMIT :batch FOR NO KEY UPDATE
""")

# Its cold object still holds the former wrapping. What this rotation does not see in its own store, the sweep writes.
_REWRAP = text("""
UPDATE session_keys k SET ring_key_id = :current, wrapped = n.wrapped, cold_at = NULL,
  cold_due_at = CASE WHEN cold_stores = '{}' THEN cold_due_at ELSE now() + interval '5 minutes' END
FROM unnest(CAST(:ids AS uuid[]), CAST(:wrapped AS bytea[])) AS n(session_id, wrapped)
WHERE k.session_id = n.session_id AND k.wrapped IS NOT NULL
""")


@dataclass(slots=True)
class Rotation:
    """What a rotation did; failed: sessions whose key does not open, and why. They keep the wrapping they have."""

    data_keys: int = 0
    cold_objects: int = 0
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Uses:
    """How much hangs on each ring key, by its id. elsewhere: objects by store and ring key, as Postgres noted it."""

    data_keys: Counter[str]
    cold_objects: Counter[str]
    elsewhere: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def ring_keys(self) -> set[str]:
        """Every ring key that anything hangs on, also one that the ring lacks."""
        return {*self.data_keys, *self.cold_objects, *(key_id for _, key_id in self.elsewhere)}

    def stores(self, key_id: str | None = None) -> dict[str, int]:
        """Return the other stores with objects that hang on a key, or on any, and how many."""
        found = Counter[str]()
        for (store, held), count in self.elsewhere.items():
            found[store] += count if key_id in (None, held) else 0
        return dict(+found)

    def of(self, key_id: str) -> int:
        """Return how much hangs on one key."""
        return self.data_keys[key_id] + self.cold_objects[key_id]

    def besides(self, key_id: str) -> int:
        """Return how much hangs on any other key than this."""
        return self.data_keys.total() + self.cold_objects.total() - self.of(key_id)


def wrapped(connection: Connection) -> Counter[str]:
    """Count the data keys that each ring key wraps, by its id."""
    return Counter({row.ring_key_id: row.n for row in connection.execute(_COUNT)})


def refuse_another_ring(engine: Engine) -> None:
    """Raise StackError where a ring was there before: a new one opens nothing of what lies there; or Unavailable."""
    with transaction(engine) as connection:
        found = wrapped(connection) if connection.execute(_HAS_KEYS).scalar_one() else Counter[str]()
    if found:
        problem = f"the key ring is gone, whose {', '.join(sorted(found))} wraps {found.total()} data keys in Postgres"
        told = "No new one was made, as it could open nothing of them. Put back the ring that was there, from its copy."
        raise StackError(problem, told)


def uses(engine: Engine, store: ObjectStore) -> Uses:
    """Count what hangs on which ring key, in Postgres and in the cold store; raises Unavailable."""
    with transaction(engine) as connection:
        data_keys = wrapped(connection)
        others = connection.execute(_ELSEWHERE, {"here": store.address}).all()
    cold = Counter(info.metadata.get(RING_KEY, "unknown") for info in store.list(PREFIX))
    elsewhere = Counter({(row.store, row.ring_key_id): row.n for row in others})
    return Uses(data_keys, cold, elsewhere)


def forget_store(engine: Engine, address: str) -> int:
    """Count the objects of a cold store that is gone for good no more; return how many. Raises Unavailable."""
    with transaction(engine) as connection:
        return connection.execute(_FORGET, {"store": address}).rowcount


def rewrap(
    engine: Engine, settings: Settings, store: ObjectStore, said: Callable[[Rotation], None] = lambda _: None
) -> Rotation:
    """Wrap every data key with the ring's current key, then rewrite the cold key objects; `said` hears of each batch.

    Raises Unavailable and Busy where it cannot go on: what is done stays done, and the next run takes up the rest.
    """
    report, ring = Rotation(), load_ring(settings)
    after: UUID | None = None
    while True:
        with transaction(engine) as connection:
            rows = _next(connection, ring, after, settings.key_rotation_batch)
            if rows:
                report.data_keys += _rewrap(connection, ring, rows, report)
        failpoint("keys.rewrapped")
        if not rows:
            break
        after = rows[-1].session_id
        said(report)
    for info in store.list(PREFIX):
        if info.metadata.get(RING_KEY) != ring.current:
            _rewrite(engine, ring, store, info.name, report)
            if report.cold_objects % settings.key_rotation_batch == 0:
                said(report)
    return report


def _next(connection: Connection, ring: KeyRing, after: UUID | None, batch: int) -> list[KeyRow]:
    bound = {"after": after, "current": ring.current, "batch": batch}
    return [key_row(row) for row in connection.execute(_NEXT, bound)]


def _rewrap(connection: Connection, ring: KeyRing, rows: Sequence[KeyRow], report: Rotation) -> int:
    ids, wrapped = list[str](), list[Any]()
    for row in rows:
        try:
            again = _again(ring, row)
        except IntegrityError as error:
            report.failed[str(row.session_id)] = str(error)
            continue
        ids.append(str(row.session_id))
        wrapped.append(Binary(again.sealed().data))
    if ids:
        connection.execute(_REWRAP, {"ids": ids, "wrapped": wrapped, "current": ring.current})
    return len(ids)


def _again(ring: KeyRing, row: KeyRow) -> KeyRow:
    """Return the same key, wrapped with the current ring key; raises as `KeyRow.secret`."""
    wrapped = ring.wrap(row.secret(ring), binding(row.session_id, row.data_key_id))
    return KeyRow(row.session_id, row.data_key_id, wrapped)


def _rewrite(engine: Engine, ring: KeyRing, store: ObjectStore, name: str, report: Rotation) -> None:
    try:
        _write_again(engine, ring, store, UUID(name.removeprefix(PREFIX)))
    except IntegrityError as error:
        report.failed[name] = str(error)
    except ValueError:
        report.failed[name] = "is not named after a session"
    else:
        report.cold_objects += 1


def _write_again(engine: Engine, ring: KeyRing, store: ObjectStore, session_id: UUID) -> None:
    row = read_keys(engine, [session_id]).get(session_id)
    if row is None:
        # Of another database, or of none any more: the object is all there is of this key.
        found = read_cold_key(store, session_id)
        if found is not None:
            put_object(store, _again(ring, found))
    elif row.wrapped is None:
        store.destroy(f"{PREFIX}{session_id}")
    else:
        write_cold_key(engine, store, row)
