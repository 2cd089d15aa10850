"""Flower ends when it is told to, and asks for events again soon, whatever its broker does."""

import subprocess
import sys

from flower import events
from flower.app import Flower

from fntx_sessions.monitoring.flower import ending
from fntx_sessions.settings import Settings

HANGS = """
import threading
from concurrent.futures import ThreadPoolExecutor
from fntx_sessions.monitoring.flower.ending import ending_in_time

def start():
    ThreadPoolExecutor(1).submit(threading.Event().wait)
    raise SystemExit(0)

ending_in_time(start, 0.2)()
"""


def test_a_thread_that_waits_for_a_store_does_not_keep_the_process() -> None:
    """It ends a moment after it was told to; the timeout is what would be seen without."""
    assert subprocess.run([sys.executable, "-c", HANGS], timeout=60, check=False).returncode == 0


def test_the_pause_between_two_tries_is_bounded(monkeypatch) -> None:
    """However often Flower has doubled it."""
    slept: list[float] = []
    monkeypatch.setattr(ending.time, "sleep", slept.append)
    monkeypatch.setattr(events, "time", events.time)
    monkeypatch.setattr(Flower, "start", Flower.start)
    ending.put_in(Settings(flower_retry_max_s=7))
    events.time.sleep(512)
    events.time.sleep(2)
    assert slept == [7, 2]
