"""Gauges of the desk for Prometheus, beside Flower's own on its page: what there is, how far behind, what is wrong.

They are read from Postgres and Redis in threads, at most every few seconds and only when somebody asks: the page
belongs to an event loop that must not wait for a store. Where one does not answer, the page says so and shows the rest.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from redis import Redis
from sqlalchemy import Engine

from fntx_sessions.automation.alerts import read_standing
from fntx_sessions.automation.lag import read_lag
from fntx_sessions.database.engine import statements
from fntx_sessions.monitoring.figures import gauges, gauges_sql
from fntx_sessions.monitoring.figures.gauges import Looked, Queues
from fntx_sessions.monitoring.figures.looking import Looking
from fntx_sessions.settings import Settings
from fntx_sessions.stack.queues import queue_depths, unacked
from fntx_sessions.state.redis_client import redis_errors


class DeskCollector(Collector):
    """Answers Prometheus with what was found last in Postgres; makes its engine when first asked."""

    def __init__(self, engine: Callable[[], Engine], settings: Settings) -> None:
        self._make_engine, self._settings = engine, settings
        self._engine: Engine | None = None
        self._looking = Looking(self._look, "postgres")

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Name nothing ahead: registering must not ask Postgres."""
        yield from ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges, those of Postgres only where it answered of late; never raises."""
        self._looking.begin()
        found = self._looking.found()
        yield gauges.READABLE.family([((), found is not None)])
        if found is not None:
            yield from gauges.of_desk(found)

    def close(self) -> None:
        """Give up the connection, if there is one."""
        if self._engine is not None:
            self._engine.dispose()

    def _look(self) -> Looked:
        self._engine = self._engine or self._make_engine()
        with statements(self._engine) as connection:
            lag, standing = read_lag(connection, self._settings), read_standing(connection)
            desk = dict(connection.execute(gauges_sql.DESK).mappings().one())
            labelled = self._settings.metrics_session_labels
            sessions = list(connection.execute(gauges_sql.SESSIONS)) if labelled else []
        alerts = Counter[tuple[str, ...]]((alert.name, alert.severity.value) for alert in standing)
        return Looked(lag, alerts, desk, time.monotonic(), sessions)


class QueuesCollector(Collector):
    """Answers with what waits in the broker."""

    def __init__(self, client: Callable[[], Redis]) -> None:
        self._make_client = client
        self._client: Redis | None = None
        self._looking = Looking(self._look, "redis")

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Name nothing ahead: registering must not ask Redis."""
        yield from ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges, those of Redis only where it answered of late; never raises."""
        self._looking.begin()
        found = self._looking.found()
        yield gauges.REDIS_READABLE.family([((), found is not None)])
        if found is not None:
            yield from gauges.of_queues(found)

    def close(self) -> None:
        """Give up the connection, if there is one."""
        if self._client is not None:
            self._client.close()

    def _look(self) -> Queues:
        self._client = self._client or self._make_client()
        with redis_errors():
            return Queues(queue_depths(self._client), unacked(self._client), time.monotonic())
