"""What Flower leaves to chance while its broker is away: when it asks for events again, and that it can be ended."""

import os
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from flower import events
from flower.app import Flower

from fntx_sessions.settings import Settings


def put_in(settings: Settings) -> None:
    """Bound the pause after which Flower asks for events again, which doubles for ever, and the time of its end."""
    events.time = SimpleNamespace(
        sleep=lambda seconds: time.sleep(min(seconds, settings.flower_retry_max_s)), monotonic=time.monotonic
    )
    Flower.start = ending_in_time(Flower.start, settings.flower_end_s)


def ending_in_time(start: Callable[..., None], seconds: float) -> Callable[..., None]:
    """Return `start`, after whose end the process ends within `seconds`, whichever store another thread waits for."""

    def run(*arguments: Any) -> None:
        try:
            start(*arguments)
        finally:
            # A thread that waits for a store would keep the interpreter from ending for as long as that hangs.
            end = threading.Timer(seconds, os._exit, (0,))
            end.daemon = True
            end.start()

    return run
