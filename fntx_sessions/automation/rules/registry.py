"""Which conditions there are: the built-in ones and those of other packages, by the name rules write."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache

from fntx_sessions.automation.rules.conditions import GROUPS, LEAVES
from fntx_sessions.automation.rules.model import Condition
from fntx_sessions.automation.rules.plugins import GROUP, Plugin, find_plugins
from fntx_sessions.exceptions import InvalidArgument

_SHOWN = 50
_BUILT_IN: Mapping[str, Condition] = {**LEAVES, **GROUPS}


@lru_cache(maxsize=1)
def known_conditions() -> Mapping[str, Condition]:
    """Return all conditions by name: built-in ones, then those of the entry point group `fntx_sessions.conditions`.

    No code of another package is run for it; what cannot be imported says so when it is first used.
    """
    found, _ = _plugins()
    return {**_BUILT_IN, **found}


def unusable_conditions() -> Mapping[str, str]:
    """Return the entry points that are passed over, by name, and why: a taken or impossible name."""
    return _plugins()[1]


@lru_cache(maxsize=1)
def _plugins() -> tuple[Mapping[str, Plugin], Mapping[str, str]]:
    return find_plugins(frozenset(_BUILT_IN))


def get_condition(name: str, field: str) -> Condition:
    """Return the condition called `name`; raises InvalidArgument at `field`, naming those there are."""
    known = known_conditions()
    found = known.get(name)
    if found is not None:
        return found
    passed_over = unusable_conditions().get(name)
    if passed_over is not None:
        raise InvalidArgument(field, f"the condition {name!r} cannot be used: {passed_over}", "Mend its package.")
    close = get_close_matches(name.lower(), known, 1)
    guess = f"Did you mean {close[0]!r}? " if close else ""
    fix = f"{guess}Known: {', '.join(known)}; others need an entry point in the group {GROUP}."
    raise InvalidArgument(field, f"there is no condition {name[:_SHOWN]!r}", fix)


def forget() -> None:
    """Look for entry points anew, for processes that outlive an installation, and for tests."""
    _plugins.cache_clear()
    known_conditions.cache_clear()
