"""Asks plug-ins in their own process: a time limit that holds, a count of failures, and a while apart after some.

The process is killed when it does not answer in time, whatever its code swallows, and begun anew when next needed.
What is answered is JSON; nothing of it is executed here. docs/decisions/0070-rules.md says what this does not hold.
"""

import atexit
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import structlog

from fntx_sessions.automation.rules.model import Facts
from fntx_sessions.automation.rules.plugin_child import PluginChild
from fntx_sessions.automation.rules.plugin_facts import facts_to_json
from fntx_sessions.settings import Settings, get_settings

log = structlog.get_logger(__name__)
Answer = dict[str, Any]


class PluginFailed(Exception):
    """The plug-in is broken, too slow or set aside; the argument says so in words."""


class PluginRefused(Exception):
    """The plug-in says that a rule's value is wrong; the argument is what it says."""


@dataclass(slots=True)
class _Record:
    """How a plug-in did of late. aside_until: monotonic seconds. loaded_in: the process that has imported it."""

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
    _child: PluginChild | None = None
    _lock: Any = field(default_factory=threading.Lock)
    _window_ends: float = 0.0
    _spent_s: float = 0.0

    def ask(self, name: str, what: str, facts: Facts | None, arguments: Answer) -> Answer:
        """Return a plug-in's answer; raises PluginFailed or PluginRefused, at the latest after the time limits."""
        with self._lock:
            record = self._records.setdefault(name, _Record())
            self._refuse_aside(name, record)
            began = time.monotonic()
            try:
                answer = self._answer(name, what, facts, arguments, record)
            except PluginFailed as error:
                self._note_failure(name, record, str(error))
                raise
            finally:
                self._spent_s += time.monotonic() - began
            record.failures = 0
            return answer

    def close(self) -> None:
        """End the plug-ins' process, if there is one."""
        with self._lock:
            self._kill()

    def disown(self) -> None:
        """Forget a process that belongs to the process we were forked from, leaving it alone."""
        if self._child is not None:
            self._child.disown()

    def _refuse_aside(self, name: str, record: _Record) -> None:
        now = time.monotonic()
        if now < record.aside_until:
            raise PluginFailed(f"{name} is set aside for {record.aside_until - now:.0f} s more: {record.last}")
        if now >= self._window_ends:
            self._window_ends, self._spent_s = now + self.settings.rule_interval_s, 0.0
        if self._spent_s > self.settings.rule_plugin_budget_s:
            of_s = self.settings.rule_interval_s
            raise PluginFailed(f"{name} was not asked: plug-ins took {self._spent_s:.1f} s of the last {of_s:g} s")

    def _answer(self, name: str, what: str, facts: Facts | None, arguments: Answer, record: _Record) -> Answer:
        child = self._running()
        if record.loaded_in != child.pid:
            self._exchange(child, name, {"what": "load"}, self.settings.rule_plugin_start_s)
            record.loaded_in = child.pid
        told = {} if facts is None else {"facts": facts_to_json(facts)}
        return self._exchange(
            child, name, {"what": what, **arguments, **told}, self.settings.rule_plugin_limit_ms / 1000
        )

    def _exchange(self, child: PluginChild, name: str, question: Answer, limit_s: float) -> Answer:
        try:
            answer = child.ask(
                question | {"name": name, "limit_s": limit_s}, limit_s, self.settings.rule_plugin_start_s
            )
        except TimeoutError:
            self._kill()
            raise PluginFailed(f"{name} did not answer within {limit_s * 1000:.0f} ms") from None
        except (OSError, EOFError, ValueError, TypeError) as error:
            self._kill()
            raise PluginFailed(f"{name} broke its process: {type(error).__name__} {error}") from None
        except BaseException:
            self._kill()  # told to end by a time limit, in the middle of it
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

    def _running(self) -> PluginChild:
        if self._child is None or not self._child.lives:
            self._kill()
            self._child = PluginChild()
        return self._child

    def _kill(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()


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
