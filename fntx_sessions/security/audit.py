"""The audit's chain: each row's hash covers its content and the hash before it. Pure; the machine writes the rows."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

# What the chain itself adds to a row, and so cannot cover as content.
_CHAIN_FIELDS = frozenset({"previous", "hash"})
# Columns that earlier rows lack: no content where they are empty.
_LATER = frozenset({"target", "task", "token_id", "confirmed_by", "key_id"})
_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME


def chain_hash(previous: bytes | None, row: Mapping[str, Any]) -> bytes:
    """Return the sha256 over `previous` and the row's content, `previous` and `hash` left out.

    Two rows of the same facts hash alike however their times are zoned and whatever buffer type holds their bytes,
    so that what Postgres gives back hashes like what was written.
    """
    content = {
        key: value for key, value in row.items() if key not in _CHAIN_FIELDS and not (value is None and key in _LATER)
    }
    # A first row has no predecessor: 32 zero bytes keep the length of the prefix, and so the parse, unambiguous.
    prefix = bytes(previous) if previous is not None else bytes(32)
    return hashlib.sha256(prefix + orjson.dumps(content, default=_plain, option=_OPTIONS)).digest()


def verify_chain(
    rows: Iterable[Mapping[str, Any]], *, head: bytes | None = None, after: Mapping[str, Any] | None = None
) -> list[str]:
    """Return one sentence per problem of a session's rows, ordered by `seq`; empty when the chain holds.

    `head` is the hash the session row holds: with it, rows cut off the end are seen too. `after`: the row before the
    first, where these are not all; it is taken at its word.
    """
    problems: list[str] = []
    previous: bytes | None = None if after is None else bytes(after["hash"])
    expected_seq = 1 if after is None else int(after["seq"]) + 1
    for row in rows:
        problems += _row_problems(row, previous, expected_seq)
        previous = bytes(row["hash"])
        expected_seq = int(row["seq"]) + 1
    if head is not None and (previous is None or bytes(head) != previous):
        problems.append(f"the chain ends at row {expected_seq - 1}, but the session's head is of another row")
    return problems


def _row_problems(row: Mapping[str, Any], previous: bytes | None, expected_seq: int) -> list[str]:
    problems = []
    seq = row["seq"]
    if seq != expected_seq:
        problems.append(f"row {seq} stands where row {expected_seq} should: rows were removed or reordered")
    if not _same(row["previous"], previous):
        problems.append(f"row {seq} does not follow the row before it")
    if chain_hash(row["previous"], row) != bytes(row["hash"]):
        problems.append(f"row {seq} was changed after it was written")
    return problems


def _same(stored: bytes | memoryview | None, expected: bytes | None) -> bool:
    return (None if stored is None else bytes(stored)) == expected


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return str(value)
