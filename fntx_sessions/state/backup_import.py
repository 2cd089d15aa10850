"""Bringing backups in, once Postgres is back: history in order, the current save only forward, then the file goes.

One process at a time works on a host's folder (a lock that ends with its holder). A session's files are copied as
checkpoints under ids made of their content's mark, read back, compared, and only then deleted: killed anywhere, it is
done again and makes nothing twice.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from uuid import UUID

import structlog
from sqlalchemy import Engine

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import Fatal, Rejected, Shredded, StaleEpoch
from fntx_sessions.schemas import Severity
from fntx_sessions.settings import Settings
from fntx_sessions.state.backup_rows import Incoming, store
from fntx_sessions.state.backups import (
    REFUSED,
    Backup,
    folders,
    make_folder,
    read,
    scan,
    strays,
    sync_folder,
    unfinished,
)
from fntx_sessions.state.event_rows import StateEvent, add_events
from fntx_sessions.state.snapshot import Packer
from fntx_sessions.testing import failpoint

_LOCK = ".importing"
_ABANDONED_S = 3600.0  # nobody writes one file for so long
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ImportReport:
    """How many backups came in, how many were no news, and which were refused and why."""

    imported: int = 0
    known: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    sessions: int = 0


def bring_in(engine: Engine, settings: Settings, *, seconds: float = 5.0, older_s: float = 0.0) -> ImportReport:
    """Bring in what lies in the folders that can be seen from here, for about `seconds`; what is left comes next time.

    older_s: leave younger files to the others. A file that cannot be brought in is put into `refused/` with the
    reason and holds up no other. Raises Unavailable when Postgres is away again: everything then stays.
    """
    report, until = ImportReport(), time.monotonic() + seconds
    for folder in folders(settings):
        if any(scan(folder)) or any(strays(folder)):
            with _alone(folder) as mine:
                if mine:
                    _bring_in_folder(engine, settings, folder, report, until, older_s)
    if report.imported or report.refused:
        _log.info("backup.imported", imported=report.imported, sessions=report.sessions, refused=report.refused)
    return report


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Tell whether this process has the folder to itself for the block."""
    number = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(number)


def _bring_in_folder(
    engine: Engine, settings: Settings, folder: Path, report: ImportReport, until: float, older_s: float
) -> None:
    _clear_unfinished(folder)
    for stray in strays(folder):
        _refuse(engine, stray, None, "its name is not that of a backup", report)
    newest_s = time.time() - older_s
    found = [one for one in scan(folder) if older_s <= 0 or one.created_at.timestamp() <= newest_s]
    found.sort(key=lambda one: (one.session_id, one.mark))
    taken = 0
    for session_id, files in groupby(found, key=lambda one: one.session_id):
        if taken and (taken >= settings.backup_import_batch or time.monotonic() > until):
            return
        backups = list(files)
        taken += len(backups)
        _bring_in_session(engine, settings, session_id, backups, report)


def _bring_in_session(
    engine: Engine, settings: Settings, session_id: UUID, backups: list[Backup], report: ImportReport
) -> None:
    """Bring in one session's files, oldest first: all are stored and compared before the first is deleted."""
    packer, done, new = Packer.of(settings, engine), list[Backup](), 0
    for backup in backups:
        try:
            new += _stored(engine, packer, backup)
        except StaleEpoch:
            continue  # its epoch moved just now: next time
        except (Rejected, Fatal) as error:
            if backup.path.exists():
                _refuse(engine, backup.path, backup, str(error), report)
        else:
            done.append(backup)
    failpoint("backup.stored")
    _tell(engine, session_id, done, new)
    failpoint("backup.told")
    _delete(done)
    report.imported += new
    report.known += len(done) - new
    report.sessions += bool(new)


def _stored(engine: Engine, packer: Packer, backup: Backup) -> bool:
    """Store one backup; False: there was nothing to store. Raises what refuses it."""
    try:
        packed = read(backup)
        return store(engine, packer, Incoming(backup, packed, packer.unpack(packed)))
    except Shredded:
        return False  # its key is gone on purpose: these bytes are nothing any more


def _delete(done: list[Backup]) -> None:
    for backup in done:
        backup.path.unlink(missing_ok=True)
        failpoint("backup.deleted")
    if done:
        sync_folder(done[0].path.parent)


def _tell(engine: Engine, session_id: UUID, done: list[Backup], new: int) -> None:
    """Say once, on the session, that it was kept in the backup folder for a while."""
    if not new:
        return
    since, until = min(one.created_at for one in done), max(one.created_at for one in done)
    description = (
        f"Postgres was out of reach: {len(done)} saves from {since:%H:%M:%S} to {until:%H:%M:%S} UTC waited in the "
        "backup folder of its host and have come in."
    )
    first, last = done[0], done[-1]
    data = {
        "since": since.isoformat(), "until": until.isoformat(), "count": len(done), "host": first.path.parent.name,
        "epoch": last.epoch, "revision": last.revision,
    }  # fmt: skip
    once = f"{first.path.parent.name}/{last.mark}"  # the last to be deleted: killed before that, it is told once
    with transaction(engine) as connection:
        add_events(connection, [StateEvent(session_id, "saved_to_backup", once, description, data=data)])


def _refuse(engine: Engine, path: Path, backup: Backup | None, reason: str, report: ImportReport) -> None:
    """Say on the session why a file did not come in, and put it aside."""
    if backup is not None:
        description = f"backup {path.name} of its host {path.parent.name} was not brought in: {reason}"
        data = {"file": path.name, "host": path.parent.name, "reason": reason[:500]}
        event = StateEvent(backup.session_id, "backup_refused", path.name, description[:2000], Severity.ERROR, data)
        with transaction(engine) as connection:
            add_events(connection, [event])
    aside = path.parent / REFUSED
    make_folder(aside)
    (aside / f"{path.name}.reason").write_text(f"{reason}\n")
    path.replace(aside / path.name)
    sync_folder(aside)
    report.refused[path.name] = reason
    _log.error("backup.refused", file=path.name, problem=reason)


def _clear_unfinished(folder: Path) -> None:
    """Remove what a killed writer left aside."""
    for path in unfinished(folder):
        try:
            if path.stat().st_mtime < time.time() - _ABANDONED_S:
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            continue
