"""A little of PromQL, evaluated over two scrapes: enough to tell whether an alert of deploy/alerts.yml calls."""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import promql_parser as promql

# Its samples by name; one is its labels and its value.
Scrape = Mapping[str, list[tuple[dict[str, str], float]]]
Vector = dict[frozenset[tuple[str, str]], float]
_COMPARED: dict[str, Callable[[float, float], bool]] = {"<": operator.lt, ">": operator.gt, "==": operator.eq}
_JOINED: dict[str, Callable[[float, float], float]] = {"sum": operator.add, "min": min, "max": max}
_FITS: dict[str, Callable[[str, str], bool]] = {
    "MatchOp.Equal": operator.eq,
    "MatchOp.NotEqual": operator.ne,
    "MatchOp.Re": lambda value, pattern: re.fullmatch(pattern, value) is not None,
    "MatchOp.NotRe": lambda value, pattern: re.fullmatch(pattern, value) is None,
}


def evaluate(expression: str, now: Scrape, before: Scrape | None = None) -> Vector:
    """Return what an expression finds; empty: it does not call. before: what `increase` counts from."""
    return _value(promql.parse(expression), now, before or {})


def _value(node: Any, now: Scrape, before: Scrape) -> Any:
    match node:
        case promql.NumberLiteral():
            return node.val
        case promql.ParenExpr():
            return _value(node.expr, now, before)
        case promql.VectorSelector():
            return _selected(node, now)
        case promql.AggregateExpr():
            return _joined(node, _value(node.expr, now, before))
        case promql.Call():
            return _called(node, now, before)
        case promql.BinaryExpr():
            return _both(node, _value(node.lhs, now, before), _value(node.rhs, now, before))
    raise NotImplementedError(str(node))


def _selected(node: promql.VectorSelector, scrape: Scrape) -> Vector:
    asked = node.matchers.matchers
    return {
        frozenset(labels.items()): value
        for labels, value in scrape.get(str(node.name), [])
        if all(_FITS[str(one.op)](labels.get(one.name, ""), one.value) for one in asked)
    }


def _joined(node: promql.AggregateExpr, found: Vector) -> Vector:
    kept = set(node.modifier.labels) if node.modifier is not None else set()
    join, joined = _JOINED[str(node.op)], Vector()
    for labels, value in found.items():
        key = frozenset(label for label in labels if label[0] in kept)
        joined[key] = join(joined[key], value) if key in joined else value
    return joined


def _called(node: promql.Call, now: Scrape, before: Scrape) -> Vector:
    (given,) = node.args
    if node.func.name == "vector":
        return {frozenset(): given.val}
    assert node.func.name == "increase", node.func.name
    # A series that was not there has no rise: Prometheus needs a sample before it.
    first, last = (_selected(given.vector_selector, scrape) for scrape in (before, now))
    return {labels: value - first[labels] for labels, value in last.items() if labels in first}


def _both(node: promql.BinaryExpr, left: Vector, right: Any) -> Vector:
    operation = str(node.op)
    if operation in _COMPARED:
        return {labels: value for labels, value in left.items() if _COMPARED[operation](value, right)}
    if operation == "or":
        return {**right, **left}
    assert operation == "and", operation
    matched = node.modifier.matching if node.modifier is not None else None
    if matched is not None and not matched.labels:  # `on()`: any of them will do
        return left if right else {}
    return {labels: value for labels, value in left.items() if labels in right}
