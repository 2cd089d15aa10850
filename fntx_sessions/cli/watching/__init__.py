"""`fntx watch`: the sessions as they are now: live screens in a terminal, or a table in a pipe."""

from fntx_sessions.cli.watching.command import register

__all__ = ["register"]
