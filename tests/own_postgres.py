"""A Postgres of one test's own, to be killed and started again."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scratch import scratch_home

from fntx_sessions.database.engine import migrate
from fntx_sessions.stack.folder import Folder
from fntx_sessions.stack.postgres import Postgres


class OwnPostgres:
    """A server of one test's own, to be killed and started again."""

    def __init__(self, home: Path) -> None:
        self._folder = Folder(home)
        self._folder.prepare()
        self.server = Postgres(self._folder)
        self.server.prepare()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's own process; its children are its connections'."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        log = self._folder.logs / "postgres.log"
        process = self._process = self.server.start(log)
        self.server.wait_ready(log, lambda: process.poll() is None)

    def end(self, number: int) -> None:
        """End it by a signal: SIGKILL as a crash does, SIGINT as an operator."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number) if number == signal.SIGKILL else self._process.send_signal(number)
        self._process.wait(timeout=20)


@contextmanager
def own_server() -> Iterator[OwnPostgres]:
    """Yield one that runs and has our schema, in a folder that is gone afterwards."""
    home = scratch_home()
    home.chmod(0o711 if os.geteuid() == 0 else 0o700)
    own = OwnPostgres(home)
    try:
        own.start()
        own.server.ensure_database()
        migrate(own.server.url())
        yield own
    finally:
        own.end(signal.SIGKILL)
        shutil.rmtree(home, ignore_errors=True)
