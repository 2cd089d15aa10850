"""A page: what it asks the stores, and how that is drawn; shown once, or live over one connection.

A page is a class with a template and a `draw`; `PageHandler` does the rest: who may look, the last view where a store
is away, and a stream of what changed for a browser that asks for `text/event-stream`.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from uuid import UUID

import orjson
import structlog
import tornado.web
from tornado.iostream import StreamClosedError

from fntx_sessions.exceptions import FntxError, Forbidden, NotFound, Rejected, Retryable
from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.monitoring.flower.guarded import Guarded
from fntx_sessions.monitoring.flower.login import still_in
from fntx_sessions.monitoring.flower.page_denied import PageDenied
from fntx_sessions.monitoring.flower.redis_away import PART, redis_problem
from fntx_sessions.monitoring.flower.views import Part, Parts, View, difference
from fntx_sessions.monitoring.flower.who import Viewer
from fntx_sessions.pasting import halt_command
from fntx_sessions.security.roles import VIEW

log = structlog.get_logger(__name__)
_STATUS: dict[type[FntxError], int] = {NotFound: 404, Forbidden: 403}
# A line without meaning, so that neither side nor a proxy between takes silence for the end.
_SILENCE_S = 15.0
_LOGIN_ENDED: dict[str, Any] = {"parts": {}, "problem": "Your login has ended: log in again.", "at": None, "over": True}


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for: the session the address names, the question's arguments, and who asks."""

    viewer: Viewer
    session_id: UUID | None
    arguments: Mapping[str, str]

    def get(self, name: str, default: str = "") -> str:
        """Return an argument, the last where it was given several times; printable, at most 2000 characters."""
        return self.arguments.get(name, default)


class Draw:
    """Draws templates; made for each request, and used in a thread."""

    def __init__(self, handler: Guarded) -> None:
        self._handler = handler
        self._names = handler.words()

    def __call__(self, template: str, **facts: Any) -> str:
        """Return a template of ours drawn with `facts`; all text in it is escaped."""
        loaded = self._handler.get_template_loader().load(f"fntx/{template}")
        return str(loaded.generate(**self._names, **facts).decode())

    def part(self, template: str, **facts: Any) -> Part:
        """Return a template drawn as a part of a page."""
        return Part(self(template, **facts))


class Page:
    """One kind of page.

    template: the whole page's, drawn with `parts` (HTML by id) around what `draw` returns. tab: its entry in the menu.
    """

    template: ClassVar[str]
    tab: ClassVar[str] = "sessions"
    # Whether it shows more than sessions: not for those who may see some sessions alone.
    whole_desk: ClassVar[bool] = False
    # Whether it is drawn in threads of its own, which no store that hangs can fill.
    apart: ClassVar[bool] = False

    def title(self, asked: Asked) -> str:
        """Return the page's title."""
        raise NotImplementedError

    def draw(self, desk: Desk, asked: Asked, draw: Draw) -> Parts:
        """Ask the stores and return the page's parts by the ids of their elements; runs in a thread.

        Raises InvalidArgument and NotFound for what was asked, Retryable where a store is away.
        """
        raise NotImplementedError

    def whole(self, desk: Desk, asked: Asked, draw: Draw) -> Parts:
        """Draw it, and above it whether Redis answers: raises as `draw` does."""
        away = draw.part("redis_away.html", problem=redis_problem(desk), halt=halt_command("...", flatten=True))
        return {PART: away, **self.draw(desk, asked, draw)}


