"""What lies in the backup folders under this home: written while Postgres is away, and coming in when it is back."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fntx_sessions.settings import Settings
from fntx_sessions.stack.check import Check
from fntx_sessions.state.backups import FOLDER, folders, scan

_NAMED = 8
_WAITING_S = 60.0


@dataclass(frozen=True)
class BackupStatus:
    """Backups as found: how many files, of which sessions, from when until when; times are None without any."""

    folder: str
    files: int = 0
    size_bytes: int = 0
    sessions: list[str] = field(default_factory=list)
    oldest: datetime | None = None
    newest: datetime | None = None

    def __str__(self) -> str:
        """Say how many there are of whom, and how fresh they are."""
        if self.oldest is None or self.newest is None:
            return f"none in {self.folder}; a session has one as soon as its state changes"
        more = f" and {len(self.sessions) - _NAMED} more" if len(self.sessions) > _NAMED else ""
        return (
            f"{self.files} of {len(self.sessions)} sessions in {self.folder}, {self.size_bytes / 1e6:.1f} MB, "
            f"since {self.oldest:%d %b %H:%M:%S}, the newest {self.newest:%H:%M:%S} UTC: "
            f"{', '.join(one[:8] for one in self.sessions[:_NAMED])}{more}"
        )


def read_backups(home: Path) -> BackupStatus:
    """Look into every host's backup folder that can be seen from here; nothing is opened."""
    settings = Settings(home=home)
    found = [backup for folder in folders(settings) for backup in scan(folder)]
    return BackupStatus(
        folder=str(home / FOLDER),
        files=len(found),
        size_bytes=sum(backup.size_bytes for backup in found),
        sessions=sorted({str(backup.session_id) for backup in found}),
        oldest=min((backup.created_at for backup in found), default=None),
        newest=max((backup.created_at for backup in found), default=None),
    )


def diagnose_backups(found: BackupStatus, *, away: bool) -> Iterator[Check]:
    """Yield what lies there, where Postgres is away, or where something lies there though it is not."""
    if away:
        yield Check("backups", "ok" if found.files else "warn", str(found), _AWAY)
    elif found.oldest is not None:
        waited_s = (datetime.now(UTC) - found.oldest).total_seconds()
        late = waited_s > _WAITING_S
        fix = "read the log of worker_sweeps for `backup.`; `fntx events ID`" if late else ""
        yield Check("backups", "warn" if late else "ok", f"coming in: {found}", fix)


_AWAY = "nothing: they come in by themselves when Postgres is back; do not flush Redis or restart the workers"
