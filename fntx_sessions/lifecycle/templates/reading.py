"""Templates as they are stored: one, all, those of before, and how each stands to what this package ships."""

from datetime import datetime
from typing import Any

from pydantic import Field
from sqlalchemy import Connection, Engine, text

from fntx_sessions.database.engine import rows, statements
from fntx_sessions.database.seeds import BUILT_IN, shipped_body
from fntx_sessions.exceptions import InvalidArgument, NotFound
from fntx_sessions.schemas import Model, SessionTemplate

_COLUMNS = "t.template_id, t.template_name, t.version, t.body, t.created_at, t.last_used, t.usage_count, t.retired_at"
_SHIPPED = """
(SELECT v.body FROM template_versions v WHERE v.template_id = t.template_id AND v.action = 'shipped'
  ORDER BY v.version DESC LIMIT 1) AS shipped_body
"""
_LOAD = text(f"SELECT {_COLUMNS} FROM templates t WHERE t.template_name = :name")
_GET = text(f"SELECT {_COLUMNS}, {_SHIPPED} FROM templates t WHERE t.template_name = :name")
_ALL = text(f"""
SELECT {_COLUMNS}, {_SHIPPED} FROM templates t WHERE :retired OR t.retired_at IS NULL ORDER BY t.template_name
""")
_NAMES = text("SELECT template_name FROM templates WHERE retired_at IS NULL ORDER BY template_name")
_VERSION = text("""
SELECT v.version, v.body FROM template_versions v JOIN templates t USING (template_id)
WHERE t.template_name = :name AND v.version = :version
""")
_VERSIONS = text("""
SELECT v.version, v.action, v.actor, v.reason, v.timestamp AS at FROM template_versions v
JOIN templates t USING (template_id) WHERE t.template_name = :name ORDER BY v.version DESC LIMIT :limit
""")
BY_TYPE = {shipped.session_type: shipped.template_name for shipped in BUILT_IN}


class TemplatesQuery(Model):
    """fntx.templates.list. retired: also those that no session is made of any more."""

    retired: bool = False


class TemplateQuery(Model):
    """fntx.templates.get and export: a template, as it is or as it was at a version."""

    template_name: str = Field(min_length=1, max_length=200)
    version: int | None = Field(default=None, ge=1)


class VersionsQuery(Model):
    """fntx.templates.versions: the newest of a template's versions."""

    template_name: str = Field(min_length=1, max_length=200)
    limit: int = Field(default=100, ge=1, le=1000)


class TemplateVersion(Model):
    """What a template became at a version. action: shipped, added, edited, imported, retired or restored."""

    version: int
    action: str
    actor: str
    reason: str
    at: datetime


def load(connection: Connection, name: str) -> SessionTemplate:
    """Return the template called `name`, retired or not; raises NotFound naming those there are."""
    return _found(connection, _LOAD, name)


def usable(template: SessionTemplate) -> SessionTemplate:
    """Return a template sessions may be made of; raises InvalidArgument where it is retired."""
    if template.retired_at is None:
        return template
    name = template.template_name
    problem = f"{name!r} was retired on {template.retired_at:%Y-%m-%d}: no session is made of it"
    raise InvalidArgument("template_name", problem, f'`fntx templates retire "{name}" --undo` brings it back.')


def get(engine: Engine, query: TemplateQuery) -> SessionTemplate:
    """Return a template with how it stands to the shipped one; of a version: as it was then. Raises NotFound."""
    with statements(engine) as connection:
        template = _found(connection, _GET, query.template_name)
        if query.version in (None, template.version):
            return template
        asked = {"name": query.template_name, "version": query.version}
        then = connection.execute(_VERSION, asked).mappings().one_or_none()
    if then is None:
        fix = f"`fntx templates versions` lists those that are kept; the newest is {template.version}."
        raise NotFound("version of the template", f"{query.template_name}@{query.version}", fix)
    now = template.model_dump(exclude=set(then["body"]) | {"version", "shipped"})
    return SessionTemplate.model_validate(now | dict(then["body"]) | {"version": then["version"]})


def list_templates(engine: Engine, query: TemplatesQuery) -> list[SessionTemplate]:
    """Return the templates by name, with how they stand to those this package ships."""
    with statements(engine) as connection:
        return [_template(dict(row)) for row in connection.execute(_ALL, {"retired": query.retired}).mappings()]


def versions(engine: Engine, query: VersionsQuery) -> list[TemplateVersion]:
    """Return what became of a template, who did it and why, newest first; raises NotFound."""
    with statements(engine) as connection:
        _found(connection, _LOAD, query.template_name)
        bound = {"name": query.template_name, "limit": query.limit}
        return [TemplateVersion.model_validate(row) for row in rows(connection.execute(_VERSIONS, bound))]


def unknown(connection: Connection, name: str) -> NotFound:
    """Return the error for a template there is not, naming those there are."""
    return NotFound("template", name, f"There are: {', '.join(connection.execute(_NAMES).scalars())}.")


def _found(connection: Connection, statement: Any, name: str) -> SessionTemplate:
    row = connection.execute(statement, {"name": name}).mappings().one_or_none()
    if row is None:
        raise unknown(connection, name)
    return _template(dict(row))


def _template(row: dict[str, Any]) -> SessionTemplate:
    body, shipped = row.pop("body"), row.pop("shipped_body", None)
    return SessionTemplate.model_validate(body | row | {"shipped": _standing(row["template_name"], body, shipped)})


def _standing(name: str, body: Any, shipped: Any) -> str | None:
    """shipped: the last body that came from this package, None where none did, or where that was not read."""
    if shipped is None:
        return None
    now = shipped_body(name) or shipped
    return "as_shipped" if body == now else "edited" if shipped == now else "newer_shipped"
