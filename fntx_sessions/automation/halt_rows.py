"""The rows of halts, and the sessions they are about, as SQL."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from fntx_sessions.automation.halt_arguments import Halt, Kind, Scope
from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.database.hosting import POSITIONS
from fntx_sessions.exceptions import InvalidArgument, NotFound
from fntx_sessions.lifecycle.halting import ALONE, STANDING, matches

_COLUMNS = """x.halt_id, x.scope, x.scope_name, x.reason, x.flatten, x.actor, x.created_at, x.released_at,
  x.released_by, x.release_reason"""
# Who began to trade before holds the lock for as long as its transaction lasts. Meanwhile nobody else begins: they
# wait behind this.
_ALONE = text(f"""
SET LOCAL lock_timeout = :lock_ms; SET LOCAL statement_timeout = :statement_ms;
{ALONE}
""")
_SAME = text(f"""
SELECT {_COLUMNS} FROM halts x
WHERE x.halt_id = :halt_id OR (x.released_at IS NULL AND x.scope = :scope AND x.scope_name IS NOT DISTINCT FROM :name)
ORDER BY x.halt_id = :halt_id DESC LIMIT 1
""")
_INSERT = text("""
INSERT INTO halts (halt_id, scope, scope_name, reason, flatten, actor, created_at)
VALUES (:halt_id, :scope, :name, :reason, :flatten, :actor, clock_timestamp())
""")
_FLATTEN = text("UPDATE halts SET flatten = true WHERE halt_id = :halt_id AND released_at IS NULL")
_ONE = text(f"SELECT {_COLUMNS} FROM halts x WHERE x.halt_id = :halt_id")
_BY_PREFIX = text(f"SELECT {_COLUMNS} FROM halts x WHERE x.halt_id::text LIKE :prefix || '%' LIMIT 3")
_RELEASE = text("""
UPDATE halts SET released_at = clock_timestamp(), released_by = :actor, release_reason = :reason
WHERE halt_id = :halt_id AND released_at IS NULL
""")
_HELD = f"""(SELECT count(*) FROM sessions s WHERE {matches("x")} AND s.status IN ('paused', 'suspended')
  AND 'halt' = ANY(s.holds)) AS held"""
_LIST = text(f"SELECT {_COLUMNS}, {_HELD} FROM halts x WHERE x.released_at IS NULL ORDER BY x.created_at DESC")
_LIST_ALL = text(f"SELECT {_COLUMNS}, {_HELD} FROM halts x ORDER BY x.created_at DESC LIMIT :limit")

# What a halt has still to see to: what runs, and what does not and might be resumed by somebody who does not know.
_LEFT = text(f"""
SELECT s.session_id FROM halts x JOIN sessions s ON {matches("x")}
WHERE x.halt_id = :halt_id AND s.started_at IS NOT NULL AND CASE WHEN x.flatten
  THEN s.status IN ('active', 'paused', 'suspended', 'error')
  ELSE s.status = 'active' OR (s.status IN ('paused', 'suspended') AND NOT 'halt' = ANY(s.holds)) END
