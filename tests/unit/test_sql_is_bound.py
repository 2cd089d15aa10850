"""Values reach Postgres bound, never pasted: each statement that is put together from parts is looked at here."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SQL = re.compile(
    r"\b(SELECT\b|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|CREATE\s+(OR|TABLE|TRIGGER|ROLE|INDEX)|ALTER\s+\w+"
    r"|DROP\s+\w+|TRUNCATE\b|GRANT\b|REVOKE\b|COPY\b|WHERE\b|RETURNING\b|LOCK\s+TABLE)"
)
CONSTANT = re.compile(r"_?_?[A-Z][A-Z0-9_]*")
PASTING = {"format", "format_map", "join", "replace"}

_OWN_TABLES = "tables and columns of our own models, no value"
_OWN_WEEKS = "names of our partitions, made of a table and a date; bounds made of dates by `moment`"
# Place -> what is pasted there, at most.
REVIEWED = {
    "fntx_sessions/database/copying.py::copy_in": _OWN_TABLES,
    "fntx_sessions/database/guarded.py::_lacking": "tables, guards and their words as that module declares them",
    "fntx_sessions/database/guards.py::append_only_sql": _OWN_TABLES,
    "fntx_sessions/database/guards.py::history_guard_sql": _OWN_TABLES,
    "fntx_sessions/database/guards.py::status_guard_sql": "statuses and triggers of the state table",
    "fntx_sessions/database/guards.py::truncate_guard_sql": _OWN_TABLES,
    "fntx_sessions/database/logins.py::_not_made": "no statement: a sentence for an operator",
    "fntx_sessions/database/partitions.py::_make": _OWN_TABLES,
    "fntx_sessions/database/past.py::drop_week": _OWN_WEEKS,
    "fntx_sessions/database/past.py::prove_past": _OWN_WEEKS,
    "fntx_sessions/database/weeks.py::attach_sql": _OWN_WEEKS,
    "fntx_sessions/database/weeks.py::create_sql": _OWN_WEEKS,
    "fntx_sessions/database/weeks.py::move_sql": _OWN_WEEKS,
    "fntx_sessions/lifecycle/reads/board_sql.py::_statement": "orders and filters of a table in that module",
    "fntx_sessions/lifecycle/reads/timeline_sql.py::_branch": "kinds, orders and bounds of tables in that module",
    "fntx_sessions/lifecycle/reads/timeline_sql.py::_history": "kinds, orders and bounds of tables in that module",
    "fntx_sessions/monitoring/figures/gauges_sql.py::_counted": "literals of that module, as it is imported",
    "fntx_sessions/stack/doctor_rights.py::_roles": "no statement: what an operator is told to run",
    "fntx_sessions/stack/doctor_rights.py::_login": "no statement: a sentence for an operator",
    "fntx_sessions/state/archive_tables.py::copy_out": _OWN_TABLES,
    "fntx_sessions/state/archive_tables.py::insert_staged": _OWN_TABLES,
    "fntx_sessions/state/archive_tables.py::stage": _OWN_TABLES,
    "fntx_sessions/state/claims.py::DueWork.__init__": "columns and orders of the sweeps' own work",
    "fntx_sessions/state/claims.py::_claim_statement": "columns and orders of the sweeps' own work",
    "fntx_sessions/state/claims.py::_finish_statement": "columns and orders of the sweeps' own work",
    "fntx_sessions/state/dropping.py::_drop": _OWN_WEEKS,
}


def files() -> Iterator[Path]:
    for folder in ("fntx_sessions", "tasks"):
        yield from (path for path in (ROOT / folder).rglob("*.py") if "migrations" not in path.parts)


def pasted(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield where a statement is put together, and of what: the nearest named thing around it, and its source."""
    yield from _walk(tree, "")


def _walk(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        inner = _name(child, name)
        if isinstance(child, ast.JoinedStr) and _is_sql(child):
            parts = [part.value for part in child.values if isinstance(part, ast.FormattedValue)]
            if not all(map(_is_constant, parts)):
                yield inner, ast.unparse(child)
        elif (isinstance(child, ast.BinOp) and isinstance(child.op, ast.Mod | ast.Add) and _pastes(child)) or (
            isinstance(child, ast.Call) and _is_pasting_call(child)
        ):
            yield inner, ast.unparse(child)
        yield from _walk(child, inner)


def _name(node: ast.AST, around: str) -> str:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return f"{around}.{node.name}".lstrip(".")
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    named = [one.id for one in targets if isinstance(one, ast.Name)]
    return named[0] if named and not around else around


def _is_sql(node: ast.AST) -> bool:
    texts = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return any(SQL.search(one) for one in texts)


def _is_constant(node: ast.AST) -> bool:
    """Tell whether it is a constant of a module, or a number or a name made of such."""
    if isinstance(node, ast.Attribute):
        return bool(CONSTANT.fullmatch(node.attr)) or (_is_constant(node.value) and node.attr in {"name", "value"})
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and bool(CONSTANT.fullmatch(node.id)))


def _pastes(node: ast.BinOp) -> bool:
    own = [side for side in (node.left, node.right) if isinstance(side, ast.Constant | ast.JoinedStr)]
    others = [side for side in (node.left, node.right) if side not in own]
    return any(map(_is_sql, own)) and not all(map(_is_constant, others))


def _is_pasting_call(node: ast.Call) -> bool:
    function = node.func
    if not isinstance(function, ast.Attribute) or function.attr not in PASTING:
        return False
    # psycopg2's own SQL("...").format quotes what it is given.
    composed = isinstance(function.value, ast.Call) and ast.unparse(function.value.func) == "SQL"
    return not composed and _is_sql(function.value)


def found() -> dict[str, list[str]]:
    known: dict[str, list[str]] = {}
    for path in files():
        for name, source in pasted(ast.parse(path.read_text())):
            # What a module makes as it is imported holds no caller's value.
            if not CONSTANT.fullmatch(name):
                known.setdefault(f"{path.relative_to(ROOT)}::{name}", []).append(source)
    return known


def test_every_statement_made_of_parts_was_looked_at() -> None:
    """What is pasted into SQL, other than constants of our own, is named above with what it can be at most."""
    new = {place: sources for place, sources in found().items() if place not in REVIEWED}
    assert not new, "bind values; where it is a name or a clause of our own, say so in REVIEWED"


def test_the_list_is_of_what_is_there() -> None:
    """A reason outlives no statement."""
    assert REVIEWED.keys() <= found().keys()
    assert all(len(reason) > 20 for reason in REVIEWED.values())


def test_what_would_be_pasted_is_found() -> None:
    """The test sees the four ways to paste."""
    ways = (
        "def f(x): return text(f'SELECT {x}')",
        "def f(x): return 'SELECT %s' % x",
        "def f(x): return 'SELECT ' + x",
        "def f(x): return 'SELECT {}'.format(x)",
    )
    assert all([name for name, _ in pasted(ast.parse(way))] == ["f"] for way in ways)
    assert not list(pasted(ast.parse("_A = f'SELECT {_B} FROM {TABLE.name} WHERE id = :id'")))
