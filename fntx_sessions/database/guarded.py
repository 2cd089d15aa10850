"""What guards the tables in Postgres itself, compared with what migrations install; and who else may change them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import structlog
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import DBAPIError

from fntx_sessions.database import guards
from fntx_sessions.database.granted import HOME
from fntx_sessions.database.rights import DECLARED, FORGET_FUNCTION, ROLES
from fntx_sessions.database.weeks import APPEND_ONLY

# Each trigger in Postgres's own words, by the table it is on.
TRIGGERS: dict[str, dict[str, str]] = {
    "audit": {
        "append_only": "BEFORE DELETE OR UPDATE ON audit FOR EACH ROW EXECUTE FUNCTION fntx_refuse_change()",
        "append_only_truncate": "BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION fntx_refuse_change()",
    },
    "halts": {
        "guard_halt": "BEFORE UPDATE ON halts FOR EACH ROW WHEN (new.halt_id IS DISTINCT FROM old.halt_id OR "
        "new.scope IS DISTINCT FROM old.scope OR new.scope_name IS DISTINCT FROM old.scope_name OR "
        "new.reason IS DISTINCT FROM old.reason OR new.actor IS DISTINCT FROM old.actor OR "
        "new.created_at IS DISTINCT FROM old.created_at OR old.flatten AND NOT new.flatten OR "
        "old.released_at IS NOT NULL) EXECUTE FUNCTION fntx_guard_halt()"
    },
    "revoked_tokens": {
        "guard_revocation": "BEFORE DELETE ON revoked_tokens FOR EACH ROW EXECUTE FUNCTION fntx_guard_revocation()"
    },
    "session_keys": {
        "guard_key": "BEFORE UPDATE ON session_keys FOR EACH ROW WHEN (new.session_id <> old.session_id OR "
        "old.shredded_at IS NOT NULL AND (new.shredded_at IS NULL OR new.wrapped IS NOT NULL)) "
        "EXECUTE FUNCTION fntx_guard_key()"
    },
    "sessions": {
        "guard_status": "BEFORE INSERT OR UPDATE ON sessions FOR EACH ROW EXECUTE FUNCTION fntx_guard_session_status()"
    },
}
# Of a table that is cut by week, and of each week, which has the guard of rows by way of the whole.
_ROWS = "append_only"
_HISTORY = {
    _ROWS: "BEFORE DELETE OR UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION fntx_guard_history('{}')",
    "append_only_truncate": "BEFORE TRUNCATE ON {} FOR EACH STATEMENT EXECUTE FUNCTION fntx_guard_history('{}')",
}
_STATEMENTS = (
    *guards.status_guard_sql(), *guards.append_only_sql("audit"), *guards.history_guard_sql(),
    *guards.forget_transitions_sql(), *guards.key_guard_sql(), *guards.revocation_guard_sql(), *guards.halt_guard_sql(),
)  # fmt: skip
_FUNCTION = re.compile(r"CREATE OR REPLACE FUNCTION (\w+)\(.*?\$\$(.*)\$\$", re.DOTALL)
# By its name: a function's body, and what installs it. More than its body belongs to one that acts as its owner.
FUNCTIONS = {found[1]: (found[2], statement) for statement in _STATEMENTS if (found := _FUNCTION.match(statement))}
FUNCTIONS[FORGET_FUNCTION] = FUNCTIONS[FORGET_FUNCTION][0], "; ".join(guards.forget_transitions_sql())
# What is only ever added to.
_ADDED = [name for name, rights in DECLARED.items() if not rights.app & {"UPDATE", "DELETE"}]

_TABLES = f"""
SELECT c.oid, c.relname AS name, CASE WHEN c.relispartition THEN w.relname ELSE c.relname END AS whole, c.relacl,
  c.relowner, c.relispartition AS week
FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class w ON w.oid = i.inhparent
WHERE c.relnamespace = {HOME} AND c.relkind IN ('r', 'p')
"""
_INSTALLED = text(f"""
SELECT t.name, t.whole, g.tgname AS trigger, g.tgenabled IN ('O', 'A') AS works,
  regexp_replace(pg_get_triggerdef(g.oid, true), '^CREATE (CONSTRAINT )?TRIGGER \\S+ ', '') AS told,
  'DROP TRIGGER ' || quote_ident(g.tgname) || ' ON ' || quote_ident(t.name) AS mend
FROM ({_TABLES}) t LEFT JOIN pg_trigger g ON g.tgrelid = t.oid AND NOT g.tgisinternal
WHERE t.whole = ANY(:tables) ORDER BY 1, 3
""")
_BODIES = text(f"""
SELECT p.proname AS name, p.prosrc AS body, l.lanname AS language, p.prosecdef AS as_owner,
  coalesce(array_to_string(p.proconfig, ';') LIKE 'search_path=pg_catalog, %, pg_temp', false) AS bound_path
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = {HOME} AND p.proname = ANY(:functions)
""")
_RULES = text(f"""
SELECT t.name, r.rulename AS rule, format('DROP RULE %I ON %I', r.rulename, t.name) AS mend
FROM ({_TABLES}) t JOIN pg_rewrite r ON r.ev_class = t.oid WHERE t.whole = ANY(:tables) ORDER BY 1, 2
""")
# The two roles and everybody are looked at by `granted`; whose the tables are may do everything.
_OTHERS = text(f"""
WITH house AS (SELECT relowner AS oid FROM pg_class WHERE oid = CAST('sessions' AS regclass)), acl AS (
  SELECT t.name, a.grantee, a.privilege_type FROM ({_TABLES}) t
  CROSS JOIN LATERAL aclexplode(coalesce(t.relacl, acldefault('r', t.relowner))) a WHERE t.whole = ANY(:tables)
  UNION ALL
  SELECT t.name, a.grantee, a.privilege_type FROM ({_TABLES}) t JOIN pg_attribute c ON c.attrelid = t.oid
  CROSS JOIN LATERAL aclexplode(c.attacl) a WHERE t.whole = ANY(:tables)
)
SELECT a.name, r.rolname AS role, string_agg(DISTINCT a.privilege_type, ', ') AS rights,
  format('REVOKE ALL ON %I FROM %I', a.name, r.rolname) AS mend
