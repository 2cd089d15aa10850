"""The newest checkpoints of each session in one Redis hash: they are read alone, and share the large parts they can."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

import orjson
import redis

from fntx_sessions.exceptions import Busy, IntegrityError
from fntx_sessions.state.redis_client import key, redis_errors
from fntx_sessions.state.scripts import Script, Value
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.state.tiers.base import Held, Ref

_RUN = Script("hot_checkpoints.lua")
_STAYS = -1
_TRIES = 3


class HotCheckpoints:
    """What HotTier does with checkpoints; every call raises Unavailable when Redis is out of reach."""

    def __init__(self, client: redis.Redis, ttl_s: int, keep: int) -> None:
        self._redis = client
        self._ttl_s = ttl_s
        self._keep = keep

    def put(self, packed: Packed, sent: Collection[bytes] = ()) -> bool:
        """Write a checkpoint, sending `sent` and what Redis lacks; False: it is here, or enough newer ones are."""
        for _ in range(_TRIES):
            answer = _RUN.run(self._redis, _key(packed.session_id), *self._values(packed, sent))
            if answer == _STAYS:
                return False
            if not answer:
                return True
            # Sent before or missing now: both, for another checkpoint may leave in between, and take parts with it.
            sent = {*sent, *(bytes.fromhex(name.decode()) for name in answer)}
        raise Busy("the hot copy", 0)

    def get(self, ref: Ref) -> Packed | None:
        """Return a checkpoint as stored; None: it is not here."""
        found = self._read(ref)
        if found is None:
            return None
        packed, hashes = found
        parts = self.parts(ref.session_id, hashes)
        if len(parts) < len(hashes) and self._read(ref) is None:
            return None  # it left while we read
        return replace(packed, parts=parts)

    def head(self, ref: Ref) -> Packed | None:
        """Return a checkpoint without its large parts; None: it is not here."""
        found = self._read(ref)
        return found[0] if found else None

    def parts(self, session_id: UUID, hashes: Collection[bytes]) -> dict[bytes, bytes]:
        """Return large parts; those that are not here are not in the answer."""
        if not hashes:
            return {}
        with redis_errors():
            fields = [f"part:{digest.hex()}" for digest in hashes]
            found = cast("list[bytes | None]", self._redis.hmget(_key(session_id), fields))
        return {digest: data for digest, data in zip(hashes, found, strict=True) if data is not None}

    def replace(self, damaged: Packed, sound: Packed) -> bool:
        """Write a checkpoint whole, in place of the damaged one that was read; False: it has left, or stays out."""
        _RUN.run(self._redis, _key(damaged.session_id), "drop", str(damaged.checkpoint_id), damaged.manifest)
        return self.put(sound, sound.parts.keys())

    def delete(self, ref: Ref) -> None:
        """Delete a checkpoint with the parts no other one here needs."""
        _RUN.run(self._redis, _key(ref.session_id), "drop", str(ref.checkpoint_id), "")

    def held(self, session_id: UUID) -> list[Held]:
        """Return the checkpoints that are here, newest first."""
        with redis_errors():
            index = cast("bytes | None", self._redis.hget(_key(session_id), "index"))
        return [
            Held(Ref(session_id, UUID(one["id"])), int(one["epoch"]), int(one["revision"]), int(one["size"]))
            for one in _listed(session_id, index)
        ]

    def _read(self, ref: Ref) -> tuple[Packed, list[bytes]] | None:
        named = str(ref.checkpoint_id)
        with redis_errors():
            fields = ("index", f"manifest:{named}", f"checksum:{named}")
            index, manifest, checksum = cast("list[bytes | None]", self._redis.hmget(_key(ref.session_id), fields))
        one = next((one for one in _listed(ref.session_id, index) if one["id"] == named), None)
        if one is None or manifest is None or checksum is None:
            return None
        hashes = [bytes.fromhex(name) for name in one["parts"].split(",") if name]
        epoch, revision = int(one["epoch"]), int(one["revision"])
        return Packed(ref.session_id, epoch, revision, manifest, checksum, {}, ref.checkpoint_id), hashes

    def _values(self, packed: Packed, sent: Collection[bytes]) -> list[Value]:
        values: list[Value] = ["put", str(packed.checkpoint_id), packed.epoch, packed.revision, packed.size]
        values += [self._keep, self._ttl_s, packed.checksum, packed.manifest]
        values += [len(packed.parts), *(digest.hex() for digest in packed.parts)]
        for digest in sent:
            values += [digest.hex(), packed.parts[digest]]
        return values


def _listed(session_id: UUID, index: bytes | None) -> list[dict[str, Any]]:
    try:
        return cast("list[dict[str, Any]]", orjson.loads(index or b"[]"))
    except orjson.JSONDecodeError:
        raise IntegrityError(f"hot checkpoints of session {session_id}", "their index is not JSON") from None


def _key(session_id: UUID) -> str:
    return key(session_id, "checkpoints")
