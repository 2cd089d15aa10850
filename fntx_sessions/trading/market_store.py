"""The published markets: the latest of each feed in Redis, only ever forward in time; all of them in Postgres.

Whoever reaches both stores publishes here; others by the task `fntx.market.publish`, which comes here too. History
comes first, so that nothing is the latest that could not be played again; whoever finds Redis away sends it again.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import structlog
from redis import Redis
from sqlalchemy import Connection, Engine, text

from fntx_sessions.database.engine import rows, statements
from fntx_sessions.exceptions import FntxError, InvalidArgument, Rejected
from fntx_sessions.parsing import parse
from fntx_sessions.schemas import MarketState, Model
from fntx_sessions.session_config import DEFAULT_FEED
from fntx_sessions.settings import Settings
from fntx_sessions.state.redis_client import redis_errors
from fntx_sessions.state.scripts import Script
from fntx_sessions.trading.published import (
    REGIME,
    FeedName,
    Publication,
    Published,
    PublishedState,
    checked_state,
    kept_publication,
    moment_us,
    read_publication,
)
from fntx_sessions.trading.regime import Mark, market_regime, realised_volatility

log = structlog.get_logger(__name__)
MARKET_KEY = "fntx:market"
COUNTS_KEY = "fntx:market_counts"
REFUSED, LATE, DUPLICATE = "refused", "late", "duplicate"
# Refusals of what names no feed that can be.
NO_FEED = "?"
_LATEST = Script("market_latest.lua")
_LONGEST_PUBLISHER = 200

# The last price of each minute of the window before a moment: one look at the index a minute, however many there are.
_NOW = text("""
SELECT clock_timestamp() AS now, CASE WHEN :derive THEN (
  SELECT coalesce(jsonb_agg(jsonb_build_array(extract(epoch FROM m.timestamp)::float8, m.price) ORDER BY m.timestamp), '[]')
  FROM generate_series(date_trunc('minute', CAST(:at AS timestamptz) - make_interval(secs => :window_s)), :at,
    interval '1 minute') AS g(minute)
  CROSS JOIN LATERAL (
    SELECT s.timestamp, (s.body #>> '{state,spy_price}')::float8 AS price FROM market_states s
    WHERE s.feed = :feed AND s.timestamp >= greatest(g.minute, CAST(:at AS timestamptz) - make_interval(secs => :window_s))
      AND s.timestamp < least(g.minute + interval '1 minute', :at)
    ORDER BY s.timestamp DESC LIMIT 1) AS m) END AS marks
""")  # noqa: E501
# The first one stands. clock_timestamp(): the column's default would be the time of another function.
_ADD = text("""
WITH added AS (
  INSERT INTO market_states (feed, timestamp, received_at, publisher, body)
  VALUES (:feed, :at, :now, :publisher, CAST(:body AS jsonb)) ON CONFLICT DO NOTHING RETURNING feed
) SELECT count(*) FROM added
""")
_ONE = text("SELECT publisher, received_at, body FROM market_states WHERE feed = :feed AND timestamp = :at")


class _Named(Model):
    feed: FeedName


def market_key(feed: str = DEFAULT_FEED) -> str:
    """Return the key of a feed's latest market."""
    return MARKET_KEY if feed == DEFAULT_FEED else f"{MARKET_KEY}:{feed}"


def publish_market(
    redis: Redis, engine: Engine, settings: Settings, feed: str, state: MarketState | dict[str, Any], publisher: str
) -> Published:
    """Publish a market for all sessions of a feed; a refusal is counted.

    state: a MarketState; where `market_regime` was not given to it, or is `unknown`, the regime is worked out (see
    docs/trading.md). One older than the latest is kept in history alone; the same one again changes nothing.
    Raises InvalidArgument by path, Unavailable and Busy; after Unavailable send it again.
    """
    try:
        return publish(redis, engine, settings, feed, state, publisher)
    except Rejected:
        count(redis, feed, REFUSED)
        raise


def publish(
    redis: Redis, engine: Engine, settings: Settings, feed: str, state: MarketState | dict[str, Any], publisher: str
) -> Published:
    """Do as `publish_market` does, but leave it to the caller to count what is refused."""
    parse(_Named, {"feed": feed})
    checked = checked_state(state)
    with statements(engine) as connection:
        now, market = _dated(connection, settings, feed, checked, publisher)
        added = bool(connection.execute(_ADD, _bound(feed, market)).scalar_one())
        if not added:
            market = _known(connection, feed, market)
    taken = _make_latest(redis, settings, feed, market, now)
    became = "latest" if taken else LATE if added else DUPLICATE
    if became != "latest":
        count(redis, feed, became)
    return Published(feed=feed, became=became, market=market)


def count(redis: Redis, feed: str, what: str) -> None:
    """Count what was refused, late or a duplicate of a feed; Redis away is no reason to fail."""
    try:
        parse(_Named, {"feed": feed})
    except InvalidArgument:
        feed = NO_FEED
    try:
        with redis_errors():
            redis.hincrby(COUNTS_KEY, f"{feed}:{what}", 1)
    except FntxError as error:
        log.warning("market_not_counted", feed=feed, what=what, problem=str(error))


def counts(redis: Redis) -> dict[str, dict[str, int]]:
    """Return what was refused, late or a duplicate, by feed, since Redis was last emptied; raises Unavailable."""
    with redis_errors():
        counted: dict[bytes, bytes] = redis.hgetall(COUNTS_KEY)  # type: ignore[assignment]  # its stub
    found: dict[str, dict[str, int]] = {}
    for name, number in counted.items():
        feed, _, what = name.decode().rpartition(":")
        found.setdefault(feed, {})[what] = int(number)
    return found


def latest_market(redis: Redis, feed: str = DEFAULT_FEED) -> MarketState | None:
    """Return the latest market of a feed; None before the first, or where it is none. Raises Unavailable."""
    found = latest_markets(redis, [feed])
    return found[feed].state if feed in found else None


def latest_markets(redis: Redis, feeds: Iterable[str]) -> dict[str, Publication]:
    """Return the latest of feeds in one round trip; those without are left out. Raises Unavailable."""
    asked = list(dict.fromkeys(feeds))
    if not asked:
        return {}
    with redis_errors(), redis.pipeline(transaction=False) as pipe:
        for feed in asked:
            pipe.get(market_key(feed))
        found = pipe.execute()
    read = {feed: _read(feed, data) for feed, data in zip(asked, found, strict=True) if data is not None}
    return {feed: market for feed, market in read.items() if market is not None}


def _dated(
    connection: Connection, settings: Settings, feed: str, state: PublishedState, publisher: str
) -> tuple[datetime, Publication]:
    """Return Postgres's time and the market as it is to be kept; refuses one of the future."""
    derive = not state.names_regime
    bound = {"derive": derive, "feed": feed, "at": state.timestamp, "window_s": settings.regime_window_s}
    now, marks = connection.execute(_NOW, bound).one()
    ahead_s = (state.timestamp - now).total_seconds()
    if ahead_s > settings.market_clock_skew_s:
        problem = f"is {ahead_s:.0f} s in the future by the desk's clock"
        raise InvalidArgument("state.timestamp", problem, "Set the publisher's clock (NTP), and date what was seen.")
    told = {"publisher": publisher[:_LONGEST_PUBLISHER], "received_at": now}
    return now, Publication(**_derived(state, marks) if derive else {"state": state}, **told)


def _derived(state: PublishedState, marks: list[Mark]) -> dict[str, Any]:
    realised = realised_volatility([*marks, (state.timestamp.timestamp(), state.spy_price)])
    regime = market_regime(state.vix_level, realised)
    return {
        "state": state.model_copy(update={REGIME: regime}),
        "derived": (REGIME,),
        "realised_volatility": None if realised is None else round(realised, 4),
    }


def _bound(feed: str, market: Publication) -> dict[str, Any]:
    return {
        "feed": feed,
        "at": market.state.timestamp,
        "now": market.received_at,
        "publisher": market.publisher,
        "body": market.body().decode(),
    }


def _known(connection: Connection, feed: str, market: Publication) -> Publication:
    """Return the market that is known of this moment; raises InvalidArgument where it says something else."""
    known = kept_publication(rows(connection.execute(_ONE, {"feed": feed, "at": market.state.timestamp}))[0])
    if not market.same_as(known):
        problem = f"is the moment of another market of feed {feed!r}, which {known.publisher} published"
        raise InvalidArgument("state.timestamp", problem, "One feed has one publisher; date a correction later.")
    return known


def _make_latest(redis: Redis, settings: Settings, feed: str, market: Publication, now: datetime) -> bool:
    believed = now + timedelta(seconds=settings.market_clock_skew_s)
    kept_s = max(settings.market_history_keep_s, settings.hot_ttl_s)
    moments = moment_us(market.state.timestamp), moment_us(believed)
    return bool(_LATEST.run(redis, market_key(feed), *moments, market.to_bytes(), int(kept_s * 1000)))


def _read(feed: str, data: bytes) -> Publication | None:
    try:
        return read_publication(data)
    except ValueError as error:
        log.warning("published_market_invalid", feed=feed, problem=str(error))
        return None
