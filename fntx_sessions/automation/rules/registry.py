"""Which conditions there are: the built-in ones and those of other packages, by the name rules write."""

from collections.abc import Mapping

from fntx_sessions.automation.rules.model import Condition


def known_conditions() -> Mapping[str, Condition]:
    """Return all conditions by name: built-in ones, then those of the entry point group `fntx_sessions.conditions`."""
    return {}
