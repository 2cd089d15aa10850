"""What a process is stepping right now, in a file that outlives it: after a kill, only that agent is charged."""

import mmap
import os
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from uuid import UUID

import psutil

from fntx_sessions.settings import get_settings

_SIZE = 256


class Note:
    """One process's note: written to mapped memory for each step, no system call, no round trip."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w+b") as file:
            file.truncate(_SIZE)
            self._memory = mmap.mmap(file.fileno(), _SIZE)

    def write(self, session_id: str, agent: str) -> None:
        """Note that `agent` of `session_id` begins its step now, by the clock that processes of a machine share."""
        said = f"{session_id} {agent} {time.monotonic():.2f}".encode()[:_SIZE]
        self._memory[: len(said) + 1] = said.ljust(len(said) + 1, b"\0")[:_SIZE]

    def clear(self) -> None:
        """Note that nothing is being stepped."""
        self._memory[:1] = b"\0"


def _folder() -> Path:
    # By host: containers that share a home may well have processes of one number.
    return get_settings().home / "run" / "steps" / (os.environ.get("FNTX_HOST_ID") or "no-host")


@lru_cache(maxsize=1)
def own_note() -> Note:
    """Return this process's note."""
    return Note(_folder() / str(os.getpid()))


os.register_at_fork(after_in_child=own_note.cache_clear)


def last_words(process: str) -> tuple[str, str] | None:
    """Return the (session id, agent) a dead process was stepping and remove its note; None when it was idle."""
    path = _folder() / process
    try:
        said = path.read_bytes().split(b"\0", 1)[0].decode()
        path.unlink()
    except FileNotFoundError:
        return None
    session_id, agent, _ = [*said.split(" "), "", ""][:3]
    return (session_id, agent) if agent else None


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A step that has been under way for `for_s` seconds in process `pid`."""

    pid: int
    session_id: str
    agent: str
    for_s: float


def under_way() -> list[UnderWay]:
    """Return what the living processes of this host step at this moment."""
    folder, now = _folder(), time.monotonic()
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [_read(path, now) for path in paths if path.name.isdigit()]
    return [one for one in found if one is not None and psutil.pid_exists(one.pid)]


def _read(path: Path, now: float) -> UnderWay | None:
    """Read a note that its process may be writing at this moment: what makes no sense is passed over."""
    try:
        session_id, agent, began = path.read_bytes().split(b"\0", 1)[0].decode().split(" ")
        return UnderWay(int(path.name), str(UUID(session_id)), agent, max(0.0, now - float(began)))
    except (OSError, ValueError):
        return None


def is_dead(process: str) -> bool:
    """Tell whether the process `process` (a pid of this machine) is gone."""
    return not psutil.pid_exists(int(process))
