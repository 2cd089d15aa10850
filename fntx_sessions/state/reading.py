"""One search for a snapshot through the tiers: which may answer, which did not, and why."""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import redis
import structlog
from sqlalchemy import Engine

from fntx_sessions.exceptions import IntegrityError, InvalidArgument, NotFound, Retryable, Unavailable
from fntx_sessions.settings import Settings
from fntx_sessions.state import checkpoint_rows
from fntx_sessions.state.key_rows import refuse_shredded
from fntx_sessions.state.lazy import LazySnapshot
from fntx_sessions.state.snapshot import Packed, Packer, Snapshot
from fntx_sessions.state.tier_health import POSTGRES, health_of
from fntx_sessions.state.tiers.base import PartwiseTier, Ref, Tier
from fntx_sessions.state.tiers.memory import MemoryTier
from fntx_sessions.state.tiers.moved import MovedTier
from fntx_sessions.state.tiers.postgres import PostgresTier
from fntx_sessions.state.tiers.redis import HotTier

_log = structlog.get_logger(__name__)
_NO_SAVE = "It was not live long enough to be saved; recover it from a checkpoint, or start it."
_NO_CHECKPOINT = "List them with `fntx checkpoints ID`."
_TRIES = 3
_Mark = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Copy:
    """A sound copy: the tier that gave it, as it is stored (without what nobody asked for), and opened."""

    tier: Tier
    packed: Packed
    lazy: LazySnapshot
    snapshot: Snapshot

    @property
    def mark(self) -> _Mark:
        """How far it is."""
        return self.packed.epoch, self.packed.revision


@dataclass(frozen=True, slots=True)
class Damage:
    """A copy that failed: where, what is wrong, and its bytes where they could be read at all."""

    tier: Tier
    problem: str
    packed: Packed | None


