"""Each session's own data key: made once, wrapped by the key ring, kept in Postgres, remembered by each process.

What is remembered is compared with Postgres again once it is `key_cache.RECHECK_S` old, so that the key of a shredded
session leaves every process soon; until then it can still open what it opened before. Nothing new of such a session is
kept all the same: shredding raises the session's epoch, and every write of state is conditional on it.

While Postgres is away, what is remembered stays in use, and what is not is read from the session's cold key object.
"""

import os
from collections.abc import Sequence
from random import sample
from uuid import UUID
from weakref import WeakKeyDictionary

from sqlalchemy import Engine

from fntx_sessions.exceptions import FntxError, IntegrityError, Retryable, Shredded
from fntx_sessions.security.keyring import load_ring, ring_file
from fntx_sessions.settings import Settings
from fntx_sessions.state.codec import Seal
from fntx_sessions.state.cold_keys import ensure_cold_key, import_cold_key, read_cold_key
from fntx_sessions.state.data_key import DataKey
from fntx_sessions.state.key_cache import KeyCache, Remembered
from fntx_sessions.state.key_rows import KeyRow, create_keys, read_keys
from fntx_sessions.state.objects.cold import open_cold

__all__ = ["DataKeys", "KeyRow", "ensure_cold_key", "import_cold_key", "seal_of"]

_TOGETHER = 1000  # how many that are due for it are compared in one question
_COLD_AT_ONCE = 20  # key objects read in one go, so that saving what can be saved does not wait for a slow store
_NO_KEY = "its data key is not in this database; `fntx archive restore` brings it with the session"


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

    def learn(self, row: KeyRow) -> None:
        """Take in what a statement read of `session_keys` beside other things; it saves a question of its own."""
        self._remember(row, {})

    def at_hand(self, session_ids: Sequence[UUID]) -> set[UUID]:
        """Return whose keys can be used without Postgres, for a while without asking it.

        A few that are not remembered are read from the cold store, others the next time.
        """
        self._cache.leave_alone()
        unknown = [one for one in session_ids if self._cache.get(one, 0.0) is None]
        for session_id in sample(unknown, min(len(unknown), _COLD_AT_ONCE)):
            if not self._learn_cold(session_id):
                break
        return {one for one in session_ids if (held := self._cache.get(one, 0.0)) and held.key is not None}

    def refusal(self, session_id: UUID) -> str:
        """Return why a session's key is known to be gone for good; empty where it is not, or nothing is known."""
        held = self._cache.get(session_id, 0.0)
        return str(held.shredded) if held and held.shredded else ""

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
        since, problems = self._cache.believed_since(), dict[UUID, FntxError]()
        found = self._cache.get_all(session_ids, since)
        absent = [one for one, held in zip(session_ids, found, strict=True) if held is None]
        if absent:
            self._fetch(absent, since, problems, make=make)
            found = self._cache.get_all(session_ids, 0.0)
        pairs = zip(session_ids, found, strict=True)
        return problems | {one: held.shredded for one, held in pairs if held and held.shredded}

    def _fetch(self, absent: list[UUID], since: float, problems: dict[UUID, FntxError], *, make: bool) -> None:
        try:
            rows = read_keys(self._engine, dict.fromkeys([*absent, *self._cache.due(since, _TOGETHER)]))
            missing = [one for one in absent if one not in rows] if make else []
            if missing:
                create_keys(self._engine, load_ring(self._settings), missing)
                rows |= read_keys(self._engine, missing)
        except Retryable as error:
            rows = self._without_postgres(absent, error, make=make)
        for row in rows.values():
            self._remember(row, problems)

    def _without_postgres(self, absent: list[UUID], error: Retryable, *, make: bool) -> dict[UUID, KeyRow]:
        """Return the rows of what is not remembered from the cold store; raises `error` where it has them not."""
        unknown = [one for one in absent if self._cache.get(one, 0.0) is None]
        if unknown and make:
            raise error
        found = {}
        for session_id in unknown:
            row = self._cold(session_id)
            if row is None:
                raise error
            found[session_id] = row
        self._cache.leave_alone()
        return found

    def _cold(self, session_id: UUID) -> KeyRow | None:
        try:
            return read_cold_key(open_cold(self._settings), session_id)
        except Retryable:
            return None

    def _learn_cold(self, session_id: UUID) -> bool:
        """Take in a key object, where there is a sound one; False: the cold store is out of reach as well."""
        try:
            row = read_cold_key(open_cold(self._settings), session_id)
        except Retryable:
            return False
        except IntegrityError:
            return True
        if row is not None:
            self._remember(row, {})
        return True

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


_caches: WeakKeyDictionary[Engine, dict[object, KeyCache]] = WeakKeyDictionary()


def _cache_of(engine: Engine, settings: Settings) -> KeyCache:
    # One ring's keys are no answer for a process that was given another ring, as tests and drills do.
    source = settings.key_ring or ring_file(settings)
    return _caches.setdefault(engine, {}).setdefault(source, KeyCache())


# A lock that another thread of the parent held would stay locked in a forked child for ever.
os.register_at_fork(after_in_child=_caches.clear)
