"""Which sweeps have nothing to do: asked of Postgres once for all of them, so that beat need not send their messages.

A message of a sweep that finds nothing costs a worker some 20 ms; most of an idle desk was that. Asked in a thread, so
that a Postgres that hangs never holds up beat: where its last answer is old, no sweep rests.
"""

import threading
import time
from collections.abc import Callable

import structlog
from sqlalchemy import Engine, text

from fntx_sessions.database.engine import statements
from fntx_sessions.database.hosting import NO_AGENT_HOST
from fntx_sessions.exceptions import FntxError

LOOK_S = 0.25
_FRESH_S = 4 * LOOK_S
_NOBODY_ASKS_S = 5.0
# What comes due before the tick after the next one is due: a look is that old at most.
_SOON = "now() + interval '2 seconds'"
_WORK = "SELECT FROM session_work WHERE"
# Sweep -> whether it has something to do. A sweep that is not here never rests.
HAS_WORK = {
    "relay": f"EXISTS ({_WORK} relay_due_at IS NOT NULL)",
    "step": f"EXISTS ({_WORK} next_step_at <= {_SOON})",
    "save": f"EXISTS ({_WORK} next_save_at <= {_SOON})",
    "pending": f"EXISTS ({_WORK} pending_due_at <= {_SOON}) OR EXISTS (SELECT FROM approvals "
    f"WHERE state IN ('waiting', 'approved') AND expires_at <= {_SOON}) OR EXISTS (SELECT FROM manual_orders "
    f"WHERE state = 'waiting' AND expires_at <= {_SOON})",
    "guard": NO_AGENT_HOST,
    "checkpoint": f"EXISTS ({_WORK} next_checkpoint_at <= {_SOON})",
    "rules": f"EXISTS ({_WORK} next_rule_at <= {_SOON})",
    "intake": "EXISTS (SELECT FROM session_agents WHERE joined_at IS NOT NULL)",
    "memory": f"EXISTS ({_WORK} memory_due_at <= {_SOON})",
    "bulk": "EXISTS (SELECT FROM bulk_runs WHERE finished_at IS NULL AND cancelled_at IS NULL)",
    "backtest": "EXISTS (SELECT FROM backtest_units WHERE state IN ('waiting', 'running'))",
    "erase": f"EXISTS (SELECT FROM session_keys WHERE erase_due_at <= {_SOON})",
}
_LOOK = text(
    "SELECT array_remove(ARRAY["
    + ", ".join(f"CASE WHEN NOT ({work}) THEN '{name}' END" for name, work in HAS_WORK.items())
    + "], NULL)"
)
_log = structlog.get_logger(__name__)


def idle_sweeps(engine: Engine) -> frozenset[str]:
    """Return the sweeps that have nothing to do now and for the next moment; raises Unavailable."""
    with statements(engine) as connection:
        return frozenset(connection.execute(_LOOK).scalar_one())


class Resting:
    """What rests, kept up to date by a thread of its own while somebody asks."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        """Take how to come by an engine; that is asked by the thread."""
        self._engine = engine
        self._seen: tuple[float, frozenset[str]] = (float("-inf"), frozenset())
        self._asked = float("-inf")
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()

    def now(self) -> frozenset[str]:
        """Return the sweeps that have nothing to do; none where Postgres has not said so within the last second."""
        self._asked = time.monotonic()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="fntx-resting", daemon=True)
            self._thread.start()
        at, found = self._seen
        return found if self._asked - at < _FRESH_S else frozenset()

    def close(self) -> None:
        """Look no more; a look under way ends by itself."""
        self._closed.set()

    def _run(self) -> None:
        known = True
        while time.monotonic() - self._asked < _NOBODY_ASKS_S and not self._closed.is_set():
            began = time.monotonic()
            try:
                self._seen = (began, idle_sweeps(self._engine()))
                known = True
            except FntxError as error:
                if known:
                    _log.warning("rest_not_known", problem=str(error))
                known = False
            self._closed.wait(LOOK_S)
