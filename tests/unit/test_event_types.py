"""The table of the desk's events: complete, what the code tells, and what docs/events.md shows."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from fntx_sessions.lifecycle import events_doc
from fntx_sessions.lifecycle.decisions.moving import _TOLD
from fntx_sessions.lifecycle.event_types import EVENT_TYPES, impact_of, types_with_impact
from fntx_sessions.lifecycle.people_arguments import ApprovalState, OrderAnswer
from fntx_sessions.schemas import Severity

CODE = Path(__file__).parents[2] / "fntx_sessions"
# Functions whose first words are an event's type: those of the modules that only tell events through them.
_TELLERS = {"emit": 0, "event_of": 0, "_event": 0, "StateEvent": 1}
_FACTS = ("severity", "requires_action")
_TELLING = ("lifecycle/decisions", "automation/rules/telling.py", "agents", "state", "automation", "lifecycle")
_SQL = re.compile(r"'([a-z]+_[a-z_]+)', '([a-z]+)', (?:'(info|warning|error|critical)'|severity)")


def told() -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield each event that stands in the code: its type, what else is constant of it, and where."""
    for path in sorted(CODE.rglob("*.py")):
        where = path.relative_to(CODE).as_posix()
        if not where.startswith(_TELLING) or where == "lifecycle/event_types.py":
            continue
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        names = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            yield from ((name, facts, where) for name, facts in _of(node, names))
        for name, category, severity in _SQL.findall(text):
            yield name, {"event_category": category} | ({"severity": severity} if severity else {}), where


def _of(node: ast.AST, names: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) and isinstance(node.right, ast.Dict):
        # An event that a function makes, with more facts laid over it.
        more = {key.value: _value(value, names) for key, value in zip(node.right.keys, node.right.values, strict=True)
                if isinstance(key, ast.Constant)}  # fmt: skip
        yield from ((name, facts | more) for name, facts in _of(node.left, names))
    if isinstance(node, ast.Dict):
        facts = {key.value: _value(value, names) for key, value in zip(node.keys, node.values, strict=True)
                 if isinstance(key, ast.Constant)}  # fmt: skip
        if isinstance(name := facts.pop("event_type", None), str):
            yield name, {key: value for key, value in facts.items() if value is not None}
    if isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        place = _TELLERS.get(called)
        if place is not None and len(node.args) > place:
            name, *more = [_value(one, names) for one in node.args[place:]]
            if isinstance(name, str):
                facts = {"event_category": more[0]} if called == "emit" else {}
                yield name, facts | {one.arg: _value(one.value, names) for one in node.keywords if one.arg in _FACTS}


def _value(node: ast.AST, names: dict[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        return names.get(node.id)
    return node.value if isinstance(node, ast.Constant) else None


def test_every_event_that_the_code_tells_is_in_the_table_as_it_is_told():
    """Type, category, severity and whether a person has to act: what stands in the code stands in the table."""
    found = list(told())
    assert len({name for name, _, _ in found}) > 40
    for name, facts, where in found:
        known = EVENT_TYPES.get(name)
        assert known is not None, (name, where)
        assert {*str(facts.get("event_category", "")).split()} <= {*known.category.split()}, (name, facts, where)
        severity = facts.get("severity")
        assert severity is None or severity in known.severities.split(), (name, facts, where)
        if facts.get("requires_action") is True:
            assert known.action != "no", (name, where)


def test_what_the_table_holds_is_told_somewhere():
    """No type stands in it that nobody tells; those made of a state are of a state there is."""
    made = {*_TOLD.values(), "pinned", "unpinned", "config_changed", "session_created", "warning"}
    made |= {f"approval_{state}" for state in get_args(ApprovalState)} | {
        f"order_{state}" for state in get_args(OrderAnswer)
    }
    texts = "\n".join(path.read_text(encoding="utf-8") for path in CODE.rglob("*.py") if path.name != "event_types.py")
    for name in EVENT_TYPES.keys() - made:
        assert re.search(rf"['\"]{name}['\"]", texts), name


def test_the_table_is_sound():
    """Severities there are; what a person has to do something about is at least an error, and says what it means."""
    for one in EVENT_TYPES.values():
        assert {*one.severities.split()} <= {*Severity}, one
        assert one.meaning, one
        if one.action == "yes":
            assert {*one.severities.split()} <= {"error", "critical"}, one
            assert one.impact, one
        if "critical" in one.severities:
            assert one.action == "yes", one


def test_an_impact_is_found_by_its_words():
    """A type's impact is shown, and asked for, without an event having to repeat it."""
    assert impact_of("exit_blocked") == "a position stays open that should be closed"
    assert impact_of("pinned") is impact_of("of an agent's own") is None
    assert "exit_blocked" in types_with_impact("STAYS open")


def test_the_page_is_what_the_table_says(tmp_path: Path):
    """docs/events.md is current; a page that is not is told."""
    assert events_doc.main(["--check"]) == 0
    page = tmp_path / "page.md"
    events_doc.main([str(page)])
    assert events_doc.main(["--check", str(page)]) == 0
    page.write_text(page.read_text() + "by hand\n")
    assert events_doc.main(["--check", str(page)]) == 1
