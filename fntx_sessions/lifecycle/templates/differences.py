"""What two templates differ in, by path."""

from collections.abc import Iterator
from typing import Any, TypedDict

Json = dict[str, Any]


class _Sides(TypedDict, total=False):
    before: Any
    after: Any


class Difference(_Sides):
    """One value that differs. before, after: left out on the side that has nothing there."""

    path: str


def differences(before: Any, after: Any, path: str = "") -> list[Difference]:
    """Return what differs between two JSON values, by path: objects key by key, lists of objects place by place."""
    if isinstance(before, dict) and isinstance(after, dict):
        return list(_by_key(before, after, path))
    if _of_objects(before) and _of_objects(after):
        return list(_by_key(_places(before), _places(after), path))
    return [] if _same(before, after) else [Difference(path=path, before=before, after=after)]


def _by_key(before: Json, after: Json, path: str) -> Iterator[Difference]:
    for key in [*before, *(key for key in after if key not in before)]:
        below = f"{path}.{key}" if path else key
        if key not in after:
            yield Difference(path=below, before=before[key])
        elif key not in before:
            yield Difference(path=below, after=after[key])
        else:
            yield from differences(before[key], after[key], below)


def _of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _places(values: list[Json]) -> Json:
    return {str(place): one for place, one in enumerate(values)}


def _same(before: Any, after: Any) -> bool:
    # True is 1 in Python, and not in a template.
    return bool(before == after) and isinstance(before, bool) == isinstance(after, bool)
