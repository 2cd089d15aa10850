"""What could be put back: every copy of a session's memory that can be seen from here, found without reading any."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import text

from fntx_sessions.database.engine import rows, statements
from fntx_sessions.exceptions import FntxError, IntegrityError, Unavailable
from fntx_sessions.lifecycle.recovery.facts import Facts, Mark, Stores
from fntx_sessions.state import backups
from fntx_sessions.state.checkpoint_record import read_record
from fntx_sessions.state.live import LiveCut
from fntx_sessions.state.loading import load
from fntx_sessions.state.snapshot import Packed, Packer, Snapshot
from fntx_sessions.state.tiers.base import Held, Ref
from fntx_sessions.state.tiers.postgres import PostgresTier
from fntx_sessions.state.tiers.redis import HotTier

LIVE, HOT, SAVE, BACKUP, CHECKPOINT, COLD = "live", "redis", "postgres", "backup", "checkpoint", "cold"
# Of two states of the same mark, the nearer one: what sets them apart is only where they lie.
_NEARER = {name: place for place, name in enumerate((LIVE, HOT, SAVE, BACKUP, CHECKPOINT, COLD))}

_CHECKPOINTS = text("""
SELECT checkpoint_id, epoch, revision, timestamp, identity, tier, damage FROM checkpoints
WHERE session_id = :session_id AND is_recovery_point ORDER BY epoch DESC, revision DESC, timestamp DESC LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One state that could be put back, not read yet. created_at None: only its bytes can tell.

    damage: what was wrong with it when it was read last: it is not tried unless somebody names it.
    read: return the state, every byte verified, and the tier that answered; raises IntegrityError, NotFound, Shredded
    and Unavailable.
    """

    source: str
    key: str
    name: str
    tier: str
    mark: Mark
    read: Callable[[], tuple[Snapshot, str]]
    created_at: datetime | None = None
    checkpoint_id: UUID | None = None
    identity: str = ""
    damage: str | None = None


def near(stores: Stores, facts: Facts, *, hot: bool = True) -> list[Candidate]:
    """Return what Redis (hot), Postgres and this host's backups hold beside the live state, newest first."""
    # Of a checkpoint its row is what counts: it knows when and under what it was made, and reads the copies too.
    found = [*(_hot(stores, facts) if hot else ()), *_save(stores, facts)]
    found += [*_backups(stores, facts), *_checkpoints(stores, facts)]
    return ranked({one.key: one for one in found}.values())


def far(stores: Stores, facts: Facts, known: Sequence[Candidate]) -> list[Candidate]:
    """Return what only the cold store knows of, newest first: asked where nothing nearer is left. Raises Unavailable.

    After Postgres itself was brought back from an old dump, this is where the checkpoints are that it forgot.
    """
    tier = _cold_tier(stores)
    seen = {one.key for one in known}
    found = [_held(stores, one, COLD, tier.get) for one in tier.held(facts.session_id)]
    return ranked([one for one in found if one.key not in seen])


def live(cut: LiveCut, snapshot: Callable[[], Snapshot]) -> Candidate:
    """Return the live state as a candidate; `snapshot` says whether it is whole."""
    return Candidate(LIVE, LIVE, "live", HOT, (cut.epoch, cut.revision), lambda: (snapshot(), HOT))


def unread(source: str, name: str, mark: Mark = (0, 0)) -> Candidate:
    """Return a candidate that is told of and cannot be read."""

    def read() -> tuple[Snapshot, str]:
        raise IntegrityError(name, "there is nothing to read")

    return Candidate(source, source, name, HOT if source == LIVE else source, mark, read)


def named(stores: Stores, facts: Facts, checkpoint_id: UUID) -> Candidate:
    """Return a checkpoint that somebody named, there or not."""
    ref = Ref(facts.session_id, checkpoint_id)
    return _checkpoint(stores, ref, facts.epoch, 0)


def ranked(found: Any) -> list[Candidate]:
    """Return candidates newest first by (epoch, revision); of equally new ones the nearest."""
    return sorted(found, key=lambda one: (-one.mark[0], -one.mark[1], _NEARER[one.source]))


def _hot(stores: Stores, facts: Facts) -> Iterator[Candidate]:
    tier = HotTier.of(stores.redis, stores.settings)
    try:
        held = tier.held(facts.session_id)
    except IntegrityError:
        held = []
    for one in held:
        yield _held(stores, one, HOT, tier.get)


