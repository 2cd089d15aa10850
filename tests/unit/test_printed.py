"""What is printed in a worker is logged: whole, without secrets, and not without end."""

import json
import time
import traceback

import pytest
from test_logs import logged

from fntx_sessions.security.known_secrets import InUse
from tasks.printed import Printed

__all__ = ["logged"]
VALUE = "first line of it\nand a second"


@pytest.fixture
def known():
    use = InUse()
    use.hold({"key": VALUE})
    yield
    use.end()


@pytest.mark.usefixtures("known")
def test_what_is_printed_is_a_line_of_the_log_without_secrets(logged):
    """Known values, of several lines too, what looks secret only beside its name, and tracebacks."""
    out = Printed(100)
    print("the key is", VALUE, file=out)
    print("password:", "hunter2", "n:", 1, file=out)
    try:
        raise LookupError(VALUE)  # noqa: TRY301 -- as an agent does
    except LookupError:
        traceback.print_exc(file=out)
    first, second, *rest = logged()
    assert (first["event"], first["logger"], first["level"]) == ("the key is ***", "printed", "warning")
    assert second["event"] == "password: *** n: 1"
    assert rest[-1]["event"] == "LookupError: ***"
    assert "second" not in json.dumps(rest)


def test_a_line_is_logged_when_it_is_whole(logged):
    """However many writes it takes; one that never ends is logged in pieces."""
    out = Printed(100)
    for piece in ("a", "\tb\nc", "", "\n", "\n", "d", "x\n" * 4000 + "x", "x" * 10_000, "e", "\n"):
        assert out.write(piece) == len(piece)
        out.flush()
    first, second, third = (line["event"] for line in logged())
    assert (first, third) == ("a\tb\nc", "e")
    assert second.startswith("dx\nx")
    assert not out.isatty()


def test_of_very_many_lines_some_are_logged_and_the_rest_counted(logged, monkeypatch):
    """So many in one second; the next one says how many were left out."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    out = Printed(3)
    for n in range(10):
        print(n, file=out)
    now = 1.0
    print("later", file=out)
    assert [line["event"] for line in logged()] == ["0", "1", "2", "printed_left_out", "later"]
    assert logged()[3]["number"] == 7


def test_a_log_that_prints_does_not_go_round_in_circles(logged, monkeypatch):
    """What a handler says of its own trouble is not logged again."""
    out = Printed(100)
    monkeypatch.setattr("logging.StreamHandler.emit", lambda *_: print("handler failed", file=out))
    print("x", file=out)
    assert logged() == []
