"""What commands print of texts from elsewhere: nothing that a terminal would obey."""

import json

import pytest
from rich.markup import escape

from fntx_sessions import printable
from fntx_sessions.cli import output

# Colour, clear, the clipboard, a C1 introducer, a bidi override and isolate, an invisible tag, a lone surrogate.
EVIL = "a\x1b[31m\x1b[2J\x1b]52;c;eA==\x07\x9b31m\u202edne\u2066x\u200b\U000e0041\ud800z"
SHOWN = r"a\x1b[31m\x1b[2J\x1b]52;c;eA==\x07\x9b31m\u202edne\u2066x\u200b\U000e0041\ud800z"
ORDINARY = "Désk 夜間 עברית الإدارة 👩\u200d💻 می\u200cخواهم [x] €5\tok"  # noqa: RUF001 - letters of other scripts are meant


def table(text):
    output.table([{"what": text}], {"what": lambda row: output.plain(row["what"])}, "none")


def facts(text):
    output.facts({"what": output.plain(text)}, output.plain(text))


def unmarked(text):
    output.facts({"what": text})


def printed(text):
    output.console().print(output.plain(text), soft_wrap=True)


@pytest.mark.parametrize("draw", [table, facts, unmarked, printed, output.complain, output.note])
def test_what_a_terminal_would_obey_is_shown_as_its_escape(draw, capsys):
    """However it is printed, on stdout and on stderr."""
    draw(EVIL)
    told = "".join(capsys.readouterr())
    assert SHOWN in told
    assert not printable._UNPRINTABLE.search(told)


def test_ordinary_text_of_any_script_stays_as_it_is(capsys):
    """Letters, joiners that make them, emoji, brackets, tabs; lines stay lines."""
    assert printable.printable(f"{ORDINARY}\n{ORDINARY}") == f"{ORDINARY}\n{ORDINARY}"
    output.complain(ORDINARY.replace("\t", " "))
    assert ORDINARY.replace("\t", " ") in capsys.readouterr().err


def test_json_says_the_same_in_escapes(capsys):
    """For machines nothing changes, and a terminal that it is sent to obeys nothing."""
    text = EVIL.replace("\ud800", "")
    output.emit({"what": text})
    told = capsys.readouterr().out
    assert json.loads(told) == {"what": text}
    assert not printable._UNPRINTABLE.search(told)


def test_a_reason_that_is_cut_shows_what_it_is_about_and_that_it_is_cut():
    """The reason of a halt is seen in a list; what is left out ends at a word, with a sign, and never in an escape."""
    halted = "halt of session:b3db7572-3738-4a51-a6c6-0123456789ab: news"
    assert output.brief(halted) == "halt of session:b3db7572: news"
    assert output.brief("word " * 20) == "word " * 10 + "word…"
    assert output.brief("x" * 100) == "x" * 59 + "…"
    assert output.brief("[red]" * 12) == escape("[red]" * 12)
    assert output.brief(None) == output.NONE
