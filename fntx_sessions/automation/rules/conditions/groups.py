"""all_of, any_of, none_of: conditions made of conditions, in logic that knows true, false and not known."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fntx_sessions.automation.rules.model import Facts, Reading

Three = bool | None


def all_of(parts: Iterable[Three]) -> Three:
    """Return False where one is false, else None where one is not known, else True."""
    seen = set(parts)
    return False if False in seen else None if None in seen else True


def any_of(parts: Iterable[Three]) -> Three:
    """Return True where one is true, else None where one is not known, else False."""
    seen = set(parts)
    return True if True in seen else None if None in seen else False


def none_of(parts: Iterable[Three]) -> Three:
    """Return the opposite of any_of; the opposite of not known is not known."""
    found = any_of(parts)
    return None if found is None else not found


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A condition whose value is a list of conditions."""

    name: str
    means: str
    combine: Callable[[Iterable[Three]], Three]
    takes: str = "a list of conditions"
    ordered: int = 0

    def check(self, value: Any) -> list[Any]:
        """Return the list; raises ValueError(problem, fix)."""
        if not isinstance(value, list) or not value:
            fix = 'Write a list such as [{"condition": "vix_below", "value": 30}].'
            raise ValueError("should be a list of conditions that is not empty", fix)
        return value

    def read(self, facts: Facts, value: Any) -> Reading:  # noqa: ARG002 - of the shape of every condition
        """Return nothing: a group looks at its parts alone."""
        return Reading(None, note="is judged by its parts")

    def holds(self, found: Any, value: Any) -> bool:  # noqa: ARG002 - of the shape of every condition
        """Tell what its parts' answers come to; not known is no."""
        return self.combine(found) is True


GROUPS: dict[str, Group] = {
    one.name: one
    for one in (
        Group(name="all_of", means="every one of the conditions is met", combine=all_of),
        Group(name="any_of", means="at least one of the conditions is met", combine=any_of),
        Group(name="none_of", means="none of the conditions is met, and all of them are known", combine=none_of),
    )
}
