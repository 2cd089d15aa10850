"""Gauges of the desk for Prometheus, beside Flower's own on its page: how far behind it is, and what is wrong.

They are read from Postgres in a thread, at most every few seconds and only when somebody asks: the page belongs to an
event loop that must not wait for a store. Where Postgres does not answer, the page says so and shows the rest.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import Engine

from fntx_sessions.automation.alerts import read_standing
from fntx_sessions.automation.lag import Lag, read_lag
from fntx_sessions.database.engine import build_engine, statements
from fntx_sessions.exceptions import FntxError
from fntx_sessions.settings import Settings

FRESH_S = 3.0
# How long a page waits for a new look; and what is older than that is not shown at all.
_WAIT_S = 1.0
_OLD_S = 30.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Looked:
    """What one look found; at: monotonic seconds."""

    lag: Lag
    alerts: Counter[tuple[str, str]]
    at: float


class DeskCollector(Collector):
    """Answers Prometheus with what was found last, and has it found anew where that is old."""

    def __init__(self, engine: Callable[[], Engine], settings: Settings) -> None:
        """Take what makes an engine: none is made before somebody asks."""
        self._make_engine, self._settings = engine, settings
        self._engine: Engine | None = None
        self._looked: _Looked | None = None
        self._failed_at = float("-inf")
        self._looking: threading.Thread | None = None
        self._lock = threading.Lock()

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Name nothing ahead: registering must not ask Postgres."""
        yield from ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges, those of Postgres only where it answered of late; never raises."""
        self._refresh()
        looked = self._looked
        known = looked is not None and time.monotonic() - looked.at < _OLD_S
        yield GaugeMetricFamily(
            "fntx_desk_readable", "1 where Postgres answered within 30 s; else the desk's gauges are left out", known
        )
        if looked is not None and known:
            yield from _gauges(looked)

    def _refresh(self) -> None:
        with self._lock:
            newest = max(self._failed_at, self._looked.at if self._looked else float("-inf"))
            if time.monotonic() - newest < FRESH_S:
                return
            if self._looking is None or not self._looking.is_alive():
                self._looking = threading.Thread(target=self._look, name="fntx-gauges", daemon=True)
                self._looking.start()
        self._looking.join(timeout=_WAIT_S)

    def _look(self) -> None:
        try:
            self._engine = self._engine or self._make_engine()
            with statements(self._engine) as connection:
                lag, standing = read_lag(connection, self._settings), read_standing(connection)
            alerts = Counter((alert.name, alert.severity.value) for alert in standing)
            self._looked = _Looked(lag, alerts, time.monotonic())
        except FntxError as error:
            self._failed_at = time.monotonic()
            _log.warning("gauges_not_read", problem=str(error))
        except Exception:  # noqa: BLE001 -- logged whole; Flower's own figures are shown all the same
            self._failed_at = time.monotonic()
            _log.exception("gauges_not_read")


def _gauges(looked: _Looked) -> Iterator[GaugeMetricFamily]:
    lag = looked.lag
    if lag.beat_lag_s is not None:
        yield GaugeMetricFamily("fntx_beat_lag_seconds", "Since beat sent the newest message that ran", lag.beat_lag_s)
    behind = GaugeMetricFamily("fntx_sweep_lag_seconds", "How far a sweep is behind its interval", labels=["sweep"])
    took = GaugeMetricFamily("fntx_sweep_took_seconds", "How long a run of late took", labels=["sweep"])
    for name, sweep in lag.sweeps.items():
        if sweep.age_s is not None:
            behind.add_metric([name], sweep.lag_s)
        if sweep.took_s is not None:
            took.add_metric([name], sweep.took_s)
    waiting = GaugeMetricFamily("fntx_sessions_overdue", "Sessions that wait too long", labels=["kind"])
    for kind, overdue in lag.overdue.items():
        waiting.add_metric([kind], overdue.sessions)
    alerts = GaugeMetricFamily("fntx_alerts", "Alerts that stand", labels=["name", "severity"])
    for labels, count in looked.alerts.items():
        alerts.add_metric(labels, count)
    yield from (behind, took, waiting, alerts)


def show_desk(settings: Settings, registry: CollectorRegistry = REGISTRY) -> None:
    """Show the desk's gauges wherever `registry` is shown; nothing where no database is configured, or a second time.

    One connection at most, closed by nobody but the end of the process.
    """
    url = settings.database_url
    if url is None or any(isinstance(one, DeskCollector) for one in list(registry._collector_to_names)):  # noqa: SLF001 -- it has no other list
        return
    small = settings.model_copy(update={"db_pool_size": 1})
    registry.register(
        DeskCollector(lambda: build_engine(url.get_secret_value(), small, application="fntx gauges"), settings)
    )
