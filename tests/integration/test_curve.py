"""A session's curve over time: thinned to what fits a picture, nothing that stands out thinned away."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from lifecycle_harness import World
from metrics_world import OPEN, Run

from fntx_sessions.exceptions import NotFound
from fntx_sessions.lifecycle.reads.curve import CurveQuery, get_curve

D = Decimal


@pytest.fixture
def world(module_database_url: str) -> Iterator[World]:
    made = World.over(module_database_url)
    yield made
    made.close()


def curve(world: World, session_id, **asked):
    return get_curve(world.engine, CurveQuery(session_id=session_id, **asked))


def test_a_short_curve_comes_whole_in_order_with_what_was_at_stake(world):
    """Below the number of points asked for nothing is left out."""
    run = Run(world)
    for minute, net in ((0, "0"), (10, "57.28"), (4, "-3.5")):
        run.sample(minute, net)
    world.execute("UPDATE samples SET exposure = 26500 WHERE session_id = :id AND net_pnl = 57.28", id=run.id)
    found = curve(world, run.id)
    assert [(one.timestamp - OPEN, one.net_pnl, one.exposure) for one in found.points] == [
        (timedelta(minutes=0), D(0), D(0)),
        (timedelta(minutes=4), D("-3.5"), D(0)),
        (timedelta(minutes=10), D("57.28"), D(26500)),
    ]
    assert found.samples == 3


def test_of_a_long_curve_so_many_points_come_and_its_extremes_and_ends_are_among_them(world):
    """A loss of one minute among thousands is seen in a picture forty points wide, and so are the ends."""
    run = Run(world)
    nets = [D(n % 7) for n in range(3000)]
    nets[1234], nets[2345] = D("-987.65"), D("1234.56")
    run.curve(0, nets)
    found = curve(world, run.id, points=40)
    shown = [one.net_pnl for one in found.points]
    assert len(shown) <= 40
    assert {D("-987.65"), D("1234.56")} <= set(shown)
    assert (found.points[0].timestamp, found.points[-1].timestamp) == (OPEN, OPEN + timedelta(minutes=2999))
    assert found.samples == 3000


def test_what_came_since_a_moment_can_be_asked_alone(world):
    """A live picture asks for what it has not got."""
    run = Run(world)
    run.curve(0, [D(1), D(2), D(3)])
    found = curve(world, run.id, since=OPEN + timedelta(minutes=1))
    assert [one.net_pnl for one in found.points] == [D(2), D(3)]


def test_a_session_without_samples_has_no_points_and_an_unknown_one_is_not_found(world):
    """Nothing known is no point, never a zero."""
    assert curve(world, Run(world).id).points == []
    with pytest.raises(NotFound):
        curve(world, uuid4())
