"""Session ids from the command line or from a pipe, and one command over several of them."""

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from fntx_sessions.cli import output
from fntx_sessions.cli.exits import Exit, code_of, sentence, worst
from fntx_sessions.exceptions import FntxError, InvalidArgument

Ids = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ID]...", help="Session ids or their first characters (4 or more); `-` reads them from stdin."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def given_ids(ids: list[str] | None) -> list[str]:
    """Return the ids given, those of stdin for `-` or for none given; raises InvalidArgument when there are none."""
    listed = list(ids or [])
    if "-" in listed or (not listed and not sys.stdin.isatty()):
        at = listed.index("-") if "-" in listed else 0
        listed[at : at + 1] = _from_stdin()
    if not listed:
        raise InvalidArgument(
            "session id", "is missing", "Give one or more ids, or pipe them: fntx ls -q | fntx stop -"
        )
    return list(dict.fromkeys(listed))


def _from_stdin() -> list[str]:
    text = sys.stdin.read().strip()
    if not text.startswith(("[", "{")):
        return text.split()
    try:
        data = json.loads(text)
        rows = data if isinstance(data, list) else [data]
        return [row if isinstance(row, str) else str(row["session_id"]) for row in rows]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        fix = "Pipe ids, one a line, or what `fntx ls --json` prints."
        raise InvalidArgument("stdin", "holds no session ids", fix) from error


def over(
    ids: list[str] | None,
    act: Callable[[str], dict[str, Any]],
    show: Callable[[dict[str, Any]], None],
    *,
    as_json: bool,
) -> None:
    """Do `act` for each id and show what came of it, one line each; exits with the worst code of them."""
    answers: list[dict[str, Any]] = []
    codes: list[Exit] = []
    for one in given_ids(ids):
        try:
            answer = act(one)
        except FntxError as error:
            codes.append(code_of(error))
            answers.append({"session_id": one, **error.to_dict()})
            told = sentence(error)
            output.complain(told if one in told else f"{one}: {told}")
        else:
            codes.append(Exit.DONE)
            answers.append(answer)
            if not as_json:
                show(answer)
    if as_json:
        output.emit(answers)
    raise typer.Exit(worst(codes))
