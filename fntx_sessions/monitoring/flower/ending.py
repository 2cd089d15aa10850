"""What Flower leaves to chance while its broker is away: when it asks for events again, and that it can be ended."""

import os
import threading
import time
from types import SimpleNamespace

from flower import events

from fntx_sessions.settings import Settings


def put_in(settings: Settings) -> None:
    """Bound the pause after which Flower asks for events again, which doubles for ever, and the time of its end."""
    events.time = SimpleNamespace(
        sleep=lambda seconds: time.sleep(min(seconds, settings.flower_retry_max_s)), monotonic=time.monotonic
    )
    end_in_time(settings.flower_end_s)


def end_in_time(seconds: float) -> None:
    """Have this process end `seconds` after its main thread did, whichever store another of its threads waits for."""
    threading.Thread(target=_end, args=(seconds,), name="fntx-end", daemon=True).start()


def _end(seconds: float) -> None:
    threading.main_thread().join()
    # A thread of a pool that waits for a store would keep the interpreter from ending for as long as that hangs.
    time.sleep(seconds)
    os._exit(0)
