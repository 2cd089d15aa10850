"""The local backup folder: where sealed saves wait while Postgres is out of reach, one folder a host.

HOME/backups/<host>/<session>_<epoch>_<revision>.backup, each a whole snapshot, written aside, synced and renamed, so
that a file of that name is whole. `refused/` below it keeps what could not be brought in, with the reason.
"""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from sqlalchemy import Engine, text

from fntx_sessions.database.engine import transaction
from fntx_sessions.exceptions import NotFound, Unavailable, way_out
from fntx_sessions.settings import Settings
from fntx_sessions.state.container import from_bytes, to_bytes
from fntx_sessions.state.snapshot import Packed
from fntx_sessions.state.tiers.base import Ref
from fntx_sessions.testing import failpoint

FOLDER, REFUSED = "backups", "refused"
_NAME = re.compile(r"([0-9a-f-]{36})_(\d{1,18})_(\d{1,18})\.backup")
_UNFINISHED = ".new"
_FIX = "Free space there or raise FNTX_BACKUP_MAX_BYTES; what is in it comes in by itself when Postgres is back."
_NODES = text("SELECT DISTINCT node FROM hosts ORDER BY node")


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup file, not read yet. created_at: when it was written."""

    session_id: UUID
    epoch: int
    revision: int
    created_at: datetime
    size_bytes: int
    path: Path

    @property
    def mark(self) -> tuple[int, int]:
        """How far it is: what orders a session's backups."""
        return self.epoch, self.revision


def this_host() -> str:
    """Return the name of this machine, as `hosts.node` has it."""
    return socket.gethostname()


def folder_of(settings: Settings, host: str = "") -> Path:
    """Return the folder of a host's backups (empty: this one's), there or not."""
    return settings.home / FOLDER / (host or this_host())


def folders(settings: Settings) -> list[Path]:
    """Return the folders that can be seen from here, this host's own first.

    There may be others: of hosts that share this home, and of containers that ran on it under another name.
    """
    own = folder_of(settings)
    with suppress(FileNotFoundError):
        return sorted((path for path in own.parent.iterdir() if path.is_dir()), key=lambda path: (path != own, path))
    return []


def find(settings: Settings, session_id: UUID) -> list[Backup]:
    """Return the backups of a session that can be seen from here, newest first by (epoch, revision)."""
    found = [backup for folder in folders(settings) for backup in scan(folder, str(session_id))]
    return sorted(found, key=lambda backup: backup.mark, reverse=True)


def read(backup: Backup) -> Packed:
    """Return the save in a backup, its seals not opened yet; raises IntegrityError, and NotFound when it came in."""
    try:
        data = backup.path.read_bytes()
    except FileNotFoundError:
        raise NotFound("backup", backup.path.name, "It came in meanwhile: ask Postgres.") from None
    return from_bytes(data, Ref(backup.session_id))


def other_hosts(engine: Engine, settings: Settings) -> list[str]:
    """Return the hosts whose backups, should they have any, cannot be seen from here."""
    with transaction(engine) as connection:
        known = set(connection.execute(_NODES).scalars())
    return sorted(known - {folder.name for folder in folders(settings)} - {this_host()})


