"""Whether the clock of whoever publishes the market can be right: one that runs ahead is told as an alert."""

from sqlalchemy import text

from fntx_sessions.agents.runtime import published_market
from fntx_sessions.automation.alerts import Changes, Found, settle_in
from fntx_sessions.database.engine import transaction
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import Severity

MARKET_CLOCK = "market_clock"
_NOW = text("SELECT clock_timestamp()")
_FIX = "Until its clock is set (NTP), nothing is opened on it and no rule reads it."


def watch_publisher(desk: Desk) -> Changes:
    """Let the alert stand while the published market is dated in the future, beyond the skew; raises Unavailable."""
    state = published_market(desk)
    with transaction(desk.engine) as connection:
        ahead_s = 0.0
        if state is not None:
            ahead_s = (state.timestamp - connection.execute(_NOW).scalar_one()).total_seconds()
        found = []
        if ahead_s > desk.settings.market_clock_skew_s:
            told = (
                f"the published market is dated {ahead_s:.0f} s in the future: its publisher's clock is wrong. {_FIX}"
            )
            found = [Found(MARKET_CLOCK, "market", Severity.ERROR, told)]
        return settle_in(connection, (MARKET_CLOCK,), found)
