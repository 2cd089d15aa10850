"""Whether the clocks of those who publish markets can be right: one that runs ahead is told as an alert."""

from datetime import datetime

from sqlalchemy import text

from fntx_sessions.automation.alerts import Changes, Found, settle_in
from fntx_sessions.database.engine import transaction
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import Severity
from fntx_sessions.trading.market_history import known_feeds
from fntx_sessions.trading.market_store import latest_markets

MARKET_CLOCK = "market_clock"
_NOW = text("SELECT clock_timestamp()")
_FIX = "Until its clock is set (NTP), nothing is opened on it and no rule reads it."


def watch_publisher(desk: Desk) -> Changes:
    """Let the alert stand, once a feed, while its market is dated in the future beyond the skew; raises Unavailable."""
    with transaction(desk.engine) as connection:
        markets = latest_markets(desk.redis, known_feeds(connection))
        now: datetime = connection.execute(_NOW).scalar_one()
        ahead = {feed: (market.state.timestamp - now).total_seconds() for feed, market in markets.items()}
        found = [
            Found(MARKET_CLOCK, feed, Severity.ERROR, _told(feed, ahead_s))
            for feed, ahead_s in ahead.items()
            if ahead_s > desk.settings.market_clock_skew_s
        ]
        return settle_in(connection, (MARKET_CLOCK,), found)


def _told(feed: str, ahead_s: float) -> str:
    return (
        f"the market published to the feed {feed!r} is dated {ahead_s:.0f} s in the future: its publisher's clock is "
        f"wrong. {_FIX}"
    )
