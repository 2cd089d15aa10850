"""The four relations a session's history is kept in, week by week, and how one session's part of it is deleted."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation of history. key: its primary key in the order in which rows are archived, all within a session."""

    name: str
    key: tuple[str, ...]
    # Measures of a session that goes on are made of these rows: they stay until it is closed and archived.
    measured: bool


EVENTS = Relation("events", ("timestamp", "event_id"), measured=False)
TRANSITIONS = Relation("transitions", ("version", "to_status", "timestamp"), measured=True)
FILLS = Relation("fills", ("timestamp", "fill_id"), measured=True)
SAMPLES = Relation("samples", ("timestamp",), measured=True)
RELATIONS = {relation.name: relation for relation in (EVENTS, TRANSITIONS, FILLS, SAMPLES)}

# Transitions are append-only but for a transaction that names whose go: `*` for rows that move between partitions, by
# their owner; one session's by a function that looks at what became of it.
FORGET = text("SELECT set_config('fntx.forget', :whose, true)")
_FORGET_TRANSITIONS = text("SELECT fntx_forget_transitions(CAST(:session_id AS uuid))")
_DELETES = {
    name: text(f"DELETE FROM {name} WHERE session_id = :session_id") for name in RELATIONS if name != TRANSITIONS.name
}


def delete_history(connection: Connection, session_id: UUID) -> dict[str, int]:
    """Delete a session's rows of every relation and week, simulated times included; return how many by relation.

    For sessions whose archive is verified, or that are shredded: of any other Postgres refuses to let transitions go.
    """
    bound = {"session_id": session_id}
    gone = {TRANSITIONS.name: connection.execute(_FORGET_TRANSITIONS, bound).scalar_one()}
    return gone | {name: connection.execute(statement, bound).rowcount for name, statement in _DELETES.items()}
