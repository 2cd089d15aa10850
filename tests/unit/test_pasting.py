"""Command lines that are printed: pasted into a shell, they say what they said."""

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fntx_sessions.cli import halts
from fntx_sessions.cli.app import run
from fntx_sessions.pasting import halt_command, pasted, release_command

NAMES = st.text(st.characters(blacklist_characters="\x00", blacklist_categories=["Cs"]))


@given(NAMES, NAMES)
def test_whatever_a_name_holds_the_shell_takes_it_as_one_word(name, reason):
    """Spaces, quotes, dollars, newlines, leading dashes: one word each."""
    assert shlex.split(halt_command(f"template:{name}", reason, flatten=True)) == [
        "fntx", "halt", "--scope", f"template:{name}", "--flatten", "--reason", reason,
    ]  # fmt: skip
    assert shlex.split(release_command(f"account:{name}"))[4] == f"account:{name}"


def test_a_shell_agrees():
    """Not only Python's idea of one."""
    name = 'it\'s $HOME; `id` \\ "x"'
    shown = subprocess.run(["/bin/sh", "-c", pasted("printf", "%s", name)], capture_output=True, text=True, check=True)
    assert shown.stdout == name


@pytest.mark.parametrize("flatten", [False, True])
def test_what_a_halt_tells_one_to_run_can_be_run(flatten, capsys, monkeypatch):
    """A template with a space in its name: each command parses, with the very scope, up to the reason to be given."""
    halt = {"halt_id": "0" * 32, "scope": "template", "scope_name": "Paper Trading", "reason": "it's odd",
            "flatten": flatten}  # fmt: skip
    halts._sum_up(halt, "template:Paper Trading", 2, [])
    told = capsys.readouterr().err
    again, end = (part.strip() for part in (told.partition("Ask again:")[2].split("\n")[0],
                                            told.partition("whatever was closed:")[2].partition(";")[0]))  # fmt: skip
    asked = []
    monkeypatch.setattr(halts, "_halted", lambda _, arguments: asked.append(arguments) or (None, HALTED, None))
    monkeypatch.setattr(halts, "_show", lambda *_: None)
    assert run(shlex.split(again)[1:]) == 0
    assert asked == [{"scope": "template:Paper Trading", "reason": "it's odd", "flatten": flatten}]
    assert run(shlex.split(end)[1:]) == 2
    assert "reason: says nothing. Say why" in capsys.readouterr().err


HALTED = {"halt": {"flatten": False}, "left": 0}
