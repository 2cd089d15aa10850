"""What `fntx templates` prints for people."""

import json
from typing import Any

from fntx_sessions.cli import output
from fntx_sessions.cli.asking import Answer
from fntx_sessions.cli.output import age, moment, plain

_STANDING = {
    "as_shipped": "",
    "edited": "edited here",
    "newer_shipped": "[yellow]edited here; another one is shipped now[/yellow]",
}
COLUMNS = {
    "name": lambda row: plain(row["template_name"]),
    "type": lambda row: plain(row["session_type"]),
    "version": lambda row: str(row["version"]),
    "strategies": lambda row: plain(", ".join(row["enabled_strategies"])),
    "by name": lambda row: str(row["usage_count"]),
    "last used": lambda row: age(row["last_used"]),
    "retired": lambda row: age(row["retired_at"]) if row["retired_at"] else "",
    "why": lambda row: _STANDING.get(row["shipped"] or "", ""),
    "what": lambda row: plain(row["description"]),
}
VERSION_COLUMNS = {
    "version": lambda row: str(row["version"]),
    "at": lambda row: moment(row["at"]),
    "action": lambda row: plain(row["action"]),
    "by": lambda row: plain(row["actor"]),
    "why": lambda row: plain(row["reason"]),
}
_SECTIONS = (
    "default_config", "default_risk_parameters", "required_agents", "optional_agents", "remote_agents",
    "agent_configurations", "enabled_strategies", "strategy_parameters", "auto_start_conditions",
    "auto_stop_conditions", "auto_pause_conditions", "auto_resume_conditions",
)  # fmt: skip


def show(template: Answer) -> None:
    """Print a template whole."""
    output.facts(_head(template), f"[bold]{plain(template['template_name'])}[/bold]  version {template['version']}")
    for section in _SECTIONS:
        lines = _lines(template[section])
        if lines:
            output.console().print(f"\n[bold]{section}[/bold]")
            for one in lines:
                output.console().print(f"  {plain(one)}", soft_wrap=True)


def _head(template: Answer) -> Answer:
    retired = template["retired_at"]
    name = template["template_name"]
    back = f'since {moment(retired)}: no session is made of it; `fntx templates retire "{name}" --undo` brings it back'
    offer = f'`fntx templates diff "{name}" "{name}@shipped"`, and `fntx templates edit "{name}" --shipped` takes it'
    return {
        "what": plain(template["description"]),
        "type": template["session_type"],
        "sessions": f"{template['usage_count']} made of it by name, the last {age(template['last_used'])} ago"
        if template["last_used"]
        else "none made of it by name yet",
        "retired": plain(back) if retired else None,
        "another one is shipped": plain(offer) if template["shipped"] == "newer_shipped" else None,
    }


def _lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{key} = {_json(below)}" for key, below in value.items()]
    return [_json(_said(one)) if isinstance(one, dict) else str(one) for one in value]


def _said(condition: Answer) -> Answer:
    return {name: value for name, value in condition.items() if value is not None}


def show_written(written: Answer) -> None:
    """Print what became of a template."""
    told = f"{plain(written['template_name'])} {written['action']}: version {written['version']} now"
    if written["version"] == 1:
        output.console().print(told, soft_wrap=True)
        return
    output.console().print(f"{told}; sessions there are keep the version they were made of", soft_wrap=True)
    _changes(written["changes"])


def show_preview(seen: Answer) -> None:
    """Print, on stderr, what an import would do."""
    words = {"add": "would be added", "replace": "would become a new version", "nothing": "is like that already"}
    retired = " and retired" if seen["retired"] else ""
    now = f", which is at version {seen['version']}{retired}" if seen["version"] else ""
    output.note(f"{seen['template_name']}{now}: {words[seen['would']]}")
    for one in seen["changes"]:
        output.note(f"  {_change(one)}")
    for problem in seen["problems"]:
        output.complain(f"{problem['field']}: {problem['problem']}. {problem['fix']}")


def show_diff(found: Answer) -> None:
    """Print what two templates differ in."""
    if not found["changes"]:
        output.note(f"{found['left']} and {found['right']} say the same")
        return
    output.console().print(f"[bold]{plain(found['left'])} -> {plain(found['right'])}[/bold]")
    _changes(found["changes"])


def _changes(changes: list[Answer]) -> None:
    for one in changes:
        output.console().print(f"  {plain(_change(one))}", soft_wrap=True)


def _change(one: Answer) -> str:
    before, after = (_json(one[side]) if side in one else "not said" for side in ("before", "after"))
    return f"{one['path']}: {before} -> {after}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
