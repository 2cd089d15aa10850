"""What a halt of a scope would be about, counted before it is placed."""

from typing import Any

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.database.hosting import POSITIONS
from fntx_sessions.lifecycle.halting import matches

_IN_SCOPE = text(f"""
SELECT s.status, count(*) AS sessions, sum({POSITIONS}) AS positions
FROM (SELECT CAST(:scope AS text) AS scope, CAST(:name AS text) AS scope_name) x JOIN sessions s ON {matches("x")}
WHERE s.status <> 'closed' GROUP BY s.status ORDER BY s.status
""")


def in_scope(engine: Engine, kind: str, name: str | None) -> list[dict[str, Any]]:
    """Return the unfinished sessions of a scope by status: how many, and how many positions they hold by the ledger.

    name: in full; None for `all`.
    """
    with transaction(engine) as connection:
        return rows(connection.execute(_IN_SCOPE, {"scope": kind, "name": name}))
