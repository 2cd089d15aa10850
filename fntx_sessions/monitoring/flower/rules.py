"""A session's rules: what happens next and why, each condition as it is now, and what was decided last."""

from collections.abc import Iterator, Sequence
from typing import Any

from fntx_sessions.automation.rules.explain import ExplainArguments, explain
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.rows import Row
from fntx_sessions.monitoring.flower.asking import number
from fntx_sessions.monitoring.flower.page import Asked, Draw
from fntx_sessions.monitoring.flower.session_page import SessionPage
from fntx_sessions.monitoring.flower.tables import table
from fntx_sessions.monitoring.flower.views import Part, Parts
from fntx_sessions.monitoring.flower.words import NONE, plain

Json = dict[str, Any]
_DECISIONS, _DECISIONS_MOST = 10, 1000
# What a stored decision need not have kept of a condition.
_NOT_KEPT: Json = {"value": None, "limit": None, "age_s": None, "holds": None, "met": False, "since": None, "why": ""}
_SAID = {True: "true", False: "false", None: "unknown"}


class Rules(SessionPage):
    """Why it did, or did not, start, stop, pause and resume by itself."""

    template = "rules.html"
    here = "rules"

    def body(self, desk: Desk, asked: Asked, draw: Draw, head: Row) -> Parts:
        """Draw each rule set as it would be judged now, what is next, and the last decisions."""
        most = number(asked, "decisions", most=_DECISIONS_MOST) or _DECISIONS
        found = explain(desk, ExplainArguments(session_id=head["session_id"], decisions=most))
        return {
            "rules-next": draw.part("rules_next.html", found=found),
            **{f"rules-{one['name']}": _set(draw, one) for one in found["sets"]},
            "rules-decisions": _decisions(draw, head, found["decisions"], most),
        }


def _set(draw: Draw, one: Json) -> Part:
    rows = [_condition(truth, depth) for truth, depth in _flat(one["conditions"], 0)]
    ids = [f"rule-{one['name']}-{place}" for place in range(len(rows))]
    met = sum(truth["met"] is True for truth in one["conditions"])
    return table(draw, "rules_set.html", ids, one=one, rows=rows, met=met)


def _flat(truths: Sequence[Json], depth: int) -> Iterator[tuple[Json, int]]:
    """Return conditions with those inside them, each with how deep it stands."""
    for truth in truths:
        yield truth, depth
        yield from _flat(truth.get("children", ()), depth + 1)


def _condition(truth: Json, depth: int) -> Json:
    truth = _NOT_KEPT | truth
    return {
        "path": truth["path"],
        "depth": min(depth, 4),
        "condition": truth["condition"],
        "value": _value(truth["value"]),
        "limit": _value(truth["limit"]),
        "age": NONE if truth["age_s"] is None else f"{truth['age_s']:,.0f} s",
        "is": truth.get("is") or _SAID[truth["holds"]],
        "waits": truth["holds"] is True and not truth["met"],
        "since": truth["since"],
        "why": truth["why"],
    }


def _value(value: Any) -> str:
    """Return a value as rules write it, numbers with all their digits."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value + 0.0:,.6f}".rstrip("0").rstrip(".")  # no minus before a zero
    return plain(", ".join(map(str, value)) if isinstance(value, list) else value)


def _decisions(draw: Draw, head: Row, listed: Sequence[Row], most: int) -> Part:
    rows = [row | {"inputs": list(_inputs(row))} for row in listed]
    ids = [f"decision-{row['seq']}" for row in listed]
    more = _DECISIONS_MOST if len(rows) == most < _DECISIONS_MOST else None
    return table(draw, "rules_decisions.html", ids, head=head, rows=rows, more=more)


def _inputs(row: Row) -> Iterator[Json]:
    """Return every condition that a decision looked at, as it was then."""
    for truths in (row["truths"] or {}).values():
        for truth, depth in _flat(truths, 0):
            yield _condition(truth, depth)
