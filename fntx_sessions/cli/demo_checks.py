"""The steps of the demo: each says what must hold, is checked, and is told with the seconds it took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fntx_sessions.cli import output

T = TypeVar("T")
_POLL_S = 0.1


class StepFailed(Exception):
    """A step of the demo did not do what it says; arguments: the step, what was expected, what was found."""

    def __str__(self) -> str:
        """Return the one sentence."""
        step, expected, found = self.args
        return f"step failed: {step}: expected {expected}, found {found}"


@dataclass
class Checks:
    """What was done so far: (step, seconds), and the step that runs now."""

    done: list[tuple[str, float]] = field(default_factory=list)
    _current: str = ""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Run one step; told when it is done, as failed when it raises."""
        began = time.monotonic()
        self._current = name
        try:
            yield
        except BaseException:
            output.errors().print(f"[red]fail[/red] {output.plain(name)}")
            raise
        self.done.append((name, time.monotonic() - began))
        output.errors().print(f"[green]ok[/green]   {output.plain(name)} [dim]{self.done[-1][1]:.1f} s[/dim]")

    def equal(self, what: str, found: Any, expected: Any) -> None:
        """Go on when `found` is what it must be; raises StepFailed."""
        if found != expected:
            raise StepFailed(self._current, f"{what} {expected}", found)

    def true(self, what: str, found: object, told: object = None) -> None:
        """Go on when `found` is true; raises StepFailed saying `told`, or `found` itself."""
        if not found:
            raise StepFailed(self._current, what, found if told is None else told)

    def until(self, what: str, look: Callable[[], T], holds: Callable[[T], object], seconds: float) -> T:
        """Look until what is seen holds, and return it; raises StepFailed with the last look after `seconds`."""
        end = time.monotonic() + seconds
        while True:
            seen = look()
            if holds(seen):
                return seen
            if time.monotonic() > end:
                raise StepFailed(self._current, f"{what} within {seconds:g} s", _short(seen))
            time.sleep(_POLL_S)


def _short(seen: object) -> str:
    if isinstance(seen, dict):
        names = ("status", "epoch", "version", "requires_action", "status_reason", "counts")
        seen = {name: seen[name] for name in names if name in seen}
    return str(seen)[:300]
