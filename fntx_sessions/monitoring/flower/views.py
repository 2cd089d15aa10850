"""Views: what a page showed last, made anew where that is old, and kept for when a store is away.

People who look at the same thing share one look at the stores, and one drawing of it.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from fntx_sessions.exceptions import Busy, Retryable, Unavailable, Unseen
from fntx_sessions.settings import Settings

T = TypeVar("T")

# How long a drawing is good enough for a live page, as a multiple of what it took.
_REST = 2.0


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
    cost_s: float = 0.0


class Views:
    """The last view of each page and viewer's scope; the longest unseen makes room."""

    def __init__(self, settings: Settings, threads: Executor) -> None:
        self._settings, self._threads = settings, threads
        self._kept: OrderedDict[Hashable, View] = OrderedDict()
        self._looking: dict[Hashable, asyncio.Task[Any]] = {}
        self._found: OrderedDict[Hashable, Any] = OrderedDict()

    async def get(
        self, key: Hashable, draw: Callable[[], Parts], *, live: bool = False, threads: Executor | None = None
    ) -> View:
        """Return the view of `key`, drawn in a thread (of all pages' or `threads`) unless that was done a moment ago.

        For a `live` page, which asks again and again, a moment is longer where drawing takes long, so that no costly
        question takes a thread for itself; whoever loads a page sees what is. Where a store is away, or gives no answer
        within `pages_patience_s`: the last one, with the problem. Raises what `draw` raises; of a
        Retryable, only where there is no earlier view.
        """
        kept = self._kept.get(key)
        if kept and not kept.problem and time.monotonic() - kept.taken < self._moment_s(kept, live=live):
            return kept
        try:
            found: View = await self._shared(
                key, lambda: self._draw(key, draw, threads), self._settings.pages_patience_s
            )
        except Retryable as error:
            return self._problem(key, error)
        return found

    async def last(self, key: Hashable, look: Callable[[], T], *, away: bool) -> T:
        """Return what a look in a thread finds; where a store is `away`, what it found last without asking again.

        Raises what `look` raises, and Unseen.
        """
        if away and key in self._found:
            found: T = self._found[key]
            return found
        patience_s = self._settings.pages_patience_s if away else self.slow_s
        return await self._shared(("last", key), lambda: self._note(key, look), patience_s)

    @property
    def slow_s(self) -> float:
        """How long a look may take that costs more than a page's: Postgres itself gives up a statement before."""
        return self._settings.db_statement_timeout_ms / 1000 + self._settings.pages_patience_s

    async def once(self, key: Hashable, look: Callable[[], T]) -> T:
        """Return what a slow look in a thread finds, shared by those who ask while it is made.

        Raises what `look` raises, and Unseen where it does not end within `slow_s`.
        """
        return await self._shared(("once", key), lambda: self._thread(look), self.slow_s)

    async def _shared(self, key: Hashable, begin: Callable[[], Coroutine[Any, Any, T]], within_s: float) -> T:
        look = self._looking.get(key)
        if look is None:
            look = self._looking[key] = asyncio.ensure_future(begin())
            look.add_done_callback(lambda done: self._forget(key, done))
        # One who goes away does not take the others' look along, and one that hangs is not begun a second time.
        await asyncio.wait([look], timeout=within_s)
        if not look.done():
            raise _silent(within_s)
        found: T = look.result()
        return found

    def _moment_s(self, view: View, *, live: bool) -> float:
        return max(self._settings.pages_refresh_s / 2, _REST * view.cost_s if live else 0.0)

    async def _draw(self, key: Hashable, draw: Callable[[], Parts], threads: Executor | None) -> View:
        began = time.monotonic()
        parts = await self._thread(draw, threads)
        now = time.monotonic()
        return self._keep(key, View(parts, datetime.now(UTC), None, now, now - began))

    async def _note(self, key: Hashable, look: Callable[[], T]) -> T:
        found = await self._thread(look)
        self._put(self._found, key, found)
        return found

    async def _thread(self, look: Callable[[], T], threads: Executor | None = None) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(threads or self._threads, look)
        except Retryable as error:
            raise unseen(error) from error

    def _problem(self, key: Hashable, error: Retryable) -> View:
        """Return the last view with the problem; raises it where there is none."""
        kept = self._kept.get(key)
        if kept is None:
            raise error
        return self._keep(key, replace(kept, problem=str(error)))

    def _forget(self, key: Hashable, look: "asyncio.Task[Any]") -> None:
        self._looking.pop(key, None)
        # Whoever waited has it; where all have left, nobody asks.
        _ = look.cancelled() or look.exception()

    def _keep(self, key: Hashable, view: View) -> View:
        self._put(self._kept, key, view)
        return view

    def _put(self, kept: OrderedDict[Hashable, T], key: Hashable, found: T) -> None:
        kept[key] = found
        kept.move_to_end(key)
        while len(kept) > self._settings.pages_views_kept:
            kept.popitem(last=False)


def unseen(error: Retryable) -> Retryable:
    """Return what kept somebody from looking, in words that say nothing of what was sent before."""
    if isinstance(error, Busy):
        return Unseen(error.args[0], f"it was busy for {error.args[1]} ms", "It is asked again.")
    return Unseen(*error.args) if isinstance(error, Unavailable) else error


def _silent(waited_s: float) -> Unseen:
    detail = f"no answer within {waited_s:g} s: a store hangs, or the question costs more than that"
    return Unseen("What this page shows", detail, "Health shows how the stores are; a narrower question costs less.")


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
