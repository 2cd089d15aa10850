"""Which rows are a session's, in the order in which an empty database takes them; as text, in and out, by COPY.

COPY keeps every value as it is, to the last digit and the difference between a JSON null and none, and costs one round
trip a table.
"""

from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any, Protocol
from uuid import UUID

import psycopg2
from sqlalchemy import Column, Connection, Table, text

from fntx_sessions.database import models as m
from fntx_sessions.exceptions import IntegrityError

# Claims and due times are of the moment; bytes of snapshots have sections of their own.
_LEFT_OUT = {
    "session_agents": {"joined_at", "ticket_hash", "token_id", "token_key_id", "token_issued_at"},
    "saves": {"manifest"},
    "checkpoints": {"manifest", "damage", "tier", "cold_object", "moved_at", "move_claimed_until"},
}
_OF_THE_MOMENT = ("next_", "archive_")
_CLAIMS = ("_claimed_until", "_due_at", "_claimed_by")

_MINE = "session_id = {id}"
_WHERE = {
    "accounts": "account_id = (SELECT account_id FROM sessions WHERE session_id = {id})",
    "account_days": "account_id = (SELECT account_id FROM sessions WHERE session_id = {id}) "
    "AND trade_date IN (SELECT trade_date FROM session_days WHERE session_id = {id})",
    # What the desk itself remembers of a session are its transitions, which are here already.
    "memories": "session_id = {id} AND taken_at IS NULL "
    "AND NOT (agent = 'SessionLifecycleManager' AND memory_type = 'execution')",
}

# The audit chain comes before the session row: by it the database knows a restored session from a made-up one.
TABLES: tuple[Table, ...] = (
    m.accounts,
    m.account_days,
    m.audit,
    m.sessions,
    m.session_work,
    m.session_agents,
    m.agent_reports,
    m.memories,
    m.transitions,
    m.events,
    m.commands,
    m.order_intents,
    m.fills,
    m.session_days,
    m.samples,
    m.invalid_states,
    m.recovery_runs,
    m.approvals,
    m.manual_orders,
    m.saves,
    m.checkpoints,
)
# Their rows need the bytes of their snapshots, and are put back with them.
WITH_BYTES = frozenset({"saves", "checkpoints"})


def where_of(table: Table, session_id: str = ":session_id") -> str:
    """Return the SQL condition of a session's rows of a table, for the id as SQL writes it."""
    return _WHERE.get(table.name, _MINE).format(id=session_id)


_COUNTS = text(
    "SELECT "
    + ", ".join(f"(SELECT count(*) FROM {table.name} WHERE {where_of(table)}) AS {table.name}" for table in TABLES)
)


class Sink(Protocol):
    """Where COPY writes rows to."""

    def write(self, data: bytes) -> Any:
        """Take bytes of whole rows."""
        ...


def columns_of(table: Table) -> list[Column[Any]]:
    """Return the columns of a table that an archive holds."""
    left_out = _LEFT_OUT.get(table.name, set())
    return [column for column in table.columns if column.name not in left_out and not _of_the_moment(table, column)]


def copy_out(connection: Connection, table: Table, session_id: UUID, sink: Sink) -> None:
    """Write a session's rows of a table, in the order of their key."""
    columns = ", ".join(f'"{column.name}"' for column in columns_of(table))
    where = where_of(table, f"'{session_id}'")
    order = ", ".join(f'"{column.name}"' for column in table.primary_key)
    _cursor(connection).copy_expert(
        f"COPY (SELECT {columns} FROM {table.name} WHERE {where} ORDER BY {order}) TO STDOUT", sink
    )


def stage(connection: Connection, table: Table, columns: Sequence[str], chunks: Iterable[bytes]) -> tuple[str, str]:
    """Put rows into a temporary table of this transaction; return its name and the columns as SQL lists them.

    Raises IntegrityError for a column this version's table does not have.
    """
    unknown = sorted(set(columns) - set(table.columns.keys()))
    if unknown:
        detail = f"{table.name} has no column {', '.join(unknown)} here: it was written by another version"
        raise IntegrityError("the archive", detail)
    temporary, listed = f"restored_{table.name}", ", ".join(f'"{column}"' for column in columns)
    connection.exec_driver_sql(
        f"CREATE TEMP TABLE {temporary} ON COMMIT DROP AS SELECT {listed} FROM {table.name} WITH NO DATA"
    )
    for chunk in chunks:
        _cursor(connection).copy_expert(f"COPY {temporary} ({listed}) FROM STDIN", BytesIO(chunk))
    return temporary, listed


def insert_staged(connection: Connection, table: Table, source: str, columns: str) -> int:
    """Insert rows of a staged table that are not there yet, and return how many that were."""
    done = connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {source} ON CONFLICT DO NOTHING"
    )
    return int(done.rowcount)


def count_rows(connection: Connection, session_id: UUID) -> dict[str, int]:
    """Return how many rows of each table are a session's."""
    return dict(connection.execute(_COUNTS, {"session_id": session_id}).mappings().one())


def _cursor(connection: Connection) -> psycopg2.extensions.cursor:
    driver: Any = connection.connection.driver_connection
    cursor: psycopg2.extensions.cursor = driver.cursor()
    return cursor


def _of_the_moment(table: Table, column: Column[Any]) -> bool:
    return table is m.session_work and (column.name.startswith(_OF_THE_MOMENT) or column.name.endswith(_CLAIMS))
