"""The save sweep: into Postgres, and while that is away into this host's backup folder; what waits there comes in."""

import time

import structlog

from fntx_sessions.automation.sweeps import last_run_s, note_run, until_done
from fntx_sessions.exceptions import Retryable, Unavailable
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.state import part_rows
from fntx_sessions.state.backup_import import ImportReport, bring_in
from fntx_sessions.state.backup_saves import BackupReport, save_to_backup
from fntx_sessions.state.saves import save_due
from fntx_sessions.state.tier_health import POSTGRES, health_of

BACKUP = "backup folder"
SWEEP = "save"
_LOOK_EVERY_S = 2.0
_IMPORT_S = 5.0
# What a worker of other queues leaves to the savers of its host, where there are any.
_OTHERS_FIRST_S = 30.0
_ORPHANS_EACH = 100
_log = structlog.get_logger(__name__)


class _Walked:
    """How far this process has walked through the large parts; None: it begins anew."""

    after: part_rows.Ref | None = None


class _Looked:
    """When this process last looked into the backup folder, in monotonic seconds."""

    at = float("-inf")


def save_sweep(desk: Desk, *, sent: bool = True) -> None:
    """Save what is due; raises Unavailable when Postgres is away, after saving to the backup folder instead.

    sent: as beat wants it, which is noted; False: a process saves by itself, for want of that.
    """
    health = health_of(desk.engine, desk.settings)
    try:
        if sent:
            note_run(desk.engine, SWEEP)
        until_done(lambda: save_due(*desk.parts()).claimed, desk.settings.save_batch, desk.settings.state_sweep_s)
    except Unavailable as error:
        if is_postgres(error):
            health.note(POSTGRES, str(error))
            back_up(desk)
        raise
    health.note(POSTGRES)
    come_in(desk)
    health.tell(desk.engine)


def back_up(desk: Desk, *, now: bool = False) -> BackupReport:
    """Save what this process knows of into the backup folder; a folder that takes no more is said in tier health."""
    report = save_to_backup(*desk.parts(), now=now)
    if report.saved or report.problem:
        health_of(desk.engine, desk.settings).note(BACKUP, report.problem)
    return report


def come_in(desk: Desk, *, for_others: bool = False) -> ImportReport | None:
    """Bring in backups, at most every two seconds a process; None: it was not time.

    for_others: only what the savers of this host have left lying, or what a host without any left.
    """
    if time.monotonic() < _Looked.at + _LOOK_EVERY_S:
        return None
    _Looked.at = time.monotonic()
    older_s, seconds = (_OTHERS_FIRST_S, 1.0) if for_others else (0.0, _IMPORT_S)
    try:
        return bring_in(desk.engine, desk.settings, seconds=seconds, older_s=older_s)
    except OSError as error:
        _log.error("backup.folder_unreadable", problem=str(error))
        health_of(desk.engine, desk.settings).note(BACKUP, str(error))
        return None


def prune_parts(desk: Desk) -> int:
    """Collect large parts that a killed saver left behind, a bounded stretch of the table; return how many.

    Each process walks on from where it stopped, so the whole table has its turn, at `retention_batch` hundreds a time.
    """
    walked = _ORPHANS_EACH * desk.settings.retention_batch
    collected, _Walked.after = part_rows.collect_orphans(desk.engine, walked, _Walked.after or part_rows.START)
    if collected:
        _log.info("parts.orphans_collected", parts=collected)
    return collected


def last_backup(desk: Desk) -> BackupReport | None:
    """Back up what Postgres has not got, if it is away: a worker's last act in an outage. None: it is not away."""
    try:
        last_run_s(desk.engine, SWEEP)  # only to ask: no sweep runs here
    except Unavailable as error:
        if not is_postgres(error):
            return None
        try:
            return back_up(desk, now=True)
        except Retryable as worse:
            _log.error("backup.not_written", problem=str(worse))
    except Retryable:
        pass  # busy, not away
    return None


def is_postgres(error: Unavailable) -> bool:
    """Tell whether it is Postgres that is out of reach."""
    return bool(error.args[0] == "Postgres")
