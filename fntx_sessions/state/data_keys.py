"""Each session's own data key: made once, wrapped by the key ring, kept in Postgres, remembered by each process.

What is remembered is compared with Postgres again once it is `RECHECK_S` old, so that the key of a shredded session
leaves every process soon; until then it can still open what it opened before. Nothing new of such a session is kept all
the same: shredding raises the session's epoch, and every write of state is conditional on it. While Postgres is away,
what is remembered stays in use.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

from psycopg2 import Binary
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import FntxError, IntegrityError, Retryable, Shredded
from fntx_sessions.security.keyring import KeyRing, Wrapped, load_ring
from fntx_sessions.settings import Settings
from fntx_sessions.state.codec import Seal
from fntx_sessions.state.data_key import DataKey, binding, new_secret
from fntx_sessions.state.key_cache import KeyCache, Remembered

_TOGETHER = 1000  # how many that are due for it are compared in one question
_NO_KEY = "its data key is not in this database; `fntx archive restore` brings it with the session"

_READ = text("""
SELECT session_id, data_key_id, ring_key_id, wrapped, shredded_at FROM session_keys
WHERE session_id = ANY(CAST(:ids AS uuid[]))
""")

_CREATE = text("""
INSERT INTO session_keys (session_id, data_key_id, ring_key_id, wrapped)
SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:key_ids AS bytea[]), CAST(:ring AS text[]), CAST(:wrapped AS bytea[]))
ORDER BY 1
ON CONFLICT (session_id) DO NOTHING
""")


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A session's key as Postgres holds it; wrapped None: shredded."""

    session_id: UUID
    data_key_id: bytes
    wrapped: Wrapped | None
    shredded_at: Any

    def secret(self, ring: KeyRing) -> bytes:
        """Return the plain secret; raises Shredded, Unavailable (no such ring key) and IntegrityError."""
        if self.wrapped is None:
            raise Shredded(str(self.session_id), str(self.shredded_at))
        try:
            return ring.unwrap(self.wrapped, binding(self.session_id, self.data_key_id))
        except IntegrityError as error:
            raise IntegrityError(f"the data key of session {self.session_id}", error.args[1]) from None


class DataKeys:
    """The data keys of the sessions in one database; threads share what is remembered."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._cache = _cache_of(engine, settings)
        self.accepts_unsealed = settings.accept_unsealed

    def ensure(self, session_ids: Sequence[UUID]) -> dict[UUID, FntxError]:
        """Have the keys of a batch at hand, making those that are missing; return why some cannot be used.

        At most three round trips, none while all are remembered. Raises Unavailable without a ring, and where Postgres
        is away and a key is not remembered.
        """
        return self._have(session_ids, make=True)

    def of(self, session_id: UUID) -> DataKey:
        """Return a session's key, made where there is none; raises Shredded, Unavailable and IntegrityError."""
        return self._one(session_id, make=True)

    sealing = of

    def opening(self, session_id: UUID) -> DataKey:
        """Return a session's key, made by nobody here; raises IntegrityError where there is none, and as `of`."""
        return self._one(session_id, make=False)

    def forget(self, session_id: UUID) -> None:
        """Let go of what is remembered of a session."""
        self._cache.forget(session_id)

    def _one(self, session_id: UUID, *, make: bool) -> DataKey:
        held = self._cache.get(session_id, self._cache.believed_since())
        if held is None:
            problem = self._have([session_id], make=make).get(session_id)
            if problem is not None:
                raise problem
            held = self._cache.get(session_id, 0.0)
        if held is None:
            raise IntegrityError(f"what is sealed of session {session_id}", _NO_KEY)
        return held.key_or_raise()

    def _have(self, session_ids: Sequence[UUID], *, make: bool) -> dict[UUID, FntxError]:
        oldest = self._cache.believed_since()
        absent = [one for one in session_ids if self._cache.get(one, oldest) is None]
        problems: dict[UUID, FntxError] = {}
        if absent:
            self._fetch(absent, oldest, problems, make=make)
        shredded = {one: held.shredded for one in session_ids if (held := self._cache.get(one, 0.0)) and held.shredded}
        return problems | shredded

    def _fetch(self, absent: list[UUID], oldest: float, problems: dict[UUID, FntxError], *, make: bool) -> None:
        try:
            rows = self._read(dict.fromkeys([*absent, *self._cache.due(oldest, _TOGETHER)]))
            missing = [one for one in absent if one not in rows] if make else []
            if missing:
                self._create(missing)
                rows |= self._read(missing)
        except Retryable:
            if any(self._cache.get(one, 0.0) is None for one in absent):
                raise
            self._cache.leave_alone()
            return
        for row in rows.values():
            self._remember(row, problems)

    def _read(self, session_ids: Iterable[UUID]) -> dict[UUID, KeyRow]:
        with transaction(self._engine) as connection:
            found = connection.execute(_READ, {"ids": list(map(str, session_ids))}).all()
        return {row.session_id: key_row(row) for row in found}

    def _create(self, session_ids: Sequence[UUID]) -> None:
        ring, made = load_ring(self._settings), []
        for session_id in session_ids:
            key_id, secret = new_secret()
            made.append((session_id, key_id, ring.wrap(secret, binding(session_id, key_id))))
        values = {
            "ids": [str(session_id) for session_id, _, _ in made],
            "key_ids": [Binary(key_id) for _, key_id, _ in made],
            "ring": [wrapped.ring_key_id for _, _, wrapped in made],
            "wrapped": [Binary(wrapped.data) for _, _, wrapped in made],
        }
        with transaction(self._engine) as connection:
            connection.execute(_CREATE, values)

    def _remember(self, row: KeyRow, problems: dict[UUID, FntxError]) -> None:
        held = self._cache.get(row.session_id, 0.0)
        if held is not None and held.key is not None and row.wrapped and held.key.key_id == row.data_key_id:
            self._cache.put(row.session_id, Remembered(held.key))
            return
        try:
            secret = row.secret(load_ring(self._settings))
        except Shredded as error:
            self._cache.put(row.session_id, Remembered(None, error))
        except FntxError as error:
            problems[row.session_id] = error
        else:
            self._cache.put(row.session_id, Remembered(DataKey.of(row.session_id, row.data_key_id, secret)))


def seal_of(settings: Settings, engine: Engine) -> Seal:
    """Return the seal of the sessions in a database: AES-256-GCM with each one's data key."""
    return DataKeys(engine, settings)


def key_row(row: Any) -> KeyRow:
    """Return what a row of session_keys says."""
    wrapped = None if row.wrapped is None else Wrapped(row.ring_key_id, bytes(row.wrapped))
    return KeyRow(row.session_id, bytes(row.data_key_id), wrapped, row.shredded_at)


_caches: WeakKeyDictionary[Engine, dict[object, KeyCache]] = WeakKeyDictionary()


def _cache_of(engine: Engine, settings: Settings) -> KeyCache:
    # One ring's keys are no answer for a process that was given another ring, as tests and drills do.
    source = (settings.key_ring, settings.key_ring_file or settings.home)
    return _caches.setdefault(engine, {}).setdefault(source, KeyCache())


# A lock that another thread of the parent held would stay locked in a forked child for ever.
os.register_at_fork(after_in_child=_caches.clear)
