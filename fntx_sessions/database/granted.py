"""What the database's roles, and everybody, were given, compared with what `rights` declares."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, text

from fntx_sessions.database.rights import APP, ROLES, SCHEMA, SEQUENCE, declared, function

# Whoever connects, in Postgres's words: may know what there is, and nothing else.
PUBLIC = "PUBLIC"
HOME = "(SELECT relnamespace FROM pg_class WHERE oid = CAST('sessions' AS regclass))"
_KNOWN = text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:roles)")
# The house's schema, its tables, their columns, its sequences, and those functions that act as their owner; each with
# what was given on it. What nobody said anything about has Postgres's defaults.
_GIVEN = text(f"""
WITH object AS (
  SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind, c.relname AS name, '' AS part,
    c.relispartition AS partition, c.relacl AS acl
  FROM pg_class c WHERE c.relnamespace = {HOME} AND c.relkind IN ('r', 'p', 'S')
  UNION ALL
  SELECT 'COLUMN', c.relname, a.attname, c.relispartition, a.attacl
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
  WHERE c.relnamespace = {HOME} AND c.relkind IN ('r', 'p') AND a.attacl IS NOT NULL AND NOT a.attisdropped
  UNION ALL
  SELECT 'FUNCTION', p.proname, pg_get_function_identity_arguments(p.oid), false,
    coalesce(p.proacl, acldefault('f', p.proowner))
  FROM pg_proc p WHERE p.pronamespace = {HOME} AND p.prosecdef
  UNION ALL
  SELECT 'SCHEMA', n.nspname, '', false, coalesce(n.nspacl, acldefault('n', n.nspowner))
  FROM pg_namespace n WHERE n.oid = {HOME}
)
SELECT o.kind, o.name, o.part, o.partition, g.role, g.rights
FROM object o LEFT JOIN LATERAL (
  SELECT coalesce(r.rolname, '{PUBLIC}') AS role, array_agg(a.privilege_type) AS rights
  FROM aclexplode(o.acl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
  WHERE a.grantee = 0 OR r.rolname = ANY(:roles) GROUP BY 1
) g ON true
ORDER BY o.kind, o.name, o.part
""")


class Kind(StrEnum):
    """On what something was given, in Postgres's words."""

    TABLE = "TABLE"
    COLUMN = "COLUMN"
    SEQUENCE = "SEQUENCE"
    FUNCTION = "FUNCTION"
    SCHEMA = "SCHEMA"


@dataclass(frozen=True, slots=True)
class Grant:
    """What one role, or `PUBLIC`, lacks on something, and what it has too much of.

    part: which column of the table `name`; what the function `name` takes; else empty.
    """

    kind: Kind
    name: str
    role: str
    lacking: tuple[str, ...]
    surplus: tuple[str, ...]
    part: str = ""


def known_roles(connection: Connection) -> list[str]:
    """Return which of the two roles there are."""
    found = set(connection.execute(_KNOWN, {"roles": list(ROLES)}).scalars())
    return [role for role in ROLES if role in found]


def differences(connection: Connection) -> list[Grant]:
    """Return where what the roles and `PUBLIC` were given is not what `rights` declares; only of roles that are."""
    roles = known_roles(connection)
    given = _by_object(connection.execute(_GIVEN, {"roles": roles}).mappings())
    compared = (found for one in given.values() for found in _compared(one, roles))
    return [grant for grant in compared if grant.lacking or grant.surplus]


def _by_object(rows: Iterable[Any]) -> dict[tuple[str, ...], dict[str, Any]]:
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        one = found.setdefault((row["kind"], row["name"], row["part"]), {**row, "given": {}})
        if row["role"] is not None:
            one["given"][row["role"]] = frozenset(row["rights"])
    return found


def _compared(one: dict[str, Any], roles: list[str]) -> Iterator[Grant]:
    nothing = frozenset[str]()
    everybody = _wanted(one, PUBLIC)
    for role in (*roles, PUBLIC):
        wanted, given = _wanted(one, role), one["given"].get(role, nothing)
        # What everybody may have, and has, no role lacks.
        lacking = wanted - given - (everybody & one["given"].get(PUBLIC, nothing)) if role != PUBLIC else nothing
        told = tuple(sorted(lacking)), tuple(sorted(given - wanted))
        yield Grant(Kind(one["kind"]), one["name"], role, *told, part=one["part"])


def _wanted(one: dict[str, Any], role: str) -> frozenset[str]:
    if one["kind"] == Kind.SCHEMA:
        return SCHEMA
    if role == PUBLIC or one["kind"] == Kind.COLUMN:
        return frozenset()
    if one["kind"] == Kind.SEQUENCE:
        return SEQUENCE[role]
    if one["kind"] == Kind.FUNCTION:
        return function(one["name"]) if role == APP else frozenset()
    return declared(one["name"], partition=one["partition"]).of(role)
