"""The published markets as they are asked for and told: feed by feed, how fresh, by whom, and who trades on it."""

from datetime import datetime
from typing import Any

from pydantic import Field
from sqlalchemy import Connection, text

from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.database.feeds import FEED_NAME
from fntx_sessions.exceptions import NotFound
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.schemas import Model, Time
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import PUBLISH_MARKET, authorize
from fntx_sessions.session_config import DEFAULT_FEED
from fntx_sessions.trading import market_history, market_store
from fntx_sessions.trading.feeds import market_age
from fntx_sessions.trading.published import FeedName, Publication, Published
from fntx_sessions.trading.rules import TradingRules

Json = dict[str, Any]

_USED = text(f"""
SELECT {FEED_NAME} AS feed, count(*) AS sessions FROM sessions s
WHERE s.status <> 'closed' AND s.config #>> '{{feed,kind}}' = 'published' GROUP BY 1
""")
_KEPT = text("""
SELECT f.feed, clock_timestamp() AS now,
  (SELECT min(m.timestamp) FROM market_states m WHERE m.feed = f.feed) AS first,
  (SELECT max(m.timestamp) FROM market_states m WHERE m.feed = f.feed) AS last,
  (SELECT count(*) FROM market_states m WHERE m.feed = f.feed
    AND m.timestamp > clock_timestamp() - interval '1 minute') AS last_minute
FROM unnest(CAST(:feeds AS text[])) AS f(feed)
""")


class PublishArguments(Model):
    """fntx.market.publish: to which feed, and a MarketState; without `market_regime` the desk works the regime out."""

    feed: str = DEFAULT_FEED
    state: dict[str, Any]


class GetArguments(Model):
    """fntx.market.get: of which feed; None: of all."""

    feed: FeedName | None = None


class HistoryArguments(Model):
    """fntx.market.history: the last `limit` markets of a feed between two moments, where these are given."""

    feed: FeedName = DEFAULT_FEED
    first: Time | None = None
    last: Time | None = None
    limit: int = Field(default=100, ge=1, le=market_history.MOST_LISTED)


def publish(desk: Desk, actor: Actor, arguments: PublishArguments) -> Published:
    """Publish a market in the actor's name; raises Forbidden, and as `market_store.publish` does."""
    authorize(actor, PUBLISH_MARKET)
    return market_store.publish(
        desk.redis, desk.engine, desk.settings, arguments.feed, arguments.state, publisher=actor.name
    )


def count_refused(desk: Desk, asked: Json) -> None:
    """Count a refused publication, under its feed where it names one that can be."""
    market_store.count(desk.redis, str(asked.get("feed", DEFAULT_FEED)), market_store.REFUSED)


def history(desk: Desk, arguments: HistoryArguments) -> list[Publication]:
    """Return what is kept of a feed, oldest first."""
    return market_history.history(desk.engine, arguments.feed, arguments.first, arguments.last, arguments.limit)


def show(desk: Desk, feed: str | None) -> Json:
    """Return feeds as they are now: those that anything is kept of, and those that open sessions trade on.

    Raises NotFound for a feed that is neither, and Unavailable.
    """
    with transaction(desk.engine) as connection:
        used = _used(connection)
        known = set(market_history.known_feeds(connection)) | used.keys()
        if feed is not None and feed not in known:
            raise NotFound("feed", feed, f"Nothing was published to it. There are: {', '.join(sorted(known))}.")
        asked = sorted(known) if feed is None else [feed]
        kept = rows(connection.execute(_KEPT, {"feeds": asked}))
    latest, counted = market_store.latest_markets(desk.redis, asked), market_store.counts(desk.redis)
    listed = [_feed_json(desk, row, latest.get(row["feed"])) for row in kept]
    beside = [{"sessions": used.get(one["feed"], 0), "counts": counted.get(one["feed"], {})} for one in listed]
    feeds = [one | more for one, more in zip(listed, beside, strict=True)]
    return {"feeds": feeds, "unnamed": counted.get(market_store.NO_FEED, {})}


def market_json(desk: Desk, market: Publication | None, now: datetime) -> Json | None:
    """Return a feed's latest market with its age in seconds and whether it is fresh enough to trade on."""
    if market is None:
        return None
    age_s = market_age(market.state.timestamp, now, TradingRules.from_settings(desk.settings))
    fresh = age_s <= desk.settings.quote_max_age_s
    return market.model_dump(mode="json") | {"age_s": round(age_s, 3), "fresh": fresh}


def _used(connection: Connection) -> dict[str, int]:
    return {row["feed"]: row["sessions"] for row in rows(connection.execute(_USED))}


def _feed_json(desk: Desk, row: Json, market: Publication | None) -> Json:
    return {
        "feed": row["feed"],
        "market": market_json(desk, market, row["now"]),
        "kept_from": row["first"],
        "kept_to": row["last"],
        "last_minute": row["last_minute"],
    }
