"""The hot tier: a copy of the latest save in one Redis hash, the newest checkpoints in another; gone after a while."""

from collections.abc import Collection, Sequence
from typing import cast
from uuid import UUID

import redis

from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.settings import Settings
from fntx_sessions.state.redis_client import key, redis_errors
from fntx_sessions.state.scripts import Call, Script, Value
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.state.tiers.base import Held, Ref
from fntx_sessions.state.tiers.hot_checkpoints import HotCheckpoints

_WRITE, _DROP = Script("hot_write.lua"), Script("hot_drop.lua")
_PART = b"part:"
_HEAD = ("epoch", "revision", "manifest", "checksum")
_STAYS = -1


class HotTier:
    """Hot copies. Only the large parts that Redis does not hold already travel to it.

    Both hashes of a session carry its hash tag and are self-contained; they go `ttl_s` after they were last written.
    """

    name = "redis"

    def __init__(self, client: redis.Redis, ttl_s: int, checkpoints: int = 3) -> None:
        """Hold copies for `ttl_s` seconds, and the newest `checkpoints` of each session."""
        self._redis = client
        self._ttl_s = ttl_s
        self._checkpoints = HotCheckpoints(client, ttl_s, checkpoints)

    @classmethod
    def of(cls, client: redis.Redis, settings: Settings) -> "HotTier":
        """Return the hot tier as the settings want it."""
        return cls(client, settings.hot_ttl_s, settings.hot_checkpoints)

    def put(self, packed: Packed, fresh: Collection[bytes] = ()) -> bool:
        """Write one hot copy; False: what is here is as new, or so many checkpoints are newer. Raises Unavailable.

        fresh: large parts that are sent without asking whether they are here.
        """
        if packed.checkpoint_id:
            return self._checkpoints.put(packed, fresh)
        return bool(self.put_many([(packed, fresh)]))

    def put_many(self, saves: Sequence[tuple[Packed, Collection[bytes]]]) -> list[UUID]:
        """Write hot copies of saves in one pipeline, each with the hashes of its new parts; raises Unavailable.

        Return the sessions written: a copy that is as new already stays. Parts that turn out to be missing there
        follow in a second pipeline.
        """
        if not saves:
            return []
        answers = _WRITE.run_many(self._redis, [self._call(packed, fresh) for packed, fresh in saves])
        lacking = [packed for (packed, _), missing in zip(saves, answers, strict=True) if missing not in (_STAYS, [])]
        written = [packed.session_id for (packed, _), missing in zip(saves, answers, strict=True) if missing == []]
        if lacking:
            # All of them: one that was there a moment ago may be gone with the copy it belonged to.
            answers = _WRITE.run_many(self._redis, [self._call(packed, packed.parts.keys()) for packed in lacking])
            written += [packed.session_id for packed, answer in zip(lacking, answers, strict=True) if answer == []]
        return written

    def get(self, ref: Ref) -> Packed | None:
        """Return the hot copy as stored; None: there is none. Raises Unavailable."""
        if ref.checkpoint_id:
            return self._checkpoints.get(ref)
        with redis_errors():
            held = cast("dict[bytes, bytes]", self._redis.hgetall(_hot(ref.session_id)))
        parts = {bytes.fromhex(f.removeprefix(_PART).decode()): v for f, v in held.items() if f.startswith(_PART)}
        return _packed(ref, [held.get(name.encode()) for name in _HEAD], parts)

    def head(self, ref: Ref) -> Packed | None:
        """Return the hot copy without its large parts; None: there is none. Raises Unavailable."""
        if ref.checkpoint_id:
            return self._checkpoints.head(ref)
        with redis_errors():
            return _packed(ref, cast("list[bytes | None]", self._redis.hmget(_hot(ref.session_id), _HEAD)), {})

    def parts(self, packed: Packed, hashes: Collection[bytes]) -> dict[bytes, bytes]:
        """Return large parts of a copy read here; what it has not got is not in the answer. Raises Unavailable."""
        if packed.checkpoint_id:
            return self._checkpoints.parts(packed.session_id, hashes)
        with redis_errors():
            fields = [_PART + digest.hex().encode() for digest in hashes]
            found = cast("list[bytes | None]", self._redis.hmget(_hot(packed.session_id), fields)) if fields else []
        return {digest: data for digest, data in zip(hashes, found, strict=True) if data is not None}

    def replace(self, damaged: Packed, sound: Packed) -> bool:
        """Write `sound` whole where `damaged` was read; False: something newer is here by now. Raises Unavailable."""
        if damaged.checkpoint_id:
            return self._checkpoints.replace(damaged, sound)
        _DROP.run(self._redis, _hot(damaged.session_id), damaged.manifest)
        return bool(self.put_many([(sound, sound.parts.keys())]))

    def delete(self, ref: Ref) -> None:
        """Delete a hot copy. Raises Unavailable."""
        if ref.checkpoint_id:
            self._checkpoints.delete(ref)
            return
        with redis_errors():
            self._redis.delete(_hot(ref.session_id))

    def held(self, session_id: UUID) -> list[Held]:
        """Return what Redis has of a session, its save first, then checkpoints, newest first. Raises Unavailable."""
        with redis_errors():
            found = cast("list[bytes | None]", self._redis.hmget(_hot(session_id), "epoch", "revision", "size"))
        epoch, revision, size = found
        saves = [Held(Ref(session_id), int(epoch), int(revision), int(size or 0))] if epoch and revision else []
        return [*saves, *self._checkpoints.held(session_id)]

    def probe(self) -> None:
        """Return when Redis takes writes; raises Unavailable that says why it does not."""
        with redis_errors():
            self._redis.set("fntx:probe", b"", ex=1)

    def _call(self, packed: Packed, sent: Collection[bytes]) -> Call:
        values: list[Value] = [packed.epoch, packed.revision, self._ttl_s, packed.checksum, packed.manifest]
        values += [packed.size, len(packed.parts), *(digest.hex() for digest in packed.parts)]
        for digest in sent:
            values += [digest.hex(), packed.parts[digest]]
        return _hot(packed.session_id), values


def _packed(ref: Ref, head: Sequence[bytes | None], parts: dict[bytes, bytes]) -> Packed | None:
    epoch, revision, manifest, checksum = head
    if epoch is None or revision is None or manifest is None or checksum is None:
        return None
    try:
        return Packed(ref.session_id, int(epoch), int(revision), manifest, checksum, parts)
    except ValueError:
        raise IntegrityError(f"hot copy of session {ref.session_id}", "epoch or revision is not a number") from None


def _hot(session_id: UUID) -> str:
    return key(session_id, "hot")
