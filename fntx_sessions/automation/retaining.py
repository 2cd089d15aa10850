"""What leaves Postgres by itself: old checkpoints, archives, copies of wrapped keys, the audit's ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any
from uuid import UUID

from fntx_sessions.automation.sweeps import until_done
from fntx_sessions.lifecycle.auditing.anchoring import anchor_due
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.lifecycle.reads.metrics import get_metrics
from fntx_sessions.state import cold_key_sweep
from fntx_sessions.state.archive import ArchiveReport, archive_due
from fntx_sessions.state.objects.base import ObjectStore
from fntx_sessions.state.objects.cold import open_cold
from fntx_sessions.state.objects.watched import WatchedStore
from fntx_sessions.state.pace import Pace
from fntx_sessions.state.retention import MoveReport, move_due
from fntx_sessions.state.tier_health import health_of


def move_checkpoints(desk: Desk) -> int:
    """Move old checkpoints to the cold store for up to `retention_sweep_s`; return how many were dealt with.

    Raises Unavailable when a store is out of reach; which one, `fntx status` says.
    """
    settings, pace = desk.settings, Pace(desk.settings.retention_bytes_per_s)
    until = monotonic() + settings.retention_sweep_s

    def batch(store: ObjectStore) -> MoveReport:
        return move_due(desk.engine, desk.redis, settings, store, pace=pace, until=until)

    with _cold(desk) as store:
        return until_done(lambda: batch(store).done, settings.retention_batch, settings.retention_sweep_s)


def archive_sessions(desk: Desk) -> int:
    """Archive closed sessions, and let go of archived ones, for up to `retention_sweep_s`; raises Unavailable."""
    settings, pace = desk.settings, Pace(desk.settings.retention_bytes_per_s)
    until = monotonic() + settings.retention_sweep_s

    def metrics(session_id: UUID) -> dict[str, Any]:
        return get_metrics(desk.engine, session_id).model_dump(mode="json")

    def batch(store: ObjectStore) -> ArchiveReport:
        return archive_due(desk.engine, settings, store, metrics, pace=pace, until=until)

    with _cold(desk) as store:
        return until_done(lambda: batch(store).done, settings.retention_batch, settings.retention_sweep_s)


def write_cold_keys(desk: Desk) -> int:
    """Write the cold key objects that are due, for a few seconds; return how many; raises Unavailable."""
    until = monotonic() + cold_key_sweep.SWEEP_S

    with _cold(desk) as store:
        return until_done(
            lambda: cold_key_sweep.write_due(desk.engine, desk.settings, store, until=until),
            cold_key_sweep.BATCH,
            cold_key_sweep.SWEEP_S,
        )


def anchor_chains(desk: Desk) -> int:
    """Write the anchors of the audit's chains that are due; return how many; raises Unavailable."""
    with _cold(desk) as store:
        return anchor_due(desk.engine, desk.settings, store)


@contextmanager
def _cold(desk: Desk) -> Iterator[ObjectStore]:
    health = health_of(desk.engine, desk.settings)
    try:
        yield WatchedStore(open_cold(desk.settings), health)
    finally:
        health.tell(desk.engine)
