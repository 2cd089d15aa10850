"""Two processes that do the same job side by side: a single client mostly measures how long waking up takes."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from redis import Redis
from sqlalchemy import Engine

from benchmarks.desk import Desk
from fntx_sessions.database.engine import build_engine
from fntx_sessions.settings import Settings
from fntx_sessions.state.redis_client import build_redis

COUNT = 2
Place = tuple[str, str, str]  # database, redis, home
Stores = tuple[Engine, Redis, Settings]
Job = Callable[..., Any]


class Clients:
    """Waiting processes; each always gets the share of its own number, so that it may keep what it prepared."""

    def __init__(self, lines: Sequence["Connection[Any, Any]"], place: Place) -> None:
        self._lines = lines
        self.place = place

    def timed(self, job: Job, shares: Sequence[Any]) -> float:
        """Return the seconds until every share is done; `job(place, share)` must be importable."""
        began = time.perf_counter()
        self.results(job, shares)
        return time.perf_counter() - began

    def results(self, job: Job, shares: Sequence[Any]) -> list[Any]:
        """Return what each share came to; raises RuntimeError with what a client raised."""
        for line, share in zip(self._lines, shares, strict=True):
            line.send((job, self.place, share))
        answers = [line.recv() for line in self._lines]
        for problem, _ in answers:
            if problem:
                raise RuntimeError(problem)
        return [result for _, result in answers]


@contextmanager
def clients(desk: Desk) -> Iterator[Clients]:
    """Start the processes; they end with the block."""
    spawn = multiprocessing.get_context("spawn")
    pairs = [spawn.Pipe() for _ in range(COUNT)]
    processes = [spawn.Process(target=_serve, args=(theirs,), daemon=True) for _, theirs in pairs]
    for process in processes:
        process.start()
    lines = [ours for ours, _ in pairs]
    try:
        yield Clients(lines, (desk.database_url, desk.redis_url, str(desk.folder.home)))
    finally:
        for line in lines:
            line.send(None)
        for process in processes:
            process.join()


def _serve(line: "Connection[Any, Any]") -> None:
    while (asked := line.recv()) is not None:
        job, place, share = asked
        try:
            line.send((None, job(place, share)))
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent raises it
            line.send((f"{type(error).__name__}: {error}", None))


@lru_cache(maxsize=1)
def stores(place: Place) -> Stores:
    """Return a client process's own connections."""
    database_url, redis_url, home = place
    settings = Settings(home=Path(home), database_url=database_url, redis_url=redis_url)
    return build_engine(database_url, settings), build_redis(redis_url, settings), settings
