"""The hot tier: a self-contained copy of the latest save in one Redis hash, gone after `hot_ttl_s`."""

from collections.abc import Collection, Sequence
from typing import cast
from uuid import UUID

import redis

from fntx_sessions.state.redis_client import key, redis_errors
from fntx_sessions.state.scripts import Call, Script, Value
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.state.tiers.base import Ref

_WRITE = Script("hot_write.lua")
_PART = b"part:"


class HotTier:
    """Hot copies. Only the large parts that Redis does not hold already travel to it."""

    name = "redis"

    def __init__(self, client: redis.Redis, ttl_s: int) -> None:
        self._redis = client
        self._ttl_s = ttl_s

    def put_many(self, saves: Sequence[tuple[Packed, Collection[bytes]]]) -> None:
        """Write hot copies in one pipeline, each with the hashes of its parts that are new; raises Unavailable.

        A copy that is newer already stays. Parts that turn out to be missing there follow in a second pipeline.
        """
        if not saves:
            return
        answers = _WRITE.run_many(self._redis, [self._call(packed, fresh) for packed, fresh in saves])
        again = [
            self._call(packed, [bytes.fromhex(name.decode()) for name in missing])
            for (packed, _), missing in zip(saves, answers, strict=True)
            if missing
        ]
        if again:
            _WRITE.run_many(self._redis, again)

    def get(self, ref: Ref) -> Packed | None:
        """Return the hot copy as stored; None: there is none. Raises Unavailable."""
        with redis_errors():
            held = cast("dict[bytes, bytes]", self._redis.hgetall(_hot(ref.session_id)))
        if b"manifest" not in held:
            return None
        parts = {bytes.fromhex(f.removeprefix(_PART).decode()): v for f, v in held.items() if f.startswith(_PART)}
        return Packed(
            ref.session_id, int(held[b"epoch"]), int(held[b"revision"]), held[b"manifest"], held[b"checksum"], parts
        )

    def drop(self, session_id: UUID) -> None:
        """Delete a session's hot copy."""
        with redis_errors():
            self._redis.delete(_hot(session_id))

    def _call(self, packed: Packed, sent: Collection[bytes]) -> Call:
        values: list[Value] = [packed.epoch, packed.revision, self._ttl_s, packed.checksum, packed.manifest]
        values += [len(packed.parts), *(digest.hex() for digest in packed.parts)]
        for digest in sent:
            values += [digest.hex(), packed.parts[digest]]
        return _hot(packed.session_id), values


def _hot(session_id: UUID) -> str:
    return key(session_id, "hot")
