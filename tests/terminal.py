"""Terminals for tests: one to type at for commands that ask, and a real one for programs that fill the screen."""

import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]P][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")


class Terminal(io.StringIO):
    """Standard input of a person: what is typed at it."""

    def isatty(self) -> bool:
        """Return that it is one."""
        return True


class Screen:
    """A program in a pseudo-terminal. raw: everything it ever wrote."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self._master, self.process, self.raw = master, process, ""

    def type(self, keys: str) -> None:
        """Type at it."""
        os.write(self._master, keys.encode())

    def wait_for(self, text: str, within_s: float = 30.0) -> str:
        """Return what it wrote since the last wait, once `text` is in it; fails when it ends or takes too long."""
        until, seen = time.monotonic() + within_s, ""
        while time.monotonic() < until:
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    seen += os.read(self._master, 65536).decode(errors="replace")
                except OSError:
                    break
            if text in _ESCAPES.sub("", seen):
                self.raw += seen
                return _ESCAPES.sub("", seen)
        raise AssertionError(f"{text!r} not in:\n{_ESCAPES.sub('', seen)}")

    def ended(self, within_s: float = 20.0) -> int:
        """Return its exit code; what it still writes is read, so that it can end."""
        until = time.monotonic() + within_s
        while self.process.poll() is None and time.monotonic() < until:
            if select.select([self._master], [], [], 0.05)[0]:
                try:
                    self.raw += os.read(self._master, 65536).decode(errors="replace")
                except OSError:
                    break
        return self.process.wait(within_s)


@contextmanager
def screen(
    command: Sequence[str], environment: Mapping[str, str], columns: int = 80, lines: int = 24
) -> Iterator[Screen]:
    """Run a program in a terminal of that size, and end it however the test ends."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment, close_fds=True)
    os.close(slave)
    try:
        yield Screen(master, process)
    finally:
        process.kill()
        process.wait()
        os.close(master)
