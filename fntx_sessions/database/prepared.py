"""Messages of several statements whose plans are kept: planned once a connection, then sent as EXECUTEs.

Planning the machine's two messages costs Postgres as much as running them. What prepares is the server's connection, so
a pooler that hands it from client to client must not stand between; where one does, messages are sent as they are.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg2 import errors as pg
from sqlalchemy import Connection, CursorResult, TextClause, column, text
from sqlalchemy.exc import DBAPIError

_GIVEN = re.compile(r"%\((\w+)\)s")
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")
# These take no plan, and PREPARE does not take them.
_PLAIN = ("BEGIN", "COMMIT", "ROLLBACK", "SET")
# A table that a migration changed under a kept plan; a server connection that never heard of our statements, or knows
# some of them, as preparing ended half-way: that is rolled back by nobody.
_OUTDATED = (pg.FeatureNotSupported, pg.InvalidSqlStatementName, pg.DuplicatePreparedStatement)
_PREPARED = "fntx_prepared"
_NONE: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class _Piece:
    """One statement. prepare None: it is sent as it is."""

    send: str
    prepare: str | None = None


class Prepared:
    """One message, sent in one round trip; its last statement's rows are the result."""

    def __init__(self, name: str, message: TextClause, types: Mapping[str, str]) -> None:
        """Take a message with :named parameters, and the SQL type of each; raises KeyError for one without.

        It holds no % and no ; but between its statements.
        """
        self._name = name
        self._message = message
        statements = [part.strip() for part in message.text.split(";") if part.strip()]
        self._pieces = [_piece(f"{name}_{number}", text, types) for number, text in enumerate(statements)]
        self._send = "; ".join(piece.send for piece in self._pieces)
        self._named = text(_GIVEN.sub(r":\1", self._send))

    def run(self, connection: Connection, bound: Mapping[str, Any], *, within: bool = False) -> CursorResult[Any]:
        """Send the message and return its rows; as it is, where its kept plan is outdated.

        within: a transaction is open already, so that nothing can be tried again here: an outdated plan raises what
        `is_outdated` tells.
        """
        if connection.info.get(_PREPARED, _NONE) is None:
            return self._plainly(connection, bound)
        try:
            self._prepare(connection)
            return self._execute(connection, bound)
        except DBAPIError as error:
            if not is_outdated(error):
                raise
            # This connection sends all as it is from now on; it is made anew within minutes.
            connection.info[_PREPARED] = None
            if within:
                raise
            connection.exec_driver_sql("ROLLBACK")
            return self._plainly(connection, bound)

    def _plainly(self, connection: Connection, bound: Mapping[str, Any]) -> CursorResult[Any]:
        return connection.execute(self._message, dict(bound))

    def _prepare(self, connection: Connection) -> None:
        known = connection.info.setdefault(_PREPARED, {})
        if self._name not in known:
            connection.exec_driver_sql("; ".join(piece.prepare for piece in self._pieces if piece.prepare))
            known[self._name] = None

    def _execute(self, connection: Connection, bound: Mapping[str, Any]) -> CursorResult[Any]:
        known = connection.info[_PREPARED]
        if (shaped := known[self._name]) is not None:
            return connection.execute(shaped, dict(bound))
        result = connection.exec_driver_sql(self._send, dict(bound))
        if result.returns_rows:
            # What is prepared never answers with other columns. To find out which costs as much as the rows do, but for
            # a statement that says it.
            known[self._name] = self._named.columns(*map(column, result.keys()))
        return result


def is_outdated(error: DBAPIError) -> bool:
    """Tell whether a kept plan is at fault: its table changed, or the server's connection is not the one prepared."""
    return isinstance(error.orig, _OUTDATED)


def _piece(name: str, statement: str, types: Mapping[str, str]) -> _Piece:
    if statement.upper().startswith(_PLAIN):
        return _Piece(statement)
    names = list(dict.fromkeys(_PARAMETER.findall(statement)))
    numbered = _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", statement)
    declared = f"({', '.join(types[one] for one in names)})" if names else ""
    given = f"({', '.join(f'%({one})s' for one in names)})" if names else ""
    return _Piece(f"EXECUTE {name}{given}", f"PREPARE {name}{declared} AS {numbered}")
