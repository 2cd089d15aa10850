"""Files of this user alone: written whole under mode 0600, and told apart once they were written anew."""

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path


def file_version(path: Path) -> tuple[int, int, int]:
    """Return what differs once a file was replaced or written; raises OSError when there is none."""
    found = os.stat(path)  # noqa: PTH116 - for every token that is verified, and a third quicker
    return found.st_mtime_ns, found.st_size, found.st_ino


def open_to_others(path: Path) -> str:
    """Say how others of this machine come to a secret in this file, where the file lets them; empty: not by it."""
    try:
        found = path.lstat()
    except OSError:
        return ""
    if stat.S_ISLNK(found.st_mode):
        return "is a symbolic link: what it leads to may be open, and change unseen"
    return "is open to other users" if stat.S_IMODE(found.st_mode) & 0o077 else ""


def write_private(path: Path, content: bytes) -> None:
    """Write a file under mode 0600 so that readers see the old or the new whole."""
    temporary = _temporary(path, content)
    try:
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def create_private(path: Path, content: bytes) -> None:
    """Write a file under mode 0600 unless its name is taken."""
    # A hard link fails where the name exists: of two processes that start at once, one key wins and both use it.
    temporary = _temporary(path, content)
    try:
        with suppress(FileExistsError):
            path.hardlink_to(temporary)
    finally:
        temporary.unlink()


def _temporary(path: Path, content: bytes) -> Path:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)
