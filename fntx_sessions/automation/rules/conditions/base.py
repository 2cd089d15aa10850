"""What the built-in conditions share: how they are told, compared, and where their data comes from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fntx_sessions.automation.rules.conditions.values import Check
from fntx_sessions.automation.rules.model import Facts, Reading

Read = Callable[[Facts, Any], Reading]
MARKET, SESSION, CLOCK = "market", "session", "clock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Builtin:
    """One built-in condition. label: what it looks at, in words. source: whose data that is.

    takes, means: its row in docs/rules.md. warned: nearing its limit is worth a warning.
    """

    name: str
    label: str
    takes: str
    means: str
    check_value: Check
    read_facts: Read
    source: str = CLOCK
    ordered: int = 0
    warned: bool = False

    def check(self, value: Any) -> Any:
        """Return the value as it is kept; raises ValueError(problem, fix)."""
        return self.check_value(value)

    def read(self, facts: Facts, value: Any) -> Reading:
        """Return what it looks at."""
        return self.read_facts(facts, value)

    def holds(self, found: Any, value: Any) -> bool:
        """Tell whether what was found is the value."""
        return bool(found == value)

    def say(self, found: Any, value: Any, *, holds: bool) -> str:
        """Return the sentence for a known value."""
        return f"{self.label} {found}" if holds else f"{self.label} {found}, not {value}"


def plain(value: Any) -> str:
    """Show a number with as many digits as it needs."""
    return f"{value:.6g}"


def dollars(value: float) -> str:
    """Show an amount."""
    return f"${value:,.2f}" if value >= 0 else f"-${-value:,.2f}"


def percent(value: float) -> str:
    """Show a number of percent."""
    return f"{value:+.2f} %"


def fraction(value: float) -> str:
    """Show a fraction as percent."""
    return f"{value * 100:.3g} %"


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold(Builtin):
    """Holds above its value (ordered 1) or below it (-1); inclusive: at the value too."""

    show: Callable[[Any], str] = plain
    above: bool = True
    inclusive: bool = False

    def holds(self, found: Any, value: Any) -> bool:
        """Tell whether what was found lies on the right side of the value."""
        if found == value:
            return self.inclusive
        return bool(found > value) if self.above else bool(found < value)

    def say(self, found: Any, value: Any, *, holds: bool) -> str:
        """Return the comparison as it came out, such as `VIX 31.2 >= 30`."""
        return f"{self.label} {self.show(found)} {self.bound(value, holds=holds)}"

    def bound(self, value: Any, *, holds: bool) -> str:
        """Return the side of the value on which it holds, or on which it does not, such as `>= 30`."""
        sign = (">" if holds is self.above else "<") + ("=" if holds is self.inclusive else "")
        return f"{sign} {self.show(value)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOf(Builtin):
    """Holds while what is found is among the names of its value."""

    def holds(self, found: Any, value: Any) -> bool:
        """Tell whether the name is one of those wanted."""
        return found in value

    def say(self, found: Any, value: Any, *, holds: bool) -> str:
        """Return the name, and which were wanted where it is none of them."""
        return f"{self.label} {found}" if holds else f"{self.label} {found}, not {' or '.join(value)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class YesNo(Builtin):
    """Holds while what is found is what its value says, true or false."""

    yes: str = ""
    no: str = ""

    def say(self, found: Any, value: Any, *, holds: bool) -> str:  # noqa: ARG002 - the fact is the sentence
        """Return the fact in words."""
        return self.yes if found else self.no
