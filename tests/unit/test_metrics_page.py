"""docs/metrics.md against the model: every field, and when it may be None."""

import re
import types
import typing
from pathlib import Path

from fntx_sessions.schemas import SessionMetrics

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def described() -> dict[str, tuple[str, str, str]]:
    """Return the page's table: (unit, formula, None when) by field."""
    table = PAGE.read_text(encoding="utf-8").partition("## Every field")[2].partition("\n## ")[0]
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in table.splitlines() if line.startswith("|")]
    return {row[0]: (row[1], row[2], row[3]) for row in rows[2:]}


def test_every_field_is_on_the_page_once_and_no_other():
    """The page lists the model's fields, in the model's order where it matters to nobody."""
    table = PAGE.read_text(encoding="utf-8").partition("## Every field")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| (\w+) \|", table, re.MULTILINE)[1:]
    assert sorted(listed) == sorted(SessionMetrics.model_fields)


def test_the_page_says_when_a_field_is_none_exactly_where_it_can_be():
    """`never` for what cannot be None, a reason for the rest; each has a unit and a formula."""
    for name, field in SessionMetrics.model_fields.items():
        unit, formula, when = described()[name]
        assert unit, name
        assert formula, name
        optional = types.NoneType in typing.get_args(field.annotation)
        assert (when == "never") != optional, name


def test_the_specs_example_is_a_set_of_measures():
    """Measures may be made by hand, of no session; whole numbers and fractions are dollars."""
    made = SessionMetrics(
        total_trades=42, winning_trades=31, net_pnl=1250.50, max_drawdown=-500.00, error_rate=0.02,
        decision_latency_ms=145,
    )  # fmt: skip
    assert (str(made.net_pnl), made.session_id) == ("1250.5", None)
