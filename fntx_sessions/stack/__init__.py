"""The embedded stack behind `fntx up`: Postgres and Valkey from wheels, and this service's processes."""

from fntx_sessions.stack.addresses import Addresses, adopt_local_stack
from fntx_sessions.stack.control import Process
from fntx_sessions.stack.stack import Stack

__all__ = ["Addresses", "Process", "Stack", "adopt_local_stack"]
