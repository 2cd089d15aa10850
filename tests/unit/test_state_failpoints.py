"""Failpoints strike where and as often as they are told, and cost nothing elsewhere."""

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from worker_process import wait_until

import fntx_sessions
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.testing import FailpointReached, ManualClock, failpoint, failpoints_armed, parse_failpoints

TESTS = Path(__file__).parents[1]
NAMED = re.compile(r'failpoint\(\s*"([^"]+)"\s*\)')


def test_every_failpoint_is_one_that_some_test_kills_at():
    """Whoever adds a failpoint adds a test that dies there: an unarmed one proves nothing."""
    sources = [file.read_text() for file in Path(fntx_sessions.__file__).parent.rglob("*.py")]
    named = {name for source in sources for name in NAMED.findall(source)}
    assert {"save.claimed", "move.flipped", "recovery.put_back", "archive.noted", "checkpoint.claimed"} <= named
    files = [file for file in TESTS.rglob("*.py") if file != Path(__file__)]
    # What a file says is killed elsewhere is no kill.
    killing = [re.sub(r"(?ms)^ELSEWHERE = .*?^}", "", text) for file in files if "kill" in (text := file.read_text())]
    assert {name for name in named if not any(_names(text, name) for text in killing)} == set()


def _names(text: str, name: str) -> bool:
    """Tell whether a test names a failpoint, whole or put together of its two halves."""
    first, _, last = name.partition(".")
    return f'"{name}"' in text or f"{name}:kill" in text or (f'"{first}.{{' in text and f'"{last}"' in text)


def test_an_unnamed_failpoint_does_nothing():
    """Only the place that is named fails."""
    with failpoints_armed("save.before_write:raise"):
        failpoint("save.after_write")


def test_raise_names_the_place():
    """A raised failpoint says which one it was, and is disarmed when its block ends."""
    with failpoints_armed("save.before_write:raise"), pytest.raises(FailpointReached, match=r"save\.before_write"):
        failpoint("save.before_write")
    failpoint("save.before_write")


def test_a_once_file_lets_the_retry_pass(tmp_path):
    """With a once-file the first to arrive fails and everybody after it passes."""
    with failpoints_armed(f"save.before_write:raise@{tmp_path / 'once'}"):
        with pytest.raises(FailpointReached):
            failpoint("save.before_write")
        failpoint("save.before_write")


def test_kill_is_a_sigkill_told_by_the_environment():
    """`kill` ends the process as a power cut would: signal 9, nothing after it runs."""
    code = "from fntx_sessions.testing import failpoint; failpoint('here'); print('survived')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"FNTX_FAILPOINTS": "other:raise, here:kill"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (-9, b"")


def test_hold_lets_go_when_its_file_is_written_to(tmp_path):
    """The first to arrive waits, as for a slow disk; everybody after it passes."""
    marker = tmp_path / "held"
    spec = f"here:hold@{marker}"
    code = "from fntx_sessions.testing import failpoint; failpoint('here'); print('let go')"
    with subprocess.Popen([sys.executable, "-c", code], env={"FNTX_FAILPOINTS": spec}, stdout=subprocess.PIPE) as held:
        wait_until(marker.exists, "it is held")
        with failpoints_armed(spec):
            failpoint("here")
        assert held.poll() is None
        marker.write_text("go on")
        assert held.communicate()[0] == b"let go\n"


@pytest.mark.parametrize("spec", ["name", "name:explode", ":kill", "name:hold"])
def test_a_malformed_spec_is_refused(spec):
    """A failpoint that would never strike is refused, with the fix."""
    with pytest.raises(InvalidArgument, match="FNTX_FAILPOINTS"):
        parse_failpoints(spec)


def test_a_manual_clock_moves_only_by_hand():
    """It stands still, advances by seconds, and takes aware times alone."""
    clock = ManualClock(datetime(2018, 1, 2, tzinfo=UTC))
    assert clock.advance(60) == clock.now() == datetime(2018, 1, 2, 0, 1, tzinfo=UTC)
    with pytest.raises(InvalidArgument, match="no time zone"):
        clock.set(datetime(2018, 1, 2))  # noqa: DTZ001
