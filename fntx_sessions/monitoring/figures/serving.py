"""A worker's own figures, where Prometheus finds them on this machine; without the desk's, which Flower shows."""

import structlog
from prometheus_client import CollectorRegistry, start_http_server

from fntx_sessions.monitoring.figures.folders import WorkerFolder, files_of
from fntx_sessions.monitoring.figures.workers import Counted
from fntx_sessions.settings import Settings

LOOPBACK = "127.0.0.1"
# How many ports from `metrics_port` on are tried: as many workers fit on a machine.
_PORTS = 32
_log = structlog.get_logger(__name__)


def show_worker(settings: Settings, folder: WorkerFolder, node: str) -> int | None:
    """Show a worker's figures on loopback, at the first free port from `metrics_port` on, and return it; None: nowhere.

    It is served by a thread; that none was free goes to the log, and harms nothing else.
    """
    if not settings.metrics_port:
        return None
    registry = CollectorRegistry()
    registry.register(Counted(lambda: {node: files_of(folder.path)}))
    for port in range(settings.metrics_port, min(settings.metrics_port + _PORTS, 65536)):
        try:
            start_http_server(port, LOOPBACK, registry)
        except OSError:
            continue
        _log.info("figures_shown", port=port)
        return port
    _log.error("figures_not_shown", port=settings.metrics_port, problem=f"{_PORTS} ports from it on are taken")
    return None
