"""Flat-by on the paper broker and Postgres's clock: whatever the session's status, and whoever steps it by then."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from hosting import S, T, forget_runtimes, shared
from rules_world import NEW_YORK, SYSTEM, RuledDesk, ruled_desk

PATIENT = {"stop_loss_multiplier": 20, "take_profit_multiplier": 0.999}


@pytest.fixture
def desk(tmp_path: Path, module_database_url: str, redis_url: str) -> Iterator[RuledDesk]:
    with ruled_desk(shared(tmp_path, module_database_url, redis_url)) as made:
        yield made


def day_of(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


def holding(desk, day):
    """A hosted session on the published market that sold a put at eleven."""
    desk.at("11:00:00", day=day)
    desk.publish(vix_level=60.0)
    config = {"feed": {"kind": "published"}, "step_interval_s": 3600}
    session_id = desk.create("regular", config=config, risk_parameters=PATIENT, enabled_strategies=["sell_put"])
    desk.do(T.START, session_id)
    desk.step()
    assert desk.broker.positions(session_id)
    return session_id


def closings(desk, session_id):
    found = [fill for fill in desk.fills(session_id) if not fill["opening"]]
    return [(fill["reason"], fill["timestamp"].astimezone(NEW_YORK).strftime("%H:%M")) for fill in found]


@pytest.mark.parametrize(
    ("day", "before", "after"), [("2018-12-24", "12:44", "12:45"), ("2018-01-09", "15:44", "15:50")]
)
@pytest.mark.parametrize("status", [S.ACTIVE, S.PAUSED, S.SUSPENDED])
def test_nothing_is_held_past_flat_by(desk, day, before, after, status):
    """Before flat-by nothing happens; from then on, half days included, a new process closes it at its first step."""
    on = day_of(day)
    session_id = holding(desk, on)
    if status is S.PAUSED:
        desk.do(T.PAUSE, session_id)
    if status is S.SUSPENDED:
        desk.do(T.SUSPEND, session_id, actor=SYSTEM)
    desk.at(f"{before}:00", day=on)
    desk.publish(vix_level=60.0)
    desk.step()
    assert closings(desk, session_id) == []
    forget_runtimes()
    desk.at(f"{after}:00", day=on)
    desk.publish(vix_level=60.0)
    desk.step()
    assert closings(desk, session_id) == [("flat_by", after)]
    assert desk.broker.positions(session_id) == []
    desk.check_books(session_id)
