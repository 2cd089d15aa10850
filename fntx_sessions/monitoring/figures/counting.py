"""Counting in a worker's processes: what the desk notes becomes Prometheus counters, in files of the worker's folder.

prometheus_client's multiprocess mode, begun by hand: `celery` imports prometheus_client, by way of Flower's command,
before anybody could set its environment variable.
"""

import os
import struct
from pathlib import Path

import prometheus_client as prometheus
import structlog
from prometheus_client import values

from fntx_sessions import figures
from fntx_sessions.figures import FIGURES, Figure
from fntx_sessions.monitoring.figures.folders import WorkerFolder

_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
# What may be wrong with a figure; not what ends a task, which is raised wherever the task is.
_FAULTS = (OSError, ValueError, TypeError, LookupError, struct.error)
_log = structlog.get_logger(__name__)


class _Worker:
    """This process's worker: made before its pool, and inherited by it. None: nothing is counted."""

    folder: WorkerFolder | None = None
    counting_pid: int | None = None


def open_folder(home: Path, node: str, host_id: str) -> WorkerFolder | None:
    """Make the worker's folder, before its pool is; None, with the reason in the log, where there can be none."""
    try:
        _Worker.folder = WorkerFolder(home, node, host_id)
    except OSError as error:
        _log.error("figures_not_counted", problem=str(error))
        _Worker.folder = None
    return _Worker.folder


def folder() -> WorkerFolder | None:
    """Return the worker's folder; None: it has none."""
    return _Worker.folder


def close_folder() -> None:
    """Count no more, and take the folder away: the worker ends."""
    figures.count_with(None)
    if _Worker.folder is not None:
        _Worker.folder.remove()


def begin(place: str) -> None:
    """Count what this process notes, in files of its own; place: its place in the pool, which no other has now.

    What the one before it at that place had counted is gone on with. A second call in a process does nothing.
    """
    if _Worker.counting_pid == os.getpid():
        return
    figures.count_with(None)  # what was inherited writes into the files of the process it was made in
    if _Worker.folder is None:
        return
    try:
        _Worker.folder.set_aside(place)
        figures.count_with(_counter_at(_Worker.folder.path, place))
        _Worker.counting_pid = os.getpid()
    except OSError as error:
        _log.error("figures_not_counted", problem=str(error))


def _counter_at(path: Path, place: str) -> figures.Counter:
    # Its own environment is what the library looks at as it opens a file.
    os.environ[_DIRECTORY] = str(path)
    values.ValueClass = values.MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]
    counters = {one.name: _counter(one) for one in FIGURES if not one.buckets}
    histograms = {one.name: _histogram(one) for one in FIGURES if one.buckets}

    def count(figure: Figure, amount: float, labels: tuple[str, ...]) -> None:
        try:
            if figure.buckets:
                histogram = histograms[figure.name]
                (histogram.labels(*labels) if labels else histogram).observe(amount)
            else:
                counter = counters[figure.name]
                (counter.labels(*labels) if labels else counter).inc(amount)
        except _FAULTS:
            _log.warning("figure_not_counted", figure=figure.name, exc_info=True)

    return count


def _counter(figure: Figure) -> prometheus.Counter:
    made = prometheus.Counter(figure.name, figure.help, figure.labels, registry=None)
    for labels in figure.known:
        made.labels(*labels)
    return made


def _histogram(figure: Figure) -> prometheus.Histogram:
    return prometheus.Histogram(figure.name, figure.help, figure.labels, buckets=figure.buckets, registry=None)
