"""Where the desk's Redis is, for whoever asks from another process."""

import os

from fntx_sessions.caller.producer import START_REDIS
from fntx_sessions.exceptions import Unavailable
from fntx_sessions.settings import Settings


def redis_url(settings: Settings) -> str:
    """Return the configured Redis, or that of the stack that runs in this user's folder; raises Unavailable."""
    if settings.redis_url is not None:
        return settings.redis_url.get_secret_value()
    from fntx_sessions.stack.addresses import REDIS, adopt_local_stack  # noqa: PLC0415 - psutil, supervisor

    environment = dict(os.environ)
    if adopt_local_stack(environment) and REDIS in environment:
        return environment[REDIS]
    raise Unavailable("Redis", "no address is configured", START_REDIS)
