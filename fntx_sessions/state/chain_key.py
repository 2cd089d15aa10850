"""The keys of the audit's chains: data keys of owners that are no session, one a database, never shredded.

A key is wrapped by the ring like every data key, so that rotating the ring wraps it anew, and Postgres alone gives
nobody a secret to hash with. Its owner carries the key's own id: keys of several databases that share a cold store lie
there side by side, and what was archived from one is verified in another.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID
from weakref import WeakKeyDictionary

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import FntxError, IntegrityError
from fntx_sessions.security.keyring import KeyRing, load_ring
from fntx_sessions.settings import Settings, get_settings
from fntx_sessions.state import own_chain_key
from fntx_sessions.state.cold_keys import ensure_cold_key, import_cold_key, read_cold_key
from fntx_sessions.state.data_key import binding, new_secret
from fntx_sessions.state.key_rows import KeyRow, read_keys
from fntx_sessions.state.objects.base import ObjectStore
from fntx_sessions.state.objects.cold import open_cold

_OWNERS = 1 << 64
_NAMED = text("SELECT DISTINCT key_id FROM audit WHERE session_id = :session_id AND key_id IS NOT NULL")


@dataclass(frozen=True, slots=True)
class ChainKey:
    """What rows and anchors are hashed with; nothing of it shows. `key_id` is written into every row."""

    key_id: str
    rows: bytes = field(repr=False)
    anchors: bytes = field(repr=False)


def owner_of(key_id: str) -> UUID:
    """Return under which id a chain key lies among the data keys; raises IntegrityError for what is no key id."""
    try:
        raw = bytes.fromhex(key_id)
    except ValueError:
        raw = b""
    if len(raw) != 8:  # noqa: PLR2004 -- data_key.KEY_ID_BYTES, half of an owner's
        raise IntegrityError(f"chain key {key_id[:40]!r}", "is not the name of a key")
    return UUID(int=_OWNERS | int.from_bytes(raw))


def chain_key(engine: Engine, settings: Settings | None = None) -> ChainKey:
    """Return the key that new rows of this database hash with; remembered from then on.

    The first of a database is made here, and no second: one whose row is gone is taken back from the cold store. Call
    it before the row's transaction holds a lock: the first call of a process asks Postgres. settings: of where the ring
    and the cold store are, the process's own if None. Raises IntegrityError (it is nowhere any more) and Unavailable.
    """
    held = _remembered.get(engine)
    if held is None:
        held = _remembered[engine] = _own(engine, settings or get_settings())
    return held


class ChainKeys:
    """Chain keys by their id, for verifying: of this database, or in the cold store only."""

    def __init__(self, engine: Engine | None, settings: Settings, store: ObjectStore | None = None) -> None:
        self._engine = engine
        self._settings = settings
        self._store = store
        self._held: dict[str, ChainKey | IntegrityError] = {}

    def rows(self, key_id: str) -> bytes:
        """Return what rows of a key hash with; raises IntegrityError (there is none such) and Unavailable."""
        return self.named(key_id).rows

    def anchors(self, key_id: str) -> bytes:
        """Return what anchors of a key hash with; raises as `rows`."""
        return self.named(key_id).anchors

    def named(self, key_id: str) -> ChainKey:
        """Return a key; raises IntegrityError (there is none such) and Unavailable."""
        if key_id not in self._held:
            try:
                self._held[key_id] = self._find(key_id)
            except IntegrityError as error:
                self._held[key_id] = error
        held = self._held[key_id]
        if isinstance(held, IntegrityError):
            raise held
        return held

    def offer(self, row: KeyRow) -> None:
        """Take in a key that came with what is verified; one that this ring does not open is looked for elsewhere."""
        try:
            opened = _open(row, load_ring(self._settings))
        except FntxError:
            return
        self._held[opened.key_id] = opened

    def row(self, key_id: str) -> KeyRow:
        """Return a key as it lies there, wrapped, and opens; raises as `named`."""
        owner, ring = owner_of(key_id), load_ring(self._settings)
        found = None if self._engine is None else read_keys(self._engine, [owner]).get(owner)
        if found is None or not _opens(found, ring):
            found = read_cold_key(self._store or open_cold(self._settings), owner) or found
        if found is None or found.wrapped is None:
            raise IntegrityError(f"chain key {key_id}", "is neither in this database nor in the cold store")
        return found

    def _find(self, key_id: str) -> ChainKey:
        return _open(self.row(key_id), load_ring(self._settings))


def bring_chain_keys(engine: Engine, settings: Settings, store: ObjectStore, key_ids: Iterable[str]) -> None:
    """See to it that this database has the keys of chains that come from another; raises as `ChainKeys.named`."""
    # An empty database has its own first: one that comes is never taken for it.
    chain_key(engine)
    owners = [owner_of(key_id) for key_id in key_ids]
    known = read_keys(engine, owners) if owners else {}
    for owner in owners:
        if owner not in known:
            import_cold_key(engine, settings, store, owner)


def _own(engine: Engine, settings: Settings) -> ChainKey:
    key_id = own_chain_key.noted(engine) or _settled(engine, settings)
    found = ChainKeys(engine, settings).named(key_id)
    owner = owner_of(key_id)
    if owner not in read_keys(engine, [owner]):
        import_cold_key(engine, settings, open_cold(settings), owner)
    return found


def _settled(engine: Engine, settings: Settings) -> str:
    """Return the key of a database that has none noted: the one its rows have, else a new one."""
    known = own_chain_key.only_trace(engine)
    if known is not None:
        ChainKeys(engine, settings).named(known)
        own_chain_key.note(engine, known)
    else:
        key_id, secret = new_secret()
        owner = owner_of(key_id.hex())
        wrapped = load_ring(settings).wrap(secret, binding(owner, key_id))
        own_chain_key.make(engine, str(owner), key_id.hex(), wrapped)
    found = own_chain_key.noted(engine)
    if found is None:
        raise IntegrityError("the key of the audit's chains", "its note is gone as soon as it is made")
    return found


def _opens(row: KeyRow, ring: KeyRing) -> bool:
    try:
        _open(row, ring)
    except FntxError:
        return False
    return True


def _open(row: KeyRow, ring: KeyRing) -> ChainKey:
    secret, key_id = row.secret(ring), row.data_key_id.hex()
    if owner_of(key_id) != row.session_id:
        raise IntegrityError(f"chain key {key_id}", "it lies under the name of another")
    rows, anchors = (HKDF(SHA256(), 32, row.session_id.bytes, use).derive(secret) for use in _USES)
    return ChainKey(key_id, rows, anchors)


_USES = (b"fntx audit rows", b"fntx audit anchors")
_remembered: WeakKeyDictionary[Engine, ChainKey] = WeakKeyDictionary()


def keep_chain_keys(engine: Engine, settings: Settings, store: ObjectStore, session_id: UUID) -> None:
    """See to it that the cold store holds the keys of a session's chain, so that its archive verifies from there alone.

    Raises IntegrityError and Unavailable.
    """
    with transaction(engine) as connection:
        named = connection.execute(_NAMED, {"session_id": session_id}).scalars().all()
    owners = [owner_of(key_id) for key_id in named]
    for owner in read_keys(engine, owners):
        ensure_cold_key(engine, settings, store, owner)
