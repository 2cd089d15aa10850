"""`fntx rules explain|rehearse|set|ls`: why sessions did, or did not, start and stop by themselves."""

from datetime import datetime
from json import JSONDecodeError
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import typer

from fntx_sessions.cli import output, rules_report
from fntx_sessions.cli.asking import Answer, line
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.cli.rules_report import SETS
from fntx_sessions.cli.values import read_json
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import SessionType

HELP = (
    "Rules that start, stop, pause and resume sessions: why they did or did not, what they would have done, and edits."
)
Id = Annotated[str, typer.Argument(metavar="ID", help="A session's id or its first characters (4 or more).")]
MaybeId = Annotated[str | None, typer.Argument(metavar="[ID]", help="A session, or --template.")]
Template = Annotated[str | None, typer.Option("--template", "-t", metavar="NAME", help="A template instead.")]
_DAY_FORMAT = ["%Y-%m-%d"]
_CALENDAR = "XNYS"
_NONE = "none"


def _key(name: str) -> str:
    return f"auto_{name}_conditions"


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    rules = typer.Typer(name="rules", help=HELP, no_args_is_help=True)
    for command in (explain, rehearse):
        rules.command()(command)
    rules.command("set")(set_rules)
    rules.command("ls")(list_rules)
    app.add_typer(rules)


def explain(
    session_id: Id,
    decisions: Annotated[
        int, typer.Option("--decisions", "-n", min=0, max=1000, help="How many of the last decisions.")
    ] = 5,
    as_json: AsJson = False,
) -> None:
    """Say what each condition is now, what will happen next and why, and what was decided last (every role)."""
    asked = {"session_id": line().session_id(session_id), "decisions": decisions}
    found = line().query("rules.explain", **asked)
    if as_json:
        output.emit(found)
    else:
        rules_report.show_explained(found)


