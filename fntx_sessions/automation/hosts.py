"""Leases of hosts: who is alive. Renewed by a thread of the worker's main process, outside any agent's step."""

import os
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

import orjson
import psutil
import structlog
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from fntx_sessions.automation import saving
from fntx_sessions.automation.host_measures import Measuring
from fntx_sessions.automation.lookout import Lookout
from fntx_sessions.database.engine import build_engine, get_engine, transaction
from fntx_sessions.exceptions import FntxError
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.security.desk_auth import Taking
from fntx_sessions.settings import Settings, get_settings
from fntx_sessions.state.checkpoints import create_checkpoint
from fntx_sessions.state.claims import Work
from fntx_sessions.state.data_keys import DataKeys
from fntx_sessions.state.redis_client import get_redis
from fntx_sessions.state.remembered import get_remembered
from fntx_sessions.state.saves import save_owned

log = structlog.get_logger(__name__)

_RENEW = text("""
INSERT INTO hosts AS h (host_id, queues, pid, node, lease_until, measures)
VALUES (:host_id, :queues, :pid, :node, now() + make_interval(secs => :lease_s), CAST(:measures AS jsonb))
ON CONFLICT (host_id) DO UPDATE SET seen_at = now(), lease_until = now() + make_interval(secs => :lease_s),
  measures = CAST(:measures AS jsonb)
""")
# Sessions that are given back in order keep their epoch: the host has stopped, nothing of it can write any more.
_LEAVE = text("""
WITH gone AS (UPDATE hosts SET "left" = true, lease_until = now() WHERE host_id = :host_id)
UPDATE session_work SET host_id = NULL, step_claimed_until = NULL,
  step_claimed_by = CASE WHEN step_claimed_by IS NOT NULL THEN 'interrupted' END
WHERE host_id = :host_id
""")
_OWNED = text("""
SELECT session_id, epoch, saved_epoch, saved_revision, checkpoint_type FROM session_work
WHERE host_id = :host_id AND next_save_at IS NOT NULL
""")
_FORGET = text("""
DELETE FROM hosts h WHERE lease_until < now() - make_interval(days => 1)
  AND NOT EXISTS (SELECT 1 FROM session_work w WHERE w.host_id = h.host_id)
""")


class Lease:
    """Keeps one host's lease renewed until it leaves."""

    def __init__(self, host_id: str, queues: str, settings: Settings) -> None:
        """Take what is needed to renew; raises Unavailable when no database is configured."""
        self.host_id = host_id
        self._queues = queues
        self._settings = settings
        # An engine of its own: the shared one must not be in use by a thread at the moment the pool forks.
        url = settings.database_url.get_secret_value() if settings.database_url else ""
        self._engine = build_engine(url, settings, application="fntx lease")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fntx-lease", daemon=True)
        self._lookout = Lookout(self._engine, settings)
        self._measuring = Measuring()
        self._taking = Taking(self._engine, settings)

    def start(self) -> None:
        """Take the lease now, then renew it every `lease_renew_s`."""
        self._renew()
        self._thread.start()
        self._lookout.start()

    def back_up(self) -> None:
        """Save this host's sessions into its backup folder: Postgres is away, and knows them only as they were."""
        desk = Desk(self._engine, get_redis(), self._settings)
        report = saving.last_backup(desk)
        if report is not None:
            log.warning("state_backed_up_at_shutdown", host_id=self.host_id, problem=report.problem, **report.counts())

    def leave(self) -> None:
        """Stop renewing and give this host's sessions back at once."""
        self._stop.set()
        self._lookout.end()
        if self._thread.is_alive():
            self._thread.join(timeout=self._settings.lease_renew_s + 1)
        leave(self._engine, self.host_id)
        self._engine.dispose()

    def _run(self) -> None:
        while not self._stop.wait(self._settings.lease_renew_s):
            self._renew()

    def _renew(self) -> None:
        try:
            renew(self._engine, self._settings, self.host_id, self._queues, self._measured())
            remember_owned(self._engine, self._settings, self.host_id)
        except FntxError as error:
            log.warning("lease_not_renewed", host_id=self.host_id, problem=str(error))
        self._note_taken()

    def _note_taken(self) -> None:
        try:
            self._taking.note()
        except (FntxError, SQLAlchemyError) as error:  # never a reason to lose the lease
            log.warning("desk_auth_not_noted", host_id=self.host_id, problem=str(error))

    def _measured(self) -> dict[str, Any]:
        try:
            return self._measuring.measure()
        except (psutil.Error, OSError) as error:  # never a reason to lose the lease
            log.warning("host_not_measured", host_id=self.host_id, problem=str(error))
            return {}


def renew(
    engine: Engine, settings: Settings, host_id: str, queues: str, measures: Mapping[str, Any] | None = None
) -> None:
    """Take or renew a host's lease for `lease_s` by Postgres's clock, and say what it takes of its machine."""
    bound = {
        "host_id": host_id,
        "queues": queues,
        "pid": os.getpid(),
        "node": socket.gethostname(),
        "lease_s": settings.lease_s,
        "measures": orjson.dumps(measures or {}).decode(),
    }
    with transaction(engine) as connection:
        connection.execute(_RENEW, bound)


def leave(engine: Engine, host_id: str) -> None:
    """End a host's lease in order: its sessions are free for others at once, under the same epoch."""
    with transaction(engine) as connection:
        connection.execute(_LEAVE, {"host_id": host_id})
        connection.execute(_FORGET)


_leases: dict[str, Lease] = {}


def start_lease_renewal(host_id: str, queues: str) -> None:
    """Begin to hold the lease of `host_id`; called once in a worker's main process."""
    lease = _leases[host_id] = Lease(host_id, queues, get_settings())
    lease.start()


def end_lease(host_id: str) -> None:
    """Give the lease of `host_id` and its sessions back; called when the worker shuts down in order."""
    lease = _leases.pop(host_id, None)
    if lease is None:
        return
    try:
        keep_state(host_id)
    except FntxError as error:
        log.warning("state_not_kept_at_shutdown", host_id=host_id, problem=str(error))
        lease.back_up()
    lease.leave()


def remember_owned(engine: Engine, settings: Settings, host_id: str) -> None:
    """Remember the sessions of a host and have their keys at hand, for a shutdown while Postgres is away."""
    with transaction(engine) as connection:
        rows = connection.execute(_OWNED, {"host_id": host_id}).all()
    get_remembered().note(Work(row[0], row[1], (row[2], row[3]), None, row[4]) for row in rows)
    DataKeys(engine, settings).ensure([row[0] for row in rows])


def keep_state(host_id: str) -> None:
    """Save every session of a host, then checkpoint as many as `shutdown_checkpoint_s` allows: its last act."""
    engine, redis, settings = get_engine(), get_redis(), get_settings()
    report = save_owned(engine, redis, settings, host_id)
    until = time.monotonic() + settings.shutdown_checkpoint_s
    with transaction(engine) as connection:
        owned = list(connection.execute(_OWNED, {"host_id": host_id}).scalars())
    kept = 0
    for session_id in owned:
        if time.monotonic() > until:
            break
        create_checkpoint(engine, redis, settings, session_id, "shutdown")
        kept += 1
    log.info("state_kept_at_shutdown", host_id=host_id, checkpoints=kept, **report.counts())
