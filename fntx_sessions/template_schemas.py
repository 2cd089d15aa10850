"""Templates: what one says, and one as a desk keeps it."""

from typing import Any, Literal
from uuid import UUID

from pydantic import Field, ValidationInfo, field_validator

from fntx_sessions.session_config import AgentName, Condition, SessionType
from fntx_sessions.values import Model, Time


class TemplateContents(Model):
    """What a template says, and what a template file carries: portable, the same at every desk.

    default_config, default_risk_parameters: what differs from the desk's defaults. remote_agents: which of its agents
    services elsewhere run; all others have to be hosted. agent_configurations: by agent, what it alone is told.
    """

    description: str = Field(default="", max_length=2000)
    session_type: SessionType
    default_config: dict[str, Any] = {}
    default_risk_parameters: dict[str, Any] = {}
    required_agents: list[AgentName] = Field(default_factory=list, max_length=20)
    optional_agents: list[AgentName] = Field(default_factory=list, max_length=20)
    remote_agents: list[AgentName] = Field(default_factory=list, max_length=20)
    agent_configurations: dict[AgentName, dict[str, Any]] = Field(default_factory=dict, max_length=20)
    enabled_strategies: list[str] = Field(default_factory=list, max_length=20)
    strategy_parameters: dict[str, Any] = {}
    auto_start_conditions: list[Condition] = Field(default_factory=list, max_length=50)
    auto_stop_conditions: list[Condition] = Field(default_factory=list, max_length=50)
    auto_pause_conditions: list[Condition] = Field(default_factory=list, max_length=50)
    auto_resume_conditions: list[Condition] = Field(default_factory=list, max_length=50)

    @field_validator("required_agents", "optional_agents")
    @classmethod
    def _agents_are_listed_once(cls, names: list[str], info: ValidationInfo) -> list[str]:
        listed = [*(info.data.get("required_agents") or ()), *names]
        if len(listed) != len(set(listed)):
            msg = "names an agent that is listed already"
            raise ValueError(msg)
        return names

    def body(self) -> dict[str, Any]:
        """Return it as it is stored, compared and exported: every key, in one order, each thing in one place."""
        body = self.model_dump(mode="json", include=set(TemplateContents.model_fields))
        lists = [name for name in body if name.startswith("auto_")]
        own = {name: [one.model_dump(mode="json", exclude_none=True) for one in getattr(self, name)] for name in lists}
        said = {name: self.default_config[name] for name in lists if name in self.default_config}
        config = {name: value for name, value in body["default_config"].items() if name not in said}
        told = body["agent_configurations"] | (config.pop("agent_configurations", None) or {})
        return body | own | said | {"default_config": config, "agent_configurations": told}


class SessionTemplate(TemplateContents):
    """A named starting point for sessions.

    retired_at: since when no session is made of it. shipped: how it stands to what this package ships by its name:
    `as_shipped`, `edited`, `newer_shipped` (edited, and another one ships now); None: the desk's own, or not asked.
    """

    template_id: UUID
    template_name: str
    created_at: Time
    last_used: Time | None = None
    usage_count: int = 0
    version: int = 1
    retired_at: Time | None = None
    shipped: Literal["as_shipped", "edited", "newer_shipped"] | None = None
