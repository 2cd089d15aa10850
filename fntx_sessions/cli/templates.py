"""`fntx templates`: the named starting points of sessions: looked at, changed, compared, shared as files."""

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import typer

from fntx_sessions.cli import output, templates_report
from fntx_sessions.cli.asking import Answer, line
from fntx_sessions.cli.ids import AsJson
from fntx_sessions.cli.values import pairs
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.printable import same_json
from fntx_sessions.schemas import SessionType

HELP = "Templates, the named starting points of sessions. Without a command: the list of them."
Name = Annotated[str, typer.Argument(metavar="NAME", help="A template's name.")]
Versioned = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="A template's name.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it is kept with the version.")]
Version = Annotated[int | None, typer.Option("--expected-version", help="Refuse if it moved on since.")]
CommandId = Annotated[
    UUID | None, typer.Option("--command-id", help="Ask again for the outcome; asking twice acts once.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="A value of it, dots go deeper; null takes a key away."),
]
_SHIPPED = "shipped"


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    group = typer.Typer(name="templates", help=HELP, invoke_without_command=True)
    group.callback()(_list_them)
    for command in (show, versions, add, edit, export, diff, retire):
        group.command()(command)
    group.command("ls")(list_templates)
    group.command("import")(import_file)
    app.add_typer(group)


def _list_them(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_templates()


def list_templates(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Retired ones too.")] = False, as_json: AsJson = False
) -> None:
    """List the templates (every role)."""
    found = line().query("templates.list", retired=everything)
    if as_json:
        output.emit(found)
    else:
        output.table(found, templates_report.COLUMNS, "no templates")


def show(
    name: Versioned,
    version: Annotated[int | None, typer.Option("--version", min=1, help="As it was at this version.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one template whole (every role)."""
    found = line().query("templates.get", **_one(name, version))
    if as_json:
        output.emit(found)
    else:
        templates_report.show(found)


def versions(
    name: Name,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many, the newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List what became of a template, who did it and why (every role)."""
    found = line().query("templates.versions", template_name=name, limit=limit)
    if as_json:
        output.emit(found)
    else:
        output.table(found, templates_report.VERSION_COLUMNS, "no versions")


def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    copy_of: Annotated[
        str | None, typer.Option("--from", metavar="NAME[@VERSION]", help="Begin with what this template says.")
    ] = None,
    session_type: Annotated[SessionType | None, typer.Option("--type", help="The type of its sessions.")] = None,
    given: Set = None,
    reason: Reason = "",
    command_id: CommandId = None,
    as_json: AsJson = False,
) -> None:
    """Add a template, from another one or from nothing (operators, risk managers, administrators)."""
    changes = pairs(given, "--set") | ({} if session_type is None else {"session_type": session_type.value})
    if copy_of is None and "session_type" not in changes:
        raise InvalidArgument("templates add", "needs something to begin with", "Give --from NAME or --type TYPE.")
    source, at = _name_and_version(copy_of) if copy_of else (None, None)
    asked = _asked(template_name=name, copy_of=source, copy_version=at, changes=changes, reason=reason)
    _tell(line().ask("templates.add", asked, command_id or uuid4()), as_json=as_json)


def edit(
    name: Name,
    given: Set = None,
    to_version: Annotated[int | None, typer.Option("--to", min=1, help="Make it what it was at this version.")] = None,
    to_shipped: Annotated[bool, typer.Option("--shipped", help="Make it what this package ships.")] = False,
    reason: Reason = "",
    version: Version = None,
    command_id: CommandId = None,
    as_json: AsJson = False,
) -> None:
    """Change a template: new sessions have it, those there are keep theirs (operators, risk managers, administrators).

    For more than some values: `fntx templates export`, an editor, and `fntx templates import --replace`.
    """
    asked = _asked(
        template_name=name,
        changes=pairs(given, "--set") if given else None,
        to_version=to_version,
        to_shipped=to_shipped or None,
        expected_version=version,
        reason=reason,
    )
    if not asked.keys() & {"changes", "to_version", "to_shipped"}:
        raise InvalidArgument("templates edit", "changes nothing", "Give --set PATH=VALUE, --to VERSION or --shipped.")
    _tell(line().ask("templates.edit", asked, command_id or uuid4()), as_json=as_json)


def export(
    name: Versioned,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE|DIR", help="Where to; without it, to stdout.")
    ] = None,
    version: Annotated[int | None, typer.Option("--version", min=1, help="As it was at this version.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a template as a file that another desk imports (every role)."""
    from fntx_sessions.lifecycle.templates import files  # noqa: PLC0415 -- `fntx --help` needs no templates

    found = line().query("templates.export", **_one(name, version))
    text = files.to_text(found)
    if out is None:
        sys.stdout.write(same_json(text))
        return
    path = out / files.file_name(found["template_name"]) if out.is_dir() else out
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InvalidArgument("--out", f"{path} is there already", "Give --force to write over it.") from None
    except OSError as error:
        raise InvalidArgument("--out", f"{path} cannot be written: {error.strerror}", "Choose another.") from None
    output.note(f"{found['template_name']}@{found['exported_version']} -> {path}")


def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A template file; `-` reads stdin.")],
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Call it this instead.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Make a new version of one that is there.")] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Say what it would change, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    reason: Reason = "",
    version: Version = None,
    command_id: CommandId = None,
    as_json: AsJson = False,
) -> None:
    """Take a template file in; says what it would change before it does (operators, risk managers, administrators)."""
    asked = _asked(file=_read(file), template_name=name)
    seen = line().ask("templates.import", asked | {"preview": True}, uuid4())
    if preview and as_json:
        output.emit(seen)
        return
    templates_report.show_preview(seen)
    if preview or (seen["would"] == "nothing" and command_id is None):
        return
    _may_go_on(seen, replace=replace, yes=yes, from_stdin=str(file) == "-")
    # What was shown is what is done: whoever was quicker is not written over.
    last = version or (seen["version"] if command_id is None else None)
    asked |= _asked(replace=replace or None, expected_version=last, reason=reason)
    _tell(line().ask("templates.import", asked, command_id or uuid4()), as_json=as_json)


def _may_go_on(seen: Answer, *, replace: bool, yes: bool, from_stdin: bool) -> None:
    if seen["problems"]:
        first = seen["problems"][0]
        raise InvalidArgument(first["field"], first["problem"], first["fix"])
    if seen["would"] == "replace" and not replace:
        problem = f"there is {seen['template_name']!r} already, at version {seen['version']}"
        raise InvalidArgument("--replace", problem, "Give --replace for a new version of it, or --name for another.")
    if yes:
        return
    if from_stdin or not sys.stdin.isatty():
        raise InvalidArgument("import", "asks before it changes anything", "Give --yes where nobody can answer.")
    if not typer.confirm(f"{seen['would']} it?", err=True):
        raise InvalidArgument("import", "was not agreed to", "Nothing was changed.")


def diff(
    left: Annotated[str, typer.Argument(metavar="A", help="NAME, NAME@VERSION, NAME@shipped, or a file.")],
    right: Annotated[str | None, typer.Argument(metavar="[B]", help="The other one, alike.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what differs between two templates, versions or files (every role).

    Of a NAME alone: from the version before to now. Of a file alone: from the stored one of its name to the file.
    """
    sides = _sides(left, right)
    found = line().query("templates.diff", left=sides[0], right=sides[1])
    if as_json:
        output.emit(found)
    else:
        templates_report.show_diff(found)


def _sides(left: str, right: str | None) -> tuple[Answer, Answer]:
    one = _side(left)
    if right is not None:
        return one, _side(right)
    if "file" in one:
        return {"template_name": str(one["file"].get("template_name"))}, one
    if one.keys() != {"template_name"}:
        return one, {"template_name": one["template_name"]}
    now = line().query("templates.get", template_name=one["template_name"])["version"]
    return one | {"version": max(1, now - 1)}, one | {"version": now}


def _side(given: str) -> Answer:
    path = Path(given)
    if given == "-" or given.endswith(".json") or path.is_file():
        return {"file": _read(path)}
    name, separator, at = given.rpartition("@")
    if separator and at == _SHIPPED:
        return {"template_name": name, "shipped": True}
    name, version = _name_and_version(given)
    return _asked(template_name=name, version=version)


def _name_and_version(given: str) -> tuple[str, int | None]:
    name, separator, at = given.rpartition("@")
    return (name, int(at)) if separator and at.isdecimal() else (given, None)


def _one(given: str, version: int | None) -> Answer:
    name, at = _name_and_version(given)
    if at is not None and version not in (None, at):
        raise InvalidArgument("--version", f"is {version}, and {given!r} says {at}", "Say it once.")
    return _asked(template_name=name, version=version if at is None else at)


def retire(
    name: Name,
    undo: Annotated[bool, typer.Option("--undo", help="Bring it back.")] = False,
    reason: Reason = "",
    version: Version = None,
    command_id: CommandId = None,
    as_json: AsJson = False,
) -> None:
    """Let no session be made of a template any more (operators, risk managers, administrators).

    Sessions made of it go on, it stays readable, and --undo brings it back.
    """
    asked = _asked(template_name=name, retired=not undo, reason=reason, expected_version=version)
    _tell(line().ask("templates.retire", asked, command_id or uuid4()), as_json=as_json)


def _tell(written: Answer, *, as_json: bool) -> None:
    if as_json:
        output.emit(written)
    else:
        templates_report.show_written(written)


def _asked(**given: Any) -> Answer:
    return {name: value for name, value in given.items() if value is not None}


def _read(path: Path) -> Answer:
    from fntx_sessions.lifecycle.templates import files  # noqa: PLC0415 -- as above

    settings = line().settings
    most = files.most_bytes(settings) + 1
    try:
        with nullcontext(sys.stdin.buffer) if str(path) == "-" else path.open("rb") as file:
            data = file.read(most)
    except OSError as error:
        raise InvalidArgument("file", f"{path} cannot be read: {error.strerror}", "Give a readable file.") from None
    found = files.read_text(data, settings)
    if not isinstance(found, dict):
        raise InvalidArgument("file", "is no template file", "`fntx templates export NAME` writes one to go by.")
    return found
