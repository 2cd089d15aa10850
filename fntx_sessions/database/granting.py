"""The database's roles and their rights, brought to what `rights` declares: by every migration, at its end.

Only the difference is written, so that two at once are harmless. A migrating user who may not create roles, or who owns
only some of the tables, does what it can and says what is left; workers that connect as the owner work all the same.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import structlog
from psycopg2 import errors as pg
from psycopg2.sql import SQL, Identifier
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from fntx_sessions.database.granted import HOME, PUBLIC, Grant, Kind, differences, known_roles
from fntx_sessions.database.rights import APP, ROLES, SEQUENCE, TEMPORARY, usual

_OWNS = text("SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = CAST('sessions' AS regclass)")
_NAME = text(f"SELECT CAST(CAST({HOME} AS regnamespace) AS text)")
_GIVEN_ON = text("""
SELECT r.rolname FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
WHERE c.oid = CAST(:table AS regclass) AND r.rolname = ANY(:roles) GROUP BY 1
""")
# may: by way of everybody, too, who may be taken it from.
_TEMPORARY = text(f"""
SELECT d.datname AS name, has_database_privilege(r.oid, d.oid, '{TEMPORARY}') AS may, EXISTS (
  SELECT FROM aclexplode(d.datacl) a WHERE a.grantee = r.oid AND a.privilege_type = '{TEMPORARY}') AS given
FROM pg_database d, pg_roles r WHERE d.datname = current_database() AND r.rolname = '{APP}'
""")
_NO_RIGHT = (pg.InsufficientPrivilege, pg.FeatureNotSupported, pg.UndefinedObject)
_log = structlog.get_logger(__name__)


def grant(connection: Connection) -> list[str]:
    """Make the roles and give them what is declared, in the caller's transaction; return what could not be done.

    Nothing is done by a user who does not own the tables: whoever made them has done it.
    """
    if not owns(connection):
        return []
    left = [*_create_roles(connection)]
    roles = known_roles(connection)
    schema = connection.execute(_NAME).scalar_one()
    for statement in _defaults(schema, roles):
        left += _tried(connection, statement)
    for difference in differences(connection):
        for statement in _statements(schema, difference):
            left += _tried(connection, statement)
    left += _temporary(connection)
    for problem in left:
        _log.warning("rights_not_given", problem=problem)
    return left


def owns(connection: Connection) -> bool:
    """Tell whether the tables are this user's."""
    return bool(connection.execute(_OWNS).scalar_one())


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
        if SEQUENCE[role]:
            yield start + SQL("GRANT {} ON SEQUENCES TO {}").format(_listed(SEQUENCE[role]), Identifier(role))


def _temporary(connection: Connection) -> list[str]:
    """Let the house make temporary tables, whatever everybody may; return what is left where it still may not."""
    found = connection.execute(_TEMPORARY).one_or_none()
    if found is None or found.given:
        return []
    statement = SQL("GRANT {} ON DATABASE {} TO {}").format(SQL(TEMPORARY), Identifier(found.name), Identifier(APP))
    told = _tried(connection, statement)
    # Who has the right and may not give it on is warned by Postgres, not refused.
    if connection.execute(_TEMPORARY).one().may:
        return []
    return told or [f"{_text(connection, statement)}: the database is not this user's"]


def _statements(schema: str, difference: Grant) -> Iterator[Any]:
    on = _on(schema, difference)
    role = SQL(PUBLIC) if difference.role == PUBLIC else Identifier(difference.role)
    column = difference.part if difference.kind is Kind.COLUMN else ""
    if difference.surplus:
        yield SQL("REVOKE {} ON {} FROM {}").format(_listed(difference.surplus, column), on, role)
    if difference.lacking:
        yield SQL("GRANT {} ON {} TO {}").format(_listed(difference.lacking, column), on, role)


def _on(schema: str, difference: Grant) -> Any:
    if difference.kind is Kind.SCHEMA:
        return SQL("SCHEMA {}").format(Identifier(schema))
    kind = SQL("TABLE" if difference.kind is Kind.COLUMN else difference.kind.value)
    # What a function takes is in Postgres's own words, quoted where they must be.
    taken = SQL(f"({difference.part})" if difference.kind is Kind.FUNCTION else "")
    return SQL("{} {}{}").format(kind, Identifier(schema, difference.name), taken)


def _listed(rights: Iterable[str], column: str = "") -> Any:
    of = SQL(" ({})").format(Identifier(column)) if column else SQL("")
    return SQL(", ").join(SQL(right) + of for right in sorted(rights))


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
