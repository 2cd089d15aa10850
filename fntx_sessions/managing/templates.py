"""Templates: what sessions are made from."""

from fntx_sessions.managing.base import Sessions
from fntx_sessions.schemas import SessionTemplate


class Templates(Sessions):
    """Questions and commands about templates."""

    async def list_templates(self) -> list[SessionTemplate]:
        """Return the templates by name."""
        return [SessionTemplate.model_validate(one) for one in await self._query("fntx.templates.list", {})]
