"""Markets: publishing to a feed, and what was published."""

from datetime import datetime
from typing import Any, Unpack

from fntx_sessions.caller.manager import Asking
from fntx_sessions.managing.base import Sessions
from fntx_sessions.schemas import MarketState
from fntx_sessions.session_config import DEFAULT_FEED
from fntx_sessions.trading.published import Publication, Published


class Markets(Sessions):
    """Questions and commands about feeds."""

    async def publish_market(
        self, state: MarketState | dict[str, Any], feed: str = DEFAULT_FEED, **asking: Unpack[Asking]
    ) -> Published:
        """Publish a market to a feed, for all sessions that trade on it; history keeps it.

        What is left out of `market_regime` the desk works out. One older than the feed's latest is kept as `late`,
        one that is known is a `duplicate`. Raises InvalidArgument by path.
        """
        plain = state.model_dump(mode="json", exclude_unset=True) if isinstance(state, MarketState) else state
        found = await self._desk("fntx.market.publish", {"feed": feed, "state": plain}, asking)
        return Published.model_validate(found)

    async def get_market(self, feed: str | None = None) -> dict[str, Any]:
        """Return the latest market of a feed, or of each, its age, whether it is fresh, and who trades on it."""
        found: dict[str, Any] = await self._query("fntx.market.get", {"feed": feed})
        return found

    async def get_market_history(
        self, feed: str = DEFAULT_FEED, *, first: datetime | None = None, last: datetime | None = None, limit: int = 100
    ) -> list[Publication]:
        """Return the last `limit` markets of a feed between two moments, oldest first."""
        asked = {"feed": feed, "first": first, "last": last, "limit": limit}
        return [Publication.model_validate(one) for one in await self._query("fntx.market.history", asked)]
