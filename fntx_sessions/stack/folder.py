"""The data folder of one embedded stack: what lies where, who may read it, and the lock that serialises `fntx up`.

::

    HOME/                 0700 (as root 0711: Postgres runs as another user and has to pass through)
      stack.json          ports and secrets chosen at the first start, 0600
      up.lock             held while a stack is brought up or down
      supervisord.conf    generated at every start
      supervisord.json    pid and create time of the supervisor
      logs/               one file a process, rotated; 0700
      postgres/           the cluster (a link where root's HOME is closed to other users, see `identity`)
      valkey/             append-only file and valkey.conf
      run/                sockets (elsewhere where HOME is too long for a socket address)
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fntx_sessions.exceptions import StackError
from fntx_sessions.stack.waiting import until

# sockaddr_un holds 108 bytes on Linux and 104 elsewhere, the closing zero included. supervisord binds
# "<socket>.<pid>" first, so its name needs the most room.
SOCKET_ADDRESS_BYTES = 103
LONGEST_SOCKET_NAME = len("/supervisor.sock.4194304")
MINIMUM_FREE_BYTES = 200_000_000


@dataclass(frozen=True)
class Folder:
    """Paths under one home; nothing is created before `prepare`."""

    home: Path

    @property
    def state_file(self) -> Path:
        """Where `read_state` and `write_state` keep ports and secrets."""
        return self.home / "stack.json"

    @property
    def logs(self) -> Path:
        """One log file a process."""
        return self.home / "logs"

    @property
    def postgres(self) -> Path:
        """The Postgres cluster."""
        return self.home / "postgres"

    @property
    def valkey(self) -> Path:
        """The append-only file of Valkey and its configuration."""
        return self.home / "valkey"

    @cached_property
    def run(self) -> Path:
        """Return the directory of the sockets: under home, or a short one of this user's where home is too long."""
        inside = self.home / "run"
        if len(os.fsencode(inside)) + LONGEST_SOCKET_NAME <= SOCKET_ADDRESS_BYTES:
            return inside
        name = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        return Path(_short_runtime_root()) / f"fntx-{os.geteuid()}-{name}"

    @property
    def supervisor_socket(self) -> Path:
        """Where supervisord answers XML-RPC."""
        return self.run / "supervisor.sock"

    def prepare(self) -> None:
        """Create the directories. Raises StackError when the folder is not ours, not writable, or the disk is full."""
        with explained(self.home):
            for path in (self.home, self.logs, self.run):
                _own_directory(path)
            self._close_logs()
            free = shutil.disk_usage(self.home).free
        if free < MINIMUM_FREE_BYTES:
            problem = f"{self.home} has {free // 1_000_000} MB free, a stack needs {MINIMUM_FREE_BYTES // 1_000_000} MB"
            raise StackError(problem, "Free space there, or set FNTX_HOME to a folder on another disk.")

    def _close_logs(self) -> None:
        """Keep others out, of what was left readable before too; a server that is another user gets its log open."""
        self.logs.chmod(0o700)
        for log in self.logs.iterdir():
            log.chmod(0o600)

    def read_state(self) -> dict[str, Any]:
        """Return what was chosen at an earlier start; empty when there was none."""
        try:
            state: dict[str, Any] = json.loads(self.state_file.read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            problem = f"{self.state_file} cannot be read ({error})"
            raise StackError(problem, "Delete that file: ports and passwords are then chosen anew.") from error
        return state

    def write_state(self, **changes: Any) -> dict[str, Any]:
        """Merge `changes` into the state, atomically and readable by this user alone; return the whole."""
        state = self.read_state() | changes
        with explained(self.home):
            write_private(self.state_file, json.dumps(state, indent=2))
        return state

    @contextmanager
    def lock(self, wait_s: float = 60.0) -> Iterator[None]:
        """Hold the folder. Raises StackError when another `fntx up` or `fntx down` holds it longer than `wait_s`."""
        with explained(self.home):
            handle = open(self.home / "up.lock", "a+", opener=private)  # noqa: SIM115 - kept open below
        with handle:
            until(lambda: _try_lock(handle.fileno()), wait_s, lambda: self._held(handle.name))
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            yield

    def _held(self, name: str) -> StackError:
        pid = Path(name).read_text() or "unknown"
        return StackError(
            f"{self.home} is being brought up or down by process {pid}",
            "Wait for it, or end that process and run `fntx up` again.",
        )


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError about `path` into one StackError that names the way out."""
    try:
        yield
    except OSError as error:
        fix = {
            errno.ENOSPC: "Free space there, or set FNTX_HOME to a folder on another disk.",
            errno.EDQUOT: "Free space there, or set FNTX_HOME to a folder on another disk.",
            errno.ENAMETOOLONG: "Set FNTX_HOME to a shorter path.",
        }.get(error.errno or 0, "Set FNTX_HOME to a folder this user may write to.")
        reason = error.strerror or str(error)
        raise StackError(f"cannot use the folder {path}: {reason.lower()}", fix) from error


def private(path: str, flags: int) -> int:
    """Open a file for `open`, for this user alone where it is new."""
    return os.open(path, flags, 0o600)


def write_private(path: Path, text: str) -> None:
    """Write `text` under mode 0600 so that readers see the old or the new whole, also after a power cut."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def last_line(log: Path) -> str:
    """Return what a log ends with, "nothing" where it is empty or absent."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "nothing"


def _own_directory(path: Path) -> None:
    if not path.exists():
        path.mkdir(parents=True)
        path.chmod(0o711 if os.geteuid() == 0 else 0o700)
    owner = path.stat().st_uid
    if owner != os.geteuid():
        raise StackError(
            f"{path} belongs to user {owner}, not to the one running this",
            "Run as that user, or set FNTX_HOME to a folder of your own.",
        )
    probe = path / ".writable"
    probe.touch()
    probe.unlink()


def _short_runtime_root() -> str:
    """Return a short directory for sockets; $XDG_RUNTIME_DIR is cleaned at logout only, /tmp sometimes earlier."""
    candidate = os.environ.get("XDG_RUNTIME_DIR", "")
    if candidate and len(candidate) < SOCKET_ADDRESS_BYTES // 2 and os.access(candidate, os.W_OK):
        return candidate
    return "/tmp"  # noqa: S108 -- the directory made in it is ours, 0700, and refused if somebody else's


def _try_lock(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
