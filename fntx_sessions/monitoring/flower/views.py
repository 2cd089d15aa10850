"""Views: what a page showed last, made anew where that is old, and kept for when a store is away.

People who look at the same thing share one look at the stores, and one drawing of it.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from fntx_sessions.exceptions import Retryable, Unavailable
from fntx_sessions.settings import Settings


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a page: one element with an id. children: those inside it that change by themselves, by their ids.

    opening and closing: its HTML around the children. One whose children are others, or in another order, is sent
    whole.
    """

    opening: str
    children: dict[str, str] = field(default_factory=dict)
    closing: str = ""

    @property
    def html(self) -> str:
        """The whole element."""
        return "".join((self.opening, *self.children.values(), self.closing))

    @property
    def frame(self) -> tuple[str, str]:
        """What is not its children's."""
        return self.opening, self.closing


Parts = dict[str, Part]


@dataclass(frozen=True, slots=True)
class View:
    """What a page shows. at: when it was true; problem: why nothing newer is known, None where it is of now."""

    parts: Parts
    at: datetime
    problem: str | None = None
    taken: float = 0.0


class Views:
    """The last view of each page and viewer's scope; the longest unseen makes room."""

    def __init__(self, settings: Settings, threads: Executor) -> None:
        self._settings, self._threads = settings, threads
        self._kept: OrderedDict[Hashable, View] = OrderedDict()
        self._looking: dict[Hashable, asyncio.Task[View]] = {}

    async def get(self, key: Hashable, draw: Callable[[], Parts]) -> View:
        """Return the view of `key`, drawn in a thread unless that was done a moment ago.

        Where a store is away, or gives no answer within `pages_patience_s`: the last one, with the problem. Raises what
        `draw` raises; of a Retryable, only where there is no earlier view.
        """
        kept = self._kept.get(key)
        if kept and not kept.problem and time.monotonic() - kept.taken < self._settings.pages_refresh_s / 2:
            return kept
        look = self._looking.get(key)
        if look is None:
            look = self._looking[key] = asyncio.ensure_future(self._look(key, draw))
            look.add_done_callback(lambda done: self._forget(key, done))
        # One who goes away does not take the others' look along, and one that hangs is not begun a second time.
        await asyncio.wait([look], timeout=self._settings.pages_patience_s)
        return look.result() if look.done() else self._problem(key, _silent(self._settings.pages_patience_s))

    async def _look(self, key: Hashable, draw: Callable[[], Parts]) -> View:
        try:
            parts = await asyncio.get_running_loop().run_in_executor(self._threads, draw)
        except Retryable as error:
            return self._problem(key, error)
        return self._keep(key, View(parts, datetime.now(UTC), None, time.monotonic()))

    def _problem(self, key: Hashable, error: Retryable) -> View:
        """Return the last view with the problem; raises it where there is none."""
        kept = self._kept.get(key)
        if kept is None:
            raise error
        return self._keep(key, replace(kept, problem=str(error)))

    def _forget(self, key: Hashable, look: "asyncio.Task[View]") -> None:
        self._looking.pop(key, None)
        # Whoever waited has it; where all have left, nobody asks.
        _ = look.cancelled() or look.exception()

    def _keep(self, key: Hashable, view: View) -> View:
        self._kept[key] = view
        self._kept.move_to_end(key)
        while len(self._kept) > self._settings.pages_views_kept:
            self._kept.popitem(last=False)
        return view


def _silent(waited_s: float) -> Unavailable:
    return Unavailable("A store", f"no answer within {waited_s:g} s", "`fntx status` and `fntx doctor` say which.")


def difference(before: Parts, after: Parts) -> dict[str, str]:
    """Return what a browser that shows `before` needs to show `after`: HTML by the id of the element it replaces."""
    changed: dict[str, str] = {}
    for name, part in after.items():
        old = before.get(name)
        if old is None or list(old.children) != list(part.children) or old.frame != part.frame:
            changed[name] = part.html
        else:
            changed |= {child: html for child, html in part.children.items() if old.children[child] != html}
    return changed
