"""Templates: what sessions are made from; looking at them, changing them, carrying them from desk to desk."""

from typing import Any, Unpack

from fntx_sessions.caller.manager import Asking
from fntx_sessions.lifecycle.templates.reading import TemplateVersion
from fntx_sessions.managing.base import Sessions
from fntx_sessions.schemas import SessionTemplate

# One of two templates: a stored one by name, a version of it as (name, number), or a template file's JSON.
Side = str | tuple[str, int] | dict[str, Any]


class Templates(Sessions):
    """Questions and commands about templates; whoever changes one needs a role that may."""

    async def list_templates(self, *, retired: bool = False) -> list[SessionTemplate]:
        """Return the templates by name. retired: also those that no session is made of any more."""
        found = await self._query("fntx.templates.list", {"retired": retired})
        return [SessionTemplate.model_validate(one) for one in found]

    async def get_template(self, template_name: str, version: int | None = None) -> SessionTemplate:
        """Return a template as it is, or as it was at a version; raises NotFound naming those there are."""
        arguments = {"template_name": template_name, "version": version}
        return SessionTemplate.model_validate(await self._query("fntx.templates.get", arguments))

    async def get_template_versions(self, template_name: str, limit: int = 100) -> list[TemplateVersion]:
        """Return what became of a template, by whom and why, newest first."""
        found = await self._query("fntx.templates.versions", {"template_name": template_name, "limit": limit})
        return [TemplateVersion.model_validate(one) for one in found]

    async def diff_templates(self, left: Side, right: Side) -> dict[str, Any]:
        """Return what has to change in `left` to become `right`: ``{"left", "right", "changes"}``, changes by path."""
        found: dict[str, Any] = await self._query("fntx.templates.diff", {"left": _side(left), "right": _side(right)})
        return found

    async def export_template(self, template_name: str, version: int | None = None) -> dict[str, Any]:
        """Return a template as a file's JSON, which any desk imports."""
        arguments = {"template_name": template_name, "version": version}
        found: dict[str, Any] = await self._query("fntx.templates.export", arguments)
        return found

    async def import_template(
        self,
        file: dict[str, Any],
        template_name: str | None = None,
        *,
        replace: bool = False,
        preview: bool = False,
        reason: str = "",
        **asking: Unpack[Asking],
    ) -> dict[str, Any]:
        """Store a file's template and return what became of it; preview: say what would change, and change nothing.

        template_name: what to call it here. replace: make it a new version of a template of that name. Raises
        InvalidArgument by path for what this desk cannot run.
        """
        arguments = {
            "file": file,
            "template_name": template_name,
            "replace": replace,
            "preview": preview,
            "reason": reason,
        }
        found: dict[str, Any] = await self._desk("fntx.templates.import", arguments, asking)
        return found

    async def add_template(
        self,
        template_name: str,
        changes: dict[str, Any],
        *,
        copy_of: str | None = None,
        copy_version: int | None = None,
        reason: str = "",
        **asking: Unpack[Asking],
    ) -> SessionTemplate:
        """Store a new template: `changes` laid over a copy of another one, or over nothing, and return it."""
        arguments = {
            "template_name": template_name,
            "changes": changes,
            "copy_of": copy_of,
            "copy_version": copy_version,
            "reason": reason,
        }
        return await self._changed_template("add", arguments, asking)

    async def edit_template(
        self,
        template_name: str,
        changes: dict[str, Any] | None = None,
        *,
        to_version: int | None = None,
        to_shipped: bool = False,
        reason: str = "",
        **asking: Unpack[Asking],
    ) -> SessionTemplate:
        """Make a new version of a template and return it; sessions that are there already keep what they have.

        Exactly one of: changes, laid over it key by key, None taking a key away; to_version, as it was then;
        to_shipped, as this package ships it.
        """
        arguments = {
            "template_name": template_name,
            "changes": changes,
            "to_version": to_version,
            "to_shipped": to_shipped,
            "reason": reason,
        }
        return await self._changed_template("edit", arguments, asking)

    async def retire_template(
        self,
        template_name: str,
        *,
        retired: bool = True,
        reason: str = "",
        **asking: Unpack[Asking],
    ) -> SessionTemplate:
        """Let no session be made of a template any more, or again (retired False), and return it."""
        arguments = {
            "template_name": template_name,
            "retired": retired,
            "reason": reason,
        }
        return await self._changed_template("retire", arguments, asking)

    async def _changed_template(self, verb: str, arguments: dict[str, Any], asking: Asking) -> SessionTemplate:
        await self._desk(f"fntx.templates.{verb}", arguments, asking)
        return await self.get_template(arguments["template_name"])


def _side(side: Side) -> dict[str, Any]:
    if isinstance(side, str):
        return {"template_name": side}
    return {"file": side} if isinstance(side, dict) else {"template_name": side[0], "version": side[1]}
