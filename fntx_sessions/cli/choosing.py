"""The options that choose sessions by what they are, for every command that can be asked of many at once."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, get_type_hints
from uuid import UUID

import typer

from fntx_sessions.cli.ids import given_ids
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.schemas import SessionStatus, SessionType

_FILTERS = ("status", "session_type", "template_name", "account_id", "tag")
_NAMES = {"template_name": "--template", "account_id": "--account", "tag": "--tag"}


@dataclass(frozen=True)
class Chosen:
    """What was said about which sessions are meant, and how they are taken."""

    everything: Annotated[bool, typer.Option("--all", "-a", help="All that the other options leave; alone: all.")] = (
        False
    )
    status: Annotated[list[SessionStatus] | None, typer.Option("--status", "-s", help="Those in these.")] = None
    session_type: Annotated[SessionType | None, typer.Option("--type", help="Those of this type.")] = None
    template_name: Annotated[str | None, typer.Option("--template", "-t", help="Those of this template.")] = None
    account_id: Annotated[str | None, typer.Option("--account", help="Those on this account.")] = None
    tag: Annotated[str | None, typer.Option("--tag", help="Those with this tag.")] = None
    preview: Annotated[bool, typer.Option("--preview", help="Show what would happen to whom, and change nothing.")] = (
        False
    )
    wave_size: Annotated[int | None, typer.Option("--wave-size", min=1, help="How many sessions at a time.")] = None
    wave_pause_s: Annotated[float | None, typer.Option("--wave-pause", min=0, help="Seconds between two waves.")] = None
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False

    @property
    def many(self) -> bool:
        """Whether anything of it was said: then it is one run over many sessions, not a command on each id."""
        return any(value is not None and value is not False and value != [] for value in asdict(self).values())

    def selector(self, ids: list[str] | None, whole: Callable[[str], UUID]) -> dict[str, Any]:
        """Return the selector as the desk takes it; ids are read from stdin only where `-` asks for it.

        Raises InvalidArgument for a name that is given and empty.
        """
        filters = {name: value for name, value in asdict(self).items() if name in _FILTERS and value not in (None, [])}
        for name, option in _NAMES.items():
            if not str(filters.get(name, option)).strip():
                # A shell's unset variable: dropped, the command would be about everybody else as well.
                raise InvalidArgument(option, "is given and is empty", "Nothing was changed. Give a name after it.")
        if ids:
            filters["session_ids"] = [str(whole(one)) for one in given_ids(ids)]
        return filters | ({"everything": True} if self.everything else {})


def choosing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `Chosen`, in the place of its parameter `chosen`."""
    hints = get_type_hints(Chosen, include_extras=True)
    given = [
        inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name])
        for one in fields(Chosen)
    ]
    signature = inspect.signature(command)
    own = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for one in signature.parameters.values()
        if one.name != "chosen"
    ]

    @functools.wraps(command)
    def chosen_for(**values: Any) -> None:
        chosen = Chosen(**{one.name: values.pop(one.name) for one in given if one.name in values})
        command(**values, chosen=chosen)

    chosen_for.__signature__ = signature.replace(parameters=[*own, *given])  # type: ignore[attr-defined]
    return chosen_for
