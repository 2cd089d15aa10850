"""The page that explains health names the checks there are, and what each says of itself."""

import re
from pathlib import Path

from fntx_sessions.automation.health.checks import CHECKS, NAMES
from fntx_sessions.automation.health.suspending import suspending
from fntx_sessions.settings import Settings
from fntx_sessions.stack.desk_checks import DESK_CHECKS

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[tuple[str, str, str]]:
    """Return (check, degraded, failed) of the table under a heading."""
    table = PAGE.split(f"| {heading} | degraded | failed |\n")[1].split("\n\n")[0]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table.splitlines()[1:]]


def test_every_check_is_on_the_page_in_its_order():
    """Sessions' and the desk's alike, no more and no less."""
    assert [row[0].strip("`") for row in rows("check of a session")] == list(NAMES)
    assert [row[0].strip("`") for row in rows("check of the desk")] == [check.__name__ for check in DESK_CHECKS]


def test_the_page_has_the_grades_that_each_check_promises():
    """A cell is empty exactly where the check's own promise names no such grade."""
    tables = (("check of a session", CHECKS), ("check of the desk", DESK_CHECKS))
    pairs = [pair for heading, checks in tables for pair in zip(rows(heading), checks, strict=True)]
    for (name, degraded, failed), check in pairs:
        assert (bool(degraded), bool(failed)) == ("Degraded:" in check.__doc__, "Failed:" in check.__doc__), name


def test_what_suspends_by_default_are_checks():
    """The defaults of both settings name checks, and the page says which settings these are."""
    settings = Settings()
    assert suspending(settings.health_suspends, "x") <= set(NAMES)
    assert suspending(settings.health_suspends_repeated, "x") == {"error_rate"}
    assert len(re.findall(r"FNTX_HEALTH_SUSPENDS", PAGE)) >= 2
