"""From a message to a call: what a handler's signature asks for, taken from a message's JSON keywords."""

import inspect
import json
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.parsing import parse
from fntx_sessions.schemas import Model
from fntx_sessions.security.actor import Actor

_PARAMETERS = frozenset({"actor", "command_id", "arguments"})


class NoArguments(Model):
    """What a handler without `arguments` takes: nothing."""


@dataclass(frozen=True)
class Call:
    """What one message asks of a handler, validated."""

    arguments: BaseModel
    command_id: UUID | None

    @property
    def session_id(self) -> UUID | None:
        """The session it is about; None when it names none."""
        return getattr(self.arguments, "session_id", None)


@dataclass(frozen=True)
class Handler:
    """A function of the desk and what it takes out of `actor`, `command_id` and `arguments`."""

    function: Callable[..., Any]
    takes: frozenset[str]
    model: type[BaseModel]

    @staticmethod
    def of(function: Callable[..., Any]) -> "Handler":
        """Read the signature; raises TypeError, at import, for a parameter no message could fill."""
        takes = frozenset(inspect.signature(function).parameters)
        if not takes <= _PARAMETERS:
            msg = f"{function.__qualname__} may take {sorted(_PARAMETERS)}, not {sorted(takes - _PARAMETERS)}"
            raise TypeError(msg)
        model = typing.get_type_hints(function)["arguments"] if "arguments" in takes else NoArguments
        return Handler(function, takes, model)

    def parse(self, positional: tuple[Any, ...], keywords: dict[str, Any], task_id: str, max_bytes: int) -> Call:
        """Return the call; raises InvalidArgument naming the field and the fix."""
        if positional:
            raise InvalidArgument("args", "positional arguments are not taken", "Send them as keyword arguments.")
        _check_size(keywords, max_bytes)
        fields = dict(keywords)
        command_id = _command_id(fields.pop("command_id", None) or task_id) if "command_id" in self.takes else None
        return Call(parse(self.model, fields), command_id)

    def run(self, actor: Actor, call: Call) -> Any:
        """Call the function and return its answer as plain JSON."""
        known = {"actor": actor, "command_id": call.command_id, "arguments": call.arguments}
        return plain(self.function(**{name: known[name] for name in self.takes}))


def plain(value: Any) -> Any:
    """Return a model, an outcome or a structure of them as JSON types."""
    return value.to_dict() if hasattr(value, "to_dict") else to_jsonable_python(value)


def _check_size(keywords: dict[str, Any], max_bytes: int) -> None:
    try:
        size = len(json.dumps(keywords, default=str))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidArgument("arguments", "cannot be read as JSON", "Send a flat JSON object.") from error
    if size > max_bytes:
        raise InvalidArgument("arguments", f"take {size} bytes, {max_bytes} are allowed", "Send less.")


def _command_id(value: object) -> UUID:
    try:
        return UUID(str(value))
    except ValueError:
        fix = "Send a UUID, as command_id or as the task's id, and the same one whenever you ask again."
        raise InvalidArgument("command_id", "is not a UUID", fix) from None
