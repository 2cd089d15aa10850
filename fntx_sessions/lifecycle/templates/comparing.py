"""Two templates side by side: stored ones, versions of them, shipped ones, files."""

from typing import Any, Self

from pydantic import Field, model_validator
from sqlalchemy import Engine

from fntx_sessions.database.seeds import shipped_body
from fntx_sessions.exceptions import InvalidArgument, NotFound
from fntx_sessions.lifecycle.templates.differences import differences
from fntx_sessions.lifecycle.templates.files import from_file
from fntx_sessions.lifecycle.templates.reading import TemplateQuery, get
from fntx_sessions.schemas import Model
from fntx_sessions.settings import Settings

Json = dict[str, Any]


class Side(Model):
    """One of two templates: a stored one, as it is, at a version or as shipped; or a file's JSON."""

    template_name: str | None = Field(default=None, min_length=1, max_length=200)
    version: int | None = Field(default=None, ge=1)
    shipped: bool = False
    file: Json | None = None

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if (self.template_name is None) == (self.file is None):
            raise InvalidArgument("template_name", "or file says what to compare", "Give exactly one of them.")
        if self.shipped and (self.version is not None or self.file is not None):
            raise InvalidArgument("shipped", "is a template's own, without version or file", "Leave the others out.")
        return self


class DiffArguments(Model):
    """fntx.templates.diff: what has to change in `left` to become `right`."""

    left: Side
    right: Side


def compare(engine: Engine, settings: Settings, arguments: DiffArguments) -> Json:
    """Return both sides' names and what differs, by path; raises NotFound, and InvalidArgument for a bad file."""
    left, before = _side(engine, settings, arguments.left)
    right, after = _side(engine, settings, arguments.right)
    return {"left": left, "right": right, "changes": differences(before, after)}


def _side(engine: Engine, settings: Settings, side: Side) -> tuple[str, Json]:
    if side.template_name is None:
        name, contents = from_file(side.file, settings)
        return f"{name} (file)", contents.body()
    if side.shipped:
        return f"{side.template_name}@shipped", _shipped(side.template_name)
    template = get(engine, TemplateQuery(template_name=side.template_name, version=side.version))
    return f"{template.template_name}@{template.version}", template.body()


def _shipped(name: str) -> Json:
    body = shipped_body(name)
    if body is None:
        raise NotFound("shipped template", name, "This package ships none of that name; compare versions instead.")
    return body
