"""Rows as COPY writes them, read back as values, where an archive is checked without a database."""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Integer, LargeBinary, Table
from sqlalchemy.dialects import postgresql

_ESCAPE = re.compile(r"\\(.)")
_MEANS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_NULL = "\\N"


def rows(table: Table, columns: Sequence[str], chunk: bytes) -> Iterator[dict[str, Any]]:
    """Yield the rows of a chunk; ids, integers, times and bytes as such, everything else as text, NULL as None."""
    readers = [_reader(table, name) for name in columns]
    for line in chunk.decode().split("\n")[:-1]:
        values = line.split("\t")
        yield {
            name: None if value == _NULL else read(_unescaped(value))
            for name, read, value in zip(columns, readers, values, strict=True)
        }


def _unescaped(value: str) -> str:
    return _ESCAPE.sub(lambda found: _MEANS.get(found[1], found[1]), value) if "\\" in value else value


def _reader(table: Table, name: str) -> Callable[[str], Any]:
    kind = table.columns[name].type
    if isinstance(kind, postgresql.UUID):
        return UUID
    if isinstance(kind, Integer | BigInteger):
        return int
    if isinstance(kind, DateTime):
        return datetime.fromisoformat
    return _bytes if isinstance(kind, LargeBinary) else str


def _bytes(value: str) -> bytes:
    return bytes.fromhex(value.removeprefix("\\x"))
