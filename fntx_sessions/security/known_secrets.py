"""Values that must not be told, known while they are in use: whatever writes text for people hides them.

Held by the process, in plain, from the moment an agent opened one until its session's slice of work is over.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

HIDDEN = "***"
# A shorter one would be found in every other word.
LEAST_CHARACTERS = 6


class _Known:
    """How often each form of a value is in use; threads share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forms: Counter[str] = Counter()
        # Read without the lock: longest first, so that no value is hidden in part by a shorter one.
        self.shown: tuple[str, ...] = ()

    def add(self, forms: set[str]) -> None:
        with self._lock:
            self._forms.update(forms)
            self._tell()

    def drop(self, forms: list[str]) -> None:
        with self._lock:
            self._forms.subtract(forms)
            self._forms = +self._forms
            self._tell()

    def _tell(self) -> None:
        self.shown = tuple(sorted(self._forms, key=len, reverse=True))


_known = _Known()


class InUse:
    """What one user of values has made known, until it ends."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._added: list[str] = []

    @property
    def any(self) -> bool:
        """Tell whether any was made known."""
        return bool(self._names)

    def add(self, name: str, value: str) -> None:
        """Make a value known, under the name it may be told by; one of fewer than `LEAST_CHARACTERS` is not."""
        forms = {form for form in _forms(value) if len(form) >= LEAST_CHARACTERS} - self._names.keys()
        self._names |= dict.fromkeys(forms, name)
        self._added += forms
        _known.add(forms)

    def found_in(self, data: bytes) -> str | None:
        """Return the name of a value that stands in some JSON; None: there is none."""
        return next((name for form, name in self._names.items() if form.encode() in data), None)

    def end(self) -> None:
        """Forget all of it."""
        _known.drop(self._added)
        self._names, self._added = {}, []


@contextmanager
def in_use() -> Iterator[InUse]:
    """Yield what values are made known by for a block; they are forgotten at its end."""
    use = InUse()
    try:
        yield use
    finally:
        use.end()


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
    """Return a value as it stands in text: as it is, as JSON has it, as Python's repr has it, and its long lines."""
    whole = {value, orjson.dumps(value).decode()[1:-1], repr(value)[1:-1]}
    # A key of many lines is cut to pieces by whoever indents it.
    return whole | {line.strip() for line in value.splitlines() if len(line.strip()) >= 3 * LEAST_CHARACTERS}
