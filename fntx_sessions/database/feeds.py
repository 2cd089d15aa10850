"""Feeds of published markets, as SQL; `s` is the session's row."""

from fntx_sessions.session_config import DEFAULT_FEED

# Sessions made before feeds had names have none in their config.
FEED_NAME = f"coalesce(s.config #>> '{{feed,name}}', '{DEFAULT_FEED}')"
# Whether anything is kept of what was published to its feed; NULL: it trades on no published one.
FEED_KNOWN = f"""CASE WHEN s.config #>> '{{feed,kind}}' = 'published'
  THEN EXISTS (SELECT FROM market_states k WHERE k.feed = {FEED_NAME}) END"""
