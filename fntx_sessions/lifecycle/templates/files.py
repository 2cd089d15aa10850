"""Templates as files that desks share: plain JSON that people read, compare and keep under version control."""

import json
import re
from collections import Counter
from typing import Any, Literal, Never

from pydantic import Field

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.templates.contents import contents_of
from fntx_sessions.lifecycle.templates.edits import TemplateName
from fntx_sessions.parsing import parse
from fntx_sessions.schemas import Model, SessionTemplate, TemplateContents
from fntx_sessions.settings import Settings

FORMAT = "fntx-template"
VERSION = 1
Json = dict[str, Any]
_FIX = "`fntx templates export NAME` writes one to go by."


class TemplateFile(Model):
    """A template file. format_version: of this form, not of the template. exported_version: whoever wrote it, told."""

    format: Literal["fntx-template"]
    format_version: int = Field(ge=1)
    template_name: TemplateName
    exported_version: int | None = Field(default=None, ge=1)
    template: Json


def to_file(template: SessionTemplate) -> Json:
    """Return a template as a file's JSON; the same template gives the same file at every desk."""
    return {
        "format": FORMAT,
        "format_version": VERSION,
        "template_name": template.template_name,
        "exported_version": template.version,
        "template": template.body(),
    }


def to_text(file: Json) -> str:
    """Return a file's JSON as it is written: two spaces a level, keys in their order, a line's end at the end."""
    return json.dumps(file, indent=2, ensure_ascii=False) + "\n"


def file_name(template_name: str) -> str:
    """Return what an exported file is called: of any name, letters, digits and dashes are left."""
    plain = "-".join(re.findall(r"[^\W_]+", template_name.lower()))
    return f"{plain[:100] or 'template'}.json"


def from_file(file: Any, settings: Settings) -> tuple[str, TemplateContents]:
    """Return the name and the contents a file's JSON holds; raises InvalidArgument by path, of a newer form too."""
    if not isinstance(file, dict) or file.get("format") != FORMAT:
        raise InvalidArgument("format", f"is not {FORMAT!r}: this is no template file", _FIX)
    _check_version(file.get("format_version"))
    found = parse(TemplateFile, file)
    return found.template_name, contents_of(found.template, settings, "template")


def _check_version(version: Any) -> None:
    if isinstance(version, bool) or not isinstance(version, int):
        raise InvalidArgument("format_version", "is not a whole number", _FIX)
    if version != VERSION:
        fix = f"This release reads version {VERSION}: upgrade it, or have the file exported by an older one."
        raise InvalidArgument("format_version", f"is {version}", fix)


def most_bytes(settings: Settings) -> int:
    """Return how long a file may be: it is indented and its template is not; what is more than that is no template."""
    return 8 * settings.template_max_bytes


def read_text(data: bytes, settings: Settings) -> Any:
    """Return the JSON of a file's bytes; raises InvalidArgument for what is too large, no UTF-8 or no JSON.

    Refused too: NaN and infinity, and a key that stands twice, of which a reader would see one and a program the other.
    """
    limit = most_bytes(settings)
    if len(data) > limit:
        raise InvalidArgument("file", f"has more than {limit} bytes: that is no template", _FIX)
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant, object_pairs_hook=_once)
    except UnicodeDecodeError:
        raise InvalidArgument("file", "is not UTF-8 text", _FIX) from None
    except RecursionError:
        raise InvalidArgument("file", "is nested too deep to be read", _FIX) from None
    except json.JSONDecodeError as error:
        problem = f"is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        raise InvalidArgument("file", problem, _FIX) from None
    except ValueError:
        raise InvalidArgument("file", "has a number of thousands of digits", _FIX) from None


def _refuse_constant(constant: str) -> Never:
    raise InvalidArgument("file", f"{constant} is not a number that can be used", "Give a finite number.")


def _once(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise InvalidArgument("file", f"says {twice[:100]!r} twice in one object", "Say it once.")
    return found
