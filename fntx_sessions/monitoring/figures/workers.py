"""What workers counted, as Prometheus reads it: each worker's figures under its node's name."""

from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from fntx_sessions.monitoring.figures.folders import living

WORKER = "worker"
_log = structlog.get_logger(__name__)


class Counted(Collector):
    """Answers with the figures of the workers that `find` names, by the files of each."""

    def __init__(self, find: Callable[[], dict[str, list[str]]]) -> None:
        self._find = find

    def describe(self) -> Iterator[Metric]:
        """Name nothing ahead: registering must not read files."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Yield each figure once, with the samples of all workers; never raises."""
        found: dict[str, Metric] = {}
        for node, files in sorted(self._find().items()):
            for metric in self._merged(node, files):
                whole = found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                whole.samples += [_of(node, sample) for sample in metric.samples]
        yield from found.values()

    @staticmethod
    def _merged(node: str, files: list[str]) -> list[Metric]:
        try:
            return list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]
        except (OSError, ValueError, RuntimeError) as error:
            # It ends or begins just now.
            _log.warning("figures_not_read", worker=node, problem=str(error))
            return []


def _of(node: str, sample: Sample) -> Sample:
    return Sample(sample.name, {**sample.labels, WORKER: node}, sample.value)


def of_home(home: Path) -> Counted:
    """Return what shows the figures of all workers that live on `home`."""
    return Counted(lambda: living(home))
