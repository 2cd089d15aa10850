"""Templates: named starting points of sessions, versioned, and shared between desks as files."""

from fntx_sessions.lifecycle.templates.checked import checked_config, checked_risk, checked_strategies
from fntx_sessions.lifecycle.templates.contents import base_config, check_agents, check_configurations, rules_of
from fntx_sessions.lifecycle.templates.reading import BY_TYPE, load, usable
from fntx_sessions.lifecycle.templates.sections import merge_into, sections

__all__ = [
    "BY_TYPE",
    "base_config",
    "check_agents",
    "check_configurations",
    "checked_config",
    "checked_risk",
    "checked_strategies",
    "load",
    "merge_into",
    "rules_of",
    "sections",
    "usable",
]
