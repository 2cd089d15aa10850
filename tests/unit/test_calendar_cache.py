"""Years that were worked out are kept, are the same when they come back, and are believed from nobody else."""

import os
import time
from datetime import date, timedelta
from pathlib import Path

import orjson
import pytest

from fntx_sessions.trading import calendar_cache, calendar_years
from fntx_sessions.trading.calendar_years import year_of, zone_of

# An evening opening, a lunch, a half day by weekday, one that gave its lunch up, one without extended hours.
KINDS = [("XNYS", 2026), ("XTKS", 2024), ("XTAE", 2025), ("XHKG", 2012), ("CME_Equity", 2025), ("XLON", 2001)]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where years are kept: nothing yet, and nobody in this process remembers any."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for remembers in (year_of, zone_of):
        remembers.cache_clear()
    return tmp_path


@pytest.fixture
def never_again(kept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A year is kept; whoever works one out again is found."""
    year_of("XNYS", 2024)
    year_of.cache_clear()
    monkeypatch.setattr(calendar_years, "_worked_out", lambda *_: pytest.fail("it was worked out again"))
    return kept


def the_file(kept: Path) -> Path:
    [found] = kept.rglob("year-*.json")
    return found


@pytest.mark.parametrize(("name", "year"), KINDS)
def test_what_comes_back_is_what_was_worked_out(kept, name, year):
    """Every day, every time, every lunch, and the zone, of every kind of exchange."""
    worked_out, zone = dict(year_of(name, year)), zone_of(name)
    year_of.cache_clear()
    zone_of.cache_clear()
    assert calendar_years._kept_year(name, year) == year_of(name, year) == worked_out
    assert {hours.open.tzinfo for hours in year_of(name, year).values()} == {
        hours.open.tzinfo for hours in worked_out.values()
    }
    assert zone_of(name) is zone


def test_a_year_is_worked_out_once(never_again):
    """Whoever asks next reads it."""
    assert date(2024, 7, 4) not in year_of("XNYS", 2024)


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_what_others_may_write_is_not_believed(never_again, mode):
    """Nobody but this user decides when an exchange is open."""
    the_file(never_again).chmod(mode)
    assert calendar_years._kept_year("XNYS", 2024) is None


def test_nor_what_lies_where_others_may_write(never_again):
    """They could put another file there."""
    the_file(never_again).parent.chmod(0o777)
    assert calendar_years._kept_year("XNYS", 2024) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_nor_what_is_anothers(never_again):
    """A file of somebody else's is theirs."""
    os.chown(the_file(never_again), 12345, 12345)
    assert calendar_years._kept_year("XNYS", 2024) is None


@pytest.mark.parametrize("age_s", [2 * 86_400, -2 * 86_400])
def test_it_is_believed_for_a_day(never_again, age_s):
    """Rules of daylight saving change with the system's tables; a date in the future is no younger."""
    then = time.time() - age_s
    os.utime(the_file(never_again), (then, then))
    assert calendar_years._kept_year("XNYS", 2024) is None


BROKEN = {
    "empty": b"",
    "half": b'[["2024-01-02", "2024-01-02T14:30:00+00:00"',
    "no list": b"7",
    "no days": b"[]",
    "another shape": b'[["2024-01-02"]]',
    "no times": orjson.dumps([["2024-01-02", *["x"] * 5, False, None, None]]),
    "numbers": orjson.dumps([["2024-01-02", *[1] * 5, False, None, None]]),
    "another year's": orjson.dumps([["2023-01-03", *["2023-01-03T14:30:00+00:00"] * 5, False, None, None]]),
    "another zone's": orjson.dumps([["2024-01-02", *["2024-01-02T14:30:00+05:00"] * 5, False, None, None]]),
    "no zone's": orjson.dumps([["2024-01-02", *["2024-01-02T14:30:00"] * 5, False, None, None]]),
    "half a lunch": orjson.dumps([["2024-01-02", *["2024-01-02T14:30:00Z"] * 5, False, "2024-01-02T16:30:00Z", None]]),
    "no truth": orjson.dumps([["2024-01-02", *["2024-01-02T14:30:00Z"] * 5, 1, None, None]]),
    "huge": b" " * (calendar_cache.YEAR_MAX_BYTES + 1),
}


@pytest.mark.parametrize("bytes_", BROKEN.values(), ids=BROKEN)
def test_what_is_no_year_is_worked_out_anew(kept, bytes_):
    """A file that was cut short or made up is no answer, and is replaced by one that is."""
    worked_out = dict(year_of("XNYS", 2024))
    the_file(kept).write_bytes(bytes_)
    year_of.cache_clear()
    assert calendar_years._kept_year("XNYS", 2024) is None
    assert year_of("XNYS", 2024) == worked_out
    assert calendar_years._kept_year("XNYS", 2024) == worked_out


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a\0b", "x" * 10_000])
def test_a_name_is_no_path(kept, name):
    """Whatever somebody calls an exchange, nothing is read or written but in the folder."""
    calendar_cache.remember("year", name, [])
    assert {path.parent.parent for path in kept.rglob("*.json")} == {kept / "fntx"}
    assert calendar_cache.remembered("year", name) == []


def test_where_it_cannot_be_kept_it_is_worked_out(kept, monkeypatch):
    """A file where the folder would be, as on a disk that takes nothing: no error, no cache."""
    (kept / "fntx").write_text("in the way")
    assert year_of("XNYS", 2024)[date(2024, 7, 3)].half_day
    assert calendar_years._kept_year("XNYS", 2024) is None
    assert [path.name for path in kept.iterdir()] == ["fntx"]


def test_another_version_keeps_apart(never_again, monkeypatch):
    """A library of another version, or another text of ours, believes nothing of this one's."""
    monkeypatch.setattr(calendar_cache, "version", lambda name: f"{name} 99")
    calendar_cache._made_by.cache_clear()
    try:
        assert calendar_years._kept_year("XNYS", 2024) is None
    finally:
        calendar_cache._made_by.cache_clear()


def test_an_hour_is_not_lost_on_the_way(kept):
    """Days around both changes of the clock come back to the minute."""
    days = [date(2026, 3, 6), date(2026, 3, 9), date(2026, 10, 30), date(2026, 11, 2)]
    opened = [year_of("XNYS", 2026)[day].open for day in days]
    year_of.cache_clear()
    again = [year_of("XNYS", 2026)[day].open for day in days]
    assert again == opened
    assert [moment.hour for moment in again] == [14, 13, 13, 14]
    assert all(moment.utcoffset() == timedelta() for moment in again)
