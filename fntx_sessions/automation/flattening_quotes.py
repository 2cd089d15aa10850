"""What keeps a session's positions from being priced or traded now, for whoever is about to close them."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from fntx_sessions.exceptions import FntxError
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import SessionConfig
from fntx_sessions.session_config import DEFAULT_FEED
from fntx_sessions.trading.calendars import get_calendar
from fntx_sessions.trading.feeds import PublishedFeed
from fntx_sessions.trading.market import MarketTick
from fntx_sessions.trading.market_store import latest_markets
from fntx_sessions.trading.published import Publication
from fntx_sessions.trading.rules import TradingRules


def market_obstacle(tick: MarketTick | None) -> str | None:
    """Return why nothing trades on what is known of a market; None: it does. tick None: nothing was ever known."""
    if tick is None:
        return "no quotes: no market was ever saved for it. Call the broker"
    if tick.halted:
        return "trading is halted. Call the broker, or ask again when it is not"
    if not tick.option_open:
        return "options are shut: they are closed at the next open by a worker, or by whoever asks again then"
    if tick.stale:
        age = timedelta(seconds=round(tick.age_s))
        return (
            f"no quotes: what is known of the market is {age} old. Call the broker, or ask again when quotes are back"
        )
    return None


class PublishedQuotes:
    """The published markets, asked once a round for all sessions that trade on them."""

    def __init__(self, desk: Desk) -> None:
        """Take the desk whose markets they are."""
        self._desk = desk
        self._rules = TradingRules.from_settings(desk.settings)
        self._known: dict[str, Publication] = {}

    def refresh(self, configs: Iterable[dict[str, Any]]) -> None:
        """Ask Redis anew for the feeds of sessions; raises Unavailable."""
        self._known = latest_markets(self._desk.redis, (_feed_name(config) for config in configs))

    def obstacle(self, config: dict[str, Any], now: datetime) -> str | None:
        """Return what keeps a session of that config from trading; None: nothing does, or it plays a day of its own."""
        if config.get("feed", {}).get("kind") != "published":
            return None
        try:
            known = SessionConfig.model_validate(config)
            market = self._known.get(known.feed.name)
            state = market.state if market else None
            feed = PublishedFeed(lambda: state, known.feed, get_calendar(known.calendar), self._rules)
        except (FntxError, ValueError):
            return None  # whoever steps it finds the same, and says so
        return market_obstacle(feed.tick(now))


def _feed_name(config: dict[str, Any]) -> str:
    name: str = config.get("feed", {}).get("name", DEFAULT_FEED)
    return name
