"""Whether Redis answers: what every page says above all else where it does not."""

from fntx_sessions.exceptions import FntxError
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.state.redis_client import redis_errors
from fntx_sessions.state.tier_health import REDIS, health_of

PART = "redis-away"


def redis_problem(desk: Desk) -> str:
    """Return why Redis does not answer; empty where it does. One that was away a moment ago is not asked again."""
    try:
        with health_of(desk.engine, desk.settings).calling(REDIS), redis_errors():
            desk.redis.ping()
    except FntxError as error:
        return str(error)
    return ""
