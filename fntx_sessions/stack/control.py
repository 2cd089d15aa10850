"""Talking to the folder's supervisor: XML-RPC over its Unix socket, every call bounded."""

import contextlib
import http.client
import json
import socket
import xmlrpc.client
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from fntx_sessions.stack.folder import Folder, write_private

CALL_TIMEOUT_S = 10.0
# What supervisord answers when the process was running, or stopped, already.
SPAWN_ERROR, ALREADY_STARTED, NOT_RUNNING = 50, 60, 70
UP = {"RUNNING"}
# Nothing but a person, or a new start, brings it back.
GIVEN_UP = {"STOPPED", "STOPPING", "FATAL", "UNKNOWN"}
ON_THE_WAY = {"STARTING", "BACKOFF", "STOPPING"}


@dataclass(frozen=True)
class Process:
    """One process of the stack as its supervisor sees it; `pid` and one of the times are None as it runs or not."""

    name: str
    group: str
    state: str
    pid: int | None
    started_at: datetime | None
    detail: str
    stopped_at: datetime | None = None

    def __str__(self) -> str:
        """Say how its supervisor sees it, and since when it does not run."""
        since = f" since {self.stopped_at:%d %b %H:%M:%S} UTC" if self.stopped_at else ""
        return f"its supervisor has {self.name} as {self.state}{since}"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CALL_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = _UnixConnection(self._path)
        self._connection = host, connection  # which `close` closes
        return connection


@dataclass(frozen=True)
class Supervisor:
    """The supervisor of one folder, whether it runs or not."""

    folder: Folder

    def answers(self) -> bool:
        """Tell whether it takes calls and is not shutting down."""
        with contextlib.suppress(OSError, xmlrpc.client.Error, http.client.HTTPException):
            return bool(self._call("getState")["statename"] == "RUNNING")
        return False

    def processes(self) -> dict[str, Process]:
        """Return name -> process, empty when the supervisor does not answer."""
        with contextlib.suppress(OSError, xmlrpc.client.Error, http.client.HTTPException):
            return {row["name"]: _process(row) for row in self._call("getAllProcessInfo")}
        return {}

    def start(self, process: Process) -> None:
        """Ask for a start; returns before it is up.

        Content when it runs already, and when it ended at once: the supervisor tries that one again, and its state
        tells.
        """
        self._tolerant("startProcess", process, ALREADY_STARTED, SPAWN_ERROR)

    def stop(self, process: Process) -> None:
        """Stop it and wait for its end (bounded by CALL_TIMEOUT_S, after which it is still being stopped)."""
        with contextlib.suppress(TimeoutError):
            self._tolerant("stopProcess", process, NOT_RUNNING, wait=True)

    def shut_down(self) -> None:
        """Ask it to stop every process in order and to end; returns at once."""
        self._call("shutdown")

    def remember(self, pid: int) -> None:
        """Note which process the supervisor is; its create time tells it from a later owner of the same number."""
        known = {"pid": pid, "create_time": psutil.Process(pid).create_time()}
        write_private(self._record, json.dumps(known))

    def process(self) -> psutil.Process | None:
        """Return the supervisor's process if the one noted still runs, answering or not."""
        try:
            known = json.loads(self._record.read_text())
            found = psutil.Process(known["pid"])
            same = found.create_time() == known["create_time"] and found.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, KeyError, psutil.Error):
            return None
        return found if same else None

    def forget(self) -> None:
        """Remove what a supervisor that is gone left: its record and its socket."""
        self._record.unlink(missing_ok=True)
        for left in self.folder.run.glob(f"{self.folder.supervisor_socket.name}*"):
            left.unlink(missing_ok=True)

    @property
    def _record(self) -> Path:
        return self.folder.home / "supervisord.json"

    def _tolerant(self, method: str, process: Process, *accepted: int, wait: bool = False) -> None:
        try:
            self._call(method, f"{process.group}:{process.name}", wait)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in accepted:
                raise

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = _UnixTransport(str(self.folder.supervisor_socket))
        with xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)


def _process(row: dict[str, Any]) -> Process:
    running = bool(row["pid"])
    return Process(
        name=row["name"],
        group=row["group"],
        state=row["statename"],
        pid=row["pid"] or None,
        started_at=datetime.fromtimestamp(row["start"], UTC) if running else None,
        detail=row["spawnerr"] or row["description"],
        stopped_at=datetime.fromtimestamp(row["stop"], UTC) if row["stop"] and not running else None,
    )
