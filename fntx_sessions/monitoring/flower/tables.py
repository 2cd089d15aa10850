"""Tables whose rows change one by one: drawn whole from one template, and taken apart where it says so."""

from collections.abc import Iterable
from typing import Any

from fntx_sessions.monitoring.flower.page import Draw
from fntx_sessions.monitoring.flower.views import Part

# Text in a template is escaped: nobody's text can be this.
_CUT = "<!--row-->"


def table(draw: Draw, template: str, ids: Iterable[str], **facts: Any) -> Part:
    """Return a template as a part with a child for each of `ids`, which are the ids of its rows in their order.

    The template writes `{% raw cut %}` before each row and once after the last.
    """
    opening, *rows, closing = draw(template, cut=_CUT, **facts).split(_CUT)
    return Part(opening, dict(zip(ids, rows, strict=True)), closing)
