"""The desk's own audit chain: what is done, or refused, about no one session."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, RowMapping, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.audit import args_hash, chain_hash
from fntx_sessions.security.origin import origin
from fntx_sessions.state.chain_key import ChainKey, chain_key
from fntx_sessions.state.payloads import sealable

# The session id of its rows.
DESK = UUID(int=0)
_REASON_CHARACTERS = 2000

_HEAD = text("SELECT seq, head, clock_timestamp() AS now FROM desk_chain FOR UPDATE")
_WRITE = text("""
WITH a AS (
  INSERT INTO audit (session_id, seq, timestamp, actor, roles, action, outcome, reason, command_id, args_hash,
    version_before, version_after, host, target, task, token_id, confirmed_by, key_id, previous, hash)
  VALUES (:session_id, :seq, :timestamp, :actor, :roles, :action, :outcome, :reason, :command_id, :args_hash,
    :version_before, :version_after, :host, :target, :task, :token_id, :confirmed_by, :key_id, :previous, :hash)
)
UPDATE desk_chain SET seq = :seq, head = :hash
""")
# The last rows of a chain are looked through: what is delivered twice comes twice within minutes, and a chain is long.
_WRITTEN = text("""
SELECT 1 FROM audit WHERE session_id = :session_id AND seq > :seq - 1000 AND command_id = :command_id
  AND actor = :actor AND action = :action AND outcome = :outcome AND args_hash IS NOT DISTINCT FROM :args_hash LIMIT 1
""")

_IS_THERE = text("""
SELECT EXISTS (SELECT FROM audit
  WHERE session_id = :session_id AND action = :action AND outcome = :outcome AND target = :target)
""")


@dataclass(frozen=True, slots=True)
class Deed:
    """What somebody did or wanted to: target names what it was about.

    outcome is done, refused, denied (for lack of authority), failed or pending.
    """

    action: str
    outcome: str
    target: str | None = None
    reason: str = ""
    command_id: UUID | None = None
    args_hash: bytes | None = None
    version_before: int | None = None
    version_after: int | None = None


def asked_hash(asked: Mapping[str, Any]) -> bytes:
    """Return the hash by which the arguments of a deed are known again, as its row has it."""
    return args_hash(sealable(asked))


def record(engine: Engine, actor: Actor, deed: Deed) -> None:
    """Write one row of the desk's chain in a transaction of its own; raises Busy and Unavailable."""
    with transaction(engine) as connection:
        record_in(connection, actor, deed)


def record_in(connection: Connection, actor: Actor, deed: Deed) -> None:
    """Write one row of the desk's chain within the caller's transaction: late in it, as it locks the chain's end."""
    key = chain_key(connection.engine)
    _link(connection, actor, deed, connection.execute(_HEAD).mappings().one(), key)


def record_once(engine: Engine, actor: Actor, deed: Deed) -> None:
    """Write one row of the desk's chain as `record` does, but where `deed` is in it already: its message came twice."""
    key = chain_key(engine)
    with transaction(engine) as connection:
        head = connection.execute(_HEAD).mappings().one()
        if not is_written(connection, DESK, head["seq"], actor, deed):
            _link(connection, actor, deed, head, key)


def record_first(engine: Engine, actor: Actor, deed: Deed) -> None:
    """Write a row as `record` does, where the whole chain has none of its action, outcome and target: a long look."""
    key = chain_key(engine)
    with transaction(engine) as connection:
        if not connection.execute(_IS_THERE, _about(deed)).scalar_one():
            head = connection.execute(_HEAD).mappings().one()
            # Once more, as nobody else writes now: of two who look at once, one does.
            if not connection.execute(_IS_THERE, _about(deed)).scalar_one():
                _link(connection, actor, deed, head, key)


def _about(deed: Deed) -> dict[str, Any]:
    return {"session_id": DESK, "action": deed.action, "outcome": deed.outcome, "target": deed.target}


def is_written(connection: Connection, owner: UUID, seq: int, actor: Actor, deed: Deed) -> bool:
    """Tell whether a command's deed has its row in the chain of `owner`, whose end, at `seq`, the caller has locked."""
    if deed.command_id is None:
        return False
    named = {"command_id": deed.command_id, "action": deed.action, "outcome": deed.outcome, "args_hash": deed.args_hash}
    bound = {"session_id": owner, "seq": seq, "actor": actor.name, **named}
    return connection.execute(_WRITTEN, bound).first() is not None


def _link(connection: Connection, actor: Actor, deed: Deed, head: RowMapping, key: ChainKey) -> None:
    entry = audit_row(DESK, actor, deed, head["seq"] + 1, head["now"], key.key_id)
    connection.execute(_WRITE, linked(entry, head["head"], key))


def linked(entry: dict[str, Any], head: bytes | memoryview | None, key: ChainKey) -> dict[str, Any]:
    """Return a row with what its chain adds to it: `head`, the hash of the row before it, and its own."""
    previous = None if head is None else bytes(head)
    return entry | {"previous": previous, "hash": chain_hash(previous, entry, key.rows)}


def audit_row(owner: UUID, actor: Actor, deed: Deed, seq: int, now: datetime, key_id: str) -> dict[str, Any]:
    """Return the row of a deed for the chain of `owner`, a session or the desk; its hash is still to come."""
    where = origin()
    return {
        "session_id": owner,
        "seq": seq,
        "timestamp": now,
        "actor": actor.name,
        "roles": actor.role_list(),
        "action": deed.action,
        "outcome": deed.outcome,
        "reason": deed.reason[:_REASON_CHARACTERS],
        "command_id": deed.command_id,
        "args_hash": deed.args_hash,
        "version_before": deed.version_before,
        "version_after": deed.version_after,
        "host": actor.host or where.host,
        "target": deed.target,
        "task": where.task,
        "token_id": actor.token_id or None,
        "confirmed_by": actor.confirmed_by or None,
        "key_id": key_id,
    }
