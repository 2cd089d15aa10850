"""Beat's scheduler: in memory, and aware of what still waits.

Of one sweep at most one message waits: what the next would ask for, that one asks for. Expiry alone would not do,
since a message that has expired still lies in its queue until a worker comes by, a night long where none does. A sweep
that has nothing to do is left out, but for one message each `sweep_rest_s`.
Every sweep is sent as beat starts: what it missed while it was dead is caught up once, and what runs each hour also
runs where no beat lives for an hour.
"""

import time
from datetime import timedelta
from typing import Any

import structlog
from celery.beat import ScheduleEntry
from celery.beat import Scheduler as InMemory
from redis.exceptions import RedisError

from beat_schedule import PREFIX
from fntx_sessions.automation.resting import Resting
from fntx_sessions.database.engine import get_engine
from fntx_sessions.settings import get_settings
from fntx_sessions.state.redis_client import get_redis
from tasks.routes import queue_for

_log = structlog.get_logger(__name__)
# Far more than all sweeps of a queue; somebody who filled it with something else does not make beat read it all.
_LOOKED_AT = 100


class Scheduler(InMemory):
    """Sends each sweep as it is due, unless it still waits to be taken or has nothing to do."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._resting = Resting(get_engine)
        self._sent: dict[str, float] = {}
        super().__init__(*args, **options)

    def setup_schedule(self) -> None:
        """Make every entry due at once."""
        super().setup_schedule()
        for entry in self.schedule.values():
            entry.last_run_at = entry.default_now() - timedelta(days=1)

    def schedules_equal(self, old_schedules: Any, new_schedules: Any) -> bool:
        """Tell whether the schedule is the known one: it never changes, and comparing it cost a tenth of beat."""
        return old_schedules is not None and old_schedules.keys() == new_schedules.keys()

    def adjust(self, n: Any, drift: float = 0.0) -> Any:
        """Return how long to wait for what is due in `n` seconds: all of it.

        Celery wakes 10 ms sooner and asks without a pause until it is due, which cost half of beat.
        """
        return super().adjust(n, drift)

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Send a sweep, but where it rests, or the one before was not taken yet."""
        name = entry.task or ""
        if self._rests(name):
            return
        if self._waits(name):
            _log.debug("sweep_still_waits", sweep=name)
            return
        self._sent[name] = time.monotonic()
        super().apply_entry(entry, producer=producer)

    def _rests(self, task: str) -> bool:
        """Tell whether nothing is there for a sweep to do, and it was sent of late all the same."""
        since_s = time.monotonic() - self._sent.get(task, float("-inf"))
        return since_s < get_settings().sweep_rest_s and task.removeprefix(PREFIX) in self._resting.now()

    def _waits(self, task: str) -> bool:
        """Tell whether a message of this task lies in its queue; where Redis does not say, none does."""
        try:
            lying = get_redis().lrange(queue_for(task), 0, _LOOKED_AT - 1)
        except RedisError:
            return False
        name = f'"task": "{task}"'.encode()
        return len(lying) == _LOOKED_AT or any(name in message for message in lying)

    def close(self) -> None:
        """End as Celery does, and look no more at what rests."""
        self._resting.close()
        super().close()
