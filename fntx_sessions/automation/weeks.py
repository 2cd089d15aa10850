"""Weeks of history: made ahead, sealed once they are old, dropped once they are proven to be elsewhere."""

from fntx_sessions.database.partitions import maintenance, make_ahead
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.state.dropping import drop_due
from fntx_sessions.state.objects.cold import open_cold
from fntx_sessions.state.objects.watched import WatchedStore
from fntx_sessions.state.segments import SegmentReport, segment_due
from fntx_sessions.state.tier_health import health_of


def seal_weeks(desk: Desk) -> SegmentReport:
    """Seal old weeks of sessions that go on, for up to `retention_sweep_s`; raises Unavailable."""
    health = health_of(desk.engine, desk.settings)
    try:
        return segment_due(desk.engine, desk.settings, WatchedStore(open_cold(desk.settings), health))
    finally:
        health.tell(desk.engine)


def turn_weeks(desk: Desk) -> tuple[list[str], list[str]]:
    """Make the coming weeks' partitions, drop the old ones that may go; return the names of both."""
    with maintenance(desk.settings, desk.engine) as engine:
        return make_ahead(engine, desk.settings.partitions_ahead), drop_due(engine, desk.settings)