ORDER BY s.status <> 'active', s.created_at
""")
_STOPPED = text(f"""
SELECT s.session_id, s.status, s.holds, {POSITIONS} AS positions, {STANDING} AS halts
FROM halts h JOIN sessions s ON {matches("h")}
WHERE h.halt_id = :halt_id AND s.status IN ('paused', 'suspended') AND 'halt' = ANY(s.holds)
ORDER BY s.created_at
""")
_RUNS = text("SELECT bulk_id, finished_at, cancelled_at FROM bulk_runs WHERE halt_id = :halt_id ORDER BY created_at")

_KNOWN: dict[Kind, Any] = {
    "account": text("SELECT account_id FROM accounts WHERE account_id = :name"),
    "template": text("SELECT template_name FROM templates WHERE template_name = :name"),
    "session": text("SELECT session_id::text FROM sessions WHERE session_id::text LIKE :name || '%' LIMIT 3"),
}
_WHERE: dict[Kind, str] = {
    "account": "`fntx ls --json` shows every session's account.",
    "template": "See `fntx templates`.",
    "session": "See `fntx ls`.",
}
_LEAST_PREFIX, _FULL_ID = 4, 32
_DASHES = (8, 12, 16, 20)


def known(engine: Engine, scope: Scope) -> Scope:
    """Return the scope with its name in full; raises NotFound for a name nobody has, InvalidArgument where several do.

    An account needs no session: it may be halted before it has any.
    """
    if scope.name is None:
        return scope
    name = _id_prefix(scope.name) if scope.kind == "session" else scope.name
    with transaction(engine) as connection:
        found = list(connection.execute(_KNOWN[scope.kind], {"name": name}).scalars())
    if not found:
        raise NotFound(scope.kind, scope.name, f"Nothing was halted. {_WHERE[scope.kind]}")
    if len(found) > 1:
        raise InvalidArgument("scope", f"{scope.name!r} fits several sessions: {', '.join(found)}", "Give more of it.")
    return Scope(kind=scope.kind, name=found[0])


def _id_prefix(given: str) -> str:
    """Return the first characters of an id as Postgres writes ids."""
    digits = given.lower().replace("-", "")
    if set(digits) - set("0123456789abcdef") or not _LEAST_PREFIX <= len(digits) <= _FULL_ID:
        raise InvalidArgument(
            "scope", f"{given[:50]!r} is no session id", "Copy it from `fntx ls`, 4 characters or more."
        )
    return "".join(f"-{digit}" if at in _DASHES else digit for at, digit in enumerate(digits))


def place(connection: Connection, asked: dict[str, Any]) -> tuple[Halt, bool, str]:
    """Store a halt, alone among all that begin to trade; return the one that stands, and whether that is another.

    And what was done for it: placed, made to flatten, or, where all of it was done before, nothing.

    asked: halt_id, scope, name, reason, flatten, actor, and lock_ms, how long to wait for those who begin right now.
    """
    # Of two limits that pass together Postgres would tell of the statement's, which says nothing of a lock.
    connection.execute(_ALONE, {"lock_ms": asked["lock_ms"], "statement_ms": 2 * asked["lock_ms"]})
    found = connection.execute(_SAME, asked).mappings().one_or_none()
    done = ""
    if found and asked["flatten"] and not found["flatten"] and found["released_at"] is None:
        done = "made to flatten"
        if not connection.execute(_FLATTEN, {"halt_id": found["halt_id"]}).rowcount:
            # Somebody ended it just now: it is another's id, and this one is placed anew, or this one, which is over.
            found = connection.execute(_SAME, asked).mappings().one_or_none()
            done = ""
    if found is None:
        done = "placed"
        connection.execute(_INSERT, asked)
    halt_id = asked["halt_id"] if found is None else found["halt_id"]
    stored = connection.execute(_ONE, {"halt_id": halt_id}).mappings().one()
    return Halt.model_validate(dict(stored)), halt_id != asked["halt_id"], done


def load(engine: Engine, halt_id: UUID) -> Halt:
    """Return a halt; raises NotFound."""
    with transaction(engine) as connection:
        found = connection.execute(_ONE, {"halt_id": halt_id}).mappings().one_or_none()
    if found is None:
        raise NotFound("halt", str(halt_id), "See `fntx halt ls --all`.")
    return Halt.model_validate(dict(found))


def find(engine: Engine, prefix: str) -> Halt:
    """Return the halt whose id begins so; raises NotFound, and InvalidArgument where several do."""
    with transaction(engine) as connection:
        found = rows(connection.execute(_BY_PREFIX, {"prefix": prefix.lower()}))
    if not found:
        raise NotFound("halt", prefix, "See `fntx halt ls --all`.")
    if len(found) > 1:
        raise InvalidArgument("halt", f"{prefix!r} fits several", "Give more of it.")
    return Halt.model_validate(found[0])


def release(connection: Connection, halt_id: UUID, actor: str, reason: str) -> bool:
    """End a halt that stands, and tell whether it did; one that is over stays as it was."""
    return bool(connection.execute(_RELEASE, {"halt_id": halt_id, "actor": actor, "reason": reason}).rowcount)


def listed(engine: Engine, *, released: bool, limit: int) -> list[Halt]:
    """Return the halts that stand, or the newest of all, newest first."""
    with transaction(engine) as connection:
        found = rows(connection.execute(_LIST_ALL, {"limit": limit}) if released else connection.execute(_LIST))
    return [Halt.model_validate(row) for row in found]


def left(engine: Engine, halt_id: UUID) -> list[UUID]:
    """Return the sessions that a halt has still to pause or stop, those that trade first."""
    with transaction(engine) as connection:
        return list(connection.execute(_LEFT, {"halt_id": halt_id}).scalars())


def held(engine: Engine, halt_id: UUID) -> list[dict[str, Any]]:
    """Return the sessions in a halt's scope that a halt keeps from trading, and which halts still stand for each."""
    with transaction(engine) as connection:
        return rows(connection.execute(_STOPPED, {"halt_id": halt_id}))


def runs(engine: Engine, halt_id: UUID) -> list[dict[str, Any]]:
    """Return the bulk runs of a halt, oldest first: bulk_id, finished_at, cancelled_at."""
    with transaction(engine) as connection:
        return rows(connection.execute(_RUNS, {"halt_id": halt_id}))
