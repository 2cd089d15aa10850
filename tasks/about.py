"""What commands that may take two people are about, looked up as they are asked, to be compared where they are done.

An order by hand is not here: it says itself all that it does.
"""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from fntx_sessions.automation import halts
from fntx_sessions.automation.bulk import BulkArguments
from fntx_sessions.automation.bulk.matching import matching
from fntx_sessions.automation.halt_arguments import ReleaseArguments
from fntx_sessions.database.engine import statements, transaction
from fntx_sessions.lifecycle import rehearsing, templates
from fntx_sessions.lifecycle.arguments import CreateArguments, CreateFromTemplateArguments
from fntx_sessions.lifecycle.change import Ask
from fntx_sessions.lifecycle.confirming import about
from fntx_sessions.lifecycle.confirming.about import Facts
from fntx_sessions.lifecycle.templates.writing import template_facts
from fntx_sessions.schemas import Trigger
from fntx_sessions.security.actor import Actor
from tasks.desk import desk

About = Callable[[Actor, Any], Facts | None]


def of_session(trigger: Trigger) -> About:
    """Return what looks up what a command on a session is about; None for a session there is not."""

    def look(actor: Actor, arguments: Any) -> Facts | None:
        own = arguments.model_dump(mode="json")
        row = rehearsing.look(desk().engine, Ask(trigger, arguments.session_id, actor, "", uuid4(), own))
        return None if row["session_id"] is None else about.of_session(trigger, row, own)

    return look


def of_creation(_: Actor, arguments: CreateArguments | CreateFromTemplateArguments) -> Facts:
    """Return the template, and its version, that a session is made of."""
    if isinstance(arguments, CreateArguments):
        name = templates.BY_TYPE[arguments.session_type]
    else:
        name = arguments.template_name
    with statements(desk().engine) as connection:
        template = templates.load(connection, name)
    return about.of_template(template.template_name, template.version, template)


def of_template(_: Actor, arguments: Any) -> Facts:
    """Return which version of a template is changed, and of which another begins as a copy."""
    name = arguments.template_name or arguments.file["template_name"]
    copied = None if getattr(arguments, "copy_version", None) else getattr(arguments, "copy_of", None)
    with statements(desk().engine) as connection:
        return template_facts(connection, name, copied)


def of_halt(_: Actor, arguments: ReleaseArguments) -> Facts:
    """Return the one halt that is to end."""
    found = halts.named(desk().engine, arguments).model_dump(mode="json")
    return {"halt": {name: found[name] for name in ("halt_id", "scope", "scope_name", "reason", "actor", "created_at")}}


def of_bulk(actor: Actor, arguments: BulkArguments) -> Facts:
    """Return the sessions that a run would be of."""
    with transaction(desk().engine) as connection:
        ids = [row["session_id"] for row in matching(connection, actor, arguments.selector)]
        return about.of_sessions(connection, arguments.trigger, ids)
