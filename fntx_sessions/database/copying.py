"""Rows with large bytes into a table by binary COPY: a fifth of an INSERT's time, whose bytes are text to parse."""

import io
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg2
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

_START = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)  # no flags, no extension
_END = struct.pack(">h", -1)
_READ_BYTES = 1 << 20


def copy_in(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[bytes]]) -> None:
    """Add rows within the caller's transaction, each value in Postgres's binary form (an id's or a bytea's own bytes).

    Raises as `connection.execute` does.
    """
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT binary)"
    data = io.BytesIO(b"".join((_START, *(piece for row in rows for piece in _row(row)), _END)))
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor:
            cursor.copy_expert(statement, data, _READ_BYTES)
    except psycopg2.Error as error:
        raise DBAPIError.instance(statement, None, error, psycopg2.Error) from error


def _row(values: Sequence[bytes]) -> Iterable[bytes]:
    yield struct.pack(">h", len(values))
    for value in values:
        yield struct.pack(">i", len(value))
        yield value
