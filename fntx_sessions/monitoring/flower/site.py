"""What the pages of one Flower process share: settings, stores, logins, and the views they keep."""

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

from sqlalchemy import Engine

from fntx_sessions.database.engine import build_engine
from fntx_sessions.exceptions import Unavailable
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.monitoring.flower.acting import Acting
from fntx_sessions.monitoring.flower.logins import Logins
from fntx_sessions.monitoring.flower.streams import Streams
from fntx_sessions.monitoring.flower.views import Views
from fntx_sessions.security.open_desk import OPEN_TOLD, is_open
from fntx_sessions.security.revocations import keep_fresh
from fntx_sessions.settings import Settings
from fntx_sessions.state.redis_client import build_redis
from fntx_sessions.trading.calendars import load_calendars

_START = "Start the stack with `fntx up`, or set FNTX_DATABASE_URL and FNTX_REDIS_URL to servers that run."
# Calls of Redis, one after the other, in one drawing.
_CALLS = 5


class Site:
    """One for each process; connections are made when a page first needs them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.logins = Logins(settings)
        # Who asks is verified between two pages of others: nobody waits for Postgres there.
        keep_fresh(settings)
        self.threads = ThreadPoolExecutor(settings.pages_threads, thread_name_prefix="fntx-pages")
        self.threads_apart = ThreadPoolExecutor(2, thread_name_prefix="fntx-pages-apart")
        self.views = Views(settings, self.threads)
        self.acting = Acting(settings, self.logins)
        self.streams = Streams(settings)
        # A year of trading days takes seconds to work out: not those of who asks first.
        self.threads.submit(load_calendars)

    @property
    def open(self) -> str:
        """What every page says of a desk that asks nobody for a token; empty where it does."""
        return OPEN_TOLD if is_open(self.settings) else ""

    @cached_property
    def desk(self) -> Desk:
        """What pages read from; raises Unavailable where no address is configured."""
        if self.settings.redis_url is None:
            raise Unavailable("Redis", "no address is configured", _START)
        # One that hangs must be given up within the patience of the page that asks it.
        bound_s = min(self.settings.redis_socket_timeout_s, self.settings.pages_patience_s / _CALLS)
        quick = self.settings.model_copy(update={"redis_socket_timeout_s": bound_s, "redis_connect_timeout_s": bound_s})
        return Desk(self._engine(), build_redis(self.settings.redis_url.get_secret_value(), quick), self.settings)

    def _engine(self) -> Engine:
        if self.settings.database_url is None:
            raise Unavailable("Postgres", "no address is configured", _START)
        small = self.settings.model_copy(update={"db_pool_size": self.settings.pages_threads})
        return build_engine(self.settings.database_url.get_secret_value(), small, application="fntx pages")
