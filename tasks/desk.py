"""What tasks of this process work with: its engine, its Redis, its settings."""

from fntx_sessions.database.engine import get_engine
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.settings import get_settings
from fntx_sessions.state.redis_client import get_redis


def desk() -> Desk:
    """Return this process's desk; raises Unavailable when an address is missing."""
    return Desk(get_engine(), get_redis(), get_settings())