FROM acl a JOIN pg_roles r ON r.oid = a.grantee CROSS JOIN house
WHERE a.grantee <> house.oid AND r.rolname <> ALL(:roles) AND a.privilege_type <> 'SELECT'
GROUP BY a.name, r.rolname ORDER BY 1, 2
""")
_REPLAYS = text("SELECT current_setting('session_replication_role') <> 'origin'")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Gap:
    """Where a guard is not as installed. mend: what puts it right, as the tables' owner; ours: a migration does so."""

    told: str
    mend: str
    ours: bool


def gaps(connection: Connection) -> list[Gap]:
    """Return what of the guards is missing, changed or switched off, and who beside the house may change history."""
    return [*_functions(connection), *_triggers(connection), *_strange(connection)]


def restore(connection: Connection) -> list[str]:
    """Put back, in the caller's transaction, as the tables' owner, what migrations installed; return what it was.

    What somebody added stays, and what this user may not mend; both are told by `gaps`.
    """
    return [gap.told for gap in gaps(connection) if gap.ours and _mended(connection, gap)]


def _mended(connection: Connection, gap: Gap) -> bool:
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(gap.mend.replace("%", "%%"))
    except DBAPIError as error:
        if not isinstance(error.orig, InsufficientPrivilege):
            raise
        _log.warning("guard_not_put_back", problem=gap.told, why=str(error.orig).splitlines()[0])
        return False
    _log.warning("guard_put_back", problem=gap.told)
    return True


def declared(table: str, whole: str) -> dict[str, str]:
    """Return the triggers of a table, or of a week of `whole`, by name, each as Postgres tells it."""
    if whole in APPEND_ONLY:
        return {name: told.format(table, whole) for name, told in _HISTORY.items()}
    return TRIGGERS.get(table, {})


def _triggers(connection: Connection) -> Iterator[Gap]:
    tables = [*TRIGGERS, *APPEND_ONLY]
    found: dict[tuple[str, str], dict[str, Row[Any]]] = {}
    for row in connection.execute(_INSTALLED, {"tables": sorted({*tables, *_ADDED})}):
        of = found.setdefault((row.name, row.whole), {})
        if row.trigger is not None:
            of[row.trigger] = row
    for (table, whole), there in found.items():
        wanted = declared(table, whole)
        handed = _handed_down(whole, found.get((whole, whole), {})) if table != whole else set()
        weeks = [week for week, of in found if of == table != week]
        yield from _lacking(table, {name: told for name, told in wanted.items() if name not in handed}, there, weeks)
        for name in there.keys() - wanted.keys():
            yield Gap(f"{table} has a trigger {name} of nobody's", there[name].mend, ours=False)


def _handed_down(whole: str, there: dict[str, Row[Any]]) -> set[str]:
    """Return which triggers the weeks get with that of the whole, as it is not there as installed."""
    told, row = declared(whole, whole)[_ROWS], there.get(_ROWS)
    return {_ROWS} if row is None or row.told != told else set()


def _lacking(table: str, wanted: dict[str, str], there: dict[str, Row[Any]], weeks: list[str]) -> Iterator[Gap]:
    for name, told in wanted.items():
        row = there.get(name)
        if row is None or row.told != told:
            what = "is another" if row else "is gone"
            # A week's own of that name would be in the way of the one it gets with the whole's.
            dropped = [table, *weeks] if name == _ROWS else [table]
            drops = "; ".join(f"DROP TRIGGER IF EXISTS {name} ON {one}" for one in dropped)
            yield Gap(f"the guard {name} of {table} {what}", f"{drops}; CREATE TRIGGER {name} {told}", ours=True)
        elif not row.works:
            yield Gap(f"the guard {name} of {table} is off", f"ALTER TABLE {table} ENABLE TRIGGER {name}", ours=True)


def _functions(connection: Connection) -> Iterator[Gap]:
    found = {row.name: row for row in connection.execute(_BODIES, {"functions": list(FUNCTIONS)})}
    for name, (body, statement) in FUNCTIONS.items():
        wanted = (name, body, "plpgsql", name == FORGET_FUNCTION, name == FORGET_FUNCTION)
        if tuple(found.get(name, ())) != wanted:
            yield Gap(f"the function {name}() {'is another' if name in found else 'is gone'}", statement, ours=True)


def _strange(connection: Connection) -> Iterator[Gap]:
    """Yield what stands beside the guards: rules, rights of others, and a login whose triggers do not fire."""
    tables = sorted({*TRIGGERS, *APPEND_ONLY, *_ADDED})
    for row in connection.execute(_RULES, {"tables": tables}):
        yield Gap(f"{row.name} has a rule {row.rule}", row.mend, ours=False)
    for row in connection.execute(_OTHERS, {"tables": _ADDED, "roles": list(ROLES)}):
        yield Gap(f"{row.role} has {row.rights} on {row.name}", row.mend, ours=False)
    if connection.execute(_REPLAYS).scalar_one():
        mend = "ALTER ROLE or ALTER DATABASE ... RESET session_replication_role"
        yield Gap("session_replication_role is set: triggers do not fire", mend, ours=False)
