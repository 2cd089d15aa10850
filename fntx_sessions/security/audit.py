"""The audit's chain: each row's keyed hash covers its content and the hash before it. Pure; others write and read rows.

Whoever lacks the key can neither write a chain anew nor mend one that was changed. Rows from before chains had a key
name none and hash without one; `chain_check` says how far those are believed.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

# What the chain itself adds to a row, and so cannot cover as content.
_CHAIN_FIELDS = frozenset({"previous", "hash"})
# Columns that earlier rows lack: no content where they are empty.
_LATER = frozenset({"target", "task", "token_id", "confirmed_by", "key_id"})
_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME


def chain_hash(previous: bytes | None, row: Mapping[str, Any], key: bytes | None) -> bytes:
    """Return the HMAC-SHA256 over `previous` and the row's content, `previous` and `hash` left out.

    key: the secret of the chain key that the row's `key_id` names; None for a row that names none, which has a plain
    sha256. Two rows of the same facts hash alike however their times are zoned and whatever buffer type holds their
    bytes, so that what Postgres gives back hashes like what was written.
    """
    content = {
        name: value
        for name, value in row.items()
        if name not in _CHAIN_FIELDS and not (value is None and name in _LATER)
    }
    # A first row has no predecessor: 32 zero bytes keep the length of the prefix, and so the parse, unambiguous.
    prefix = bytes(previous) if previous is not None else bytes(32)
    told = prefix + orjson.dumps(content, default=_plain, option=_OPTIONS)
    return hashlib.sha256(told).digest() if key is None else hmac.digest(key, told, "sha256")


def args_hash(text: str | bytes) -> bytes:
    """Return the sha256 by which a command's arguments are known again; unkeyed, and never to change.

    The same id is asked again after an upgrade too: then its stored hash has to be this one.
    """
    plain = text if isinstance(text, str) else text.decode()
    return hashlib.sha256(bytes(32) + orjson.dumps({"ask": plain})).digest()


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return str(value)
