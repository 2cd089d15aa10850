"""What the built-in agents may be told each for itself: `agent_configurations` of a template or a session's config."""

from typing import Any

from pydantic import BaseModel, Field

from fntx_sessions.agents.registry import ROSTER_ORDER
from fntx_sessions.exceptions import InvalidArgument
from fntx_sessions.parsing import parse
from fntx_sessions.values import Finite, Model


class PlannerConfiguration(Model):
    """When the planner proposes nothing new. vix_max: above this VIX; last_entry_time: from this exchange time on."""

    vix_max: Finite | None = Field(default=None, gt=0, le=200)
    last_entry_time: str | None = Field(default=None, pattern=r"^([01]\d|2[0-3]):[0-5]\d:[0-5]\d$")


MODELS: dict[str, type[BaseModel]] = {"StrategicPlannerAgent": PlannerConfiguration}


def check_configuration(agent: str, given: dict[str, Any], field: str) -> None:
    """Raise InvalidArgument, its path led by `field`, where an agent cannot be told this.

    Built-in agents take what `MODELS` says; what the agents of others take is theirs to judge.
    """
    if agent in MODELS:
        parse(MODELS[agent], given, field)
    elif agent in ROSTER_ORDER and given:
        fix = f"Leave it out; {', '.join(MODELS)} can be configured."
        raise InvalidArgument(f"{field}.{min(given)}", f"{agent} takes no configuration", fix)
