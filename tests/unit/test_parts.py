"""What agents report is checked from its bytes: what is kept, every JSON reader can read."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.state.parts import checked

_MAX = 100_000
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def state(inner: bytes) -> bytes:
    return b'{"agent_id": "a", "last_update": "2024-01-02T14:30:00Z", "internal_state": {"x": ' + inner + b"}}"


def kept(inner: bytes) -> bool:
    try:
        checked("agent/a", state(inner), _MAX)
    except InvalidArgument:
        return False
    return True


def is_json(inner: bytes) -> bool:
    """Tell what a strict reader says: no NaN, nothing that overflows to infinity."""
    try:
        orjson.loads(state(inner))
    except orjson.JSONDecodeError:
        return False
    return True


@pytest.mark.parametrize(
    "inner",
    [
        b"NaN", b"Infinity", b"-Infinity", b"1e999", b"1E999", b"1e+999", b"-1.5e400", b"1" * 400, b'{"y": 1e999}',
        b"[1e0999]", b'"\xff\xfe"', b'{"\xff": 1}', b'"\\q"', b'"\\ud800"', b'"a\nb"', b"1,", b"01", b"+1", b"1.",
        b"tru", b"'x'", b"[1", b"", b"[" * 5000 + b"]" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_json_of_finite_numbers_is_refused(inner):
    """However deep it stands: not a number, infinite or too large, no UTF-8, no JSON."""
    assert not kept(inner)


@pytest.mark.parametrize(
    "inner", [b"1e-999", b"1.7e308", b"1e100", b'"1e999"', b'"NaN"', b"1" * 30, '"ü\U0001f600"'.encode()]
)
def test_what_only_looks_like_it_is_kept(inner):
    """A small number, a large one that fits, and text are no reason to refuse a state."""
    assert kept(inner)


@given(_json)
def test_what_one_library_writes_all_can_read(value):
    """JSON as Python writes it is kept exactly when a strict reader reads it."""
    inner = json.dumps(value).encode()
    assert kept(inner) == is_json(inner)


@given(_json, st.integers(0, 200), st.binary(max_size=3))
def test_damaged_json_is_kept_only_where_it_still_is_json(value, place, junk):
    """Bytes put in anywhere: whatever is kept, a strict reader reads."""
    inner = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS) if _plain(value) else b"[1, 2e5]"
    cut = place % (len(inner) + 1)
    damaged = inner[:cut] + junk + inner[cut:]
    if kept(damaged):
        assert is_json(damaged)


def _plain(value):
    """Tell whether orjson writes it: integers of 64 bits, text without lone surrogates."""
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True
