"""Where the processes of workers count: a folder for each worker under FNTX_HOME, whose lock says that it lives.

A worker begins with an empty folder and takes those of dead ones away. Its processes write files of their own there,
one for each place in the pool, so that a process that is replaced goes on with the figures of the one before.
"""

import fcntl
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote

FOLDER = "figures"
_LOCK, _NODE = "lock", "node.json"
# Set aside ahead, so that a full disk is found out here: a page of a mapped file that the disk has no room for kills
# the process that writes to it. The files hold a few hundred series each; larger ones grow.
_SET_ASIDE_BYTES = {"counter": 1 << 17, "histogram": 1 << 19}


class WorkerFolder:
    """This worker's folder, for as long as this object lives; raises OSError where there can be none."""

    def __init__(self, home: Path, node: str, host_id: str) -> None:
        """Make it, and take away those of workers that died. node: the name that its figures are shown under."""
        root = home / FOLDER
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(root):
            _clear(root)
            self.path = root / quote(host_id, safe="@")
            self.path.mkdir(mode=0o700)
            self._lock = _locked(self.path)
        (self.path / _NODE).write_text(json.dumps(node), encoding="utf-8")

    def set_aside(self, place: str) -> None:
        """Have room on the disk for what the process at `place` of the pool counts; raises OSError for want of it."""
        for kind, size in _SET_ASIDE_BYTES.items():
            with (self.path / f"{kind}_{place}.db").open("ab") as file:
                if file.tell() == 0:
                    os.posix_fallocate(file.fileno(), 0, size)

    def remove(self) -> None:
        """Take it away, as the worker ends, and let go of the lock; doing it again does nothing."""
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)


def living(home: Path) -> dict[str, list[str]]:
    """Return the files of all workers that live, by the name of their node."""
    found: dict[str, list[str]] = defaultdict(list)
    for folder in _folders(home / FOLDER):
        if not _is_dead(folder):
            found[_node(folder)] += files_of(folder)
    return found


def files_of(folder: Path) -> list[str]:
    """Return the files that a worker's processes count in."""
    return sorted(str(path) for path in folder.glob("*.db"))


def _node(folder: Path) -> str:
    try:
        return str(json.loads((folder / _NODE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return folder.name  # it begins just now


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _clear(root: Path) -> None:
    for folder in _folders(root):
        if _is_dead(folder):
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold off other workers that begin: a folder without its lock is nobody's."""
    with (root / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _locked(folder: Path) -> IO[str]:
    lock = (folder / _LOCK).open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _is_dead(folder: Path) -> bool:
    """Tell whether no process of the worker lives: each of its children holds the lock with it."""
    try:
        with (folder / _LOCK).open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
