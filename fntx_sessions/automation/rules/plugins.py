"""Conditions of other packages: found by entry point, run in a process of their own, and never trusted to return."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from fntx_sessions.automation.rules.model import Facts, Reading
from fntx_sessions.automation.rules.plugin_desk import PluginFailed, PluginRefused, plugin_desk

GROUP = "fntx_sessions.conditions"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")


@dataclass(frozen=True, slots=True)
class Found:
    """What a plug-in's condition came to. problem: why it came to nothing; then holds is None."""

    reading: Reading
    holds: bool | None = None
    problem: str = ""


class Plugin:
    """One condition of another package, as the rest of the rules know conditions; its code runs elsewhere."""

    def __init__(self, name: str, target: str) -> None:
        self.name = name
        self.target = target

    @property
    def means(self) -> str:
        """Return where it comes from."""
        return f"a condition of {self.target}"

    @property
    def ordered(self) -> int:
        """Return +1 where it holds above its value, -1 where below, else 0; raises ValueError(problem, fix)."""
        return int(self._asked("ordered"))

    def check(self, value: Any) -> Any:
        """Return the value as it is kept; raises ValueError(problem, fix), also where the plug-in itself is broken."""
        return self._asked("check", value=value)

    def read(self, facts: Facts, value: Any) -> Reading:
        """Return what it found; no value, and why, where it is broken."""
        found = self.look(facts, value)
        return Reading(None, note=found.problem) if found.problem else found.reading

    def holds(self, found: Any, value: Any) -> bool:
        """Tell whether what was found fulfils the value; raises ValueError(problem, fix) where it cannot be told."""
        return bool(self._asked("holds", found=found, value=value))

    def look(self, facts: Facts, value: Any, clear_value: Any = None) -> Found:
        """Read and judge in one go, never raising; clear_value: it holds already, and does until this is passed."""
        try:
            answer = plugin_desk().ask(self.name, "look", facts, {"value": value, "clear": clear_value})
        except (PluginFailed, PluginRefused) as error:
            return Found(Reading(None), problem=str(error))
        return Found(Reading(**answer["reading"]), answer["holds"])

    def _asked(self, what: str, **arguments: Any) -> Any:
        try:
            return plugin_desk().ask(self.name, what, None, arguments)["answer"]
        except PluginRefused as error:
            raise ValueError(str(error), "Correct it.") from None
        except PluginFailed as error:
            raise ValueError(f"cannot be checked: {error}", f"Mend or remove {self.target}.") from None


def find_plugins(taken: frozenset[str]) -> tuple[Mapping[str, Plugin], Mapping[str, str]]:
    """Return the plug-ins by name without running any of their code, and the names passed over with the reason."""
    found: dict[str, Plugin] = {}
    passed_over: dict[str, str] = {}
    for point in entry_points(group=GROUP):
        if point.name in taken:
            passed_over.setdefault(f"{point.name} of {point.value}", "a condition of that name comes with this package")
        elif not _NAME.fullmatch(point.name):
            passed_over[point.name] = "names are lower case letters, digits and underscores"
        elif point.name in found and found[point.name].target != point.value:
            passed_over[f"{point.name} of {point.value}"] = f"{found[point.name].target} has the same name"
        else:
            found[point.name] = Plugin(point.name, point.value)
    return found, passed_over
