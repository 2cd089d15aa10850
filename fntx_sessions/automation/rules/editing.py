"""Rules as people give them: read from JSON, checked, and put into a template with who did it and why."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from pydantic import Field
from sqlalchemy import Connection, Engine, text

from fntx_sessions.automation.rules.model import KEYS
from fntx_sessions.database.engine import rows, transaction
from fntx_sessions.exceptions import CommandConflict, InvalidArgument
from fntx_sessions.lifecycle import templates
from fntx_sessions.schemas import Model, SessionTemplate, SessionType
from fntx_sessions.security.actor import Actor
from fntx_sessions.security.roles import EDIT_RULES, authorize

HISTORY_KEPT = 100
Json = dict[str, Any]
RuleLists = dict[str, list[Json]]

_LOCK = text("SELECT version, body FROM templates WHERE template_name = :name FOR UPDATE")
_STORE = text("""
UPDATE templates SET version = :version, body = CAST(:body AS jsonb) WHERE template_name = :name
""")
_NOW = text("SELECT clock_timestamp() AS now")


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


def of_template(template: SessionTemplate) -> RuleLists:
    """Return the rule sets that a session of this template begins with; default_config counts above the lists."""
    own = {
        key: [one.model_dump(mode="json", exclude_none=True) for one in getattr(template, key)] for key in KEYS.values()
    }
    return own | {key: template.default_config[key] for key in KEYS.values() if key in template.default_config}


def set_template_rules(engine: Engine, actor: Actor, arguments: TemplateRulesArguments, command_id: UUID) -> Json:
    """Replace rule sets of a template and return what changed; asked twice under one id, it happens once.

    The template's version goes up; who, when, why and the sets there were are kept with it, the newest `HISTORY_KEPT`.
    Sessions that exist keep their rules. Raises Forbidden, NotFound, InvalidArgument, and CommandConflict
    for an id that stands for another edit.
    """
    authorize(actor, EDIT_RULES)
    asked = rule_lists(arguments.rules, "rules")
    if not asked:
        raise InvalidArgument("rules", "name no rule set", "Give start, stop, pause or resume.")
    with transaction(engine) as connection:
        template = templates.load(connection, arguments.template_name)
        locked = rows(connection.execute(_LOCK, {"name": arguments.template_name}))[0]
        before = next((one for one in _history(locked) if one["command_id"] == str(command_id)), None)
        if before is not None:
            return _repeated(template, before, asked, command_id)
        return _store(connection, locked, actor, arguments, asked, command_id)


def _history(locked: Json) -> list[Json]:
    found: list[Json] = locked["body"].get("rules_history") or []
    return found


def _repeated(template: SessionTemplate, before: Json, asked: RuleLists, command_id: UUID) -> Json:
    if before["after"] != asked:
        raise CommandConflict(str(command_id), "an edit of a template's rules")
    return _answer(template.template_name, before)


def _store(
    connection: Connection,
    locked: Json,
    actor: Actor,
    arguments: TemplateRulesArguments,
    asked: RuleLists,
    command_id: UUID,
) -> Json:
    body, version = locked["body"], locked["version"] + 1
    template = SessionTemplate.model_validate(body)
    before = of_template(template)
    defaults = {key: value for key, value in body.get("default_config", {}).items() if key not in asked}
    # The whole of it is checked as a session made of it would be: rules against each other, and against its calendar.
    templates.checked_config(before | defaults | asked, template.session_type, changed=asked)
    edit = {
        "at": rows(connection.execute(_NOW))[0]["now"].isoformat(),
        "actor": actor.name,
        "reason": arguments.reason,
        "command_id": str(command_id),
        "version": version,
        "before": {key: before[key] for key in asked},
        "after": asked,
    }
    body |= asked | {
        "default_config": defaults,
        "version": version,
        "rules_history": [*_history(locked), edit][-HISTORY_KEPT:],
    }
    # As a reader will see it: what does not fit the schema is refused here, not there.
    SessionTemplate.model_validate(body)
    stored = {"name": arguments.template_name, "version": version, "body": orjson.dumps(body).decode()}
    connection.execute(_STORE, stored)
    return _answer(arguments.template_name, edit)


def _answer(name: str, edit: Json) -> Json:
    return {"template_name": name, **edit}
