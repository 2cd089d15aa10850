"""Parts and manifest: what goes in comes out, and nothing else is taken for it."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import orjson
import pytest
from sealing import fixed_codec

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import AgentState, MarketState
from fntx_sessions.state.parts import AgentPart, MarketPart, checked
from fntx_sessions.state.redis_client import key
from fntx_sessions.state.snapshot import Packer, Snapshot
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.state.tiers.memory import MemoryTier

PACKER = Packer(fixed_codec(), 100, 1_000_000)


def snapshot(**parts: bytes) -> Snapshot:
    return Snapshot(UUID(int=1), 2, 3, datetime(2024, 1, 2, tzinfo=UTC), parts)


def test_small_parts_ride_inside_and_large_ones_are_named():
    """Inline bytes come back exactly; equal large parts are stored once."""
    large = orjson.dumps({"n": list(range(200))})
    made = snapshot(trading=b'{"a": 1}', metrics=large)
    packed = PACKER.pack(made)
    assert len(packed.parts) == 1
    assert PACKER.unpack(packed) == made


def test_known_parts_are_taken_over_and_the_rest_validated():
    """A large part that did not change is neither sealed nor validated again."""
    first = PACKER.pack(snapshot(metrics=orjson.dumps({"n": list(range(200))})))
    again = PACKER.pack(snapshot(metrics=orjson.dumps({"n": list(range(200))})), first.parts)
    assert next(iter(again.parts.values())) is next(iter(first.parts.values()))


def test_invalid_parts_are_refused_at_the_pack_too():
    """Small or large, what is not JSON of the part's shape is never sealed."""
    for data in (b"{", b"[" + b"1," * 200 + b"NaN]"):
        with pytest.raises(InvalidArgument, match="metrics"):
            PACKER.pack(snapshot(metrics=data))


def test_outer_white_space_is_not_state():
    """A part padded with white space is the part."""
    assert checked("trading", b' {"a": 1}\n', 100) == b'{"a": 1}'


@pytest.mark.parametrize(("part", "model"), [(AgentPart, AgentState), (MarketPart, MarketState)])
def test_the_fast_check_knows_the_fields_of_the_model(part, model):
    """What passes the hot path's check is what the vocabulary can read: same fields, same required ones."""
    assert set(part.__struct_fields__) == set(model.model_fields)
    required = part.__struct_fields__[: len(part.__struct_fields__) - len(part.__struct_defaults__)]
    assert set(required) == {name for name, field in model.model_fields.items() if field.is_required()}


def test_memory_is_bounded_and_keeps_what_was_used_last():
    """When full, the save not used for longest leaves first; one larger than the tier is not held."""
    packs = [PACKER.pack(replace(snapshot(trading=b"{}"), session_id=uuid4())) for _ in range(3)]
    memory = MemoryTier(packs[0].size * 2 + 20)
    memory.put(packs[0])
    memory.put(packs[1])
    memory.get(Ref(packs[0].session_id))
    memory.put(packs[2])
    assert [memory.get(Ref(p.session_id)) is not None for p in packs] == [True, False, True]
    memory.forget(packs[0].session_id)
    assert memory.get(Ref(packs[0].session_id)) is None
    nothing = MemoryTier(0)
    nothing.put(packs[0])
    assert nothing.get(Ref(packs[0].session_id)) is None


def test_a_sessions_keys_share_a_hash_tag():
    """All keys of a session live on one node of a cluster."""
    assert key(UUID(int=1), "live") == "fntx:{00000000-0000-0000-0000-000000000001}:live"
