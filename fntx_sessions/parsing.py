"""From untrusted JSON to a model, with an error that names the field and the fix."""

import re
from math import isfinite
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from fntx_sessions.exceptions import InvalidArgument

M = TypeVar("M", bound=BaseModel)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_SUBJECT = re.compile(r"^(?:Input|String|Value|Data|List|Tuple|Set|Dictionary|Decimal input|Object) should ")
_LARGEST = 2**63 - 1
# How Celery's JSON marks what is no JSON: a moment, a Decimal, bytes.
_MARKED = {"__type__", "__value__"}


def parse(model: type[M], data: Any, where: str = "") -> M:
    """Return `data` as `model`; raises InvalidArgument for the first wrong field, its path led by `where`."""
    refuse_unstorable(data, where)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise invalid(error, model, where) from None


def refuse_unstorable(data: Any, path: str) -> None:
    """Refuse what JSON text can say and Postgres cannot store, or Celery reads as another type, wherever it hides."""
    if isinstance(data, dict):
        if data.keys() == _MARKED:
            raise InvalidArgument(path or "arguments", "is no plain JSON", "Send a text or a number, unmarked.")
        for key, value in data.items():
            refuse_unstorable(str(key), path)
            refuse_unstorable(value, f"{path}.{key}" if path else str(key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            refuse_unstorable(value, f"{path}.{index}")
    elif isinstance(data, str) and _UNSTORABLE.search(data):
        raise InvalidArgument(path or "arguments", "holds a character that is no text", "Remove NUL and surrogates.")
    elif isinstance(data, int) and not -_LARGEST <= data <= _LARGEST:
        raise InvalidArgument(path or "arguments", "is larger than 64 bits", "Give a smaller number.")
    elif isinstance(data, float) and not isfinite(data):
        raise InvalidArgument(path or "arguments", "is not a finite number", "Give a number.")


def invalid(error: ValidationError, model: type[BaseModel], where: str = "") -> InvalidArgument:
    """Return the InvalidArgument for the first problem of a pydantic error; values are never repeated in it."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    path = ".".join(str(part) for part in ([where] if where else []) + list(first["loc"])) or where or "arguments"
    if first["type"] == "extra_forbidden":
        return InvalidArgument(path, "is not a known key", f"Known here: {_known(model, first['loc'][:-1])}.")
    if first["type"] == "missing":
        return InvalidArgument(path, "is missing", "Add it.")
    more = "" if error.error_count() == 1 else f" ({error.error_count() - 1} more problems follow this one.)"
    return InvalidArgument(path, _problem(first["msg"]), f"Correct it and ask again.{more}")


def _known(model: type[BaseModel], way: tuple[int | str, ...]) -> str:
    """Return the keys that the model at the end of a way takes."""
    for step in way:
        if isinstance(step, str):
            field = model.model_fields.get(step)
            told = [] if field is None else [field.annotation, *get_args(field.annotation)]
            below = [one for one in told if isinstance(one, type) and issubclass(one, BaseModel)]
            if not below:
                return "see docs/glossary.md"
            model = below[0]
    return ", ".join(sorted(model.model_fields))


def _problem(message: str) -> str:
    """Return what pydantic says in words that follow the name of the field."""
    plain = _SUBJECT.sub("should ", message.removeprefix("Value error, "))
    return plain.removesuffix(".")
