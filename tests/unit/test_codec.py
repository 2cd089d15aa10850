"""The codec: what goes in comes out, and nothing else is taken for it, whatever was done to the blob."""

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sealing import FixedSeal, fixed_codec

from fntx_sessions.exceptions import IntegrityError
from fntx_sessions.security.keyring import Wrapped, parse_ring
from fntx_sessions.state.codec import Codec, Label
from fntx_sessions.state.data_key import DataKey, binding

LABEL = Label(UUID(int=1), "part", "abc")
CODEC = fixed_codec()
GOLDEN = Path(__file__).parents[1] / "golden"


@given(st.binary(max_size=2000))
def test_what_is_encoded_decodes(data):
    """Every bytes come back as they were, under their own label."""
    assert CODEC.decode(CODEC.encode(data, LABEL), LABEL) == data


@given(st.data())
def test_one_changed_byte_is_always_found(data):
    """Wherever a blob is changed, it is refused by name."""
    blob = bytearray(CODEC.encode(b"the state of a session" * 10, LABEL))
    at = data.draw(st.integers(0, len(blob) - 1))
    blob[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(IntegrityError, match="part abc of session"):
        CODEC.decode(bytes(blob), LABEL)


@given(st.integers(0, 100))
def test_every_truncation_is_named(length):
    """A blob cut anywhere is refused as truncated, and so is one with bytes behind it."""
    blob = CODEC.encode(bytes(range(256)), LABEL)
    for wrong in (blob[:length], blob + bytes(length + 1)):
        with pytest.raises(IntegrityError, match="truncated"):
            CODEC.decode(wrong, LABEL)


@pytest.mark.parametrize("other", [replace(LABEL, kind="save"), replace(LABEL, name="abd")])
def test_a_blob_opens_only_as_what_it_was_sealed_as(other):
    """Another kind's and another part's blob of the same session is refused."""
    with pytest.raises(IntegrityError, match="sealed as something else"):
        CODEC.decode(CODEC.encode(b"x", LABEL), other)


def test_a_foreign_sessions_blob_is_named():
    """A blob swapped between sessions is told by its data key, before anything is opened."""
    with pytest.raises(IntegrityError, match="another session's blob"):
        CODEC.decode(CODEC.encode(b"x", LABEL), replace(LABEL, session_id=UUID(int=2)))


def test_the_wrong_key_opens_nothing():
    """Even under the same key id, other key bytes open nothing."""

    class Forged(FixedSeal):
        def opening(self, session_id):
            return replace(FixedSeal("other").sealing(session_id), key_id=FixedSeal().sealing(session_id).key_id)

    with pytest.raises(IntegrityError, match="does not open"):
        Codec(Forged()).decode(CODEC.encode(b"x", LABEL), LABEL)
    with pytest.raises(IntegrityError, match="sealed with data key"):
        fixed_codec("other").decode(CODEC.encode(b"x", LABEL), LABEL)


def test_a_blob_of_a_newer_version_says_so():
    """An unknown format or seal is not guessed at."""
    for at in (2, 3):
        blob = bytearray(CODEC.encode(b"x", LABEL))
        blob[at] = 9
        with pytest.raises(IntegrityError, match="newer version"):
            CODEC.decode(bytes(blob), LABEL)
    with pytest.raises(IntegrityError, match="not a blob of this service"):
        CODEC.decode(b"\x89PNG" + bytes(60), LABEL)


def test_nothing_of_the_plain_bytes_shows_but_that_they_are_the_same():
    """A blob hides what it holds; the same part sealed again is the same bytes, anything else has its own nonce."""
    plain = b"canary-in-a-coal-mine " * 20
    first = CODEC.encode(plain, LABEL)
    assert b"canary" not in first
    assert CODEC.encode(plain, LABEL) == first
    others = [
        CODEC.encode(plain[:-1], LABEL),
        CODEC.encode(plain, replace(LABEL, name="b")),
        CODEC.encode(plain, replace(LABEL, session_id=UUID(int=2))),
    ]
    assert len({blob[12:24] for blob in (first, *others)}) == 4
    assert CODEC.part_hash(UUID(int=1), plain) == CODEC.part_hash(UUID(int=1), plain)
    assert CODEC.part_hash(UUID(int=1), plain) != CODEC.part_hash(UUID(int=2), plain)


def test_a_key_shows_nothing_of_itself():
    """Neither the key nor what is derived of it comes out in a repr."""
    key = FixedSeal().sealing(UUID(int=1))
    assert repr(key) == f"DataKey(key_id={key.key_id!r})"


def golden(name):
    """Return a golden file's facts, its blob and the codec that its ring and wrapped key make."""
    facts = orjson.loads((GOLDEN / f"{name}.json").read_bytes())
    session_id, key_id = UUID(facts["session_id"]), bytes.fromhex(facts["data_key_id"])
    ring = parse_ring((GOLDEN / "ring.json").read_bytes(), "the golden ring")
    wrapped = Wrapped(facts["ring_key_id"], bytes.fromhex(facts["wrapped"]))
    key = DataKey.of(session_id, key_id, ring.unwrap(wrapped, binding(session_id, key_id)))

    class Golden:
        accepts_unsealed = facts["format"] == 1
        sealing = opening = staticmethod(lambda _session_id: key)

    return facts, bytes.fromhex(facts["blob"]), Codec(Golden())


@pytest.mark.parametrize("name", ["format-1", "format-2"])
def test_every_format_ever_written_is_read(name):
    """The golden file of each format opens to what it was made of; these files are never made again."""
    facts, blob, codec = golden(name)
    label = Label(UUID(facts["session_id"]), facts["kind"], facts["name"])
    plain = codec.decode(blob, label)
    assert plain.decode() == facts["plain"]
    assert codec.is_named(label.session_id, plain, bytes.fromhex(facts["part_hash"]))


def test_an_unsealed_blob_is_refused_unless_a_setting_allows_it():
    """Whoever can write to a store cannot put unsealed bytes in place of sealed ones; the setting is named."""
    facts, blob, codec = golden("format-1")
    label = Label(UUID(facts["session_id"]), facts["kind"], facts["name"])
    with pytest.raises(IntegrityError, match=r"not sealed.*FNTX_ACCEPT_UNSEALED"):
        CODEC.decode(blob, label)
    with pytest.raises(IntegrityError, match="checksum does not match"):
        codec.decode(blob[:-1] + bytes([blob[-1] ^ 1]), label)
