"""One chain as a file of JSON lines that the key ring alone verifies, far from every store.

A line that says what it is, with the wrapped chain keys; a line a row; a line with the chain's head, how many rows
there are and a MAC over all lines before, so that a shortened file is seen. Chain keys are never shredded, and open
nothing: that they lie in the file, wrapped, gives nobody more than the ring does.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Engine

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import IntegrityError, NotFound
from fntx_sessions.lifecycle.auditing import sql
from fntx_sessions.lifecycle.auditing.verifying import Verified, rows_between
from fntx_sessions.lifecycle.desk_audit import DESK
from fntx_sessions.security.chain_check import ChainCheck
from fntx_sessions.security.keyring import Wrapped
from fntx_sessions.settings import Settings, get_settings
from fntx_sessions.state.chain_key import ChainKeys, chain_key, owner_of
from fntx_sessions.state.key_rows import KeyRow

WHAT = "One chain of the audit of fntx-sessions. `fntx audit verify --file FILE` holds it against its keys."
FORMAT = 1
_BYTES = ("args_hash", "previous", "hash")
_LINE_MAX = 100_000
NO_ANCHOR = "no anchor speaks about a file: what was cut off before it was written shows where it was written"
# Times as the chain hashes them.
_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME


def export(engine: Engine, session_id: UUID, write: Callable[[bytes], Any]) -> int:
    """Write a chain, `DESK` for the desk's own, as it is at one moment; return how many rows.

    It is not checked: what is wrong with the chain is wrong in the file too. Raises IntegrityError (a key that rows
    name is nowhere: nobody could verify the file), NotFound, Busy and Unavailable.
    """
    count, hashed = 0, hashlib.sha256()
    key = chain_key(engine)

    def line(facts: dict[str, Any]) -> None:
        data = orjson.dumps(facts, default=_plain, option=_OPTIONS) + b"\n"
        hashed.update(data)
        write(data)

    with transaction(engine) as connection:
        connection.execute(sql.MOMENT)
        head = _head(connection, session_id)
        named = list(connection.execute(sql.KEYS, {"session_id": session_id}).scalars())
        line({"what": WHAT, "format": FORMAT, "session_id": session_id, "keys": _wrapped(engine, {*named, key.key_id})})
        for row in rows_between(connection, session_id, session_id):
            line(row)
            count += 1
    line({"rows": count, "seq": head["seq"], "head": head["head"], "key_id": key.key_id})
    write(_mac(key.anchors, hashed.digest()) + b"\n")
    return count


def verify_file(settings: Settings, lines: Iterable[bytes], engine: Engine | None = None) -> Verified:
    """Check an exported chain with the ring alone; engine: where keys are looked for that the ring does not open.

    It is never whole: no anchor speaks about a file.
    Raises IntegrityError for what is no such file, and Unavailable where its keys cannot be opened.
    """
    found, keys, left = Verified(chains=1), ChainKeys(engine, settings), iter(lines)
    first = next(left, b"")
    header = _parsed(first)
    if header.get("format") != FORMAT or "session_id" not in header:
        raise IntegrityError("the file", "is no exported chain of this service")
    _learn(keys, header)
    check, hashed, end = ChainCheck(keys.rows), hashlib.sha256(first), dict[str, Any]()
    for data in left:
        facts = _parsed(data)
        hashed.update(data)
        if "rows" in facts:
            end = facts
            break
        check.see(_row(facts))
        found.rows += 1
    problems = _end_problems(check, end, keys, hashed.digest(), next(left, b""), found.rows)
    if any(left):
        problems.append("lines were put after its end")
    if problems := [*check.problems(), *problems]:
        found.problems[UUID(header["session_id"])] = problems
    else:
        keyless = f"rows 1 to {check.keyless_to} were written without a key; " if check.keyless_to else ""
        found.unproven[UUID(header["session_id"])] = keyless + NO_ANCHOR
    return found


def _end_problems(
    check: ChainCheck, end: dict[str, Any], keys: ChainKeys, digest: bytes, mac: bytes, rows: int
) -> list[str]:
    if not end:
        return ["the file ends before its last line: it was cut off"]
    check.see_head(None if end["head"] is None else bytes.fromhex(end["head"]), end["seq"])
    if not hmac.compare_digest(_mac(keys.anchors(end["key_id"]), digest), mac.strip()) or end["rows"] != rows:
        return ["the file is not as it was written: its lines do not bear out its MAC"]
    return []


def _head(connection: Any, session_id: UUID) -> dict[str, Any]:
    if session_id == DESK:
        return dict(connection.execute(sql.DESK_HEAD).mappings().one())
    bound = {"after": UUID(int=session_id.int - 1), "upto": session_id, "limit": 1}
    row = connection.execute(sql.HEADS, bound).mappings().one_or_none()
    if row is None:
        raise NotFound("session", str(session_id), "See `fntx ls`.")
    return dict(row)


def _wrapped(engine: Engine, key_ids: set[str]) -> list[dict[str, str]]:
    keys = ChainKeys(engine, get_settings())
    found = ((key_id, keys.row(key_id).sealed()) for key_id in sorted(key_ids))
    return [
        {"key_id": key_id, "ring_key_id": wrapped.ring_key_id, "wrapped": wrapped.data.hex()}
        for key_id, wrapped in found
    ]


def _learn(keys: ChainKeys, header: dict[str, Any]) -> None:
    """Take the file's keys; one that this ring does not open may still be known here under another wrapping."""
    for told in header.get("keys", []):
        try:
            wrapped = Wrapped(told["ring_key_id"], bytes.fromhex(told["wrapped"]))
            row = KeyRow(owner_of(told["key_id"]), bytes.fromhex(told["key_id"]), wrapped)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise IntegrityError("the file", "names keys that are none") from None
        keys.offer(row)


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        facts = orjson.loads(data) if len(data) <= _LINE_MAX else None
    except orjson.JSONDecodeError:
        facts = None
    if not isinstance(facts, dict):
        raise IntegrityError("the file", "has a line that is none of an exported chain")
    return facts


def _row(facts: dict[str, Any]) -> dict[str, Any]:
    try:
        whole = isinstance(facts["seq"], int)
        found = facts | {name: None if facts[name] is None else bytes.fromhex(facts[name]) for name in _BYTES}
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole or found["hash"] is None:
        raise IntegrityError("the file", "has a line that is no row of a chain")
    return found


def _mac(key: bytes, digest: bytes) -> bytes:
    return hmac.digest(key, b"fntx export\x00" + digest, "sha256").hex().encode()


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else str(value)


def lines_of(file: Any) -> Iterator[bytes]:
    """Yield a file's lines, each bounded: one that is longer is no row."""
    while data := file.readline(_LINE_MAX + 1):
        yield data
