"""fntx.templates.*: the named starting points of sessions: looking at them, changing them, sharing them as files."""

from typing import Any
from uuid import UUID

from fntx_sessions.lifecycle.templates import comparing, edits, files, importing, reading
from fntx_sessions.lifecycle.templates.comparing import DiffArguments
from fntx_sessions.lifecycle.templates.edits import AddArguments, EditArguments, RetireArguments
from fntx_sessions.lifecycle.templates.importing import ImportArguments
from fntx_sessions.lifecycle.templates.reading import TemplateQuery, TemplatesQuery, TemplateVersion, VersionsQuery
from fntx_sessions.schemas import SessionTemplate
from fntx_sessions.security.actor import Actor
from tasks.about import of_template
from tasks.base import command, query
from tasks.desk import desk

Answer = dict[str, Any]


@query("fntx.templates.list")
def list_templates(arguments: TemplatesQuery) -> list[SessionTemplate]:
    """Return the templates by name."""
    return reading.list_templates(desk().engine, arguments)


@query("fntx.templates.get")
def get(arguments: TemplateQuery) -> SessionTemplate:
    """Return a template, as it is or as it was at a version."""
    return reading.get(desk().engine, arguments)


@query("fntx.templates.versions")
def versions(arguments: VersionsQuery) -> list[TemplateVersion]:
    """Return what became of a template, by whom and why, newest first."""
    return reading.versions(desk().engine, arguments)


@query("fntx.templates.diff")
def diff(arguments: DiffArguments) -> Answer:
    """Return what two templates, versions or files differ in."""
    return comparing.compare(desk().engine, desk().settings, arguments)


@query("fntx.templates.export")
def export(arguments: TemplateQuery) -> Answer:
    """Return a template as a file's JSON."""
    return files.to_file(reading.get(desk().engine, arguments))


@command("fntx.templates.add", about=of_template)
def add(actor: Actor, command_id: UUID, arguments: AddArguments) -> Answer:
    """Store a new template."""
    return _done(command_id, edits.add(desk().engine, desk().settings, actor, arguments, command_id).to_dict())


@command("fntx.templates.edit", about=of_template)
def edit(actor: Actor, command_id: UUID, arguments: EditArguments) -> Answer:
    """Change a template, or set it back; who and why are kept."""
    return _done(command_id, edits.edit(desk().engine, desk().settings, actor, arguments, command_id).to_dict())


@command("fntx.templates.import", about=of_template)
def take_in(actor: Actor, command_id: UUID, arguments: ImportArguments) -> Answer:
    """Store a file's template, or say what that would change."""
    return _done(command_id, importing.take_in(desk().engine, desk().settings, actor, arguments, command_id))


@command("fntx.templates.retire", about=of_template)
def retire(actor: Actor, command_id: UUID, arguments: RetireArguments) -> Answer:
    """Let no session be made of a template any more, or again."""
    return _done(command_id, edits.retire(desk().engine, actor, arguments, command_id).to_dict())


def _done(command_id: UUID, result: Answer) -> Answer:
    return {"command_id": str(command_id), "state": "done", "result": result, "error": None}
