"""Template files, edits laid over templates, and differences by path: what needs no store."""

import json

import pytest

from fntx_sessions.database.seeds import BUILT_IN
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.templates import files
from fntx_sessions.lifecycle.templates.differences import differences
from fntx_sessions.lifecycle.templates.edits import AddArguments
from fntx_sessions.lifecycle.templates.sections import patched
from fntx_sessions.parsing import parse
from fntx_sessions.settings import Settings

SETTINGS = Settings(template_max_bytes=20_000)
BODY = BUILT_IN[0].contents.body()
FILE = {"format": "fntx-template", "format_version": 1, "template_name": "Mine", "template": BODY}


def test_a_file_comes_back_as_it_was_written():
    """Export, text, bytes, import: the same name, the same contents, in readable lines."""
    text = files.to_text(FILE)
    name, contents = files.from_file(files.read_text(text.encode(), SETTINGS), SETTINGS)
    assert (name, contents.body()) == ("Mine", BODY)
    assert '\n    "session_type": "regular",\n' in text
    assert files.read_text(b"\xef\xbb\xbf" + text.encode(), SETTINGS) == FILE


def _with(**changed):
    return FILE | changed


def _saying(**changed):
    return _with(template=BODY | changed)


def _deep(levels: int) -> dict:
    found: dict = {}
    for _ in range(levels):
        found = {"more": found}
    return found


@pytest.mark.parametrize(
    ("file", "field"),
    [
        ([], "format"),
        ({}, "format"),
        (_with(format="other"), "format"),
        (_with(format_version=2), "format_version"),
        (_with(format_version=True), "format_version"),
        (_with(format_version="1"), "format_version"),
        (_with(more=1), "more"),
        (_with(template=[]), "template"),
        (_with(template_name="../../etc/passwd"), "template_name"),
        (_with(template_name="a/b"), "template_name"),
        (_with(template_name="a\\b"), "template_name"),
        (_with(template_name=".hidden"), "template_name"),
        (_with(template_name="-rf"), "template_name"),
        (_with(template_name="line\nbreak"), "template_name"),
        (_with(template_name="ends badly "), "template_name"),
        (_with(template_name="x" * 101), "template_name"),
        (_with(template_name=""), "template_name"),
        (_saying(session_type="weekend"), "template.session_type"),
        (_saying(nonsense=1), "template.nonsense"),
        (_saying(required_agents=["Guard.RiskManagerAgent"]), "template.required_agents.0"),
        (_saying(required_agents=["A", "A"]), "template.required_agents"),
        (_saying(auto_stop_conditions=[{"condition": "x", "when": 1}]), "template.auto_stop_conditions.0.when"),
        (_saying(agent_configurations={"A": _deep(20)}), "template.agent_configurations.A.more.more"),
        (_saying(agent_configurations={"A": {"text": "x" * 20_000}}), "template"),
        (_saying(description="nul \x00"), "template.description"),
        (_saying(agent_configurations={"A": {"n": 2**70}}), "template.agent_configurations.A.n"),
    ],
)
def test_a_bad_file_is_refused_by_its_path(file, field):
    """Another format, a newer form, names that are paths or options, unknown keys, too deep, too large."""
    with pytest.raises(InvalidArgument) as caught:
        files.from_file(file, SETTINGS)
    assert caught.value.args[0] == field or caught.value.args[0].startswith(f"{field}.")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\xff\xfe{}", "UTF-8"),
        (b"{", "not JSON"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"limit": 1, "limit": 9}', "'limit' twice"),
        (b"[" * 100_000, "too deep"),
        (b" " * 200_000, "more than"),
    ],
)
def test_bytes_that_are_no_template_file_are_refused(data, told):
    """Whatever somebody hands over: one sentence, no traceback."""
    with pytest.raises(InvalidArgument, match=told):
        files.read_text(data, SETTINGS)


@pytest.mark.parametrize("name", ["Paper Trading", "Désk 7 (calm)", "0DTE, v2.1", "Q&A", "夜間"])
def test_names_people_give_are_taken(name):
    """Letters of any script, digits and what stands between them."""
    assert parse(AddArguments, {"template_name": name}).template_name == name


def test_a_file_name_stays_in_its_folder():
    """Whatever a template is called, its file is a plain name."""
    assert files.file_name("Regular Trading") == "regular-trading.json"
    for name in ("../../etc/passwd", "a/b\\c", "...", "x" * 500):
        assert "/" not in files.file_name(name)
        assert not files.file_name(name).startswith(".")
        assert len(files.file_name(name)) <= 105


def test_differences_are_told_by_path():
    """Added, taken away and changed, in objects and in lists of objects; lists of words are told whole."""
    before = {"a": {"x": 1, "gone": 2}, "rules": [{"value": 30}, {"value": 1}], "names": ["p"], "same": [{}]}
    after = {"a": {"x": 2, "new": None}, "rules": [{"value": 31}], "names": ["p", "q"], "same": [{}]}
    assert differences(before, after) == [
        {"path": "a.x", "before": 1, "after": 2},
        {"path": "a.gone", "before": 2},
        {"path": "a.new", "after": None},
        {"path": "rules.0.value", "before": 30, "after": 31},
        {"path": "rules.1", "before": {"value": 1}},
        {"path": "names", "before": ["p"], "after": ["p", "q"]},
    ]
    assert differences({"on": True}, {"on": 1}) == [{"path": "on", "before": True, "after": 1}]
    assert differences(after, json.loads(json.dumps(after))) == []


def test_an_edit_is_laid_over_what_is_there():
    """Objects key by key, lists and plain values whole, null takes a key away; what was given is not written to."""
    base = {"config": {"feed": {"kind": "synthetic", "seed": 1}, "tags": ["a"]}, "text": "x"}
    kept = json.dumps(base)
    changes = {"config": {"feed": {"seed": 2}, "tags": ["b"], "new": {"deep": 1}}, "text": None}
    assert patched(base, changes) == {
        "config": {"feed": {"kind": "synthetic", "seed": 2}, "tags": ["b"], "new": {"deep": 1}}
    }
    assert json.dumps(base) == kept
