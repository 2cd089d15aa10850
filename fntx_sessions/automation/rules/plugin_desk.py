"""Asks plug-ins in their own process: a time limit that holds, a count of failures, and a while apart after some.

The process is killed when it does not answer in time, whatever its code swallows, and begun anew when next needed.
What is answered is JSON; nothing of it is executed here. docs/decisions/0070-rules.md says what this does not hold.
"""

import atexit
import os
import select
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson
import structlog

from fntx_sessions.automation.rules.model import Facts
from fntx_sessions.automation.rules.plugin_facts import facts_to_json
from fntx_sessions.settings import Settings, get_settings

log = structlog.get_logger(__name__)
_MODULE = "fntx_sessions.automation.rules.plugin_process"
_ANSWER_MAX = 65_536


class PluginFailed(Exception):
    """The plug-in is broken, too slow or set aside; the argument says so in words."""


class PluginRefused(Exception):
    """The plug-in says that a rule's value is wrong; the argument is what it says."""


@dataclass(slots=True)
class _Record:
    """How a plug-in did of late. aside_until: monotonic seconds."""

    failures: int = 0
    aside_until: float = 0.0
    last: str = ""
    loaded_in: int = 0


@dataclass(slots=True)
class PluginDesk:
    """One per process of ours. failed: failures since it began, by name of the condition."""

    settings: Settings
    failed: Counter[str] = field(default_factory=Counter)
    _records: dict[str, _Record] = field(default_factory=dict)
    _process: "subprocess.Popen[bytes] | None" = None
    _lock: Any = field(default_factory=threading.Lock)
    _window_ends: float = 0.0
    _spent_s: float = 0.0

    def ask(self, name: str, what: str, facts: Facts | None, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return a plug-in's answer; raises PluginFailed or PluginRefused, at the latest after the time limits."""
        with self._lock:
            record = self._records.setdefault(name, _Record())
            self._refuse_aside(name, record)
            began = time.monotonic()
            try:
                return self._asked(name, what, facts, arguments, record)
            except PluginFailed as error:
                self._note_failure(name, record, str(error))
                raise
            finally:
                self._spent_s += time.monotonic() - began

    def close(self) -> None:
        """End the plug-ins' process, if there is one."""
        with self._lock:
            self._kill()

    def disown(self) -> None:
        """Forget a process that belongs to the process we were forked from, leaving it alone."""
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                pipe.close()  # type: ignore[union-attr]  # both are pipes
            self._process.returncode = 0  # another's child: not ours to wait for

    def _refuse_aside(self, name: str, record: _Record) -> None:
        now = time.monotonic()
        if now < record.aside_until:
            raise PluginFailed(f"{name} is set aside for {record.aside_until - now:.0f} s more: {record.last}")
        if now >= self._window_ends:
            self._window_ends, self._spent_s = now + self.settings.rule_interval_s, 0.0
        if self._spent_s > self.settings.rule_plugin_budget_s:
            of_s = self.settings.rule_interval_s
            raise PluginFailed(f"{name} was not asked: plug-ins took {self._spent_s:.1f} s of the last {of_s:g} s")

    def _asked(
        self, name: str, what: str, facts: Facts | None, arguments: dict[str, Any], record: _Record
    ) -> dict[str, Any]:
        process = self._running()
        limit_s = self.settings.rule_plugin_limit_ms / 1000
        if record.loaded_in != process.pid:
            start_s = self.settings.rule_plugin_start_s
            self._exchange(process, {"name": name, "what": "load", "limit_s": start_s}, name, start_s)
            record.loaded_in = process.pid
        question = {"name": name, "what": what, "limit_s": limit_s, **arguments}
        if facts is not None:
            question["facts"] = facts_to_json(facts)
        answer = self._exchange(process, question, name, limit_s)
        record.failures = 0
        return answer

    def _exchange(self, process: "subprocess.Popen[bytes]", question: Any, name: str, limit_s: float) -> dict[str, Any]:
        try:
            _write(process, orjson.dumps(question) + b"\n", limit_s)
            answer: dict[str, Any] = orjson.loads(_line(process, limit_s))
        except BaseException as error:
            self._kill()  # an answer that comes late must never be taken for that of the next question
            if isinstance(error, TimeoutError):
                raise PluginFailed(f"{name} did not answer within {limit_s * 1000:.0f} ms") from None
            if isinstance(error, OSError | EOFError | ValueError | TypeError):
                raise PluginFailed(f"{name} broke its process: {type(error).__name__} {error}") from None
            raise
        if "refused" in answer:
            raise PluginRefused(answer["refused"])
        if "failed" in answer:
            raise PluginFailed(f"{name} {answer['failed']}")
        return answer

    def _note_failure(self, name: str, record: _Record, why: str) -> None:
        self.failed[name] += 1
        record.failures += 1
        record.last = why
        if record.failures >= self.settings.rule_plugin_failures_max:
            record.aside_until = time.monotonic() + self.settings.rule_plugin_aside_s
            log.warning("condition_set_aside", condition=name, failures=record.failures, problem=why)

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self._kill()
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(
                [sys.executable, "-m", _MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env=environment,
                start_new_session=True,  # a signal to our group, such as Ctrl-C, is ours to pass on
            )
        return self._process

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]  # both are pipes


def _write(process: "subprocess.Popen[bytes]", data: bytes, limit_s: float) -> None:
    """Write all of it; raises TimeoutError where the other side does not read."""
    deadline, fd = time.monotonic() + limit_s, process.stdin.fileno()  # type: ignore[union-attr]  # a pipe
    while data:
        if not select.select([], [fd], [], max(deadline - time.monotonic(), 0))[1]:
            raise TimeoutError
        data = data[os.write(fd, data[: select.PIPE_BUF]) :]


def _line(process: "subprocess.Popen[bytes]", limit_s: float) -> bytes:
    """Return one line; raises TimeoutError, EOFError, or ValueError when it is endless."""
    deadline, fd = time.monotonic() + limit_s, process.stdout.fileno()  # type: ignore[union-attr]  # a pipe
    read = b""
    while not read.endswith(b"\n"):
        if not select.select([fd], [], [], max(deadline - time.monotonic(), 0))[0]:
            raise TimeoutError
        piece = os.read(fd, _ANSWER_MAX)
        if not piece:
            raise EOFError("it ended")
        read += piece
        if len(read) > _ANSWER_MAX:
            raise ValueError("its answer is too long")
    return read


@lru_cache(maxsize=1)
def plugin_desk() -> PluginDesk:
    """Return this process's desk for plug-ins."""
    desk = PluginDesk(get_settings())
    atexit.register(desk.close)
    return desk


def _after_fork() -> None:
    if plugin_desk.cache_info().currsize:
        plugin_desk().disown()
    plugin_desk.cache_clear()


os.register_at_fork(after_in_child=_after_fork)