def _save(stores: Stores, facts: Facts) -> Iterator[Candidate]:
    if facts.save is None:
        return
    ref = Ref(facts.session_id)
    read = partial(_opened, stores, PostgresTier(stores.engine).get, ref, SAVE)
    yield Candidate(SAVE, SAVE, "latest save, from postgres", SAVE, facts.save, read, facts.saved_at)


def _backups(stores: Stores, facts: Facts) -> Iterator[Candidate]:
    for backup in backups.find(stores.settings, facts.session_id):
        name = f"backup {backup.path.parent.name}/{backup.path.name}"
        read = partial(_opened, stores, partial(_read_backup, backup), Ref(facts.session_id), BACKUP)
        yield Candidate(BACKUP, name, name, BACKUP, backup.mark, read, backup.created_at)


def _read_backup(backup: backups.Backup, _ref: Ref) -> Packed:
    return backups.read(backup)


def _checkpoints(stores: Stores, facts: Facts) -> Iterator[Candidate]:
    bound = {"session_id": facts.session_id, "limit": stores.settings.recovery_candidates_max}
    with statements(stores.engine) as connection:
        found = rows(connection.execute(_CHECKPOINTS, bound))
    for row in found:
        ref = Ref(facts.session_id, row["checkpoint_id"])
        tier = COLD if row["tier"] == COLD else SAVE
        known = _checkpoint(stores, ref, row["epoch"], row["revision"], row["timestamp"], row["identity"], tier)
        yield replace(known, damage=row["damage"])


def _checkpoint(
    stores: Stores,
    ref: Ref,
    epoch: int,
    revision: int,
    at: datetime | None = None,
    identity: str = "",
    tier: str = SAVE,
) -> Candidate:
    name = f"checkpoint {ref.checkpoint_id}"
    read = partial(_read_checkpoint, stores, ref, tier)
    return Candidate(CHECKPOINT, name, name, tier, (epoch, revision), read, at, ref.checkpoint_id, identity)


def _held(stores: Stores, held: Held, tier: str, get: Callable[[Ref], Packed | None]) -> Candidate:
    ref, mark = held.ref, (held.epoch, held.revision)
    read = partial(_opened, stores, get, ref, tier)
    if ref.checkpoint_id is None:
        return Candidate(tier, tier, f"latest save, from {tier}", tier, mark, read)
    name = f"checkpoint {ref.checkpoint_id}"
    return Candidate(CHECKPOINT, name, name, tier, mark, read, None, ref.checkpoint_id)


def _read_checkpoint(stores: Stores, ref: Ref, tier: str) -> tuple[Snapshot, str]:
    """Read a checkpoint from where it is of record, else from a copy; raises what the record's own place said.

    A recovery has a damaged record written again from the copy; a plan changes nothing.
    """
    assert ref.checkpoint_id is not None  # noqa: S101 - it is one
    try:
        return read_record(stores.engine, stores.settings, ref.checkpoint_id)[1], tier
    except FntxError as error:
        if isinstance(error, Unavailable) and tier != COLD:
            raise
        if isinstance(error, IntegrityError) and stores.mends:
            with suppress(FntxError):
                found = load(stores.engine, stores.redis, stores.settings, ref, suspect=True)
                return found.snapshot, found.tier
        for get, name in ((HotTier.of(stores.redis, stores.settings).get, HOT), (_cold_get(stores), COLD)):
            try:
                return _opened(stores, get, ref, name)
            except FntxError:
                continue
        raise


def _opened(stores: Stores, get: Callable[[Ref], Packed | None], ref: Ref, tier: str) -> tuple[Snapshot, str]:
    packed = get(ref)
    if packed is None:
        raise IntegrityError(f"the copy in {tier}", "it is not there any more")
    return Packer.of(stores.settings, stores.engine).unpack(packed), tier


def _cold_get(stores: Stores) -> Callable[[Ref], Packed | None]:
    return lambda ref: _cold_tier(stores).get(ref)


def _cold_tier(stores: Stores) -> Any:
    # A bucket's library, for what is nowhere else.
    from fntx_sessions.state.objects.cold import open_cold  # noqa: PLC0415
    from fntx_sessions.state.tiers.cold import ColdTier  # noqa: PLC0415

    return ColdTier(open_cold(stores.settings))
