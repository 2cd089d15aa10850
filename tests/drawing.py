"""Pages drawn without a Flower around them: what a page asks and draws, for tests that need no server."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

from flower import urls
from tornado.escape import linkify, squeeze, url_escape, xhtml_escape

from fntx_sessions.lifecycle.execute import Desk
from fntx_sessions.monitoring.flower import words
from fntx_sessions.monitoring.flower.loading import loader
from fntx_sessions.monitoring.flower.page import Asked, Draw, Page
from fntx_sessions.monitoring.flower.views import Parts
from fntx_sessions.monitoring.flower.who import Viewer, looking

LOADER = loader(urls.settings["template_path"])


class Handler:
    """What drawing asks of a request's handler."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer

    def words(self) -> dict[str, Any]:
        """Return what templates may call."""
        tornado = {"escape": xhtml_escape, "linkify": linkify, "squeeze": squeeze, "url_escape": url_escape}
        return tornado | words.FUNCTIONS | {
            "asset": lambda name: f"/sessions/static/{name}", "link": self.link, "viewer": self.viewer,
            "reverse_url": lambda *path: "/" + "/".join(map(str, path)), "handler": SimpleNamespace(link=self.link),
            "xsrf_form_html": lambda: "", "task_known": lambda _: True,
        }  # fmt: skip

    def link(self, *path: object) -> str:
        """Return the address of a page of ours."""
        return "/".join(("/sessions", *map(str, path)))

    def get_template_loader(self) -> Any:
        """Return where templates are found."""
        return LOADER


def drawn(
    page: Page, desk: Desk, /, session_id: UUID | None = None, viewer: Viewer | None = None, **asked: str
) -> Parts:
    """Return the parts of a page as it is drawn for somebody: by default one who looks at everything."""
    viewer = viewer or looking("looker")
    return page.draw(desk, Asked(viewer, session_id, asked), Draw(Handler(viewer)))  # type: ignore[arg-type]