class PageHandler(Guarded):
    """Shows one page. action: what a role has to allow for it."""

    action: str = VIEW

    def initialize(self, page: Page) -> None:
        """Take the page, by the rule's arguments."""
        self.page = page

    @property
    def streams(self) -> bool:
        """Tell whether what changes is asked for, by a page that is there already."""
        return "text/event-stream" in self.request.headers.get("Accept", "")

    @property
    def once(self) -> bool:
        """Tell whether one look is all that is asked for: by a window of a browser whose others hold its streams."""
        return "Fntx-Once" in self.request.headers

    def prepare(self) -> None:
        """Tell a page that is open without a login: sent to the form, as others are, it would take it for silence."""
        super().prepare()
        if self.streams and self.current_user is None:
            self._begin_stream()
            self.finish(_event(_LOGIN_ENDED))

    @tornado.web.authenticated
    async def get(self, session_id: str | None = None) -> None:
        """Show it, or stream what changes."""
        asked = self._asked(session_id)
        if self.streams:
            await self._stream(asked)
            return
        try:
            view = await self._view(asked)
        except (Rejected, Retryable) as error:
            self._nothing(asked, error)
        else:
            self._show(asked, view, view.problem)

    def _nothing(self, asked: Asked, error: FntxError, told: str = "") -> None:
        """Say why there is nothing to show, with the status that says the same; told: what comes before it."""
        away = isinstance(error, Retryable)
        self.set_status(503 if away else _STATUS.get(type(error), 400))
        self._show(asked, None, f"{told} {error}" if away and told else str(error))

    def _show(self, asked: Asked, view: View | None, problem: str | None) -> None:
        parts = {name: part.html for name, part in view.parts.items()} if view else {}
        template = self.page.template if view else "nothing.html"
        self.show(
            template, title=self.page.title(asked), tab=self.page.tab, asked=asked, parts=parts, problem=problem,
            at=view.at if view else None, live=view is not None,
        )  # fmt: skip

    def _asked(self, session_id: str | None) -> Asked:
        viewer, found = self.viewer, UUID(session_id) if session_id else None
        if (found and not viewer.may_see(found)) or (self.page.whole_desk and viewer.scoped):
            told = "Your token is good for other sessions alone."
            raise PageDenied(told, viewer, self.action, found)
        arguments = {name: self.get_argument(name)[:2000] for name in sorted(self.request.query_arguments)}
        return Asked(viewer, found, arguments)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log what was denied with its names; all else as Tornado does."""
        if isinstance(value, PageDenied):
            value.note()
        else:
            super().log_exception(typ, value, tb)

    async def _view(self, asked: Asked) -> View:
        site, page, draw = self.site, self.page, Draw(self)
        key = (type(page).__name__, asked.session_id, tuple(asked.arguments.items()), *self._rights(asked.viewer))
        threads = site.threads_apart if page.apart else None
        return await site.views.get(key, lambda: self._draw(asked, draw), live=self.streams, threads=threads)

    def _rights(self, viewer: Viewer) -> tuple[Any, ...]:
        """Return what a drawing depends on besides the question: those who may do the same share one."""
        return tuple(sorted(viewer.actor.roles)), viewer.token is not None, viewer.scope

    def _draw(self, asked: Asked, draw: Draw) -> Parts:
        """Draw the page; of a session, for whom it is in scope. Raises Forbidden besides what a page does."""
        desk = self.site.desk
        if asked.session_id is not None:
            asked = replace(asked, viewer=asked.viewer.looked_up(desk.engine, asked.session_id))
        return self.page.whole(desk, asked, draw)

    async def _stream(self, asked: Asked) -> None:
        site = self.site
        if not site.streams.begin(asked.viewer):
            raise tornado.web.HTTPError(503, "Too many live pages: load this one again now and then.")
        try:
            self._begin_stream()
            await self._tell_changes(asked)
        except StreamClosedError:
            pass  # they have left
        finally:
            site.streams.end(asked.viewer)

    def _begin_stream(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")

    async def _tell_changes(self, asked: Asked) -> None:
        shown: Parts = {}
        told: str | None = ""  # as no problem reads: the first look is told whatever it finds
        quiet_s, pause_s = 0.0, self.site.settings.pages_refresh_s
        while still_in(self):
            view, problem = await self._look(asked)
            changed = difference(shown, view.parts) if view else {}
            shown = view.parts if view else shown
            if changed or problem != told or quiet_s >= _SILENCE_S:
                told, quiet_s = problem, 0.0
                at = view.at.isoformat() if view else None
                await self._tell({"parts": changed, "problem": problem, "at": at})
            if self.once:
                return
            await asyncio.sleep(pause_s)
            quiet_s += pause_s
        await self._tell(_LOGIN_ENDED)

    async def _look(self, asked: Asked) -> tuple[View | None, str | None]:
        try:
            view = await self._view(asked)
        except (Rejected, Retryable) as error:
            return None, str(error)
        except tornado.web.HTTPError:
            raise
        except Exception:
            log.exception("page_not_drawn", page=type(self.page).__name__)
            return None, "This page could not be drawn; Flower's log says why."
        return view, view.problem

    async def _tell(self, news: dict[str, Any]) -> None:
        self.write(_event(news))
        await self.flush()


def _event(news: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(news) + b"\n\n"
