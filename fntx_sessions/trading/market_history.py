"""Every market that was published, by feed: to be listed, to be played again, and after a while forgotten."""

from datetime import datetime

from sqlalchemy import Connection, Engine, text

from fntx_sessions.database.engine import rows, statements, transaction
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import FeedConfig, MarketState
from fntx_sessions.session_config import DEFAULT_FEED
from fntx_sessions.settings import Settings
from fntx_sessions.trading.calendars import Calendar
from fntx_sessions.trading.feeds import RecordedSource, recorded_day
from fntx_sessions.trading.published import Publication, kept_publication

MOST_LISTED = 1000
_FORGOTTEN_AT_ONCE = 10_000

_HISTORY = text("""
SELECT publisher, received_at, body FROM market_states WHERE feed = :feed
  AND timestamp >= coalesce(CAST(:first AS timestamptz), '-infinity')
  AND timestamp <= coalesce(CAST(:last AS timestamptz), 'infinity')
ORDER BY timestamp DESC LIMIT :limit
""")
_FORGET = text("""
DELETE FROM market_states WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM market_states WHERE received_at < now() - make_interval(secs => :keep_s)
  ORDER BY received_at LIMIT :most FOR UPDATE SKIP LOCKED))
""")
# What was known at a moment of a day that is over: what had come by then, or was brought in only after that day.
_KNOWN_THEN = text("""
SELECT body FROM market_states WHERE feed = :feed AND timestamp <= :now
  AND (received_at <= :now OR received_at > :day_end)
ORDER BY timestamp DESC LIMIT 1
""")
# One look at the index a feed, however much is kept of it.
_FEEDS = text("""
WITH RECURSIVE known AS (
  (SELECT feed FROM market_states ORDER BY feed LIMIT 1)
  UNION ALL
  SELECT (SELECT m.feed FROM market_states m WHERE m.feed > k.feed ORDER BY m.feed LIMIT 1) FROM known k
  WHERE k.feed IS NOT NULL
) SELECT feed FROM known WHERE feed IS NOT NULL
""")
_ANY = text("SELECT EXISTS (SELECT FROM market_states WHERE feed = :feed AND timestamp BETWEEN :first AND :last)")


def known_feeds(connection: Connection) -> list[str]:
    """Return the feeds of which anything is kept, by name, and the default one, which may be written past the door."""
    return sorted({DEFAULT_FEED, *connection.execute(_FEEDS).scalars()})


def history(
    engine: Engine,
    feed: str,
    first: datetime | None = None,
    last: datetime | None = None,
    limit: int = 100,
) -> list[Publication]:
    """Return the last `limit` markets of a feed from `first` to `last`, both included; oldest first.

    Raises Unavailable.
    """
    bound = {"feed": feed, "first": first, "last": last, "limit": min(limit, MOST_LISTED)}
    with transaction(engine) as connection:
        found = rows(connection.execute(_HISTORY, bound))
    return [kept_publication(row) for row in reversed(found)]


def forget_old(engine: Engine, settings: Settings) -> int:
    """Delete what came longer ago than `market_history_keep_s`, a batch at a time; return how many."""
    done = 0
    bound = {"keep_s": settings.market_history_keep_s, "most": _FORGOTTEN_AT_ONCE}
    while True:
        with transaction(engine) as connection:
            found = connection.execute(_FORGET, bound).rowcount
        done += found
        if found < _FORGOTTEN_AT_ONCE:
            return done


def recorded(engine: Engine, config: FeedConfig, calendar: Calendar) -> RecordedSource:
    """Return what tells the market as it was known at a moment of a recorded feed's day.

    Raises InvalidArgument where the day is none, or nothing of it is kept, and Unavailable.
    """
    with statements(engine) as connection:
        day_end = must_be_recorded(connection, config, calendar)

    def known_at(now: datetime) -> MarketState | None:
        bound = {"feed": config.name, "now": now, "day_end": day_end}
        with statements(engine) as connection:
            body = connection.execute(_KNOWN_THEN, bound).scalar_one_or_none()
        return None if body is None else MarketState.model_validate(body["state"])

    return known_at


def must_be_recorded(connection: Connection, config: FeedConfig, calendar: Calendar) -> datetime:
    """Return the end of a recorded feed's day; raises InvalidArgument where nothing of that day is kept."""
    day = recorded_day(config, calendar)
    span = calendar.extended_hours(day)
    assert span is not None  # noqa: S101 -- a trading day has hours
    if not connection.execute(_ANY, {"feed": config.name, "first": span[0], "last": span[1]}).scalar_one():
        fix = "`fntx market show` lists the feeds and what is kept of them."
        raise InvalidArgument("feed.trade_date", f"nothing is kept of the feed {config.name!r} on {day}", fix)
    return span[1]
