"""Rules as people give them: read from JSON, checked, and put into a template with who did it and why."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pydantic import Field
from sqlalchemy import Engine

from fntx_sessions.automation.rules.model import KEYS
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.lifecycle import templates
from fntx_sessions.lifecycle.templates.edits import change
from fntx_sessions.lifecycle.templates.writing import Edit, Kept, Wanted, Written
from fntx_sessions.parsing import parse
from fntx_sessions.schemas import Model, SessionType, TemplateContents
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import EDIT_RULES, authorize

Json = dict[str, Any]
RuleLists = dict[str, list[Json]]


class TemplateRulesArguments(Model):
    """fntx.rules.set_template: the sets to replace, each a list of conditions; one that is not named stays."""

    template_name: str = Field(min_length=1, max_length=200)
    rules: dict[str, list[dict[str, Any]]]
    reason: str = Field(default="", max_length=2000)


def rule_lists(given: Any, where: str) -> RuleLists:
    """Return the rule sets of a JSON object under the keys of a config; ``stop`` is short for auto_stop_conditions.

    Raises InvalidArgument led by `where` for anything that is not rule sets.
    """
    fix = f"Write an object with {', '.join(KEYS.values())}, each a list of conditions."
    if not isinstance(given, Mapping):
        raise InvalidArgument(where, "is not an object with rule sets", fix)
    found: RuleLists = {}
    for name, value in given.items():
        key = KEYS.get(str(name), str(name))
        if key not in KEYS.values():
            raise InvalidArgument(f"{where}.{name}", "is not a rule set", fix)
        if key in found:
            raise InvalidArgument(f"{where}.{name}", "is there twice, once by its short name", "Give it once.")
        if not isinstance(value, list):
            raise InvalidArgument(f"{where}.{name}", "is not a list of conditions", fix)
        found[key] = value
    return found


def checked(
    lists: Mapping[str, Any], calendar: str | None = None, session_type: SessionType | None = None
) -> RuleLists:
    """Return whole rule sets, those not given empty; raises InvalidArgument with the path, `config...`, and the fix."""
    config = templates.checked_config(dict(lists) | ({"calendar": calendar} if calendar else {}), session_type)
    return {key: config[key] for key in KEYS.values()}


def set_template_rules(engine: Engine, actor: Actor, arguments: TemplateRulesArguments, command_id: UUID) -> Json:
    """Replace rule sets of a template and return what changed; asked twice under one id, it happens once.

    An edit of the template like any other: its version goes up, who, when and why are kept with it. Sessions that exist
    keep their rules. Raises Forbidden, NotFound, InvalidArgument, and CommandConflict for an id that stands for another
    edit.
    """
    authorize(actor, EDIT_RULES)
    asked = rule_lists(arguments.rules, "rules")
    if not asked:
        raise InvalidArgument("rules", "name no rule set", "Give start, stop, pause or resume.")

    def make(kept: Kept) -> Wanted:
        template = kept.contents
        # The whole of it is checked as a session made of it would be: rules against each other, and its calendar.
        templates.checked_config(templates.base_config(template) | asked, template.session_type, changed=asked)
        contents = parse(TemplateContents, kept.body | asked, "rules")
        return Wanted("edited", contents, retired=kept.retired_at is not None)

    own = Edit(actor, arguments.template_name, arguments.reason, command_id, {"rules": asked})
    return _answer(change(engine, own, make), asked, command_id)


def _answer(written: Written, asked: RuleLists, command_id: UUID) -> Json:
    told = written.to_dict()
    return {key: told[key] for key in ("template_name", "version", "actor", "reason", "at")} | {
        "command_id": str(command_id),
        "before": {key: written.before[key] for key in asked},
        "after": asked,
    }
