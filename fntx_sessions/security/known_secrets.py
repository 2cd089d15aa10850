"""Values that must not be told, known while they are in use: whatever writes text for people hides them.

Held by the process, in plain, from the moment an agent opened one: an agent that keeps it may tell it at any later
step. Forgotten when it was replaced a while ago, and when the process has stepped many other sessions since.
"""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import orjson

HIDDEN = "***"
# A shorter one would be found in every other word.
LEAST_CHARACTERS = 6
# Of as many sessions, those stepped last, a process remembers what they opened; of as many it keeps the runtimes.
MOST_KEPT = 512


class _Known:
    """How often each form of a value is in use; threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: Counter[str] = Counter()
        # Read without the lock: longest first, so that no value is hidden in part by a shorter one.
        self.shown: tuple[str, ...] = ()

    def change(self, added: AbstractSet[str], dropped: AbstractSet[str]) -> None:
        if not added and not dropped:
            return
        with self._lock:
            self._forms.update(added)
            self._forms.subtract(dropped)
            self._forms = +self._forms
            self.shown = tuple(sorted(self._forms, key=len, reverse=True))


_known = _Known()


class InUse:
    """What one user of values has made known, until it ends."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        # Until when forms of values that were replaced stay known, in monotonic seconds.
        self._until: dict[str, float] = {}

    @property
    def any(self) -> bool:
        """Tell whether any was made known."""
        return bool(self._names)

    def hold(self, values: Mapping[str, str], then_s: float = 0.0) -> None:
        """Make values known, by the names they may be told by; one of fewer than `LEAST_CHARACTERS` is not.

        Those known before that are not among them stay so for `then_s` seconds, and until the next time.
        """
        now, before = time.monotonic(), self._names
        held = {form: name for name, value in values.items() for form in _forms(value)}
        until = {form: self._until.get(form, now + then_s) for form in before.keys() - held.keys()}
        self._until = {form: moment for form, moment in until.items() if moment > now}
        self._names = {form: before[form] for form in self._until} | held
        _known.change(self._names.keys() - before.keys(), before.keys() - self._names.keys())

    def found_in(self, data: bytes) -> str | None:
        """Return the name of a value that stands in some JSON; None: there is none."""
        return next((name for form, name in self._names.items() if form.encode() in data), None)

    def end(self) -> None:
        """Forget all of it."""
        _known.change(set(), self._names.keys())
        self._names, self._until = {}, {}


_kept: "OrderedDict[UUID, InUse]" = OrderedDict()


@contextmanager
def use_of(session_id: UUID) -> Iterator[InUse]:
    """Yield what a session's values are made known by, for a step of it; they stay known when it ends."""
    use = _kept.setdefault(session_id, InUse())
    _kept.move_to_end(session_id)
    try:
        yield use
    finally:
        if not use.any:
            _kept.pop(session_id, None)
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)[1].end()


def forget_all() -> None:
    """Forget what every session made known, as a new process would."""
    while _kept:
        _kept.popitem()[1].end()


def hide_in(value: Any) -> Any:
    """Return a JSON value without the values that are known now, keys included."""
    if not _known.shown:
        return value
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, dict):
        return {hide_in(key): hide_in(item) for key, item in value.items()}
    return [hide_in(item) for item in value] if isinstance(value, list) else value


def holds_any(data: bytes) -> bool:
    """Tell whether some JSON holds a value that is known now."""
    return any(form.encode() in data for form in _known.shown)


def hide(text: str) -> str:
    """Return a text without the values that are known now."""
    for form in _known.shown:
        if form in text:
            text = text.replace(form, HIDDEN)
    return text


def _forms(value: str) -> set[str]:
    """Return a value as it stands in text: as it is, as JSON has it, as Python's repr has it, and its long lines.

    None of fewer than `LEAST_CHARACTERS`.
    """
    whole = {value, orjson.dumps(value).decode()[1:-1], repr(value)[1:-1]}
    # A key of many lines is cut to pieces by whoever indents it.
    whole |= {line.strip() for line in value.splitlines() if len(line.strip()) >= 3 * LEAST_CHARACTERS}
    return {form for form in whole if len(form) >= LEAST_CHARACTERS}
