"""How often a session is stepped: as often as its config says, not as often as beat ticks."""

from collections.abc import Iterator

import pytest
from hosting import Hosting, make_hosting

from fntx_sessions.agents import host
from fntx_sessions.settings import Settings


@pytest.fixture
def hosting(settings: Settings) -> Iterator[Hosting]:
    with make_hosting(settings) as made:
        yield made.with_settings(step_sweep_s=5.0)


def test_a_sweep_that_stays_steps_more_often_than_it_is_sent(hosting):
    """One sweep steps a session again and again as it comes due, and leaves before the next one is sent."""
    hosting.started(config={"step_interval_s": 0.05})
    assert host.step_due(hosting.desk, "h") > 0  # the first one loads what pricing needs, which takes its time
    assert host.step_due(hosting.desk, "h", stay_s=5) > 1


def test_a_sweep_with_nothing_due_soon_leaves_at_once(hosting):
    """Nothing due within the time a sweep may stay: it takes no step."""
    hosting.started(config={"step_interval_s": 60})
    assert host.step_due(hosting.desk, "h", stay_s=0.9) == 1
    assert host.step_due(hosting.desk, "h", stay_s=0.9) == 0
