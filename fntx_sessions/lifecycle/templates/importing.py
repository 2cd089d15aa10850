"""Taking a template file in: what it would change is told before anything does."""

from typing import Any
from uuid import UUID

from pydantic import Field
from sqlalchemy import Engine

from fntx_sessions.database.engine import statements
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle.templates.contents import check, problems
from fntx_sessions.lifecycle.templates.differences import differences
from fntx_sessions.lifecycle.templates.edits import TemplateName, becoming, hosted, same_type
from fntx_sessions.lifecycle.templates.files import from_file
from fntx_sessions.lifecycle.templates.writing import Edit, Kept, Wanted, Written, look, write
from fntx_sessions.schemas import Model, TemplateContents
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import EDIT_TEMPLATE, authorize, permit
from fntx_sessions.settings import Settings

Json = dict[str, Any]


class ImportArguments(Model):
    """fntx.templates.import: a template file as JSON.

    template_name: what to call it here; None: as the file does. replace: make a new version of a template of that name
    that is there. preview: say what would change, and change nothing.
    """

    file: Json
    template_name: TemplateName | None = None
    replace: bool = False
    preview: bool = False
    expected_version: int | None = Field(default=None, ge=1)
    reason: str = Field(default="", max_length=2000)


def take_in(engine: Engine, settings: Settings, actor: Actor, arguments: ImportArguments, command_id: UUID) -> Json:
    """Store a file's template, or say what that would change; raises Forbidden, InvalidArgument by path, as `write`."""
    (permit if arguments.preview else authorize)(actor, EDIT_TEMPLATE)
    named, contents = from_file(arguments.file, settings)
    name = arguments.template_name or named
    if arguments.preview:
        return preview(engine, name, contents)
    return _store(engine, actor, arguments, name, contents, command_id).to_dict()


def preview(engine: Engine, name: str, contents: TemplateContents) -> Json:
    """Return what importing contents under a name would do: add, replace or nothing; what differs; what is wrong."""
    with statements(engine) as connection:
        kept = look(connection, name)
    found = [error.named() for error in problems(contents, hosted())]
    try:
        if kept is not None:
            same_type(kept, contents)
    except InvalidArgument as error:
        found.insert(0, error.named())
    # Of a new one: what it says beyond an empty template.
    before = kept.body if kept else TemplateContents(session_type=contents.session_type).body()
    changes = differences(before, contents.body())
    return {
        "template_name": name,
        "would": "add" if kept is None else "replace" if changes else "nothing",
        "version": kept.version if kept else None,
        "retired": kept is not None and kept.retired_at is not None,
        "changes": changes,
        "problems": found,
    }


def _store(
    engine: Engine, actor: Actor, arguments: ImportArguments, name: str, contents: TemplateContents, command_id: UUID
) -> Written:
    def make(kept: Kept | None) -> Wanted:
        if kept is None:
            check(contents, hosted())
            return Wanted("imported", contents)
        if not arguments.replace:
            fix = "Look what would change (preview), then give replace; or another template_name."
            raise InvalidArgument("replace", f"there is {name!r} already, at version {kept.version}", fix)
        check(becoming(kept, contents), hosted())
        return Wanted("imported", contents, retired=kept.retired_at is not None)

    own = arguments.model_dump(mode="json", exclude={"preview"})
    edit = Edit(actor, name, arguments.reason, command_id, {"import": own}, arguments.expected_version)
    return write(engine, edit, make)