def rehearse(
    over: Annotated[str, typer.Option("--over", metavar="SESSION|FILE", help="A recorded session, or a CSV of days.")],
    session_id: MaybeId = None,
    template: Template = None,
    file: Annotated[
        Path | None, typer.Option("--rules", metavar="FILE", help="JSON with the rule sets; needs no stack.")
    ] = None,
    session_type: Annotated[
        SessionType | None, typer.Option("--type", help="Judge by the hours of this type of session.")
    ] = None,
    calendar: Annotated[str | None, typer.Option("--calendar", help="The exchange, such as XNYS.")] = None,
    first: Annotated[
        datetime | None, typer.Option("--from", formats=_DAY_FORMAT, help="First day of the file.")
    ] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=_DAY_FORMAT, help="Last day of the file.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which intraday path the file's days take.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Run rules over what was, and show when they would have fired and why; touches nothing (every role)."""
    rules, kind, exchange = _source(session_id, template, file)
    kind, exchange = session_type or kind, calendar or exchange
    if _is_file(over):
        span = {"first": first.date() if first else None, "last": last.date() if last else None}
        found = _over_days(Path(over), rules, kind, exchange, seed=seed, **span)
    else:
        _only_of_files(first, last, seed)
        found = _over_session(over, rules, session_type, calendar)
    if as_json:
        output.emit(found)
    else:
        rules_report.show_rehearsed(found)


def _is_file(over: str) -> bool:
    return Path(over).exists() or "/" in over or over.lower().endswith(".csv")


def _only_of_files(first: datetime | None, last: datetime | None, seed: int) -> None:
    if first or last or seed:
        raise InvalidArgument("--from, --to and --seed", "are for a file of days", "A recording is taken whole.")


def _over_days(path: Path, rules: Answer, kind: SessionType | None, calendar: str | None, **more: Any) -> Answer:
    from fntx_sessions.automation.rules import rehearsals  # noqa: PLC0415 -- `fntx --help` needs no calendars
    from fntx_sessions.settings import get_settings  # noqa: PLC0415

    return rehearsals.over_days(
        path, rules, get_settings(), session_type=kind or SessionType.REGULAR, calendar=calendar or _CALENDAR, **more
    )


def _over_session(over: str, rules: Answer, kind: SessionType | None, calendar: str | None) -> Answer:
    asked = {"session_id": line().session_id(over), "rules": rules, "session_type": kind, "calendar": calendar}
    found: Answer = line().query("rules.rehearse", **{key: value for key, value in asked.items() if value is not None})
    return found


def _source(
    session_id: str | None, template: str | None, file: Path | None
) -> tuple[Answer, SessionType | None, str | None]:
    """Return the rule sets asked for, and the type and calendar they belong to; None: theirs is not known."""
    if sum(one is not None for one in (session_id, template, file)) != 1:
        raise InvalidArgument("rules", "come from one of ID, --template NAME and --rules FILE", "Give one of them.")
    if file is not None:
        return _sets(_json(file.name, _text(file, "--rules"))), None, None
    found = _found(session_id, template)
    return {name: found[name] for name in SETS}, SessionType(found["session_type"]), found["calendar"]


def _sets(given: Any) -> Answer:
    from fntx_sessions.automation.rules.editing import rule_lists  # noqa: PLC0415 -- as above

    return rule_lists(given, "rules")


def _found(session_id: str | None, template: str | None) -> Answer:
    """Return the rule sets of a session or a template under their short names, with its type and calendar."""
    if template is not None:
        return _of_template(template)
    session = line().about("get", session_id or "")
    config = session["config"]
    sets = {name: config[_key(name)] for name in SETS}
    return {"session_id": session["session_id"], "session_type": session["session_type"], "version": session["version"],
            "calendar": config["calendar"], "last_edit": None, **sets}  # fmt: skip


def _of_template(name: str) -> Answer:
    template = line().query("templates.get", template_name=name)
    edits = line().query("templates.versions", template_name=name, limit=1)
    return {
        "template_name": name,
        "session_type": template["session_type"],
        "version": template["version"],
        "calendar": template["default_config"].get("calendar", _CALENDAR),
        "last_edit": edits[0] if edits and edits[0]["version"] > 1 else None,
        **{short: [_said(one) for one in template[_key(short)]] for short in SETS},
    }


def _said(condition: Answer) -> Answer:
    return {name: value for name, value in condition.items() if value is not None}


def set_rules(
    session_id: MaybeId = None,
    template: Template = None,
    start: Annotated[str | None, typer.Option("--start", metavar="JSON|@FILE|none", help="All must hold.")] = None,
    stop: Annotated[str | None, typer.Option("--stop", metavar="JSON|@FILE|none", help="Any stops it.")] = None,
    pause: Annotated[str | None, typer.Option("--pause", metavar="JSON|@FILE|none", help="Any pauses it.")] = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="JSON|@FILE|none", help="All must hold, where a rule paused it.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; it is kept with the change.")] = "",
    version: Annotated[
        int | None, typer.Option("--expected-version", help="Refuse if the session moved on since.")
    ] = None,
    command_id: Annotated[
        UUID | None, typer.Option("--command-id", help="Ask again for the outcome; asking twice acts once.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replace rule sets of a session or a template (operators, risk managers, administrators).

    A set that is not named stays as it is. Taking a stop rule away from a session that was started, or making it wider,
    is for risk managers and administrators. Sessions that exist do not follow their template.
    """
    given = {"start": start, "stop": stop, "pause": pause, "resume": resume}
    rules = {name: _rules_of(name, value) for name, value in given.items() if value is not None}
    if not rules:
        fix = "Give --start, --stop, --pause or --resume; `none` empties a set."
        raise InvalidArgument("rules set", "changes nothing", fix)
    _one_of(session_id, template)
    if template is not None:
        changed = _set_template(template, rules, reason, version, command_id)
    else:
        changed = _set_session(session_id or "", rules, reason, version, command_id)
    if as_json:
        output.emit(changed)
    else:
        rules_report.show_changed(changed)


def _one_of(session_id: str | None, template: str | None) -> None:
    if (session_id is None) == (template is None):
        raise InvalidArgument("rules", "are those of an ID or of --template NAME", "Give one of the two.")


def _set_session(given: str, rules: Answer, reason: str, version: int | None, command_id: UUID | None) -> Answer:
    asked = {"session_id": line().session_id(given), "reason": reason}
    asked |= {"config": {_key(name): conditions for name, conditions in rules.items()}}
    asked |= {} if version is None else {"expected_version": version}
    return line().command("update", asked, command_id)


def _set_template(name: str, rules: Answer, reason: str, version: int | None, command_id: UUID | None) -> Answer:
    if version is not None:
        raise InvalidArgument(
            "--expected-version", "is for a session; a template keeps who changed it", "Leave it out."
        )
    asked = {"template_name": name, "rules": rules, "reason": reason}
    changed: Answer = line().query("rules.set_template", command_id=str(command_id or uuid4()), **asked)
    return changed


def list_rules(session_id: MaybeId = None, template: Template = None, as_json: AsJson = False) -> None:
    """List the rules of a session or a template (every role)."""
    _one_of(session_id, template)
    found = _found(session_id, template)
    if as_json:
        output.emit(found)
    else:
        rules_report.show_rules(found)


def _rules_of(name: str, value: str) -> list[Any]:
    """Return the conditions an option gives: JSON, the JSON of @FILE, or nothing for ``none``."""
    option = f"--{name}"
    if value.strip().lower() == _NONE:
        return []
    found = _json(option, _text(Path(value[1:]), option) if value.startswith("@") else value)
    found = [found] if isinstance(found, dict) and "condition" in found else found
    if not isinstance(found, list):
        example = """--stop '[{"condition": "vix_above", "value": 40}]'"""
        raise InvalidArgument(option, "is not a list of conditions", f"Write {example}, @FILE or none.")
    return found


def _text(path: Path, option: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(option, f"{path} cannot be read: {error}", "Give a readable UTF-8 file.") from None


def _json(where: str, text: str) -> Any:
    try:
        return read_json(text, where, "Nest conditions at most FNTX_RULE_DEPTH_MAX deep.")
    except JSONDecodeError as error:
        problem = f"is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        raise InvalidArgument(
            where, problem, "Mind the quotes: JSON has double ones, the shell takes single ones."
        ) from None
