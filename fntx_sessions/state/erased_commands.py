"""What a shredded session's commands still say: that they were, not with which arguments nor with what to tell."""

from typing import Any
from uuid import UUID

from psycopg2 import Binary
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import IntegrityError, Shredded
from fntx_sessions.state.payloads import DESK, OUTCOME, Payloads

_ARGUMENTS = text("UPDATE commands SET arguments = NULL WHERE session_id = :session_id AND arguments IS NOT NULL")
_BEFORE = text("""
SELECT c.command_id, c.outcome, k.shredded_at FROM commands c JOIN session_keys k USING (session_id)
WHERE c.session_id = :session_id AND c.outcome IS NOT NULL AND c.created_at < k.shredded_at
  AND c.trigger <> 'shred_session'
""")
_OUTCOME = text("UPDATE commands SET outcome = :outcome WHERE command_id = :command_id")
_KEPT = ("command_id", "session_id", "trigger", "state", "status", "version", "epoch", "at")


def blank_commands(engine: Engine, session_id: UUID) -> None:
    """Forget the arguments of a shredded session's commands, and what outcomes say beyond what became of them.

    Most are sealed with the destroyed key; those of a creation that was refused are sealed with the desk's.
    """
    payloads, bound = Payloads(engine), {"session_id": session_id}
    with transaction(engine) as connection:
        connection.execute(_ARGUMENTS, bound)
        before = connection.execute(_BEFORE, bound).all()
    for row in before:
        try:
            outcome = payloads.open(DESK, OUTCOME, row.command_id, row.outcome)
        except IntegrityError:
            continue  # sealed with the session's own key
        blank = payloads.seal(DESK, OUTCOME, row.command_id, _blank(outcome, str(row.shredded_at)))
        with transaction(engine) as connection:
            connection.execute(_OUTCOME, {"command_id": row.command_id, "outcome": Binary(blank)})


def _blank(outcome: dict[str, Any], shredded_at: str) -> dict[str, Any]:
    error = Shredded(outcome["session_id"], shredded_at).to_dict() if outcome["error"] else None
    return {name: outcome[name] for name in _KEPT} | {"warnings": [], "extra": {}, "error": error}
