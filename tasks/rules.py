"""fntx.rules.*: why rules did what they did, what they would have done, and editing those of a template."""

from typing import Any
from uuid import UUID

from fntx_sessions.automation.rules import editing, rehearsals
from fntx_sessions.automation.rules.editing import TemplateRulesArguments
from fntx_sessions.automation.rules.explain import ExplainArguments
from fntx_sessions.automation.rules.explain import explain as explained
from fntx_sessions.automation.rules.rehearsals import RehearseArguments
from fntx_sessions.security.actor import Actor
from tasks.about import of_template
from tasks.base import command, query
from tasks.desk import desk

Answer = dict[str, Any]


@query("fntx.rules.explain")
def explain(arguments: ExplainArguments) -> Answer:
    """Return each condition of a session's rules as it is now, what will happen, and the last decisions."""
    return explained(desk(), arguments)


@query("fntx.rules.rehearse")
def rehearse(arguments: RehearseArguments) -> Answer:
    """Return what rules would have done over a recorded session; changes nothing."""
    return rehearsals.over_session(desk().engine, desk().settings, arguments)


@command("fntx.rules.set_template", about=of_template)
def set_template(actor: Actor, command_id: UUID, arguments: TemplateRulesArguments) -> Answer:
    """Replace rule sets of a template; who and why are kept with it."""
    changed = editing.set_template_rules(desk().engine, actor, arguments, command_id)
    return {"command_id": str(command_id), "state": "done", "result": changed, "error": None}
