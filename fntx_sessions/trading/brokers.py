"""Which broker a session trades on: by name, the shipped paper broker or one found through an entry point."""

from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import entry_points

from sqlalchemy import Engine

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.trading.broker import Broker
from fntx_sessions.trading.paper import PaperBroker

GROUP = "fntx_sessions.brokers"
PAPER = "paper"


def known_brokers() -> list[str]:
    """Return the names a session may use."""
    return sorted({PAPER, *(point.name for point in entry_points(group=GROUP))})


def check_broker(name: str) -> str:
    """Return `name`; raises InvalidArgument when no broker of that name is installed."""
    if name not in known_brokers():
        raise InvalidArgument("config.broker", f"no broker {name!r} is installed", f"Known: {known_brokers()}.")
    return name


@lru_cache(maxsize=8)
def get_broker(name: str, engine: Engine) -> Broker:
    """Return the broker `name`; another package's factory is called with the engine. Raises InvalidArgument."""
    check_broker(name)
    if name == PAPER:
        return PaperBroker(engine)
    factory: Callable[[Engine], Broker] = next(iter(entry_points(group=GROUP, name=name))).load()
    return factory(engine)
