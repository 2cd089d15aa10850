"""What the reads share: a session's columns, how they become a TradingSession, and the answer for an unknown one."""

from typing import Any
from uuid import UUID

from sqlalchemy import Engine, TextClause

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.exceptions import NotFound
from fntx_sessions.schemas import TradingSession

Row = dict[str, Any]

# Columns of `sessions s` that a TradingSession shows under the same name.
COLUMNS = ", ".join(
    f"s.{name}"
    for name in (
        "session_id", "session_type", "status", "created_at", "started_at", "ended_at", "config", "risk_parameters",
        "enabled_strategies", "strategy_parameters", "recovery_data", "parent_session_id", "version", "epoch",
        "template_name", "template_version", "account_id", "broker", "roster", "holds", "pending", "status_since",
        "status_reason", "status_actor", "requires_action", "quiesced_at", "pinned",
    )
)  # fmt: skip


def one(engine: Engine, statement: TextClause, session_id: UUID, **bound: Any) -> Row:
    """Return the one row of a statement about a session; raises NotFound, Busy and Unavailable."""
    with transaction(engine) as connection:
        found = connection.execute(statement, {"session_id": session_id, **bound}).mappings().one_or_none()
    if found is None:
        raise unknown(session_id)
    return dict(found)


def of_session(engine: Engine, statement: TextClause, session_id: UUID, **bound: Any) -> list[Row]:
    """Return the rows of a statement that begins at `sessions`; raises NotFound when there is no such session.

    The statement joins its rows on from the left, `found` false where there are none.
    """
    with transaction(engine) as connection:
        listed = rows(connection.execute(statement, {"session_id": session_id, **bound}))
    if not listed:
        raise unknown(session_id)
    return [row for row in listed if row.pop("found")]


def unknown(session_id: UUID) -> NotFound:
    """Return the error for a session that is not there."""
    return NotFound("session", str(session_id), "See `fntx ls`.")


def to_session(row: Row, **shown: Any) -> TradingSession:
    """Return a row, and what is shown beside it, as a TradingSession."""
    return TradingSession.model_validate({**row, **shown})
