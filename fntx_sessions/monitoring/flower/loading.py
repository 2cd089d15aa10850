"""Templates from two places: ours under `fntx/`, Flower's as they are but for our entries in its menu.

Every page has the menu, theirs and ours: what everybody must read stands before it.
"""

from pathlib import Path
from typing import Any

from tornado.template import Loader, Template

from fntx_sessions.exceptions import StackError

OURS = Path(__file__).parent / "templates"
_NAVBAR = "navbar.html"
# Where Flower's first entry stands: ours come before it.
_FIRST_ENTRY = '<ul class="app-nav navbar-nav">'
_ENTRIES = '{% include "fntx/menu.html" %}'
_BEFORE = '{% include "fntx/open.html" %}'


class TwoPlaces(Loader):
    """A loader over Flower's templates and ours; names are from the root, whoever asks."""

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:
        """Return the name itself."""
        _ = parent_path
        return name

    def _create_template(self, name: str) -> Template:
        ours = name.startswith("fntx/")
        text = ((OURS if ours else Path(self.root)) / name).read_text()
        return Template(_with_menu(text) if name == _NAVBAR else text, name=name, loader=self)


def _with_menu(text: str) -> str:
    if text.count(_FIRST_ENTRY) != 1:
        raise StackError("this version of Flower has another menu", "Install the one that requirements.lock names.")
    return _BEFORE + text.replace(_FIRST_ENTRY, _FIRST_ENTRY + _ENTRIES)


def loader(flower_templates: str) -> Any:
    """Return the loader; all text is escaped unless a template says `raw`."""
    return TwoPlaces(flower_templates, autoescape="xhtml_escape")
