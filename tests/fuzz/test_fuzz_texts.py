"""Texts of people and programs: tokens, templates, CSV, cursors, answers, settings."""

import base64
from contextlib import suppress

import orjson
import pytest
from fuzzing import changed_bytes, changed_document, deep, fuzz, odd
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fntx_sessions.caller.stored import read_answer
from fntx_sessions.exceptions import InvalidArgument, Unauthenticated
from fntx_sessions.lifecycle.reads.desk_events import _place
from fntx_sessions.lifecycle.reads.timeline import _cursor
from fntx_sessions.lifecycle.templates.files import from_file, read_text
from fntx_sessions.managing.bookmark import Bookmark
from fntx_sessions.security.local import ensure_local_keys
from fntx_sessions.security.tokens import issue, verify
from fntx_sessions.settings import Settings
from fntx_sessions.state.objects.cold import open_cold
from fntx_sessions.trading.calendars import get_calendar
from fntx_sessions.trading.days import read_days

TEMPLATE = {
    "format": "fntx-template", "format_version": 1, "template_name": "mine", "exported_version": 1,
    "template": {
        "session_type": "live_trading", "description": "x",
        "config": {"agents": ["planner"]}, "limits": {"max_daily_loss_usd": 1},
    },
}  # fmt: skip
CSV = b"date,open,high,low,close,vix\n2026-11-20,600,601,599,600,17\n2026-11-23,600,601,599,600,17\n"
CURSOR = base64.b64encode(b'["2026-11-23T10:00:00+00:00","event","x"]')


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, str]:
    home = tmp_path_factory.mktemp("keys")
    ensure_local_keys(home)
    made = Settings(home=home)
    return made, issue(made, "anna", ("operator",), 600)


@fuzz
@given(data=st.data())
def test_token(desk: tuple[Settings, str], data: st.DataObject) -> None:
    """Whatever is in the header, of whatever type: verified, or Unauthenticated."""
    made, token = desk
    near = changed_bytes(token.encode()).map(lambda found: found.decode("latin-1"))
    with suppress(Unauthenticated):
        assert verify(data.draw(near | st.text(max_size=40) | odd), made).name == "anna"


@fuzz
@given(changed_document(TEMPLATE))
def test_template_file(data: bytes) -> None:
    """A template from another desk."""
    with suppress(InvalidArgument):
        from_file(read_text(data, Settings()), Settings())


@fuzz
@given(data=changed_bytes(CSV) | st.binary(max_size=100))
def test_days(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """A CSV file of somebody's market data."""
    path = tmp_path_factory.getbasetemp() / "fuzzed.csv"
    path.write_bytes(data)
    with suppress(InvalidArgument):
        read_days(path, get_calendar("XNYS"))


@fuzz
@given(
    st.text(max_size=60)
    | changed_bytes(b"WyIyMDI2LTExLTIzVDEwOjAwOjAwKzAwOjAwIiwiZXZlbnQiLCJ4Il0=").map(
        lambda found: found.decode("latin-1")
    )
)
def test_cursors(given_text: str) -> None:
    """What a page or a subscription was continued with."""
    for read in (_place, _cursor, Bookmark.from_text):
        with suppress(InvalidArgument):
            read(given_text)


@fuzz
@given(changed_document({"status": "SUCCESS", "result": {"state": "done", "result": [1], "error": None}}) | deep)
def test_answer(data: bytes) -> None:
    """What lies in Redis as an answer: read, or nobody's."""
    assert read_answer(data) is None or isinstance(read_answer(data), dict)


@fuzz
@given(st.dictionaries(st.sampled_from(sorted(Settings.model_fields)), st.text(max_size=30) | odd, max_size=4))
def test_settings(told: dict) -> None:
    """Settings of an environment that somebody mistyped: ValidationError, or settings that open a cold store."""
    with suppress(ValidationError, InvalidArgument, UnicodeEncodeError):
        made = Settings(**told)
        repr(made)
        open_cold(made)


def test_a_number_of_thousands_of_digits_is_no_template() -> None:
    """Python refuses to read it; that is told as everything else in such a file is."""
    with pytest.raises(InvalidArgument, match="digits"):
        read_text(b'{"a": ' + b"9" * 5000 + b"}", Settings())


def test_an_object_with_a_name_twice_among_thousands_costs_no_time() -> None:
    """Finding the one that stands twice is no search of each among all."""
    pairs = b",".join(b'"%d": 1' % number for number in range(60_000))
    with pytest.raises(InvalidArgument, match="twice"):
        read_text(b"{" + pairs + b',"59999": 2}', Settings(template_max_bytes=1_000_000))


def test_the_answer_it_is_made_from_is_read() -> None:
    """The fuzzer starts at what is right."""
    assert read_answer(orjson.dumps({"status": "SUCCESS", "result": {"state": "done"}})) == {"state": "done"}
