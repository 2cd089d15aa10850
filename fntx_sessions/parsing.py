"""From untrusted JSON to a model, with an error that names the field and the fix."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fntx_sessions.exceptions import InvalidArgument

M = TypeVar("M", bound=BaseModel)


def parse(model: type[M], data: Any, where: str = "") -> M:
    """Return `data` as `model`; raises InvalidArgument for the first wrong field, its path led by `where`."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise invalid(error, model, where) from None


def invalid(error: ValidationError, model: type[BaseModel], where: str = "") -> InvalidArgument:
    """Return the InvalidArgument for the first problem of a pydantic error; values are never repeated in it."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    path = ".".join(str(part) for part in ([where] if where else []) + list(first["loc"])) or where or "arguments"
    if first["type"] == "extra_forbidden":
        known = ", ".join(sorted(model.model_fields)) if len(first["loc"]) == 1 else "see docs/glossary.md"
        return InvalidArgument(path, "is not a known key", f"Known here: {known}.")
    if first["type"] == "missing":
        return InvalidArgument(path, "is missing", "Add it.")
    more = "" if error.error_count() == 1 else f" ({error.error_count() - 1} more problems follow this one.)"
    return InvalidArgument(path, first["msg"], f"Correct it and ask again.{more}")
