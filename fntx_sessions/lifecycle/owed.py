"""Rows that the desk's chain is owed: of deeds that nobody who holds the chain's end may keep from being done.

Such a deed notes in its own transaction what its row says. The row is written at once where the chain's end is free,
else by a sweep, and once: whoever writes it takes the note away with it.
"""

import structlog
from sqlalchemy import Connection, Engine, RowMapping, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import FntxError
from fntx_sessions.lifecycle.desk_audit import Deed, record_in
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.origin import origin, set_origin

log = structlog.get_logger(__name__)

_OWE = text("""
INSERT INTO owed_deeds (actor, roles, action, outcome, target, reason, command_id, args_hash, host, task, token_id,
  confirmed_by)
VALUES (:actor, :roles, :action, :outcome, :target, :reason, :command_id, :args_hash, :host, :task, :token_id,
  :confirmed_by)
RETURNING owed_id
""")
_TAKE = text("DELETE FROM owed_deeds WHERE owed_id = :owed_id RETURNING *")
_OLDEST = text("SELECT owed_id FROM owed_deeds ORDER BY owed_id LIMIT :most")


def owe(connection: Connection, actor: Actor, deed: Deed) -> int:
    """Note within a deed's own transaction what the chain will say of it; returns what `pay` is asked for it by."""
    where = origin()
    noted = {
        "actor": actor.name,
        "roles": actor.role_list(),
        "action": deed.action,
        "outcome": deed.outcome,
        "target": deed.target,
        "reason": deed.reason,
        "command_id": deed.command_id,
        "args_hash": deed.args_hash,
        "host": actor.host or where.host,
        "task": where.task,
        "token_id": actor.token_id,
        "confirmed_by": actor.confirmed_by,
    }
    owed_id: int = connection.execute(_OWE, noted).scalar_one()
    return owed_id


def pay(engine: Engine, owed_id: int) -> None:
    """Write the row that is owed, unless somebody did; where chain or key ring cannot be had now, it stays owed.

    That is logged and not raised: the deed is done, and who did it goes on.
    """
    try:
        with transaction(engine) as connection:
            found = connection.execute(_TAKE, {"owed_id": owed_id}).mappings().one_or_none()
            if found is not None:
                _write(connection, found)
    except FntxError as error:
        log.warning("audit_row_owed", owed_id=owed_id, problem=str(error))


def pay_oldest(engine: Engine, most: int) -> None:
    """Write what is owed, the oldest first, `most` at most; raises Unavailable."""
    with transaction(engine) as connection:
        waiting = list(connection.execute(_OLDEST, {"most": most}).scalars())
    for owed_id in waiting:
        pay(engine, owed_id)


def _write(connection: Connection, owed: RowMapping) -> None:
    actor = Actor(
        owed["actor"],
        frozenset(filter(None, owed["roles"].split(","))),
        host=owed["host"],
        token_id=owed["token_id"],
        confirmed_by=owed["confirmed_by"],
    )
    told = {name: owed[name] for name in ("action", "outcome", "target", "reason", "command_id")}
    hashed = None if owed["args_hash"] is None else bytes(owed["args_hash"])
    here = origin()
    set_origin(owed["host"], owed["task"])
    try:
        record_in(connection, actor, Deed(**told, args_hash=hashed))
    finally:
        set_origin(here.host, here.task)
