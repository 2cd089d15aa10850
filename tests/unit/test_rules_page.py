"""docs/rules.md says of every condition and option what the code says, and its examples work."""

import json
import re
from pathlib import Path

import orjson
import pytest
from rules_harness import SETTINGS

from fntx_sessions.automation.rules.checking import check_rules
from fntx_sessions.automation.rules.compile import compile_rules
from fntx_sessions.automation.rules.conditions import GROUPS, LEAVES
from fntx_sessions.automation.rules.options import KEYS
from fntx_sessions.exceptions import InvalidArgument

PAGE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()


def _table(heading):
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [line for line in section.splitlines() if line.startswith("| `")]


def test_the_table_of_conditions_is_the_registrys():
    """In its order and words; a condition that is added or changed is to be put there."""
    known = [*LEAVES.values(), *GROUPS.values()]
    assert _table("Conditions") == [f"| `{one.name}` | {one.takes} | {one.means} |" for one in known]


def test_the_table_of_options_names_every_option():
    """And none there is not."""
    named = [re.match(r"\| `(\w+)`", line).group(1) for line in _table("Options")]
    assert sorted(named) == sorted(set(KEYS) - {"condition", "value"})


def test_the_pages_example_is_taken():
    """Whoever copies it has working rules."""
    example = json.loads(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL).group(1))
    check_rules(example)
    sets = compile_rules(orjson.dumps(example).decode(), SETTINGS)
    assert [len(one) for one in (sets.start, sets.stop, sets.pause, sets.resume)] == [3, 2, 1, 1]


def test_the_refusal_the_page_shows_is_the_one_that_comes():
    """Word for word."""
    wrong = [{"condition": "any_of", "value": [{"condition": "market_open"}, {"condition": "vix_above", "value": "x"}]}]
    with pytest.raises(InvalidArgument) as raised:
        check_rules({"auto_stop_conditions": wrong})
    assert f"```\n{raised.value}\n```" in PAGE
