"""The database's roles and their rights, brought to what `rights` declares: by every migration, at its end.

Only the difference is written, so that two at once are harmless. A migrating user who may not create roles, or who owns
only some of the tables, does what it can and says what is left; workers that connect as the owner work all the same.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import structlog
from psycopg2 import errors as pg
from psycopg2.sql import SQL, Identifier
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from fntx_sessions.database.rights import APP, READ, ROLES, declared, usual

FORGET_FUNCTION = "fntx_forget_transitions"
_SCHEMA = "(SELECT relnamespace FROM pg_class WHERE oid = CAST('sessions' AS regclass))"
_OWNS = text("SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = CAST('sessions' AS regclass)")
_KNOWN = text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:roles)")
_NAME = text(f"SELECT CAST(CAST({_SCHEMA} AS regnamespace) AS text)")
# Tables and sequences of the house's schema, each with what the roles were given on it.
_GIVEN = text(f"""
SELECT c.relname AS name, c.relkind = 'S' AS sequence, c.relispartition AS partition, g.role, g.rights
FROM pg_class c LEFT JOIN LATERAL (
  SELECT r.rolname AS role, array_agg(a.privilege_type) AS rights
  FROM aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee WHERE r.rolname = ANY(:roles) GROUP BY 1
) g ON true
WHERE c.relnamespace = {_SCHEMA} AND c.relkind IN ('r', 'p', 'S') ORDER BY c.relname
""")
_EXECUTES = text(f"""
SELECT has_function_privilege(:role, p.oid, 'EXECUTE') FROM pg_proc p
WHERE p.proname = '{FORGET_FUNCTION}' AND p.pronamespace = {_SCHEMA}
""")
_USES_SCHEMA = text(f"SELECT has_schema_privilege(:role, {_SCHEMA}, 'USAGE')")
_GIVEN_ON = text("""
SELECT r.rolname FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
WHERE c.oid = CAST(:table AS regclass) AND r.rolname = ANY(:roles) GROUP BY 1
""")
_SEQUENCE = {APP: frozenset({"USAGE"}), READ: frozenset[str]()}
_NO_RIGHT = (pg.InsufficientPrivilege, pg.FeatureNotSupported, pg.UndefinedObject)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Grant:
    """What one role lacks on a table or sequence, and what it has too much of."""

    name: str
    role: str
    lacking: tuple[str, ...]
    surplus: tuple[str, ...]
    sequence: bool = False


def known_roles(connection: Connection) -> list[str]:
    """Return which of the two roles there are."""
    found = set(connection.execute(_KNOWN, {"roles": list(ROLES)}).scalars())
    return [role for role in ROLES if role in found]


def differences(connection: Connection) -> list[Grant]:
    """Return where what the roles were given is not what `rights` declares; only of roles that there are."""
    roles = known_roles(connection)
    given = _by_object(connection.execute(_GIVEN, {"roles": roles}).mappings())
    compared = (_compared(one, role) for one in given.values() for role in roles)
    return [grant for grant in compared if grant.lacking or grant.surplus]


def _by_object(rows: Iterable[Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        one = found.setdefault(row["name"], {**row, "given": {}})
        if row["role"] is not None:
            one["given"][row["role"]] = frozenset(row["rights"])
    return found


def _compared(one: dict[str, Any], role: str) -> Grant:
    wanted = _SEQUENCE[role] if one["sequence"] else declared(one["name"], partition=one["partition"]).of(role)
    given = one["given"].get(role, frozenset())
    return Grant(one["name"], role, tuple(sorted(wanted - given)), tuple(sorted(given - wanted)), one["sequence"])


def grant(connection: Connection) -> list[str]:
    """Make the roles and give them what is declared, in the caller's transaction; return what could not be done.

    Nothing is done by a user who does not own the tables: whoever made them has done it.
    """
    if not connection.execute(_OWNS).scalar_one():
        return []
    left = [*_create_roles(connection)]
    roles = known_roles(connection)
    schema = connection.execute(_NAME).scalar_one()
    for statement in [*_defaults(schema, roles), *_schema(connection, schema, roles)]:
        left += _tried(connection, statement)
    for difference in differences(connection):
        for statement in _statements(schema, difference):
            left += _tried(connection, statement)
    left += _function(connection, schema, roles)
    for problem in left:
        _log.warning("rights_not_given", problem=problem)
    return left


def close(connection: Connection, partition: str) -> None:
    """Take from the roles what default privileges gave them on a partition that was just made."""
    for role in connection.execute(_GIVEN_ON, {"table": partition, "roles": list(ROLES)}).scalars():
        _run(connection, SQL("REVOKE ALL ON {} FROM {}").format(Identifier(partition), Identifier(role)))


def _create_roles(connection: Connection) -> Iterator[str]:
    known = known_roles(connection)
    for role in ROLES:
        if role not in known:
            yield from _tried(connection, SQL("CREATE ROLE {} NOLOGIN").format(Identifier(role)))


def _defaults(schema: str, roles: list[str]) -> Iterator[Any]:
    """Yield what lets tables that this user makes from now on have the usual rights, before any migration ends."""
    start = SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA {} ").format(Identifier(schema))
    for role in roles:
        rights = _listed(usual().of(role))
        yield start + SQL("GRANT {} ON TABLES TO {}").format(rights, Identifier(role))
        if _SEQUENCE[role]:
            yield start + SQL("GRANT {} ON SEQUENCES TO {}").format(_listed(_SEQUENCE[role]), Identifier(role))


def _schema(connection: Connection, schema: str, roles: list[str]) -> Iterator[Any]:
    for role in roles:
        if not connection.execute(_USES_SCHEMA, {"role": role}).scalar_one():
            yield SQL("GRANT USAGE ON SCHEMA {} TO {}").format(Identifier(schema), Identifier(role))


def _statements(schema: str, difference: Grant) -> Iterator[Any]:
    kind = SQL("SEQUENCE " if difference.sequence else "TABLE ")
    on, role = kind + Identifier(schema, difference.name), Identifier(difference.role)
    if difference.surplus:
        yield SQL("REVOKE {} ON {} FROM {}").format(_listed(difference.surplus), on, role)
    if difference.lacking:
        yield SQL("GRANT {} ON {} TO {}").format(_listed(difference.lacking), on, role)


def _function(connection: Connection, schema: str, roles: list[str]) -> list[str]:
    if APP not in roles or connection.execute(_EXECUTES, {"role": APP}).scalar_one_or_none() is not False:
        return []
    name = Identifier(schema, FORGET_FUNCTION)
    return _tried(connection, SQL("GRANT EXECUTE ON FUNCTION {}(uuid) TO {}").format(name, Identifier(APP)))


def _listed(rights: Iterable[str]) -> Any:
    return SQL(", ").join(SQL(right) for right in sorted(rights))


def _tried(connection: Connection, statement: Any) -> list[str]:
    """Run a statement; return what it was and why where this user may not."""
    try:
        with connection.begin_nested():
            _run(connection, statement)
    except DBAPIError as error:
        if isinstance(error.orig, pg.DuplicateObject | pg.UniqueViolation):
            return []  # another database of the same server was migrated at the same moment
        if not isinstance(error.orig, _NO_RIGHT):
            raise
        return [f"{_text(connection, statement)}: {str(error.orig).splitlines()[0]}"]
    return []


def _run(connection: Connection, statement: Any) -> None:
    connection.exec_driver_sql(_text(connection, statement))


def _text(connection: Connection, statement: Any) -> str:
    found: str = statement.as_string(connection.connection.driver_connection)
    return found
