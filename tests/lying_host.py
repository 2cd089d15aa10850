"""A host whose own clock is wrong: `python lying_host.py SECONDS` steps once what is due, its clock SECONDS off.

Whatever of ours asks Python for the time gets the lie; the monotonic clock tells the truth, as on a real machine.
"""

import sys
import time
from datetime import datetime, timedelta

from fntx_sessions.agents import host, registry
from fntx_sessions.automation import hosts
from fntx_sessions.database.engine import build_engine
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.settings import get_settings
from fntx_sessions.state.redis_client import build_redis


class _LooksLike(type(datetime)):
    def __instancecheck__(cls, value):
        return isinstance(value, datetime)


def lie(off_s):
    """Give every module of ours a datetime that is `off_s` seconds wrong, and everybody such a time.time."""
    honest = time.time

    class Lying(datetime, metaclass=_LooksLike):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(seconds=off_s)

    time.time = lambda: honest() + off_s
    for name, module in list(sys.modules.items()):
        if name.startswith("fntx_sessions") and getattr(module, "datetime", None) is datetime:
            module.datetime = Lying


def main():
    registry.warm_up()
    lie(float(sys.argv[1]))
    settings = get_settings()
    engine = build_engine(settings.database_url.get_secret_value(), settings)
    desk = Desk(engine, build_redis(settings.redis_url.get_secret_value(), settings), settings)
    hosts.renew(engine, settings, "liar", "agents")
    sys.stdout.write(f"{host.step_due(desk, 'liar')}\n")


main()
