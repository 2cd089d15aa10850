"""Inputs nobody meant: how many a run takes, and what they are made of.

FUZZ_EXAMPLES is the number of inputs of each decoder: few in `make test`, thousands in `make fuzz`.
"""

import json
import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "12"))
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

fuzz = settings(
    max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=_SLOW,
    phases=(Phase.explicit, Phase.generate), print_blob=True,
)  # fmt: skip

ODD = (
    None, True, "", "x", "\x00", "\ud800", "é" * 3, "NaN", "-0", "1e400", "0x1", "\u0661", "../../passwd", "9" * 5000,
    0, -1, 1 << 31, 1 << 63, -(1 << 63) - 1, 1 << 64, 10**30, 0.0, -0.0, 1e308, -1e-320, float("inf"), float("nan"),
    [], {}, [[]], {"a": {}}, "2026-11-23", "2026-11-23T10:00:00Z",
    "9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+14:00",
    "00000000-0000-0000-0000-000000000000", "186d8101-4bf0-43d2-b12c-a7d80fdbae31", "a" * 300,
    "'; DROP TABLE sessions; --",
)  # fmt: skip
# As Celery's JSON marks what is no JSON: each is an object to us, and nothing of it is made.
MARKED = tuple(
    {"__type__": kind, "__value__": value}
    for kind, value in (
        ("decimal", "1e50000000"), ("decimal", "1e5000"), ("decimal", "sNaN"), ("decimal", "-Infinity"), ("decimal", 1),
        ("bytes", "x"), ("base64", "eA=="), ("base64", "x"), ("datetime", "2026-11-23T10:00:00"),
        ("date", "2026-11-23"), ("time", "10:00:00"), ("uuid", {"hex": "186d81014bf043d2b12ca7d80fdbae31"}),
        ("uuid", {"int": 1 << 200}),
        ("gadget", None), ([], {}),
    )
)  # fmt: skip
odd = st.sampled_from(ODD + MARKED)
leaves = odd | st.integers() | st.floats() | st.text(max_size=20) | st.booleans()
names = st.sampled_from(("session_id", "format", "name", "type", "config", "at", "__proto__", "")) | st.text(max_size=6)


def _grown(some: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(some, max_size=4) | st.dictionaries(names, some, max_size=4)


trees = st.recursive(leaves, _grown, max_leaves=12)
documents = trees.map(lambda tree: json.dumps(tree).encode("utf-8", "surrogatepass"))
deep = st.builds(bytes.__mul__, st.sampled_from((b"[", b'{"a":', b'[{"x":')), st.integers(1, 5000)) | st.just(
    b"[" * 50_000
)


@st.composite
def changed_bytes(draw: Callable[..., Any], whole: bytes) -> bytes:
    """Return bytes that were cut, turned over, doubled, or had others put into them in up to four places."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 16)))
        data[at:end] = draw(st.binary(max_size=16) | st.just(bytes(data[at:end]) * 2) | st.just(b""))
    return bytes(data)


@st.composite
def changed_tree(draw: Callable[..., Any], whole: Any) -> Any:
    """Return a copy of a JSON value in which up to three values are others, missing or under other names."""
    found = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, 3))):
        holder = found
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            inner = holder[key]
            if isinstance(inner, dict | list) and inner and draw(st.booleans()):
                holder = inner
                continue
            _change(draw, holder, key)
            break
    return found


def _change(draw: Callable[..., Any], holder: Any, key: Any) -> None:
    how = draw(st.integers(0, 9))
    if how == 0:
        del holder[key]
    elif how == 1 and isinstance(holder, dict):
        holder[draw(names)] = holder.pop(key)
    else:
        holder[key] = draw(leaves | trees)


def changed_document(whole: Any) -> st.SearchStrategy[bytes]:
    """Return JSON documents near `whole`, and bytes near those."""
    near = changed_tree(whole).map(lambda tree: json.dumps(tree).encode("utf-8", "surrogatepass"))
    return near | changed_bytes(json.dumps(whole).encode()) | documents | deep | st.binary(max_size=64)
