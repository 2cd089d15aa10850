"""The directories of a folder store, each opened from the one above it without following symbolic links."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from fntx_sessions.exceptions import Unavailable
from fntx_sessions.state.objects.base import COLD_STORE
from fntx_sessions.state.objects.folder_names import SUFFIX

INCOMING = ".incoming"
LOCK = "lock"
# Held for a look and a rename: who waits longer waits for a process that was stopped.
_LOCK_WAIT_S, _LOCK_PAUSE_S = 10.0, 0.005
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_SPACE = "Free space there, it goes on by itself then."
_LINK = "Something in it is a symbolic link or a file where a directory belongs; put the directory back."
_FIXES = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EROFS: "Mount it so that it can be written.",
    errno.EACCES: "Give it to the user this runs as: chown -R, chmod -R u+rwX.",
    errno.EPERM: "Use a file system with hard links, and give the folder to the user this runs as.",
    errno.EOPNOTSUPP: "Use a file system with hard links.",
    errno.ETIMEDOUT: f"A process that stands still holds {INCOMING}/{LOCK} in it; end that one (fuser names it).",
    errno.ELOOP: _LINK,
    errno.ENOTDIR: _LINK,
}


@contextmanager
def folder_errors(root: Path) -> Iterator[None]:
    """Run a block that works in the folder; raises Unavailable, with the way out, where the system refuses."""
    try:
        yield
    except OSError as error:
        fix = _FIXES.get(error.errno or 0, "Look at that disk; `fntx doctor` tries again.")
        detail = f"{root}: {(error.strerror or str(error)).lower()}"
        raise Unavailable(COLD_STORE, detail, fix) from error


@contextmanager
def opened_root(root: Path, *, make: bool, ours: bool) -> Iterator[int]:
    """Yield a descriptor of the folder itself; make: made when it is missing, else FileNotFoundError.

    ours: whether it is ours to make. Where it is not and it is missing, that is Unavailable: a disk that is not there.
    """
    if make and ours:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(root, _DIRECTORY)
    except FileNotFoundError:
        if ours:
            raise
        fix = f"Mount its disk, or make it: mkdir -m 700 {root}"
        raise Unavailable(COLD_STORE, f"there is no folder {root}", fix) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def must_be_the_same(root: Path, used: Path) -> None:
    """Raise Unavailable where `used` says that the folder was written to, and it has no trace of that.

    One put back from a copy without empty directories has its objects, and no `.incoming` until it is written to.
    """
    if not (root / INCOMING).exists() and used.exists() and not _holds_objects(root):
        detail = f"{root} was used and is not what it was: its disk is not mounted, or it was moved or emptied"
        fix = f"Mount it, or put it back. Only where it is lost for good: rm {used}, then fntx audit verify --all"
        raise Unavailable(COLD_STORE, detail, fix)


def _holds_objects(root: Path) -> bool:
    return any(file.endswith(SUFFIX) for _, _, files in os.walk(root, onerror=_unless_missing) for file in files)


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


@contextmanager
def directory(above: int, parts: Sequence[str], *, make: bool = False) -> Iterator[int]:
    """Yield a descriptor of the directory `parts` under `above`; make: made when missing, else FileNotFoundError."""
    here = os.dup(above)
    try:
        for part in parts:
            below = _below(here, part, make=make)
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


def remove_empty(above: int, parts: Sequence[str]) -> None:
    """Remove the directory `parts` and those it leaves empty; one that is in use stays."""
    for depth in range(len(parts), 0, -1):
        try:
            with directory(above, parts[: depth - 1]) as parent:
                os.rmdir(parts[depth - 1], dir_fd=parent)
        except OSError:
            return


@contextmanager
def locked(folder: int) -> Iterator[None]:
    """Hold the folder against everyone else who looks before writing. The lock's file is never removed."""
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        _wait_for(descriptor)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def incoming(above: int) -> Iterator[tuple[int, str, int]]:
    """Yield (directory, name, descriptor) of a new file of ours, locked; it is gone or renamed afterwards."""
    with directory(above, [INCOMING], make=True) as folder:
        _collect(folder)
        name, descriptor = _locked(folder)
        try:
            yield folder, name, descriptor
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            os.close(descriptor)


def _wait_for(descriptor: int) -> None:
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TimeoutError(errno.ETIMEDOUT, f"its lock was held for {_LOCK_WAIT_S:g} s") from None
        time.sleep(_LOCK_PAUSE_S)


def _below(above: int, part: str, *, make: bool) -> int:
    try:
        return os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):
        os.mkdir(part, 0o700, dir_fd=above)
        os.fsync(above)
    return os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=above)


def _locked(folder: int) -> tuple[str, int]:
    while True:
        name = uuid4().hex
        descriptor = os.open(name, _NEW, 0o600, dir_fd=folder)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return name, descriptor
        os.close(descriptor)  # taken for a dead writer's between the two calls


def _collect(folder: int) -> None:
    """Remove what killed writers left: whoever lives holds a lock on his file."""
    for name in os.listdir(folder):
        with suppress(FileNotFoundError, BlockingIOError):
            if name != LOCK:
                _remove_unlocked(folder, name)


def _remove_unlocked(folder: int, name: str) -> None:
    descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=folder)
    finally:
        os.close(descriptor)
