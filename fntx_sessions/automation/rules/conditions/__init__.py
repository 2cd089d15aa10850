"""The conditions that come with this package, each a small object of the shape `model.Condition`."""

from fntx_sessions.automation.rules.conditions.base import Builtin
from fntx_sessions.automation.rules.conditions.clocks import CLOCKS
from fntx_sessions.automation.rules.conditions.groups import GROUPS, Group
from fntx_sessions.automation.rules.conditions.markets import MARKETS
from fntx_sessions.automation.rules.conditions.sessions import SESSIONS

LEAVES: dict[str, Builtin] = {one.name: one for one in (*CLOCKS, *MARKETS, *SESSIONS)}

__all__ = ["GROUPS", "LEAVES", "Builtin", "Group"]
