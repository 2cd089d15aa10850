"""Lifecycle management for trading sessions: stateful, recoverable, automated.

The names below are the public ones. Each is imported when it is first used, so that a service that only needs the
vocabulary does not load Celery.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fntx_sessions.agent_client import AgentClient
    from fntx_sessions.caller.desk_memory import DeskMemory
    from fntx_sessions.exceptions import FntxError, OutcomeUnknown, Rejected, Retryable
    from fntx_sessions.lifecycle.change import Outcome
    from fntx_sessions.lifecycle_manager import SessionLifecycleManager
    from fntx_sessions.memory.port import MCPManager
    from fntx_sessions.memory.slices import MemoryImportance, MemorySlice, MemoryType, SharedContext, StoredMemory
    from fntx_sessions.schemas import (
        AgentState,
        MarketState,
        RiskParameters,
        SessionCheckpoint,
        SessionConfig,
        SessionEvent,
        SessionMetrics,
        SessionRecoveryPlan,
        SessionStatus,
        SessionTemplate,
        SessionTransition,
        SessionType,
        TradingSession,
        TradingState,
        Trigger,
    )
    from fntx_sessions.settings import Settings
    from fntx_sessions.state_manager import SessionStateManager

_HOMES = {
    "agent_client": ("AgentClient",),
    "caller.desk_memory": ("DeskMemory",),
    "exceptions": ("FntxError", "OutcomeUnknown", "Rejected", "Retryable"),
    "lifecycle.change": ("Outcome",),
    "lifecycle_manager": ("SessionLifecycleManager",),
    "memory.port": ("MCPManager",),
    "memory.slices": ("MemoryImportance", "MemorySlice", "MemoryType", "SharedContext", "StoredMemory"),
    "schemas": (
        "AgentState", "MarketState", "RiskParameters", "SessionCheckpoint", "SessionConfig", "SessionEvent",
        "SessionMetrics", "SessionRecoveryPlan", "SessionStatus", "SessionTemplate", "SessionTransition",
        "SessionType", "TradingSession", "TradingState", "Trigger",
    ),
    "settings": ("Settings",),
    "state_manager": ("SessionStateManager",),
}  # fmt: skip
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AgentClient",
    "AgentState",
    "DeskMemory",
    "FntxError",
    "MCPManager",
    "MarketState",
    "MemoryImportance",
    "MemorySlice",
    "MemoryType",
    "Outcome",
    "OutcomeUnknown",
    "Rejected",
    "Retryable",
    "RiskParameters",
    "SessionCheckpoint",
    "SessionConfig",
    "SessionEvent",
    "SessionLifecycleManager",
    "SessionMetrics",
    "SessionRecoveryPlan",
    "SessionStateManager",
    "SessionStatus",
    "SessionTemplate",
    "SessionTransition",
    "SessionType",
    "Settings",
    "SharedContext",
    "StoredMemory",
    "TradingSession",
    "TradingState",
    "Trigger",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names beside what is loaded."""
    return sorted({*globals(), *__all__})
