"""The past grows over a week that is dropped: what of it has to stay moves there, the rest goes with its table.

Detaching and attaching the past would read all of it under a lock against everybody, and backtests leave many rows
there. A CHECK that says where it ends, validated beforehand while rows come and go, is proof enough for Postgres. It
says no more than the partition's own bound, so that it refuses nobody.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from fntx_sessions.database.partitions import changing, run
from fntx_sessions.database.weeks import Layout, Week, layouts, moment
from fntx_sessions.testing import failpoint

_CHECK = "is_past"
_KNOWN = text("""
SELECT convalidated FROM pg_constraint WHERE conname = :name AND conrelid = CAST(:table AS regclass)
""")


def prove_past(engine: Engine, layout: Layout, statement_ms: int) -> None:
    """Have a validated CHECK on the relation's past that it ends where it does; raises Busy and Unavailable."""
    past = f"{layout.relation}_past"
    with changing(engine, statement_ms) as connection:
        if _proven(connection, past) is None:
            check = f"CHECK (timestamp < {moment(layouts(connection)[layout.relation].past_until)})"
            run(connection, f"ALTER TABLE {past} ADD CONSTRAINT {_CHECK} {check} NOT VALID")
    failpoint("partition.past_checked")
    with changing(engine, statement_ms) as connection:
        if not _proven(connection, past):
            run(connection, f"ALTER TABLE {past} VALIDATE CONSTRAINT {_CHECK}")


def _proven(connection: Connection, past: str) -> bool | None:
    """Tell whether the past's CHECK is validated; None: there is none."""
    found: bool | None = connection.execute(_KNOWN, {"name": _CHECK, "table": past}).scalar_one_or_none()
    return found


def drop_week(connection: Connection, layout: Layout, week: Week, kept: Sequence[UUID]) -> int:
    """Drop the relation's first week, but for the rows of the sessions `kept`; return how many those are.

    Postgres cannot detach concurrently from a table that has a DEFAULT partition: everybody waits for the milliseconds
    this takes, and nobody is waited for longer than the lock's timeout. `prove_past` comes first.
    """
    relation, past = layout.relation, f"{layout.relation}_past"
    run(
        connection,
        f"ALTER TABLE {relation} DETACH PARTITION {week.name}",
        f"ALTER TABLE {relation} DETACH PARTITION {past}",
        f"ALTER TABLE {relation} ATTACH PARTITION {past} FOR VALUES FROM (MINVALUE) TO ({moment(week.until)})",
        f"ALTER TABLE {past} DROP CONSTRAINT {_CHECK}",
    )
    failpoint("partition.past_grown")
    keep = text(f"INSERT INTO {relation} SELECT * FROM {week.name} WHERE session_id = ANY(CAST(:kept AS uuid[]))")
    moved = connection.execute(keep, {"kept": list(map(str, kept))}).rowcount
    run(connection, f"DROP TABLE {week.name}")
    failpoint("partition.dropped")
    return moved
