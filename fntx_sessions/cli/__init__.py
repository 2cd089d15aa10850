"""The command line `fntx`: thin commands, one group a file."""

from fntx_sessions.cli.app import main

__all__ = ["main"]
