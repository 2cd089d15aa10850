"""What the connection in use may do in Postgres, beside what it should: too much, or too little."""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from fntx_sessions.database.granted import Grant, Kind, differences, known_roles
from fntx_sessions.database.guarded import Gap, gaps
from fntx_sessions.database.rights import APP, RIGHTS, ROLES, TEMPORARY, declared

# Whoever has one of these can undo what the tables refuse. The last: whoever may switch triggers off for a session.
_POWERS = text("""
SELECT current_user AS me, r.rolsuper AS "is superuser", r.rolcreaterole AS "makes roles",
  r.rolcreatedb AS "makes databases", r.rolreplication AS "replicates", r.rolbypassrls AS "passes row security",
  pg_has_role(c.relowner, 'USAGE') AS "owns the tables",
  has_schema_privilege(c.relnamespace, 'CREATE') AS "makes tables",
  has_database_privilege(current_database(), 'CREATE') AS "makes schemas",
  has_parameter_privilege('session_replication_role', 'SET') AS "switches triggers off"
FROM pg_class c, pg_roles r WHERE c.oid = CAST('sessions' AS regclass) AND r.rolname = current_user
""")
# Through any role it is in, through PUBLIC, and by columns.
_MINE = text("""
SELECT c.relname AS name, c.relispartition AS partition, array_agg(p.name) FILTER (WHERE
  has_table_privilege(c.oid, p.name) OR (p.name IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
    AND has_any_column_privilege(c.oid, p.name))) AS rights
FROM pg_class c CROSS JOIN unnest(CAST(:rights AS text[])) AS p(name)
WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = CAST('sessions' AS regclass))
  AND c.relkind IN ('r', 'p')
GROUP BY c.relname, c.relispartition ORDER BY c.relname
""")
# What an administrator says where nobody may make temporary tables, which every save goes through.
_TEMPORARY = text(f"""
SELECT format('GRANT {TEMPORARY} ON DATABASE %I TO %I', current_database(), CASE WHEN EXISTS (
  SELECT FROM pg_roles r WHERE r.rolname = '{APP}' AND pg_has_role(r.oid, 'USAGE')) THEN '{APP}' ELSE current_user END)
WHERE NOT has_database_privilege(current_database(), '{TEMPORARY}')
""")


@dataclass(frozen=True)
class RightsFound:
    """powers: what `user` may that nobody of the house should. surplus, lacking: rights of it, as `RIGHT on table`.

    missing: roles that are not there. strayed: where the roles' own rights are not as declared, in a sentence each.
    gaps: what of the guards of tables is not as installed. temporary: what lets `user` make temporary tables; empty
    where it may.
    """

    user: str
    powers: tuple[str, ...]
    surplus: tuple[str, ...]
    lacking: tuple[str, ...]
    missing: tuple[str, ...]
    strayed: tuple[str, ...]
    gaps: tuple[Gap, ...] = ()
    temporary: str = ""


def read_rights(connection: Connection) -> RightsFound:
    """Ask Postgres; the database must be migrated, if not to the newest."""
    powers = dict(connection.execute(_POWERS).mappings().one())
    user = powers.pop("me")
    surplus, lacking = _compared(connection)
    known = known_roles(connection)
    return RightsFound(
        user,
        tuple(name for name, has in powers.items() if has),
        surplus,
        lacking,
        tuple(role for role in ROLES if role not in known),
        tuple(sorted(_told(one) for one in differences(connection))),
        tuple(gaps(connection)),
        connection.execute(_TEMPORARY).scalar() or "",
    )


def _compared(connection: Connection) -> tuple[tuple[str, ...], tuple[str, ...]]:
    surplus, lacking = [], []
    for row in connection.execute(_MINE, {"rights": list(RIGHTS)}):
        wanted, given = declared(row.name, partition=row.partition).of(APP), frozenset(row.rights or ())
        surplus += [f"{right} on {row.name}" for right in sorted(given - wanted)]
        lacking += [f"{right} on {row.name}" for right in sorted(wanted - given)]
    return tuple(surplus), tuple(lacking)


def _told(one: Grant) -> str:
    lacking, surplus = ", ".join(one.lacking), ", ".join(one.surplus)
    parts = [f"lacks {lacking}" if lacking else "", f"has {surplus} too much" if surplus else ""]
    what = {Kind.COLUMN: f"{one.name} ({one.part})", Kind.FUNCTION: f"{one.name}()", Kind.SCHEMA: f"schema {one.name}"}
    return f"{one.role} on {what.get(one.kind, one.name)} {' and '.join(part for part in parts if part)}"
