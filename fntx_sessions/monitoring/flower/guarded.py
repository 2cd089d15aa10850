"""The base of our handlers: who asks, what a browser may load, and forms that only our own pages can send."""

from typing import Any, cast
from urllib.parse import urlsplit

import tornado.web
from flower.views import BaseHandler

from fntx_sessions.monitoring.flower import words
from fntx_sessions.monitoring.flower.assets import asset
from fntx_sessions.monitoring.flower.site import Site
from fntx_sessions.monitoring.flower.who import Viewer

# Nothing inline, nothing from another host, nobody's frame. Bootstrap draws its icons from data: addresses.
CONTENT_SECURITY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Guarded(BaseHandler):  # type: ignore[misc]  # Flower has no types
    """A handler of ours, behind Flower's login."""

    def set_default_headers(self) -> None:
        """Send what keeps a browser from being talked into anything."""
        self.set_header("Content-Security-Policy", CONTENT_SECURITY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("Cache-Control", "no-store")

    def check_xsrf_cookie(self) -> None:
        """Refuse what another site made a browser send, whichever way the person is known; raises HTTPError 403."""
        site, origin = self.request.headers.get("Sec-Fetch-Site"), self.request.headers.get("Origin")
        foreign = origin is not None and urlsplit(origin).netloc != self.request.host
        if foreign or site not in (None, "same-origin", "none"):
            raise tornado.web.HTTPError(403, "This form was not sent from a page of ours.")
        tornado.web.RequestHandler.check_xsrf_cookie(self)

    def get_argument(self, name: str, default: Any = None, strip: bool = True) -> Any:  # noqa: FBT001, FBT002 -- Tornado's own
        """Return an argument as it was sent: Flower's way escapes it here already, and templates would once more."""
        return tornado.web.RequestHandler.get_argument(self, name, default, strip)

    @property
    def site(self) -> Site:
        """What the pages of this process share."""
        found: Site = self.application.settings["fntx_site"]
        return found

    @property
    def viewer(self) -> Viewer:
        """Who asks; for handlers that are `authenticated`."""
        return cast("Viewer", self.current_user)

    def words(self) -> dict[str, Any]:
        """Return what templates may call and name, besides what they are drawn with."""
        return {
            **self.get_template_namespace(), **words.FUNCTIONS, "asset": lambda name: self.prefixed(asset(name)),
            "link": self.link, "viewer": self.current_user, "task_known": self.task_known,
        }  # fmt: skip

    def link(self, *path: object) -> str:
        """Return the address of a page of ours: `link("ID", "rules")`; of the board without arguments."""
        return self.prefixed("/".join(("/sessions", *map(str, path))))

    def task_known(self, task_id: object) -> bool:
        """Tell whether Flower has a page about a task: it remembers the last ones it heard of."""
        return str(task_id) in self.application.events.state.tasks

    def prefixed(self, path: str) -> str:
        """Return a path under Flower's prefix."""
        prefix = (self.application.options.url_prefix or "").strip("/")
        return f"/{prefix}{path}" if prefix else path

    def show(self, template: str, **facts: Any) -> None:
        """Send a page drawn from a template of ours."""
        _ = self.xsrf_token  # sets its cookie, which the page's forms need
        names = self.words() | facts
        self.finish(self.get_template_loader().load(f"fntx/{template}").generate(**names))

    def get_template_loader(self) -> Any:
        """Return where templates are found: ours, and Flower's."""
        return self.application.settings["template_loader"]

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say what is wrong in a page of ours; never with a traceback, which the log has."""
        error = kwargs.get("exc_info", (None, None))[1]
        told = error.log_message if isinstance(error, tornado.web.HTTPError) else None
        if not hasattr(self, "_current_user"):
            self.current_user = None
        if status_code == 401:  # noqa: PLR2004
            self.set_header("WWW-Authenticate", 'Basic realm="fntx"')
        problem = told or ("Flower's log says why." if status_code >= 500 else "There is no such page.")  # noqa: PLR2004
        self.show("nothing.html", title=f"{status_code}", tab="", problem=problem, at=None, live=False, parts={})
