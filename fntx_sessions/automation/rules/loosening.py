"""Whether stop rules became wider: what the old ones would have stopped, the new ones must stop too. Pure."""

from collections.abc import Sequence
from typing import Any

from fntx_sessions.automation.rules.conditions import LEAVES, Builtin
from fntx_sessions.automation.rules.conditions.base import OneOf, Threshold
from fntx_sessions.automation.rules.model import Rule

_ANY, _ALL = "any_of", "all_of"


def loosened(old: Sequence[Rule], new: Sequence[Rule], default_max_age_s: float) -> list[str]:
    """Return the paths of old stop rules for which no new one stops at least as early; empty: nothing became wider.

    What cannot be compared counts as wider. default_max_age_s: what a rule without `max_age_s` takes.
    """
    judge = _Judge(default_max_age_s)
    return [rule.path for rule in old if not judge.covered(rule, new)]


class _Judge:
    def __init__(self, default_max_age_s: float) -> None:
        self._max_age_s = default_max_age_s

    def covered(self, old: Rule, new: Sequence[Rule]) -> bool:
        """Tell whether one of `new` is met whenever `old` is; the parts of an any_of may be met by different ones."""
        if any(self.implies(old, other) for other in new):
            return True
        return old.condition == _ANY and not old.for_s and all(self.covered(child, new) for child in old.children)

    def implies(self, old: Rule, new: Rule) -> bool:
        """Tell whether `new` is met whenever `old` is."""
        if not self._as_quick(old, new):
            return False
        if self._same(old, new) or self._as_tight(old, new):
            return True
        return self._by_parts(old, new)

    def _by_parts(self, old: Rule, new: Rule) -> bool:
        """Take groups apart; one that must hold for a while is more than its parts."""
        if old.condition == _ANY and not old.for_s:
            return all(self.implies(child, new) for child in old.children)
        if new.condition == _ALL and not new.for_s:
            return all(self.implies(old, child) for child in new.children)
        if new.condition == _ANY and not new.for_s and any(self.implies(old, child) for child in new.children):
            return True
        return old.condition == _ALL and not old.for_s and any(self.implies(child, new) for child in old.children)

    def _as_quick(self, old: Rule, new: Rule) -> bool:
        """Tell whether `new` waits no longer and takes data as old as `old` did."""
        ages = [self._max_age_s if rule.max_age_s is None else rule.max_age_s for rule in (old, new)]
        return new.for_s <= old.for_s and new.cooldown_s <= old.cooldown_s and ages[1] >= ages[0]

    def _same(self, old: Rule, new: Rule) -> bool:
        if (old.condition, old.value, old.clear_value) != (new.condition, new.value, new.clear_value):
            return False
        pairs = zip(old.children, new.children, strict=False)
        return len(old.children) == len(new.children) and all(
            self._as_quick(*pair) and self._same(*pair) for pair in pairs
        )

    def _as_tight(self, old: Rule, new: Rule) -> bool:
        """Tell whether two rules of one built-in condition differ in the value alone, and `new` is met as early."""
        if old.condition != new.condition or new.problem or old.problem:
            return False
        # Once met, a rule with a clear value goes on holding; one that loses it may not.
        if old.clear_value not in (None, new.clear_value):
            return False
        return _met_as_early(LEAVES.get(old.condition), old.value, new.value)


def _met_as_early(condition: Builtin | None, old: Any, new: Any) -> bool:
    if isinstance(condition, OneOf):
        return set(old) <= set(new)
    if not isinstance(condition, Threshold) or isinstance(old, bool) or isinstance(new, bool):
        return bool(old == new) and condition is not None
    return bool(new <= old if condition.above else new >= old)
