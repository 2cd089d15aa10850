"""The process that plug-ins run in, seen from ours: a line out, a line in, by a deadline, or it is killed."""

import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

import orjson

_MODULE = "fntx_sessions.automation.rules.plugin_process"
_ANSWER_MAX = 65_536


class PluginChild:
    """One such process, begun at once."""

    def __init__(self) -> None:
        self._read = b""
        self._process = subprocess.Popen(  # noqa: S603 -- this Python, a module of ours
            [sys.executable, "-m", _MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # a signal to our group, such as Ctrl-C, is ours to pass on
        )

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    @property
    def lives(self) -> bool:
        """Tell whether it can be asked."""
        return self._process.poll() is None

    def ask(self, question: dict[str, Any], limit_s: float, wait_s: float) -> dict[str, Any]:
        """Return the answer to a question; wait_s: how much longer, once, where it says that it loads a calendar.

        Raises TimeoutError, and OSError, EOFError, ValueError or TypeError for what is no answer. After any exception
        it must be killed: an answer that comes late would be taken for that of the next question.
        """
        self._write(orjson.dumps(question) + b"\n", time.monotonic() + limit_s)
        answer = orjson.loads(self._line(time.monotonic() + limit_s))
        if "wait" in answer:
            answer = orjson.loads(self._line(time.monotonic() + limit_s + wait_s))
        return dict(answer)

    def kill(self) -> None:
        """End it now, whatever its code does about signals."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._close_pipes()

    def disown(self) -> None:
        """Leave it to the process we were forked from."""
        self._close_pipes()
        self._process.returncode = 0  # another's child: not ours to wait for

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]  # both are pipes

    def _write(self, data: bytes, deadline: float) -> None:
        fd = self._process.stdin.fileno()  # type: ignore[union-attr]  # a pipe
        while data:
            if not select.select([], [fd], [], max(deadline - time.monotonic(), 0))[1]:
                raise TimeoutError
            data = data[os.write(fd, data[: select.PIPE_BUF]) :]

    def _line(self, deadline: float) -> bytes:
        fd = self._process.stdout.fileno()  # type: ignore[union-attr]  # a pipe
        while b"\n" not in self._read:
            if not select.select([fd], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise TimeoutError
            piece = os.read(fd, _ANSWER_MAX)
            if not piece:
                raise EOFError("it ended")
            self._read += piece
            if len(self._read) > _ANSWER_MAX:
                raise ValueError("its answer is too long")
        line, _, self._read = self._read.partition(b"\n")
        return line
