"""The embedded stack behind `fntx up`: Postgres and Valkey from wheels, and this service's processes.

Each name is imported when it is first used: whoever only looks for a running stack loads no driver and no Celery.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fntx_sessions.stack.addresses import Addresses, adopt_local_stack
    from fntx_sessions.stack.control import Process
    from fntx_sessions.stack.stack import Stack

_HOME = {"Addresses": "addresses", "Process": "control", "Stack": "stack", "adopt_local_stack": "addresses"}

__all__ = ["Addresses", "Process", "Stack", "adopt_local_stack"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _HOME:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
