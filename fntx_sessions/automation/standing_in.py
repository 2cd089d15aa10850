"""Saves that nobody asks for: where no save sweep runs, a worker of that queue saves by itself.

Beat can send nothing while Redis is full or a replica, and nothing when it is dead. What is due is decided in Postgres
and claimed there, so that one saver more, or one too many, costs a question and doubles no work.
"""

import threading
from time import monotonic

import structlog

from fntx_sessions.automation.saving import SWEEP, save_sweep
from fntx_sessions.automation.sweeps import last_run_s
from fntx_sessions.database.engine import build_engine
from fntx_sessions.exceptions import FntxError
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.settings import Settings
from fntx_sessions.state.redis_client import build_redis
from fntx_sessions.state.tier_health import health_of

_SAVES_MISSED = 3
_TICK_S = 1.0
_log = structlog.get_logger(__name__)


class StandIn:
    """Looks whether saves are sent, from a thread of the worker's main process; saves for as long as none is."""

    def __init__(self, settings: Settings) -> None:
        """Take connections of its own: the shared ones must not be in use by a thread when the pool forks."""
        database, broker = settings.database_url, settings.redis_url
        self._engine = build_engine(database.get_secret_value() if database else "", settings, application="fntx saver")
        client = build_redis(broker.get_secret_value() if broker else "", settings)
        self._desk = Desk(self._engine, client, settings)
        self._after_s = _SAVES_MISSED * settings.save_interval_s
        self._began = monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fntx-saver", daemon=True)
        self.active = False

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def end(self) -> None:
        """Stop; a save under way is finished, or its claim lapses."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self._desk.settings.state_sweep_s)
        self._desk.redis.close()
        self._engine.dispose()

    def look(self) -> None:
        """Save what is due if no sweep was sent for three save intervals; raises FntxError as a save sweep does."""
        self._note(missed=self._is_missed())
        if self.active or self._found_down():
            save_sweep(self._desk, sent=False)

    def _found_down(self) -> bool:
        # What this thread said is down it alone says is up again, and it alone knows whose hot copies it owes.
        return any(not state.up for state in health_of(self._engine, self._desk.settings).states())

    def _is_missed(self) -> bool:
        try:
            age_s = last_run_s(self._engine, SWEEP)
        except FntxError:
            return self.active  # who saves goes on, into the backup folder; the others are being sent, or wait too
        return (monotonic() - self._began if age_s is None else age_s) > self._after_s

    def _note(self, *, missed: bool) -> None:
        if missed and not self.active:
            _log.warning(
                "saves.not_sent", after_s=self._after_s, meaning="beat sends nothing; this worker saves by itself"
            )
        elif self.active and not missed:
            _log.info("saves.sent_again")
        self.active = missed

    def _run(self) -> None:
        while not self._stop.wait(_TICK_S if self.active else self._after_s / _SAVES_MISSED):
            try:
                self.look()
            except FntxError as error:
                _log.warning("saves.not_made", problem=str(error))
            except Exception:  # noqa: BLE001 -- logged whole; the next look may fare better, and nobody else saves
                _log.exception("saves.not_made")
