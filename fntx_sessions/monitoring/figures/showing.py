"""What Flower's page of figures shows beside its own: the desk's, and those of all workers of this machine."""

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.registry import Collector

from fntx_sessions.database.engine import build_engine
from fntx_sessions.monitoring.figures.desk import DeskCollector, QueuesCollector
from fntx_sessions.monitoring.figures.workers import of_home
from fntx_sessions.settings import Settings
from fntx_sessions.state.redis_client import build_redis


def show_desk(settings: Settings, registry: CollectorRegistry = REGISTRY) -> None:
    """Show the desk's figures, and those of the workers of this machine, wherever `registry` is shown.

    Nothing where that was done before, and of a store only where its address is configured. One connection to each at
    most, closed by nobody but the end of the process.
    """
    shown = {type(one) for one in list(registry._collector_to_names)}  # noqa: SLF001 -- it has no other list
    for collector in _collectors(settings):
        if type(collector) not in shown:
            registry.register(collector)


def _collectors(settings: Settings) -> list[Collector]:
    database, redis = settings.database_url, settings.redis_url
    small = settings.model_copy(update={"db_pool_size": 1})
    found: list[Collector] = [of_home(settings.home)]
    if database is not None:
        url = database.get_secret_value()
        found.append(DeskCollector(lambda: build_engine(url, small, application="fntx gauges"), settings))
    if redis is not None:
        address = redis.get_secret_value()
        found.append(QueuesCollector(lambda: build_redis(address, small)))
    return found
