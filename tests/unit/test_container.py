"""A snapshot as one blob: back as it was, or refused with the reason; and readable for ever."""

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.state.container import from_bytes, to_bytes
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.state.tiers.base import Ref

GOLDEN = Path(__file__).parent.parent / "golden"
SAVE = Packed(UUID(int=7), 3, 41, b"sealed manifest", bytes(range(32)), {b"\x01" * 32: b"part", b"\x02" * 32: b""})
CHECKPOINT = replace(SAVE, checkpoint_id=UUID(int=9))


@given(
    st.uuids(),
    st.integers(0, 2**62),
    st.binary(max_size=200),
    st.dictionaries(st.binary(min_size=32, max_size=32), st.binary(max_size=100), max_size=4),
    st.none() | st.uuids(),
)
def test_any_snapshot_comes_back(session_id, number, manifest, parts, checkpoint_id):
    """What goes in comes out, every field of it."""
    packed = Packed(session_id, number, number, manifest, bytes(32), parts, checkpoint_id)
    assert from_bytes(to_bytes(packed), Ref(session_id, checkpoint_id)) == packed


@pytest.mark.parametrize("packed", [SAVE, CHECKPOINT], ids=["save", "checkpoint"])
def test_the_first_format_is_read_for_ever(packed: Packed):
    """Blobs that the first version wrote are read by this one."""
    name = "checkpoint" if packed.checkpoint_id else "save"
    assert from_bytes((GOLDEN / f"container-1-{name}.bin").read_bytes()) == packed


def test_every_flipped_bit_and_every_cut_is_found():
    """Whatever byte is changed and wherever a blob ends too early, it is refused."""
    blob = to_bytes(CHECKPOINT)
    for place in range(len(blob)):
        changed = blob[:place] + bytes([blob[place] ^ 1]) + blob[place + 1 :]
        for bad in (changed, blob[:place]):
            with pytest.raises(IntegrityError):
                from_bytes(bad)
    with pytest.raises(IntegrityError, match="padded"):
        from_bytes(blob + b"\x00")


@pytest.mark.parametrize(
    ("blob", "sentence"),
    [
        (b"", "truncated to 0 bytes"),
        (b"FXZ" + to_bytes(SAVE)[3:], "not a snapshot of this service"),
        (b"FXC\x02" + to_bytes(SAVE)[4:], "format 2 is not known here; was it written by a newer version?"),
        (to_bytes(SAVE)[:-1], "truncated or padded"),
        (to_bytes(SAVE)[:-1] + b"\xff", "checksum does not match"),
    ],
)
def test_a_bad_blob_says_what_is_wrong(blob: bytes, sentence: str):
    """The error is a sentence an operator can act on."""
    with pytest.raises(IntegrityError) as raised:
        from_bytes(blob)
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    "expected", [Ref(UUID(int=8)), Ref(SAVE.session_id, UUID(int=9)), Ref(UUID(int=8), UUID(int=9))], ids=str
)
def test_a_blob_of_another_snapshot_is_refused(expected: Ref):
    """A blob that was put in another's place is found out by its ids, before anything is opened."""
    with pytest.raises(IntegrityError, match=f"holds the save of session {SAVE.session_id}, not the"):
        from_bytes(to_bytes(SAVE), expected)