def scan(folder: Path, prefix: str = "") -> Iterator[Backup]:
    """Yield the backups in one host's folder in no order; none when it is not there."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if (found := _NAME.fullmatch(entry.name)) and entry.name.startswith(prefix):
                with suppress(FileNotFoundError, ValueError):  # it came in meanwhile; not an id
                    yield _backup(found, entry)


def _backup(found: re.Match[str], entry: "os.DirEntry[str]") -> Backup:
    stat = entry.stat(follow_symlinks=False)
    written = datetime.fromtimestamp(stat.st_mtime, UTC)
    return Backup(UUID(found[1]), int(found[2]), int(found[3]), written, stat.st_size, Path(entry.path))


class BackupWriter:
    """Writes backups into this host's folder within its limits; made anew for each pass, for it counts once."""

    def __init__(self, settings: Settings) -> None:
        """Make the folder and see what it holds; raises Unavailable when it cannot be made."""
        self._folder = folder_of(settings)
        self._keep = settings.backups_per_session
        self._max_bytes = settings.backup_max_bytes
        with _explained(self._folder):
            make_folder(self._folder)
        self._held: dict[UUID, list[Backup]] = {}
        for backup in sorted(scan(self._folder), key=lambda one: one.mark):
            self._held.setdefault(backup.session_id, []).append(backup)
        self._bytes = sum(backup.size_bytes for mine in self._held.values() for backup in mine)

    def put(self, packed: Packed) -> bool:
        """Hold a save, synced to the disk when this returns; False: one as new is here already.

        Raises Unavailable when the folder takes no more; the newest good backup of every session then is still there.
        """
        mine = self._held.get(packed.session_id, [])
        if mine and mine[-1].mark >= (packed.epoch, packed.revision):
            return False
        data = to_bytes(packed)
        if not self._fits(packed.session_id, len(data)):
            self._only_newest()
        if not self._fits(packed.session_id, len(data)):
            detail = f"{self._folder} holds {self._bytes} bytes of newest backups alone, {self._max_bytes} are allowed"
            raise Unavailable("the backup folder", detail, _FIX)
        self._added(self._written(packed, data))
        return True

    def _written(self, packed: Packed, data: bytes) -> Backup:
        target = self._folder / f"{packed.session_id}_{packed.epoch}_{packed.revision}.backup"
        try:
            write_whole(target, data)
        except OSError:
            # History makes way for the present: what is older than each session's newest gives its room.
            self._only_newest()
            with _explained(self._folder):
                write_whole(target, data)
        return Backup(packed.session_id, packed.epoch, packed.revision, datetime.now(UTC), len(data), target)

    def _added(self, backup: Backup) -> None:
        mine = self._held.setdefault(backup.session_id, [])
        mine.append(backup)
        self._bytes += backup.size_bytes
        while len(mine) > self._keep:
            self._drop(mine.pop(0))
        if self._bytes > self._max_bytes:
            self._only_newest()

    def _fits(self, session_id: UUID, size: int) -> bool:
        # What it takes the place of goes only after it is written.
        return (
            self._bytes + size - sum(backup.size_bytes for backup in self._held.get(session_id, ())) <= self._max_bytes
        )

    def _only_newest(self) -> None:
        for mine in self._held.values():
            while len(mine) > 1:
                self._drop(mine.pop(0))

    def _drop(self, backup: Backup) -> None:
        backup.path.unlink(missing_ok=True)
        self._bytes -= backup.size_bytes


def make_folder(folder: Path) -> None:
    """Make a folder that only its owner can enter."""
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_whole(target: Path, data: bytes) -> None:
    """Write a file that only its owner can read, all of it or nothing, synced to the disk; raises OSError."""
    aside = target.with_name(f"{target.name}.{os.getpid()}{_UNFINISHED}")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        failpoint("backup.written")
        aside.rename(target)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)
    failpoint("backup.renamed")


def sync_folder(folder: Path) -> None:
    """Make what was renamed or removed in a folder outlive a power cut."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def strays(folder: Path) -> Iterator[Path]:
    """Yield the files whose name is no backup's and nothing else of ours."""
    for path in folder.iterdir():
        ours = path.name.startswith(".") or path.name.endswith(_UNFINISHED) or _NAME.fullmatch(path.name)
        if path.is_file() and not ours:
            yield path


def unfinished(folder: Path) -> Iterator[Path]:
    """Yield what writers left aside: of those at work now, and of those that were killed."""
    yield from folder.glob(f"*{_UNFINISHED}")


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        detail = f"{folder} cannot be written ({error.strerror or error})"
        raise Unavailable("the backup folder", detail, way_out(detail, _FIX)) from error
