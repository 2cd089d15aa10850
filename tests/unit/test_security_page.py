"""docs/security.md claims nothing without a test: each threat and each attack names one that is there."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "security.md").read_text(encoding="utf-8")
KNOWN = {
    name
    for path in TESTS.rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)
}


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table under a heading."""
    part = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]


def named(cell: str) -> list[str]:
    return re.findall(r"`(?:tests/[\w/.]+::)?(test_\w+)`", cell)


@pytest.mark.parametrize("heading", ["Threats", "Attacks"])
def test_each_row_names_a_test_that_is_there(heading):
    """What stands against it, or what became of it, is looked at by something that runs."""
    found = rows(heading)
    assert len(found) > 10
    assert [row for row in found if len(row) != 3 or not all(row)] == []
    assert [row[0] for row in found if not named(row[2])] == []
    assert {name for row in found for name in named(row[2])} <= KNOWN


def test_no_row_stands_twice():
    """Neither a threat nor an attack, as several hands write here."""
    for heading in ("Threats", "Attacks"):
        told = [row[0] for row in rows(heading)]
        assert len(told) == len(set(told))


def test_every_test_the_page_names_is_there():
    """Outside the tables, too."""
    assert set(re.findall(r"`(?:tests/[\w/.]+::)?(test_\w+)`", PAGE)) <= KNOWN
