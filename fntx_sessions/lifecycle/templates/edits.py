"""Adding, editing and retiring templates: what is asked, who may, and what a template is afterwards."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, model_validator
from sqlalchemy import Engine

from fntx_sessions.agents.registry import known_agents
from fntx_sessions.database.engine import statements
from fntx_sessions.database.seeds import shipped_body
from fntx_sessions.exceptions import InvalidArgument, NotFound
from fntx_sessions.lifecycle.templates.contents import check, check_depth, contents_of
from fntx_sessions.lifecycle.templates.differences import differences
from fntx_sessions.lifecycle.templates.reading import TemplateQuery, get, unknown
from fntx_sessions.lifecycle.templates.sections import patched
from fntx_sessions.lifecycle.templates.writing import Edit, Kept, Wanted, Written, write
from fntx_sessions.schemas import Model, TemplateContents
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import EDIT_TEMPLATE, authorize
from fntx_sessions.settings import Settings

# Letters of any script, digits, and what people put between them: no name is a path, a pattern or an option.
_NAME = r"^[^\W_](?:[\w .,+&()'-]*[\w).])?$"
TemplateName = Annotated[str, Field(min_length=1, max_length=100, pattern=_NAME)]
# Of a template that is there: whatever it is called.
KnownName = Field(min_length=1, max_length=200)
Reason = Field(default="", max_length=2000)


class AddArguments(Model):
    """fntx.templates.add: a new template.

    copy_of: the template it begins as, as it is or at `copy_version`; None: an empty one. changes: laid over that, as
    in an edit.
    """

    template_name: TemplateName
    copy_of: str | None = Field(default=None, min_length=1, max_length=200)
    copy_version: int | None = Field(default=None, ge=1)
    changes: dict[str, Any] = Field(default_factory=dict)
    reason: str = Reason


class EditArguments(Model):
    """fntx.templates.edit: exactly one of three.

    changes: laid over what the template says, objects key by key; lists and plain values replace, null takes a key
    away. to_version: what it was then. to_shipped: what this package ships under its name.
    """

    template_name: str = KnownName
    changes: dict[str, Any] | None = None
    to_version: int | None = Field(default=None, ge=1)
    to_shipped: bool = False
    expected_version: int | None = Field(default=None, ge=1)
    reason: str = Reason

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.changes is not None) + (self.to_version is not None) + self.to_shipped != 1:
            raise InvalidArgument("changes", "or to_version or to_shipped say what to do", "Give exactly one of them.")
        return self


class RetireArguments(Model):
    """fntx.templates.retire: no session is made of it any more; retired False brings it back."""

    template_name: str = KnownName
    retired: bool = True
    expected_version: int | None = Field(default=None, ge=1)
    reason: str = Reason


def add(engine: Engine, settings: Settings, actor: Actor, arguments: AddArguments, command_id: UUID) -> Written:
    """Store a new template; raises Forbidden, InvalidArgument by path, and as `write` does."""
    authorize(actor, EDIT_TEMPLATE)
    check_depth(arguments.changes, settings, "changes")
    own = replace(_of(actor, arguments, command_id), copy_of=None if arguments.copy_version else arguments.copy_of)

    def make(kept: Kept | None) -> Wanted:
        if kept is not None:
            raise InvalidArgument(
                "template_name", f"there is {arguments.template_name!r} already", "Edit it, or choose another name."
            )
        return Wanted("added", checked(patched(_copied(engine, arguments), arguments.changes), settings))

    return write(engine, own, make)


def _copied(engine: Engine, arguments: AddArguments) -> dict[str, Any]:
    if arguments.copy_of is None:
        return {}
    return get(engine, TemplateQuery(template_name=arguments.copy_of, version=arguments.copy_version)).body()


def edit(engine: Engine, settings: Settings, actor: Actor, arguments: EditArguments, command_id: UUID) -> Written:
    """Change a template, or set it back; raises Forbidden, NotFound, InvalidArgument by path, and as `write` does."""
    authorize(actor, EDIT_TEMPLATE)
    check_depth(arguments.changes, settings, "changes")

    def make(kept: Kept) -> Wanted:
        action, body = _edited(engine, arguments, kept)
        contents = checked(body, settings)
        return Wanted(action, becoming(kept, contents), retired=kept.retired_at is not None)

    return change(engine, _of(actor, arguments, command_id), make)


def _edited(engine: Engine, arguments: EditArguments, kept: Kept) -> tuple[str, dict[str, Any]]:
    name = arguments.template_name
    if arguments.changes is not None:
        return "edited", patched(kept.body, arguments.changes)
    if arguments.to_version is not None:
        return "edited", get(engine, TemplateQuery(template_name=name, version=arguments.to_version)).body()
    body = shipped_body(name)
    if body is None:
        raise NotFound("shipped template", name, "Set it back to one of its own versions: to_version.")
    # As shipped: whoever takes it follows what is shipped later, too.
    return "shipped", body


def retire(engine: Engine, actor: Actor, arguments: RetireArguments, command_id: UUID) -> Written:
    """Let no session be made of a template any more, or again; raises Forbidden, NotFound, and as `write` does.

    Sessions that were made of it go on, and it stays readable.
    """
    authorize(actor, EDIT_TEMPLATE)
    action = "retired" if arguments.retired else "restored"

    def make(kept: Kept) -> Wanted:
        if arguments.retired == (kept.retired_at is not None):
            raise InvalidArgument("retired", f"is {arguments.retired} already", "Nothing was changed.")
        return Wanted(action, kept.contents, retired=arguments.retired)

    return change(engine, _of(actor, arguments, command_id), make)


def change(engine: Engine, own: Edit, make: Callable[[Kept], Wanted]) -> Written:
    """Do `write` with a template that has to be there; raises NotFound naming those there are."""

    def of_kept(kept: Kept | None) -> Wanted:
        if kept is None:
            with statements(engine) as connection:
                raise unknown(connection, own.template_name)
        return make(kept)

    return write(engine, own, of_kept)


def checked(body: dict[str, Any], settings: Settings) -> TemplateContents:
    """Return a body as contents that sessions can be made of at this desk; raises InvalidArgument by path."""
    contents = contents_of(body, settings)
    check(contents, hosted())
    return contents


def hosted() -> Collection[str]:
    """Return the agents this desk runs itself."""
    return known_agents()


def becoming(kept: Kept, contents: TemplateContents) -> TemplateContents:
    """Return contents a template may be given; raises InvalidArgument where it has them, or would change its type."""
    same_type(kept, contents)
    if not differences(kept.body, contents.body()):
        raise InvalidArgument("changes", "change nothing: the template says that already", "Nothing was changed.")
    return contents


def same_type(kept: Kept, contents: TemplateContents) -> None:
    """Raise InvalidArgument where a template would make sessions of another type than it did."""
    if kept.body["session_type"] != contents.session_type:
        problem = f"is {kept.body['session_type']!r}, and stays so for as long as the template is there"
        raise InvalidArgument("session_type", problem, "Add another template.")


def _of(actor: Actor, arguments: AddArguments | EditArguments | RetireArguments, command_id: UUID) -> Edit:
    own = {type(arguments).__name__: arguments.model_dump(mode="json")}
    expected = getattr(arguments, "expected_version", None)
    return Edit(actor, arguments.template_name, arguments.reason, command_id, own, expected)