class Reading:
    """The search; `problems`, `damaged` and `absent` (tiers without a copy as new) are what came up on the way."""

    def __init__(
        self,
        engine: Engine,
        client: redis.Redis,
        settings: Settings,
        ref: Ref,
        memory: MemoryTier,
        only: Container[str] | None,
        *,
        suspect: bool = False,
    ) -> None:
        self.engine, self.settings, self.suspect = engine, settings, suspect
        self.ref, self.only, self.memory = ref, only, memory
        self.hot, self.warm = HotTier.of(client, settings), PostgresTier(engine)
        self.packer, self.health = Packer.of(settings, engine), health_of(engine, settings)
        self.problems: list[str] = []
        self.damaged: list[Damage] = []
        self.absent: list[Tier] = []
        self.away: list[Retryable] = []
        self.behind: list[str] = []
        self.record_mark: _Mark = (0, 0)
        self.record_digest = b""
        self._checksum: bytes | None = None
        self._object: str | None = None

    def answer(self) -> Copy:
        """Return the nearest sound copy; raises as `loading.load` says."""
        try:
            with self.health.calling(POSTGRES):
                self._ask_record()
        except Unavailable as error:
            return self._newest(error)
        for tier in self._tiers():
            copy = self.read(tier)
            if copy is not None:
                return copy
        return self._nothing()

    def read(self, tier: Tier) -> Copy | None:
        """Return what a tier holds, verified; None, with the reason noted, when that is nothing, old or damaged."""
        packed: Packed | None = None
        try:
            for _ in range(_TRIES):
                packed = self._ask(tier)
                if packed is None or not self._fits(tier, packed):
                    self.absent.append(tier)
                    return None
                try:
                    return self._opened(tier, packed)
                except IntegrityError:
                    # Read in two steps, it may have been replaced in between: then it is not damage.
                    if self.only is None or self._same(tier, packed):
                        raise
        except IntegrityError as error:
            self._pass_over(tier, error)
            self.damaged.append(Damage(tier, str(error), packed))
        except Retryable as error:
            self._pass_over(tier, error)
            self.away.append(error)
        return None

    def _tiers(self) -> Iterator[Tier]:
        if self.suspect and self._object is not None:
            yield from self._cold()
            yield from (self.memory, self.hot)
        elif self.suspect:
            yield from (self.warm, self.memory, self.hot)
            yield from self._cold()
        else:
            yield from (self.memory, self.hot, self.warm)
            yield from self._cold()

    def _cold(self) -> Iterator[Tier]:
        from fntx_sessions.state.objects.cold import open_cold  # noqa: PLC0415 - a bucket's library, only when come to

        try:
            yield MovedTier(open_cold(self.settings), self._object)
        except InvalidArgument as error:
            self.problems.append(f"cold: {error}")
            self.away.append(Unavailable("the cold tier", str(error), "Correct FNTX_COLD_URL."))

    def _ask_record(self) -> None:
        if self.ref.checkpoint_id is None:
            found = self.warm.record(self.ref.session_id)
            if found is not None:
                self.record_mark, self.record_digest = found.newest, found.digest
            return
        row = checkpoint_rows.find_row(self.engine, self.ref.session_id, self.ref.checkpoint_id)
        if row is None:
            refuse_shredded(self.engine, self.ref.session_id)
            raise NotFound("checkpoint", str(self.ref.checkpoint_id), _NO_CHECKPOINT)
        self._object = row["cold_object"]
        self.record_mark, self.record_digest = (row["epoch"], row["revision"]), bytes(row["digest"] or b"")
        # Of a record under suspicion the row may be what is damaged: then a copy's own seal says whose it is.
        self._checksum = None if self.suspect else bytes(row["checksum"])

    def _newest(self, error: Unavailable) -> Copy:
        """Return the newest sound copy that can be read without Postgres."""
        self.problems.append(f"not compared with the record, which is out of reach: {error}")
        self.away.append(error)
        tiers: list[Tier] = [self.memory, self.hot, *self._cold()]
        found = [copy for tier in tiers if (copy := self.read(tier))]
        if not found:
            self._nothing()
        return max(found, key=lambda copy: copy.mark)

    def _ask(self, tier: Tier) -> Packed | None:
        with self.health.calling(tier.name):
            if self.only is not None and isinstance(tier, PartwiseTier):
                return tier.head(self.ref)
            return tier.get(self.ref)

    def _opened(self, tier: Tier, packed: Packed) -> Copy:
        # Of a record under suspicion, a part counts only where the record names it: unnamed ones are swept away.
        unnamed = self.suspect and tier is self.warm
        fetch = partial(tier.parts, packed) if isinstance(tier, PartwiseTier) and not unnamed else None
        lazy = LazySnapshot(self.packer, packed, fetch)
        return Copy(tier, packed, lazy, lazy.take(self.only))

    def _same(self, tier: Tier, packed: Packed) -> bool:
        again = self._ask(tier)
        return again is not None and again.manifest == packed.manifest

    def _fits(self, tier: Tier, packed: Packed) -> bool:
        if self._checksum is not None and packed.checksum != self._checksum:
            self.behind.append(f"{tier.name} holds another one under its name")
        elif self.ref.checkpoint_id is None and (packed.epoch, packed.revision) < self.record_mark:
            if tier is self.warm:
                raise IntegrityError(_what(self.ref), "an older one was put in its place, past this service")
            self.behind.append(f"{tier.name} is at {packed.epoch}/{packed.revision}, behind the record")
        else:
            return True
        return False

    def _pass_over(self, tier: Tier, error: Exception) -> None:
        self.problems.append(f"{tier.name}: {error}")
        if not isinstance(error, Unavailable):  # that one's log line is the tier's, once
            _log.warning("load.tier_passed_over", tier=tier.name, **self._names(), problem=str(error))

    def _names(self) -> dict[str, Any]:
        names = {"session_id": str(self.ref.session_id)}
        return names | ({"checkpoint_id": str(self.ref.checkpoint_id)} if self.ref.checkpoint_id else {})

    def _nothing(self) -> NoReturn:
        if self.damaged:
            told = [f"{damage.tier.name}: {damage.problem}" for damage in self.damaged]
            raise IntegrityError(_what(self.ref), "; ".join([*told, *self.behind]))
        if self.away:
            raise self.away[0]
        if self.ref.checkpoint_id is not None:
            raise IntegrityError(_what(self.ref), "; ".join(["it is listed, and no tier has it", *self.behind]))
        refuse_shredded(self.engine, self.ref.session_id)
        raise NotFound("save", str(self.ref.session_id), _NO_SAVE)


def _what(ref: Ref) -> str:
    kind = f"checkpoint {ref.checkpoint_id}" if ref.checkpoint_id else "save"
    return f"{kind} of session {ref.session_id}"
