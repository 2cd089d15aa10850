"""The state table says what the design says, and everything made from it says the same."""

import subprocess
import sys

import pytest

from fntx_sessions.lifecycle import states_doc
from fntx_sessions.lifecycle.transitions import (
    OPENING_ALLOWED,
    REDUCE_ONLY,
    STARTED,
    TABLE,
    TERMINAL,
    UNFINISHED,
    allowed_from,
    status_pairs,
    target,
)
from fntx_sessions.schemas import SessionStatus as S
from fntx_sessions.schemas import Trigger as T  # noqa: N817 - as in the table itself

# The design's table, written a second time and by hand: whoever changes the one must mean to.
DESIGN = {
    T.CREATE: {None: S.INITIALIZING},
    T.START: {S.INITIALIZING: S.ACTIVE},
    T.PAUSE: {S.ACTIVE: S.PAUSED},
    T.RESUME: {S.PAUSED: S.ACTIVE},
    T.SUSPEND: {S.ACTIVE: S.SUSPENDED, S.PAUSED: S.SUSPENDED},
    T.RECOVER: {S.SUSPENDED: S.PAUSED, S.PAUSED: S.PAUSED, S.ERROR: S.PAUSED},
    T.STOP: dict.fromkeys((S.INITIALIZING, S.ACTIVE, S.PAUSED, S.SUSPENDED, S.ERROR), S.CLOSING),
    T.FINALIZE: {S.CLOSING: S.CLOSED},
    T.FAIL: dict.fromkeys((S.INITIALIZING, S.ACTIVE, S.PAUSED, S.SUSPENDED, S.CLOSING, S.ERROR), S.ERROR),
}


@pytest.mark.parametrize("trigger", DESIGN)
@pytest.mark.parametrize("status", [None, *S])
def test_the_table_is_the_designs(trigger, status):
    """Each trigger leads from each status where the design says, and nowhere else; no other command moves anything."""
    assert target(trigger, status) == DESIGN[trigger].get(status)
    assert TABLE.keys() == DESIGN.keys()


def test_nothing_follows_closed():
    """CLOSED is terminal and alone so."""
    assert {status for status in S if not allowed_from(status)} == TERMINAL == {S.CLOSED}
    assert set(S) - {S.CLOSED} == UNFINISHED


def test_every_status_can_be_reached_and_left_towards_closed():
    """From any unfinished status some path ends in CLOSED; every status can be reached from creation."""
    pairs = {(S(source), S(to)) for source, to in status_pairs()}
    for status in UNFINISHED:
        assert S.CLOSED in _reached({status}, pairs)
    assert _reached({S.INITIALIZING}, pairs) == set(S)


def _reached(found, pairs):
    while True:
        more = found | {to for source, to in pairs if source in found}
        if more == found:
            return found
        found = more


def test_only_an_active_session_opens_positions():
    """What may hold positions is either allowed to open or reduce-only, never both."""
    assert {S.ACTIVE} == OPENING_ALLOWED
    assert OPENING_ALLOWED | REDUCE_ONLY == STARTED
    assert not OPENING_ALLOWED & REDUCE_ONLY


def test_the_guards_pairs_are_the_tables():
    """The pairs of the Postgres guard are the table's, without those that stay where they are."""
    listed = {(source, to) for moves in DESIGN.values() for source, to in moves.items() if source not in (None, to)}
    assert status_pairs() == listed


def test_the_page_names_every_row_of_the_table():
    """docs/states.md holds each trigger, each status and each arrow."""
    page = states_doc.render()
    for trigger, (sources, to_status) in TABLE.items():
        assert f"`{trigger}`" in page
        for source in sources:
            assert f"{source or '[*]'} --> {to_status}: {trigger}" in page
    for status in S:
        assert f"| {status.upper()} |" in page


def test_a_stale_page_is_told(tmp_path):
    """--check passes on what was just written, and fails on a changed or missing page, naming the fix."""
    page = tmp_path / "states.md"
    assert states_doc.main(["--check", str(page)]) == 1
    assert states_doc.main([str(page)]) == 0
    assert states_doc.main(["--check", str(page)]) == 0
    page.write_text(page.read_text() + "edited by hand\n")
    assert states_doc.main(["--check", str(page)]) == 1


def test_the_committed_page_is_current():
    """docs/states.md is what the table generates today."""
    done = subprocess.run(
        [sys.executable, "-m", "fntx_sessions.lifecycle.states_doc", "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
